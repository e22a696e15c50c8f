"""What errors of the database show: the address, without a folder of the server or a password."""

import psycopg
import pytest

from meltica.persistence.database import error_text, shown


@pytest.mark.parametrize(
    ("dsn", "text"),
    [
        ("postgresql://me:secret@db.example:5433/trading", "trading at db.example:5433"),
        ("host=/home/me/meltica/run port=5432 dbname=meltica", "meltica at local socket:5432"),
        ("", "default database at local socket"),
    ],
)
def test_an_address_has_no_folder_and_no_password(dsn: str, text: str) -> None:
    assert shown(dsn) == text


def test_the_folder_of_a_socket_is_not_in_the_text_of_an_error() -> None:
    text = 'connection failed: connection to server on socket "/home/me/.s.PGSQL.5432" failed:\n refused\n'
    expected = "connection failed: connection to server on the local socket failed: refused"
    assert error_text(psycopg.OperationalError(text)) == expected
