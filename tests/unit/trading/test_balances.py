import random
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltica.model.balances import Balance
from meltica.model.enums import Mode, Side
from meltica.model.fills import Fill
from meltica.persistence.stores.trading.rows import EntryKind
from meltica.trading.balances import SETTLES_WITHIN, Balances, Difference, Entry
from meltica.trading.order import Owner, PositionKey
from meltica.trading.positions import Positions
from tests.support.calls import count_calls
from tests.unit.trading.orders import fill, report

SECOND = 10**9
OWNER = Owner("maker", UUID(int=1), Mode.LIVE)
KEY = PositionKey(OWNER, "fake", "BTC-USDT")
NOTHING = Decimal(0)


def amount(number: object) -> Decimal:
    return Decimal(str(number))


def balance(number: object, time: int) -> Balance:
    return Balance(amount(number), amount(number), time)


def entry(number: object, id: str = "d1", time: int | None = None, currency: str = "USDT") -> Entry:
    return Entry("fake", EntryKind.DEPOSIT, id, currency, amount(number), time)


@pytest.fixture
def balances() -> Balances:
    """The balances of an account with 1,000 USDT and 1 BTC that are not ours."""
    result = Balances(Mode.LIVE)
    result.reported("fake", "USDT", balance(1000, 10))
    result.reported("fake", "BTC", balance(1, 10))
    result.open_account("fake")
    return result


def test_the_opening_is_not_ours(balances: Balances) -> None:
    assert balances.lines("fake", "USDT") == (1000, 0, 1000, 0)
    assert balances.lines("fake", "BTC") == (1, 0, 1, 0)
    assert balances.lines("other", "BTC") == (None, 0, 0, None)


def test_a_fill_after_the_stamp_is_applied_and_an_older_balance_does_not_undo_it(balances: Balances) -> None:
    balances.fill(KEY, fill("a", 2, 100, time=20, fee=amount("0.2")))
    assert balances.lines("fake", "USDT") == (amount("799.8"), amount("-200.2"), 1000, 0)
    assert balances.spendable("fake", "BTC") == 3
    assert balances.reported("fake", "USDT", balance(1000, 15))
    assert balances.spendable("fake", "USDT") == amount("799.8")
    assert not balances.reported("fake", "USDT", balance(1, 14))
    assert balances.spendable("fake", "USDT") == amount("799.8")
    assert balances.reported("fake", "USDT", balance("799.8", 20))
    assert balances.lines("fake", "USDT").difference == 0


def test_a_balance_before_its_fill_differs_until_the_fill_arrives(balances: Balances) -> None:
    balances.reported("fake", "USDT", balance("799.8", 20))
    assert balances.lines("fake", "USDT").difference == amount("-200.2")
    balances.fill(KEY, fill("a", 2, 100, time=20, fee=amount("0.2")))
    assert balances.lines("fake", "USDT") == (amount("799.8"), amount("-200.2"), 1000, 0)


def test_a_fee_in_a_third_asset_makes_the_line_of_the_instance_negative(balances: Balances) -> None:
    balances.fill(KEY, fill("a", 1, time=20, fee=amount("0.01"), fee_currency="BNB"))
    assert balances.of_owner(OWNER, "fake", "BNB") == amount("-0.01")
    assert balances.spendable("fake", "BNB") is None
    balances.reported("fake", "BNB", balance("0.99", 20))
    assert balances.lines("fake", "BNB") == (amount("0.99"), amount("-0.01"), 0, 1)


def test_a_deposit_is_a_difference_until_it_is_booked(balances: Balances) -> None:
    balances.reported("fake", "USDT", balance(1500, 30))
    assert balances.lines("fake", "USDT") == (1500, 0, 1000, 500)
    assert balances.book(entry(500, time=30))
    assert not balances.book(entry(500, time=30))
    assert balances.lines("fake", "USDT") == (1500, 0, 1500, 0)


def test_an_entry_after_the_stamp_moves_the_venue_s_line(balances: Balances) -> None:
    balances.book(entry(500, time=30))
    assert balances.lines("fake", "USDT") == (1500, 0, 1500, 0)
    balances.book(entry(7, "booking"))
    assert balances.lines("fake", "USDT") == (1500, 0, 1507, -7)


def test_a_difference_is_a_fault_after_ten_seconds_with_nothing_in_flight(balances: Balances) -> None:
    balances.reported("fake", "USDT", balance(1500, 30))
    assert balances.check(0) == []
    assert balances.check(9 * SECOND, {("fake", "USDT"): 0}) == []
    assert balances.check(10 * SECOND) == []
    assert balances.check(9 * SECOND + SETTLES_WITHIN - 1) == []
    fault = Difference("fake", "USDT", amount(500))
    assert balances.check(9 * SECOND + SETTLES_WITHIN) == [fault]
    assert balances.check(30 * SECOND) == []
    assert balances.faults == [fault]
    balances.book(entry(200, "booking"))
    assert balances.check(31 * SECOND) == [Difference("fake", "USDT", amount(300))]
    balances.book(entry(300, "booking 2"))
    assert balances.check(32 * SECOND) == [Difference("fake", "USDT", NOTHING)]
    assert balances.faults == []


def test_steady_orders_do_not_hide_a_difference(balances: Balances) -> None:
    balances.reported("fake", "USDT", balance(1500, 30))
    for second in range(10):
        assert balances.check(second * SECOND, {("fake", "USDT"): second * SECOND + 1}) == []
    assert balances.check(10 * SECOND, {("fake", "USDT"): 10 * SECOND - 1}) == [
        Difference("fake", "USDT", amount(500))
    ]


def test_a_difference_of_the_other_sign_starts_again(balances: Balances) -> None:
    balances.reported("fake", "USDT", balance(1500, 30))
    balances.check(0)
    balances.reported("fake", "USDT", balance(900, 31))
    assert balances.check(SETTLES_WITHIN) == []
    assert balances.check(2 * SETTLES_WITHIN) == [Difference("fake", "USDT", amount(-100))]


def test_a_difference_that_ends_in_time_is_not_a_fault(balances: Balances) -> None:
    balances.reported("fake", "USDT", balance(1500, 30))
    balances.check(0)
    balances.reported("fake", "USDT", balance(1000, 31))
    balances.check(5 * SECOND)
    balances.reported("fake", "USDT", balance(1500, 32))
    assert balances.check(11 * SECOND) == []


def test_only_the_currency_that_differs_is_named(balances: Balances) -> None:
    balances.reported("fake", "BTC", balance(2, 30))
    balances.check(0)
    assert balances.check(SETTLES_WITHIN) == [Difference("fake", "BTC", amount(1))]


def test_a_foreign_fill_is_not_ours(balances: Balances) -> None:
    foreign = fill("f", 1, 100, time=20, fee=amount("0.001"), fee_currency="BTC")
    entries = balances.foreign_fill("fake", foreign)
    assert {each.currency: each.amount for each in entries} == {"BTC": amount("0.999"), "USDT": -100}
    assert balances.foreign_fill("fake", foreign) == []
    assert balances.lines("fake", "BTC") == (amount("1.999"), 0, amount("1.999"), 0)


def test_foreign_orders_hold_what_they_may_spend(balances: Balances) -> None:
    buy = report("ACK", 2, price=amount(50), venue_order_id="f1")
    balances.foreign_order("fake", buy)
    assert balances.spendable("fake", "USDT") == 600
    assert balances.free("fake", "USDT", amount(100)) == 500
    sell = report("ACK", quantity=amount("0.25"), side=Side.SELL, venue_order_id="f2", client_order_id="")
    balances.foreign_order("fake", sell)
    assert balances.spendable("fake", "BTC") == amount("0.75")
    balances.foreign_order("fake", buy._replace(price=None))
    assert balances.spendable("fake", "USDT") is None
    balances.foreign_order("fake", report("CANCELLED", venue_order_id="f1"))
    assert balances.spendable("fake", "USDT") == 1000
    balances.foreign_orders("fake", [buy])
    assert (balances.spendable("fake", "BTC"), balances.spendable("fake", "USDT")) == (1, 600)


def test_the_venue_s_available_is_only_compared(balances: Balances) -> None:
    balances.reported("fake", "USDT", Balance(amount(1000), amount(1), 20))
    assert balances.spendable("fake", "USDT") == 1000
    assert balances.held_by_venue("fake", "USDT") == 999
    assert balances.held_by_venue("fake", "DOGE") is None


def test_an_inventory_is_sold_from_what_is_not_ours(balances: Balances) -> None:
    entries = balances.transfer(KEY, amount("0.5"), amount(100), "inventory 1")
    assert [(each.currency, each.amount) for each in entries] == [("BTC", amount("-0.5")), ("USDT", 50)]
    assert balances.lines("fake", "BTC") == (1, amount("0.5"), amount("0.5"), 0)
    assert balances.lines("fake", "USDT") == (1000, -50, 1050, 0)
    assert balances.transfer(KEY, amount("0.5"), amount(100), "inventory 1") == []
    with pytest.raises(ValueError, match=r"only 0\.5 at fake are not ours"):
        balances.transfer(KEY, amount("0.51"), amount(100), "inventory 2")
    balances.transfer(KEY, amount("-0.5"), amount(100), "release")
    assert balances.lines("fake", "BTC") == (1, 0, 1, 0)


def test_an_owner_of_another_mode_is_refused(balances: Balances) -> None:
    paper = KEY._replace(owner=OWNER._replace(mode=Mode.PAPER))
    with pytest.raises(ValueError, match="its mode is paper, not live"):
        balances.fill(paper, fill("a", 1))
    with pytest.raises(ValueError, match="its mode is paper, not live"):
        balances.transfer(paper, amount("0.1"), amount(1), "x")


def test_a_refused_transfer_books_nothing(balances: Balances) -> None:
    paper = KEY._replace(owner=OWNER._replace(mode=Mode.PAPER))
    with pytest.raises(ValueError, match="paper"):
        balances.transfer(paper, amount("0.1"), amount(1), "x")
    assert balances.lines("fake", "BTC") == (1, 0, 1, 0)


class Flow(NamedTuple):
    """Something that happened at the venue."""

    kind: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    is_lost: bool


FLOWS = st.lists(
    st.builds(
        Flow,
        st.sampled_from(["ours", "ours", "other instance", "foreign", "deposit", "withdrawal"]),
        st.sampled_from(Side),
        st.decimals("0.0001", "100", places=4),
        st.decimals("0.01", "1000", places=2),
        st.decimals("-1", "1", places=6),
        st.sampled_from(["BTC", "USDT", "BNB"]),
        st.booleans(),
    ),
    max_size=15,
)
CURRENCIES: tuple[str, ...] = ("BTC", "USDT", "BNB")
OWNERS = {"ours": OWNER, "other instance": Owner("taker", UUID(int=2), Mode.LIVE)}


class Naive:
    """The venue's ledger, and what it reports."""

    def __init__(self, flows: list[Flow], balances: Balances, positions: Positions) -> None:
        self.balances, self.positions = balances, positions
        self.totals = dict.fromkeys(CURRENCIES, Decimal(1000))
        self.lost = dict.fromkeys(CURRENCIES, Decimal(0))
        self.messages: list[Callable[[], None]] = []
        self.arrived: list[tuple[str, int, Decimal]] = []
        self.latest: dict[str, tuple[int, Decimal]] = {each: (0, Decimal(1000)) for each in CURRENCIES}
        for time, flow in enumerate(flows, 1):
            self.happen(time, flow)

    def happen(self, time: int, flow: Flow) -> None:
        if flow.kind in ("deposit", "withdrawal"):
            change = flow.quantity if flow.kind == "deposit" else -flow.quantity
            amounts = {flow.fee_currency: change}
            booked = Entry("fake", EntryKind(flow.kind), f"{time}", flow.fee_currency, change, time)
            arrive: Callable[[], object] = lambda: self.balances.book(booked)  # noqa: E731
        else:
            one = fill(
                f"{time}", flow.quantity, flow.price, time=time, fee=flow.fee, fee_currency=flow.fee_currency
            )._replace(side=flow.side)
            sign = 1 if flow.side is Side.BUY else -1
            amounts = {"BTC": sign * flow.quantity, "USDT": -sign * flow.quantity * flow.price}
            amounts[flow.fee_currency] = amounts.get(flow.fee_currency, Decimal(0)) - flow.fee
            arrive = self.fill(flow.kind, one)
        for currency, change in amounts.items():
            self.totals[currency] += change
            self.messages.append(self.report(currency, self.totals[currency], time))
        if flow.is_lost:
            for currency, change in amounts.items():
                self.lost[currency] += change
            return

        def message() -> None:
            arrive()
            self.arrived += [(currency, time, change) for currency, change in amounts.items()]

        self.messages.append(message)

    def fill(self, kind: str, one: Fill) -> Callable[[], object]:
        if kind == "foreign":
            return lambda: self.balances.foreign_fill("fake", one)
        key = KEY._replace(owner=OWNERS[kind])

        def apply() -> None:
            self.balances.fill(key, one)
            self.positions.fill(key, one)

        return apply

    def report(self, currency: str, total: Decimal, time: int) -> Callable[[], None]:
        def message() -> None:
            self.balances.reported("fake", currency, Balance(total, total, time))
            if time >= self.latest[currency][0]:
                self.latest[currency] = time, total

        return message

    def expected(self, currency: str) -> Decimal:
        """Returns the venue's line: the latest balance, and what arrived of later flows."""
        stamp, total = self.latest[currency]
        return total + sum((each for name, time, each in self.arrived if name == currency and time > stamp))


@given(FLOWS, st.randoms(use_true_random=False))
def test_whatever_the_order_of_arrival_only_what_is_lost_remains_a_difference(
    flows: list[Flow], shuffle: random.Random
) -> None:
    balances, positions = Balances(Mode.LIVE), Positions()
    for currency in CURRENCIES:
        balances.reported("fake", currency, balance(1000, 0))
    opening = balances.open_account("fake")
    naive = Naive(flows, balances, positions)
    shuffle.shuffle(naive.messages)
    with localcontext() as context:
        context.prec = 4
        for message in naive.messages:
            message()
            with localcontext() as exact:
                exact.prec = 60
                for currency in CURRENCIES:
                    venue, instances, not_ours, difference = balances.lines("fake", currency)
                    assert venue == naive.expected(currency)
                    assert venue == instances + not_ours + (difference or 0)
                    assert balances.spendable("fake", currency) == venue
    restored = Balances(Mode.LIVE)
    for position in positions:
        restored.restore_position(position)
    for currency in CURRENCIES:
        lines = balances.lines("fake", currency)
        assert lines.venue == naive.totals[currency]
        assert lines.difference == naive.lost[currency]
        restored.restore_not_ours("fake", currency, lines.not_ours)
        restored.reported("fake", currency, Balance(naive.totals[currency], NOTHING, len(flows)))
        assert restored.lines("fake", currency) == lines
        for owner in OWNERS.values():
            mine = balances.of_owner(owner, "fake", currency)
            assert restored.of_owner(owner, "fake", currency) == mine
    assert len(opening) == len(CURRENCIES)


def _calls_of_spendable(fills: int) -> int:
    balances = Balances(Mode.LIVE)
    balances.reported("fake", "USDT", Balance(Decimal(10**6), Decimal(10**6), 0))
    for number in range(fills):
        balances.fill(KEY, fill(str(number), 1, time=number + 1))
    return count_calls(lambda: balances.spendable("fake", "USDT"))


def test_what_is_spendable_costs_the_same_after_many_fills() -> None:
    assert _calls_of_spendable(1000) == _calls_of_spendable(1)
