"""The contract that every adapter keeps, for pytest.

    from meltica.testing import AdapterContract, Stage

    class MyStage(Stage):       # a venue that a test can drive: a local server, a simulation
        ...

    class TestMyAdapter(AdapterContract):
        @pytest.fixture
        def stage(self) -> Iterator[Stage]:
            with MyStage() as stage:
                yield stage

Each test is a card of the contract; one that the stage cannot play is skipped and says why. A new adapter is
done when its cards pass. `docs/adapters.md` tells how to write one. Needs pytest.
"""

from meltica.testing.account import AccountContract
from meltica.testing.connection import ConnectionContract
from meltica.testing.data import DataContract
from meltica.testing.rig import Rig
from meltica.testing.stage import Book, Stage

__all__ = [
    "AccountContract",
    "AdapterContract",
    "Book",
    "ConnectionContract",
    "DataContract",
    "Rig",
    "Stage",
]


class AdapterContract(DataContract, ConnectionContract, AccountContract):
    """Every card."""
