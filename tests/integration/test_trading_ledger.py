"""What is of no instance is booked once, also when it is read again after a restart."""

from collections.abc import AsyncGenerator, Mapping
from decimal import Decimal

import pytest

from meltica.model.balances import Balance
from meltica.model.enums import Mode
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.trading.loaders import TradingLoader
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from meltica.trading.accounts import FillOrigin
from meltica.trading.balances import Balances
from meltica.trading.desk import Desk
from meltica.trading.positions import Positions
from meltica.trading.restore import restore
from meltica.trading.risk.risk import Risk
from meltica.trading.transitions import Timings
from tests.support.risk import UNLIMITED, FakeMarket
from tests.unit.trading.orders import SECOND, fill

NOW = 10_000 * SECOND
FOREIGN = fill("f1", "0.5", time=9_990 * SECOND)._replace(client_order_id="other", venue_order_id="v9")
OPENING: Mapping[str, Balance] = {
    currency: Balance(Decimal(1000), Decimal(1000), 9_980 * SECOND) for currency in ("BTC", "USDT")
}


@pytest.fixture(name="database")
async def _database(database_url: str) -> AsyncGenerator[Database]:
    async with await Database.open(database_url) as database:
        yield database


@pytest.fixture(name="writer")
async def _writer(database: Database) -> AsyncGenerator[GroupCommitWriter]:
    lock = GatewayLock(database.dsn)
    await lock.acquire()
    await lock.claim()
    yield GroupCommitWriter(database, lock)
    await lock.release()


def _timings(_provider: str, _mode: Mode) -> Timings:
    return Timings(arrives_within=SECOND)


async def restored(database: Database) -> Desk:
    """Returns a desk after a restart."""
    books = Balances(Mode.LIVE)
    risk = Risk(Mode.LIVE, books, UNLIMITED)
    desk = Desk({Mode.LIVE: risk}, Positions(), {Mode.LIVE: books}, FakeMarket(), lambda: NOW)
    await restore(desk, TradingLoader(database), _timings)
    return desk


async def test_a_foreign_fill_that_is_read_again_after_a_restart_is_booked_once(
    database: Database, writer: GroupCommitWriter
) -> None:
    desk = await restored(database)
    with desk.lock:
        desk.accounts.marks("fake", Mode.LIVE, ["BTC-USDT"])
        desk.accounts.take_all("fake", Mode.LIVE, OPENING, [])
    assert desk.found_fill("fake", Mode.LIVE, FOREIGN) is FillOrigin.FOREIGN
    with desk.lock:
        desk.accounts.advance("fake", Mode.LIVE, [FOREIGN])
    await writer.commit(desk.take_batch().rows)

    again = await restored(database)
    lines = {each: desk.accounts.balances[Mode.LIVE].lines("fake", each) for each in OPENING}
    assert again.found_fill("fake", Mode.LIVE, FOREIGN) is None
    for currency, line in lines.items():
        assert again.accounts.balances[Mode.LIVE].lines("fake", currency).not_ours == line.not_ours
    later = FOREIGN._replace(execution_id="f2", time=9_991 * SECOND)
    assert again.found_fill("fake", Mode.LIVE, later) is FillOrigin.FOREIGN
