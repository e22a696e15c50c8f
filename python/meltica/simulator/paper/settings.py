"""Settings of the paper account of a provider."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from meltica.simulator.paper.funds import FeeIn
from meltica.validation.section import Section
from meltica.validation.units import Duration

Delay = Annotated[Duration, Field(ge=timedelta(0), le=timedelta(minutes=1))]
Amount = Annotated[Decimal, Field(ge=0, le=Decimal("1e18"), decimal_places=18)]
Rate = Annotated[Decimal, Field(gt=-1, lt=1, decimal_places=9)]


class PaperSettings(Section):
    """How paper orders are executed."""

    latency: Delay = timedelta(milliseconds=50)
    """Time from sending a request until it reaches the paper venue."""
    quiet: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(minutes=1))] = timedelta(seconds=1)
    """Time without a new book after which an order takes from the unchanged one."""
    maker_fee: Rate = Decimal("0.001")
    """Fee rate of resting orders; negative for a rebate."""
    taker_fee: Rate = Decimal("0.001")
    """Fee rate of orders that trade at once."""
    fee_in: FeeIn = "quote"
    """Currency of fees: `quote`, `base` or `received`."""
    balances: dict[str, Amount] | None = None
    """Balances to start with; by default 100,000 of each quote currency."""
