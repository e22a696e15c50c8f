"""A gateway whose control plane acts on trading, which has an account of its own."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meltica.control.trading import TradingReads
from meltica.gateway import control_services
from meltica.gateway.gateway import Gateway
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.trading.risk.scopes import GLOBAL
from tests.support import gateway
from tests.support.gateway import Running
from tests.support.risk import UNLIMITED
from tests.support.trading_world import TradingWorld

READS = control_services.trading_reads


@contextmanager
def controlled(
    config: Path,
    cluster: EmbeddedPostgres,
    through: Callable[[str], AbstractContextManager[str]] = nullcontext,
) -> Generator[tuple[Running, TradingWorld]]:
    """Yields a gateway and the trading that its routes act on; `through` may put a proxy between."""
    worlds = list[TradingWorld]()

    def reads(running: Gateway) -> TradingReads:
        world = TradingWorld(running.database.dsn, running.lock)
        limits = UNLIMITED.model_copy(update={"price_band_percent": Decimal(10)})
        world.risk.registry.set_limits(GLOBAL, limits)
        worlds.append(world)
        found = READS(running)
        found.desk, found.faults = lambda: world.desk, world.trading.faults
        found.operator = lambda: world.operator
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control_services, "trading_reads", reads)
        with (
            gateway.database(cluster) as direct,
            through(direct) as dsn,
            gateway.running(config, dsn) as running,
            worlds[0].on_lossy_account() as world,
        ):
            yield running, world


def post(running: Running, path: str, body: Any, status: int = 200) -> Any:
    """Returns the body of a response, whose status is checked."""
    answer = running.client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def plan(world: tuple[Running, TradingWorld], path: str, body: Any) -> tuple[str, dict[str, Any]]:
    """Returns the effect of a change that is only planned, and what would change; nothing may be done."""
    running, trading = world
    orders = {each.record.id: each.record.state for each in trading.desk.open_machines()}
    done = actions(trading)
    answer = running.client.post(path, params={"plan": "1"}, json=body)
    assert answer.status_code == 200, answer.text
    assert actions(trading) == done
    assert orders == {each.record.id: each.record.state for each in trading.desk.open_machines()}
    shown = answer.json()
    changes = {name: (each.get("before"), each.get("after")) for name, each in shown["changes"].items()}
    return shown["effect"], changes


def get(running: Running, path: str, status: int = 200, **parameters: Any) -> Any:
    """Returns the body of a response, whose status is checked."""
    answer = running.client.get(path, params=parameters)
    assert answer.status_code == status, answer.text
    return answer.json()


def actions(world: TradingWorld) -> list[Any]:
    """Returns the recorded actions of operators."""
    return world.query("select action, subject, acted_by, reason from operator_actions order by id")
