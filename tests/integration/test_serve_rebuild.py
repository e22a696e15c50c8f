"""`meltica serve` after unexpected exceptions of trading: it is rebuilt from the database, or halted."""

from collections.abc import Generator

import pytest

from meltica.persistence.postgres.server import wait_until
from tests.integration.test_serve_trading import CONFIG, STRATEGY, Serving
from tests.support.serving import PATIENCE, Project, project

POISON = '''
    def on_trade(self, trade):
        """Poisons trading as the files say: once with each file, or for ever with `always`."""
        desk = self._trader._desk
        folder = pathlib.Path(__file__).parent
        for name in ("tick", "commit", "change"):
            file = folder / f"{name}-{self.id}"
            if file.exists():
                file.unlink()
                getattr(self, name)(desk)
        if (folder / "always").exists():
            desk.accounts.check_differences = self.poison

    def poison(self, *_):
        raise ZeroDivisionError("poison")

    def tick(self, desk):
        desk.accounts.check_differences = self.poison

    def commit(self, desk):
        desk.pending.take = self.poison

    def change(self, desk):
        with desk.lock:
            raise KeyboardInterrupt
'''


@pytest.fixture(name="trading")
def _trading() -> Generator[Project]:
    with project() as created:
        (created.folder / "trader.py").write_text(STRATEGY + POISON)
        created.config.write_text(CONFIG)
        yield created
        for gateway in Serving.started:
            gateway.kill()
        Serving.started.clear()


def messages(gateway: Serving, level: str) -> list[str]:
    """Returns the messages of a level in the log."""
    return [str(line["message"]) for line in gateway.lines() if line.get("level") == level]


@pytest.mark.parametrize("kind", ["tick", "commit", "change"])
def test_trading_is_rebuilt_after_a_failure(trading: Project, kind: str) -> None:
    gateway = Serving(trading)
    gateway.wait_ready()
    gateway.wait_traded(2)
    resting = gateway.shown("live")["resting"]
    before = gateway.rows("select count(*) from orders where mode = 'live'")
    (trading.folder / f"{kind}-live").touch()
    assert wait_until(lambda: gateway.get("/health/ready")[0] == 503, PATIENCE)
    assert "trading has failed" in str(gateway.get("/health/ready")[1]) or gateway.ready()
    gateway.wait_ready()
    gateway.wait_traded(2)
    gateway.check_ledger()
    [loud] = [text for text in messages(gateway, "critical") if "trading has failed" in text]
    assert "poison" in loud or "KeyboardInterrupt" in loud
    assert "trading is rebuilt from the database" in messages(gateway, "warning")
    # Although it keeps its orders at a stop: what rested at the failure is cancelled.
    states = dict(gateway.rows("select client_order_id, state from orders where mode = 'live'"))
    assert {states[id] for id in resting} <= {"CANCELLED", "FILLED"}
    assert gateway.rows("select count(*) from orders where mode = 'live'") > before
    assert gateway.rows("select 1 from reconciliations where found::jsonb ? 'differences'") == []


def test_trading_that_fails_again_and_again_stays_halted(trading: Project) -> None:
    gateway = Serving(trading)
    gateway.wait_ready()
    gateway.wait_traded(1)
    (trading.folder / "always").touch()
    patience = 4 * PATIENCE
    assert wait_until(lambda: "restart the gateway" in str(gateway.get("/health/ready")[1]), patience)
    assert any("trading stays halted" in text for text in messages(gateway, "critical"))
    (trading.folder / "always").unlink()
    gateway.kill()
    gateway = Serving(trading)
    gateway.wait_ready()
    gateway.wait_traded(1)
    gateway.check_ledger()
