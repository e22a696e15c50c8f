"""The header `traceparent`."""

import pytest

from meltica.telemetry.trace_context import parse, started

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (VALID, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"cc-{TRACE}-{SPAN}-01-x", True),
    ],
)
def test_a_valid_header_is_continued(text: str, sampled: bool) -> None:
    context = parse([text.encode()])
    assert context is not None
    assert (context.trace_id.hex(), context.span_id.hex(), context.sampled) == (TRACE, SPAN, sampled)
    child = context.child()
    assert child.trace_id == context.trace_id
    assert child.span_id != context.span_id
    assert parse([child.header.encode()]) == child


@pytest.mark.parametrize(
    "values",
    [
        [],
        [VALID, VALID],
        [""],
        [VALID.upper()],
        [f"ff-{TRACE}-{SPAN}-01"],
        [f"{VALID}-more"],
        [f"00-{'0' * 32}-{SPAN}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE[1:]}-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}"],
        ["\xff" * 55],
    ],
)
def test_any_other_header_is_ignored(values: list[str]) -> None:
    assert parse([value.encode("latin-1") for value in values]) is None


def test_new_traces_differ() -> None:
    assert len({started() for _ in range(100)}) == 100
