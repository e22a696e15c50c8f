"""Tools for tests: of a strategy, and of an adapter.

A strategy's test replays events through it::

    from meltica.testing import event, replay

    run = replay(MyStrategy, [event("Trade", "BTC-USDT", price="100", quantity="1")])
    assert run.logs == ["BTC-USDT: 1 traded"]

An adapter's test is the contract that every adapter keeps, for pytest::

    from meltica.testing import AdapterContract, Stage

    class MyStage(Stage):       # a venue that a test can control: a local server, a simulation
        ...

    class TestMyAdapter(AdapterContract):
        @pytest.fixture
        def stage(self) -> Iterator[Stage]:
            with MyStage() as stage:
                yield stage

A test that the stage cannot run is skipped, and the reason names what the stage cannot do. A new adapter is
complete when the others pass. `docs/adapters.md` is the guide.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meltica.testing.account import AccountContract
    from meltica.testing.codecs import decode
    from meltica.testing.connection import ConnectionContract
    from meltica.testing.contract import AdapterContract
    from meltica.testing.data import DataContract
    from meltica.testing.rig import Rig
    from meltica.testing.stage import Book, Stage
    from meltica.testing.strategies import Replayed, event, replay

__all__ = [
    "AccountContract",
    "AdapterContract",
    "Book",
    "ConnectionContract",
    "DataContract",
    "Replayed",
    "Rig",
    "Stage",
    "decode",
    "event",
    "replay",
]

# The contract needs pytest; `replay` does not.
_MODULE_OF = {
    "AccountContract": "account",
    "AdapterContract": "contract",
    "Book": "stage",
    "ConnectionContract": "connection",
    "DataContract": "data",
    "Replayed": "strategies",
    "Rig": "rig",
    "Stage": "stage",
    "decode": "codecs",
    "event": "strategies",
    "replay": "strategies",
}


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module `meltica.testing` has no attribute {name!r}")
    value: object = getattr(import_module(f"meltica.testing.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
