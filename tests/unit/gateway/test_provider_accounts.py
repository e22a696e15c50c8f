"""Which settings select the account of a provider, where its adapter names none."""

from datetime import UTC, datetime
from typing import Any

import pytest

from meltica.adapters.replay.adapter import ReplaySettings
from meltica.gateway.provider_accounts import account_of, is_other_account
from meltica.persistence.stores.providers import ProviderRow
from meltica.providers.spec import ProviderSpec
from meltica.runtime.lifecycle import Desired, ProviderState


def spec(**changes: Any) -> ProviderSpec:
    return ProviderSpec(name="a", adapter="replay", settings=ReplaySettings(sample=True, **changes))


@pytest.mark.parametrize("hashed", [True, False], ids=["its hash is stored", "a row of an older version"])
def test_a_setting_that_is_changed_live_selects_no_account(hashed: bool) -> None:
    settings = {"sample": True, "speed": "max", "checksum": "verify"}
    now = datetime.now(UTC)
    row = ProviderRow(
        name="a",
        adapter="replay",
        settings=settings,
        account=account_of(spec(), None) if hashed else None,
        desired=Desired.RUNNING,
        actual=ProviderState.RUNNING,
        last_error=None,
        created_at=now,
        updated_at=now,
    )

    def is_other(changed: ProviderSpec) -> bool:
        return is_other_account(changed, row, account_of(changed, row))

    assert not is_other(spec(checksum="off"))
    assert is_other(spec(speed=2.0))
    assert is_other(spec(speed=2.0, checksum="off"))


def test_only_a_change_beside_live_settings_needs_a_restart() -> None:
    assert not spec().restarts_for(spec())
    assert not spec().restarts_for(spec(checksum="off"))
    assert spec().restarts_for(spec(checksum="off", speed=2.0))
    assert spec().restarts_for(ProviderSpec(name="a", adapter="fake", settings=spec().settings))
