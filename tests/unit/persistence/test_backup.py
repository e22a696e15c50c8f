"""What a dump shows of a connection string."""

import pytest

from meltica.persistence.backup import without_password
from meltica.persistence.upgrade import dump_command


@pytest.mark.parametrize(
    "dsn",
    [
        "host=db dbname=trading password=hunter2 sslpassword=hunter2",
        "postgresql://me:hunter2@db/trading?sslpassword=hunter2&sslkey=key.pem",
    ],
)
def test_commands_have_no_secret_of_a_connection_string(dsn: str) -> None:
    for text in (without_password(dsn), dump_command(dsn, 3)):
        assert "hunter2" not in text
        assert "dbname=trading" in text
