"""The gateway of the tests of the control plane, with a module and with what was created over REST."""

from typing import Any

import pytest

from tests.integration.conftest import config, control
from tests.integration.test_control_modules import EXAMPLE, SECOND
from tests.integration.test_control_resources import ok
from tests.support.gateway import Running

__all__ = ["config", "control"]


@pytest.fixture(scope="module")
def full(control: Running) -> Running:
    """A gateway with every kind of resource: of the config file, and created over REST."""
    client = control.client
    odd = {"source": f"{SECOND}\n", "tag": "odd", "promoteLatest": False}
    modules: list[dict[str, Any]] = [{"source": EXAMPLE}, {"source": SECOND}, odd]
    for module in modules:
        ok(client.post("/strategies/modules", json=module), 201)
    provider = {"adapter": {"identifier": "test-venue", "config": {"api_key": "hunter2", "depth": 7}}}
    ok(client.post("/providers", json={"name": "made", "enabled": False, **provider}), 202)
    scope = {"main": {"symbols": ["BTC-USDT"]}}
    for id, selector in (("pinned", "grid:1.0.0"), ("latest", "grid")):
        body = {"id": id, "strategy": {"selector": selector}, "scope": scope}
        ok(client.post("/strategy/instances", json=body), 201)
    ok(client.put("/risk/limits", json={"providers": {"made": {"maxOpenOrders": 2}}}))
    ok(client.put("/config/runtime", json={"eventbus": {"bufferSize": 900}, "log": {"level": "warning"}}))
    return control
