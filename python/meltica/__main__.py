"""`python -m meltica`."""

from meltica.cli import main

if __name__ == "__main__":
    main()
