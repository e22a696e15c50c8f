"""What `meltica logs` prints of a line."""

from meltica.api.instances import InstanceLogLine
from meltica.cli import logs


def test_a_line_moves_no_cursor_and_forges_no_line() -> None:
    line = InstanceLogLine(
        number=1, time=1, level="info", message="a\x1b[2J\u202e\nb", traceback=["c\r\x1b[1A"]
    )
    shown = logs._text(line, as_json=False)  # pyright: ignore[reportPrivateUsage]
    assert [each.isprintable() for each in shown.splitlines()] == [True, True, True]
    assert shown.splitlines()[1] == "    b"
