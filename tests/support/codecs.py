"""Feeds single frames to a codec, and describes what a strategy gets."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from meltica import BookGap, BookSnapshot, KlineSummary, MarketStale, Ticker, Trade
from meltica.adapters.codec import Codec, Field, Message, decimal, ident
from meltica.adapters.replay.adapter import ReplayAdapter, ReplaySettings
from meltica.backtest.replay import Replay, Run
from tests.support.venue_sessions import fed
from tests.support.venue_sessions.session import Line, Session
from tests.support.venue_sessions.session import Message as Frame


def lines(frames: Iterable[str | tuple[int, str]]) -> Session:
    """Returns a session of frames, 1 ns apart; a frame may come with the number of its connection.

    A frame that begins with a symbol was requested for it; `lost` is the loss of the connection.
    """
    session = Session(())
    for ns, each in enumerate(frames, 1):
        connection, text = (0, each) if isinstance(each, str) else each
        symbol, _, frame = text.partition(" ") if text[:1] not in "{[" else ("", "", text)
        if text == "lost":
            session.lines.append(Line(ns, connection, None, "lost"))
        else:
            session.lines.append(Line(ns, connection, Frame(frame, symbol or None, requested=bool(symbol))))
    return session


def deliver(
    codec: Codec,
    *frames: str | tuple[int, str],
    listed: Sequence[Mapping[str, object]] = (),
    categories: Mapping[int, str] | None = None,
) -> fed.Fed:
    """Feeds frames to a new core; see `lines` and `fed.feed`."""
    return fed.feed(codec, lines(frames), listed, categories)


def number(value: Decimal | None) -> str | None:
    """Returns a number without zeros at its end."""
    return None if value is None else f"{value.normalize():f}"


def short(event: Any) -> str:
    """Returns an event as one text: the symbol and the values that it has."""
    match event:
        case Trade():
            parts = [event.trade_id, event.side, number(event.price_decimal), number(event.quantity_decimal)]
        case Ticker():
            fields = ("last", "bid", "bid_quantity", "ask", "ask_quantity", "volume_24h")
            values = [(name, number(getattr(event, f"{name}_decimal"))) for name in fields]
            parts = [f"{name}={value}" for name, value in values if value is not None]
        case KlineSummary():
            fields = ("open", "high", "low", "close", "volume")
            values = (number(getattr(event, f"{name}_decimal")) for name in fields)
            parts = [*values, event.interval, "closed" if event.closed else "open"]
        case BookSnapshot():
            parts = [
                "|".join(" ".join(f"{number(p)}x{number(q)}" for p, q in side) for side in fed.top(event))
            ]
        case BookGap() | MarketStale():
            parts = [type(event).__name__]
        case _:
            parts = [str(event)]
    return " ".join([event.symbol, *(str(part) for part in parts if part is not None)])


def texts(result: fed.Fed) -> list[str]:
    """Returns all events as texts, in order."""
    return [short(event) for event in result.events]


def trade(**options: Any) -> Message:
    """Returns a message of trades with the fields `i`, `p` and `q`; `at` is in front of their paths."""
    at = options.pop("at", "")
    fields = (
        Field("id", f"{at}i", ident()),
        Field("price", f"{at}p", decimal()),
        Field("quantity", f"{at}q", decimal()),
    )
    values: dict[str, Any] = {
        "name": "trade",
        "role": "Trade",
        "symbol": f"{at}s",
        "fields": fields,
    } | options
    return Message(**values)


class Recorder(fed.Everything):
    """Keeps every event of the latest replay."""

    latest: "Recorder"

    def on_start(self) -> None:
        """Becomes the latest."""
        Recorder.latest = self


def replayed(path: Path, codec: str) -> tuple[list[str], dict[str, Any]]:
    """Replays a recording with a codec by name. Returns its events as texts, and the counters of the feed."""
    session = Replay(ReplayAdapter(ReplaySettings(paths=[path], codec=codec)), [Run(Recorder, "recorder")])
    try:
        session.run()
    finally:
        session.finish()
    (producer,) = session.producers.values()
    return [short(event) for event in Recorder.latest.events], producer.stats()
