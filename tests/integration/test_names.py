"""Names: nothing that a strategy, a route or a provider's frames do uses up the names of others."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest

import meltica
from meltica import _core
from meltica.adapters.binance.codec import BINANCE
from meltica.persistence.postgres.server import wait_until

# One more than the number of new symbols that a provider may add.
MANY = (1 << 16) + 1
TRADE = {"tradeId": "1", "price": "1", "quantity": "1"}


def names(core: _core.Core) -> int:
    return core.stats()["names"]


def started(
    core: _core.Core, kind: str, route: tuple[str, str, str | None], call: Callable[[Any], object]
) -> Any:
    instance = core.host("thread").add("x", callbacks={kind: call}, routes=[route])
    instance.start()
    return instance


def emits(core: _core.Core) -> None:
    instance = started(core, "Trade", ("none", "Trade", "BTC-USDT"), print)
    for i in range(MANY):
        instance.emit(f"EMITTED-{i}", "null")
    instance.stop()


def emits_to_a_listener(core: _core.Core) -> None:
    received: list[str] = []
    listener = started(core, "Extension", ("meltica", "Extension", None), lambda e: received.append(e.symbol))
    emits(core)
    # A stop discards what is queued. The queue drops the oldest events, so the last one is delivered.
    assert wait_until(lambda: received[-1:] == [f"EMITTED-{MANY - 1}"], 30)
    listener.stop()


def looks_up(core: _core.Core) -> None:
    instance = started(core, "Trade", ("none", "Trade", "BTC-USDT"), print)
    for i in range(MANY):
        assert instance.market(f"LOOKED-{i}") is None
        assert instance.book(f"LOOKED-{i}", f"PROVIDER-{i}") is None
    instance.stop()


def makes_events(core: _core.Core) -> None:
    event: Any = None
    for i in range(MANY):
        header = {"type": "Trade", "symbol": f"MADE-{i}", "provider": f"made-{i}"}
        event = meltica.Event.from_dict({**header, "payload": TRADE})
        assert (event.symbol, event.provider) == (f"MADE-{i}", f"made-{i}")
    assert pickle.loads(pickle.dumps(event)) == event


def restarts(core: _core.Core) -> None:
    host = core.host("shared")
    for _ in range(2000):
        instance = host.add("x", callbacks={"Trade": print}, routes=[("hostile", "Trade", "RESTARTED-USDT")])
        instance.start()
        instance.stop()
    host.stop()


WITHOUT_NAMES = [emits, emits_to_a_listener, looks_up, makes_events, restarts]


@pytest.mark.parametrize("use", WITHOUT_NAMES)
def test_these_add_no_names(use: Callable[[_core.Core], None]) -> None:
    core = _core.Core()
    core.host("shared").add("x", callbacks={"Trade": print}, routes=[("hostile", "Trade", "RESTARTED-USDT")])
    started(core, "Trade", ("none", "Trade", "BTC-USDT"), print).stop()
    before = names(core)
    use(core)
    assert names(core) == before
    core.close()


def publishes(core: _core.Core) -> None:
    producer = core.producer("hostile-a")
    with pytest.raises(ValueError, match="hostile-a has already added 65536 of at most 65536 symbols;"):
        for i in range(MANY):
            producer.publish("Trade", f"PUBLISHED-{i}", TRADE)
    assert not producer.publish("BalanceUpdate", "COIN-A", {"total": "1", "available": "1"})


def feeds(core: _core.Core) -> None:
    producer = core.producer("hostile-b", _core.Codec(BINANCE))
    frame = '{{"e":"trade","E":1,"s":"FED{}USDT","t":1,"p":"1","q":"1","T":1,"m":true,"M":true}}'
    outcomes = [producer.feed(frame.format(i).encode()) for i in range(MANY)]
    assert outcomes[-1].bad == 1
    assert "too_many_symbols" in producer.stats()["errors"]


def routes(core: _core.Core) -> None:
    host = core.host("shared")
    for start in range(0, MANY, 1024):
        declared = [(f"routed-{i}", "Trade", f"ROUTED-{i}") for i in range(start, start + 1024)]
        instance = host.add("x", callbacks={"Trade": print}, routes=declared)
        instance.start()
        instance.stop()
    host.stop()


def scopes(core: _core.Core) -> None:
    host = core.host("shared")
    error = "hostile-c has already added 65536 of at most 65536 symbols of routes;"
    with pytest.raises(ValueError, match=error):
        host.add(
            "x",
            callbacks={"Trade": print},
            routes=[("hostile-c", "Trade", f"SCOPED-{i}") for i in range(MANY)],
        )
    producer = core.producer("hostile-c")
    assert not producer.publish("Trade", "NOT-SCOPED", TRADE)


@pytest.mark.parametrize("use", [*WITHOUT_NAMES, publishes, feeds, routes, scopes])
def test_these_leave_names_for_others(use: Callable[[_core.Core], None]) -> None:
    core = _core.Core()
    use(core)
    received: list[Any] = []
    symbol = f"{use.__name__.upper()}-USDT"
    instance = started(core, "Trade", ("other", "Trade", symbol), received.append)
    producer = core.producer("other")
    assert producer.publish("Trade", symbol, TRADE)
    assert not producer.publish("Ticker", f"NEW-{symbol}", {"lastPrice": "1"})
    assert producer.drain(30)
    assert [event.symbol for event in received] == [symbol]
    instance.stop()
    core.close()


def test_a_name_of_more_than_256_bytes_is_refused_and_not_kept() -> None:
    core = _core.Core()
    host = core.host("shared")
    instance = host.add("x", callbacks={"Trade": print}, routes=[("long", "Trade", None)])
    instance.start()
    producer = core.producer("long")
    longest, longer = "L" * 256, "L" * 257
    assert producer.publish("Trade", longest, TRADE)
    before = names(core)
    error = "expected at most 256 bytes, the provider long has one of 257"
    with pytest.raises(ValueError, match=error):
        producer.publish("Trade", longer, TRADE)
    with pytest.raises(ValueError, match=error):
        producer.publish("BalanceUpdate", longer, {"total": "1", "available": "1"})
    with pytest.raises(ValueError, match=error):
        producer.list_symbols([longer])
    with pytest.raises(ValueError, match=error):
        host.add("y", callbacks={"Trade": print}, routes=[("long", "Trade", longer)])
    assert names(core) == before
    assert producer.publish("Trade", "BTC-USDT", TRADE)
    assert host.stop()
    core.close()


def test_an_extension_has_its_name_as_its_symbol() -> None:
    core = _core.Core()
    received: list[tuple[str, str]] = []
    every = started(
        core, "Extension", ("p", "Extension", None), lambda e: received.append(("every", e.symbol))
    )
    named = started(
        core, "Extension", ("p", "Extension", "a/b"), lambda e: received.append(("named", e.symbol))
    )
    producer = core.producer("p")
    for name in ("a/b", "c"):
        assert producer.publish("Extension", name, {"name": name, "data": None})
    assert producer.drain(30)
    assert sorted(received) == [("every", "a/b"), ("every", "c"), ("named", "a/b")]
    message = 'extension "c": expected its name as the symbol of the event, saw "d"'
    with pytest.raises(ValueError, match=message):
        producer.publish("Extension", "d", {"name": "c", "data": None})
    every.stop()
    named.stop()
    core.close()
