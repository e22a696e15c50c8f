"""A paper market of one symbol with a small book, for the tests of its fills."""

from decimal import Decimal
from itertools import count

from meltica.model.enums import Side, TimeInForce
from meltica.model.instruments import Instrument
from meltica.model.orders import NewOrder
from meltica.simulator.paper.funds import FeeIn, Funds
from meltica.simulator.paper.market import PaperMarket
from meltica.simulator.paper.orders import PaperReport

RULES = Instrument(
    symbol="BTC-USDT",
    base="BTC",
    quote="USDT",
    price_increment=Decimal("0.5"),
    quantity_increment=Decimal("0.1"),
    min_quantity=Decimal("0.1"),
    max_quantity=Decimal(1000),
    min_notional=Decimal(5),
)
RICH = {"USDT": Decimal(1_000_000), "BTC": Decimal(1000)}
QUIET = 1000


class World:
    """A market with a book of 5 at 99, 99.5 and 101, 101.5."""

    def __init__(self, fee_in: FeeIn = "quote", totals: dict[str, Decimal] = RICH, fee: str = "0") -> None:
        self.now = 0
        rate, ids = Decimal(fee), count(1)
        self.funds = Funds(totals, fee_in, rate)
        self.market = PaperMarket(
            RULES, self.funds, lambda: next(ids), maker_fee=rate, taker_fee=rate, quiet=QUIET
        )
        self.reports: list[PaperReport] = []
        self.shown = {"bids": [("99.5", "5"), ("99", "5")], "asks": [("101", "5"), ("101.5", "5")]}
        self.book()

    def order(
        self,
        side: str,
        quantity: str,
        price: str | None,
        kind: TimeInForce = TimeInForce.GTC,
        *,
        post_only: bool = False,
        id: str | None = None,
    ) -> str:
        self.now += 1
        id = id or f"o{self.now}"
        limit = None if price is None else Decimal(price)
        new = NewOrder(
            id, "BTC-USDT", Side(side), Decimal(quantity), limit, time_in_force=kind, post_only=post_only
        )
        self.market.arrive(new, self.now)
        return id

    def book(self, **sides: list[tuple[str, str]]) -> list[tuple[str, str, str, str | None]]:
        self.now += 1
        self.shown |= sides
        bids, asks = (
            [(Decimal(price), Decimal(size)) for price, size in self.shown[name]] for name in ("bids", "asks")
        )
        return self.take(self.market.book(bids, asks, self.now))

    def trade(self, price: str, quantity: str, taker: str | None) -> list[tuple[str, str, str, str | None]]:
        self.now += 1
        side = None if taker is None else Side(taker)
        return self.take(self.market.trade(Decimal(price), Decimal(quantity), side, self.now))

    def take(self, reports: list[PaperReport]) -> list[tuple[str, str, str, str | None]]:
        """Returns the fills as quantity, price, rule; ends without a fill as their state."""
        self.reports += reports
        return [
            (report.order.client_order_id, str(report.order.state), "", report.order.reason)
            if report.fill is None
            else (
                report.order.client_order_id,
                str(report.fill.quantity),
                str(report.fill.price),
                report.fill.rule,
            )
            for report in reports
        ]
