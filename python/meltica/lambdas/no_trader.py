"""`NoTrader`: the trader of a lambda where nothing is traded, such as in a replay."""

from collections.abc import Sequence
from decimal import Decimal
from typing import NoReturn

from meltica.errors import OrderRefused
from meltica.model.account import FeeRates
from meltica.model.fills import Fill
from meltica.model.symbols import canonical
from meltica.model.trader import (
    OnOrder,
    OnRiskControl,
    OnTradingChanged,
    Order,
    PnlView,
    PositionView,
    TradingStatus,
)

ZERO = Decimal(0)


class NoTrader:
    """Refuses orders with a stated reason, and has no orders, positions and balances."""

    def __init__(self, reason: str, message: str) -> None:
        """Creates a trader that refuses with `reason`, a stable code, and a message."""
        self._reason = reason
        self._message = message
        self.on_callback: OnOrder = _ignore
        """Never called."""
        self.on_trading_changed: OnTradingChanged = _ignore
        """Never called."""
        self.on_risk_control: OnRiskControl = _ignore
        """Never called."""

    def place(self, *_: object, **__: object) -> NoReturn:
        """Raises OrderRefused."""
        self._refuse()

    def cancel(self, *_: object, **__: object) -> NoReturn:
        """Raises OrderRefused: an order cannot be of this run."""
        self._refuse()

    def amend(self, *_: object, **__: object) -> NoReturn:
        """Raises OrderRefused."""
        self._refuse()

    def cancel_all(self, *_: object, **__: object) -> None:
        """Does nothing, without orders."""

    def close(self, *_: object, **__: object) -> Order | None:
        """Returns None, without a position."""
        return None

    def order(self, *_: object, **__: object) -> Order | None:
        """Returns None."""
        return None

    def orders(self, *_: object, **__: object) -> Sequence[Order]:
        """Returns nothing."""
        return ()

    def fills(self, *_: object, **__: object) -> Sequence[Fill]:
        """Returns nothing."""
        return ()

    def position(self, symbol: str, provider: str | None = None) -> PositionView:
        """Returns an empty position."""
        try:
            symbol = canonical(symbol)
        except ValueError as error:
            raise OrderRefused("invalid_order", str(error)) from None
        return PositionView(provider or "", symbol, ZERO, None, ZERO, True, ZERO, {})

    def balance(self, *_: object, **__: object) -> Decimal | None:
        """Returns None: no account has been read."""
        return None

    def fees(self, *_: object, **__: object) -> FeeRates | None:
        """Returns None: fees belong to an account."""
        return None

    def pnl(self) -> PnlView:
        """Returns zeros."""
        return PnlView("", ZERO, ZERO, ZERO, ())

    def instrument(self, *_: object, **__: object) -> NoReturn:
        """Raises OrderRefused: the rules of instruments belong to an account."""
        self._refuse()

    @property
    def trading(self) -> TradingStatus:
        """Off, with the reason."""
        return TradingStatus(False, self._reason)

    def _refuse(self) -> NoReturn:
        raise OrderRefused(self._reason, self._message)


def _ignore(*_: object) -> None:
    return None
