"""Extensions that a codec declares, from frames to lambdas."""

from typing import Any, ClassVar

from meltica import Extension, Filter, Lambda
from meltica._core import Codec as Compiled
from meltica._core import Core
from meltica.adapters import Codec, Field, Message, SymbolRule, decimal, equals, ident, text, time
from meltica.lambdas.instances import add_instance
from meltica.testing import decode

MARK = Message(
    name="markPriceUpdate",
    role="Extension",
    extension="mark",
    matches=(equals("e", "mark"),),
    symbol="s",
    venue_time=("E", "ms"),
    id=("u", "monotonic"),
    fields=(
        Field("price", "p", decimal()),
        Field("rate", "r", decimal("any")),
        Field("next", "T", time("ms")),
        Field("note", "n", text()),
        Field("id", "u", ident()),
    ),
)
CODEC = Codec(name="mine", symbols=SymbolRule(separator="/"), messages=(MARK,))
FRAME = (
    '{"e":"mark","s":"BTC/USDT","E":1700000000000,"u":%d,"n":"%s",'
    '"p":"61837.10","r":"-0.0003","T":1700006400000}'
)


class Marks(Lambda):
    filters: ClassVar = {"Extension": [Filter("name", "eq", "mark")]}

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Extension] = []

    def on_extension(self, extension: Extension, /) -> None:
        self.events.append(extension)


def data(note: str, id: str) -> dict[str, Any]:
    fields = {"price": "61837.10", "rate": "-0.0003", "next": 1_700_006_400_000_000_000}
    return {"symbol": "BTC-USDT", **fields, "note": note, "id": id}


def test_an_extension_of_a_frame_reaches_a_lambda_once() -> None:
    core = Core()
    try:
        producer = core.producer("venue", Compiled(CODEC))
        host = core.host("thread")
        instance = add_instance(host, Marks, id="e", scope={"venue": "*"}, policies={"Extension": "block"})
        instance.start()
        for ns, id in enumerate((1, 2, 2, 3), 1):
            producer.feed((FRAME % (id, "x" * 50)).encode(), ns)
        assert producer.drain(30)
        subject = instance.subject
        assert isinstance(subject, Marks)
        assert [(e.received_time, e.venue_time, e.name, e.provider) for e in subject.events] == [
            (ns, 1_700_000_000_000_000_000, "mark", "venue") for ns in (1, 2, 4)
        ]
        assert [e.payload for e in subject.events] == [data("x" * 50, id) for id in "123"]
        assert producer.stats()["duplicates"] == 1
        host.stop(5)
    finally:
        core.close()


def test_an_extension_without_subscribers_is_counted_as_unwanted() -> None:
    core = Core()
    try:
        producer = core.producer("venue", Compiled(CODEC))
        producer.feed((FRAME % (1, "")).encode(), 1)
        assert producer.stats()["unwanted"] == 1
        assert not producer.bad_frames()
    finally:
        core.close()


def test_decode_shows_the_fields_of_an_extension() -> None:
    [message] = decode(CODEC, (FRAME % (7, "")).replace('"p":"61837.10"', '"p":null'))
    assert message.get("present") == ["rate", "next", "id", "venue_time"]
    payload: dict[str, Any] = message.get("payload", {})
    assert payload["name"] == "mark"
    assert payload["data"]["price"] is None
