"""A gateway whose provider changes the rules of an instrument while a lambda trades there."""

from pathlib import Path

from meltica.model.enums import Mode
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.simulator import catalogue
from tests.support import gateway
from tests.support.risk import BTC

CONFIG = """
providers:
  calm: {adapter: fake, settings: {symbols: [BTC-USDT, ETH-USDT]}}
lambdas:
  - {id: maker, strategy: market-making, scope: {calm: [BTC-USDT]}}
"""


def test_an_update_of_the_provider_reaches_risk_in_both_modes(
    cluster: EmbeddedPostgres, tmp_path: Path
) -> None:
    file = tmp_path / "meltica.yaml"
    file.write_text(CONFIG)
    with gateway.database(cluster) as dsn, gateway.running(file, dsn) as running:

        def halted() -> list[bool]:
            trading = running.gateway.trading
            if trading is None or trading.runtime is None:
                return []
            listings = [risk.registry.listing("calm", BTC) for risk in trading.runtime.risks.values()]
            return [each.instrument is not None and each.instrument.halted for each in listings]

        running.until(lambda: halted() == [False for _ in Mode])
        core = running.gateway.core
        instrument = catalogue.instrument(BTC) | {"halted": True}
        running.until(
            # Until the provider of the lambda is followed, nothing receives the event.
            lambda: core.producer("calm").publish("InstrumentUpdate", BTC, {"instrument": instrument})
        )
        running.until(lambda: halted() == [True for _ in Mode])
