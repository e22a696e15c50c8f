"""Paths as users write them."""

from pathlib import Path


def from_folder(folder: Path, path: Path) -> Path:
    """Resolves a path relative to `folder`, unless it is absolute or begins with `~`."""
    try:
        return folder / path.expanduser()
    except (RuntimeError, ValueError):
        # The user named after `~` does not exist; the caller's error when it opens the path says so.
        return folder / path
