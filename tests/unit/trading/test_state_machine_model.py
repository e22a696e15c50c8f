"""The state machine against a plain model of a venue: any interleaving, repetition, reordering and loss of
answers, reports, queries and restarts ends at the venue's truth.
"""

import os
from copy import deepcopy
from decimal import Decimal

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from meltica.model.enums import OrderState
from meltica.model.fills import Fill
from meltica.trading.effects import (
    BookFill,
    CheckForgotten,
    Effect,
    Fault,
    FaultCode,
    QueryFills,
    QueryOrder,
    SendCancel,
    Submit,
    SubmitAmendment,
    WriteOrder,
)
from meltica.trading.order import OrderRecord
from meltica.trading.state_machine import OrderMachine
from tests.unit.trading.naive_venue import CURRENCIES, Message, NaiveVenue, Request
from tests.unit.trading.orders import SECOND, TIMINGS, order

FIXED = os.environ.get("CI") == "true"
"""In CI the examples are always the same; elsewhere each run explores others."""

QUANTITIES = st.decimals("0.001", "12", places=3)
PRICES = st.decimals("0.01", "200", places=2)
FEES = st.decimals("-1", "1", places=5)
INDEX = st.integers(0, 1_000)
RARELY = st.integers(0, 3).map(lambda number: number == 3)
FORBIDDEN = frozenset(FaultCode) - {FaultCode.FILL_AFTER_END}


class World(RuleBasedStateMachine):
    """One order of ours, the venue, and the network between them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.venue = NaiveVenue()
        self.wire: list[Request] = []
        self.answers: list[Message] = []
        self.queries: list[str] = []
        self.submits = 0
        self.amendments_sent = 0
        self.amendments_made = 0
        self.booked: list[str] = []
        self.row: OrderRecord | None = None
        self.row_booked: list[str] = []
        self.dirty = False
        self.final: OrderState | None = None
        self.one = OrderMachine(order(), TIMINGS)

    # What our side does

    def apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Submit():
                    self.submits += 1
                    self.wire.append(Request("post", self.now))
                case SubmitAmendment(amendment):
                    self.amendments_sent += 1
                    self.wire.append(Request("amend", self.now, amendment))
                case SendCancel():
                    self.wire.append(Request("cancel", self.now))
                case QueryOrder() | QueryFills() | CheckForgotten():
                    self.queries.append(type(effect).__name__)
                case BookFill(fill):
                    self.booked.append(fill.execution_id)
                    self.dirty = True
                case Fault(code):
                    assert code not in FORBIDDEN, effect
                case WriteOrder():
                    self.dirty = True
                case _:
                    pass

    @initialize(stage=st.sampled_from(["new", "sent", "arrived", "open", "open", "open"]))
    def start(self, stage: str) -> None:
        if stage == "new":
            return
        self.commit()
        self.apply(self.one.sending(self.now, age=0))
        if stage != "sent":
            self.arrive(0, 1)
        if stage == "open":
            self.deliver_answer(0)

    @rule()
    def commit(self) -> None:
        if self.row is None:
            self.apply(self.one.committed(self.now))
        self.row, self.row_booked, self.dirty = deepcopy(self.one.record), [*self.booked], False

    @precondition(lambda self: self.row is not None)
    @rule(late=st.booleans())
    def send(self, late: bool) -> None:
        self.apply(self.one.sending(self.now, age=SECOND if late else 0))

    @precondition(lambda self: not self.one.record.cancel_wanted)
    @rule(wanted=RARELY)
    def cancel(self, wanted: bool) -> None:
        if not wanted:
            return
        self.apply(self.one.cancel(self.now))

    @precondition(lambda self: self.one.amend_refusal() is None)
    @rule(quantity=st.none() | QUANTITIES, price=st.none() | PRICES, is_sent=st.booleans())
    def amend(self, quantity: Decimal | None, price: Decimal | None, is_sent: bool) -> None:
        record = self.one.record
        if (quantity or record.quantity, price or record.limit_price) == (
            record.quantity,
            record.limit_price,
        ):
            return
        if self.one.amend_refusal(quantity) is None:
            self.amendments_made += 1
            self.apply(self.one.amend(quantity=quantity, price=price))
            self.commit()
            if is_sent:
                self.send_amendment(late=False)

    @precondition(lambda self: self.one.record.amendment is not None)
    @rule(late=st.booleans())
    def send_amendment(self, late: bool) -> None:
        self.apply(self.one.sending_amendment(self.now, age=SECOND if late else 0))

    @rule(seconds=st.sampled_from([0.1, 1, 2.5, 11]))
    def wait(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)
        for request in [each for each in self.wire if each.sent_at + TIMINGS.arrives_within < self.now]:
            self.wire.remove(request)
            if not request.answered:
                self.give_up(request, unknown=True)
        self.apply(self.one.tick(self.now))

    @precondition(lambda self: self.row is not None)
    @rule(crashes=RARELY)
    def restart(self, crashes: bool) -> None:
        """What was not committed is lost, and so is what was on its way to us."""
        if self.row is None or not crashes:
            return
        self.one = OrderMachine(deepcopy(self.row), TIMINGS, self.row_booked)
        self.booked, self.answers, self.queries, self.venue.stream = [*self.row_booked], [], [], []
        for request in self.wire:
            request.answered = True
        self.final = self.row.state if self.row.state.is_final else None
        self.apply(self.one.restored(self.now))

    # What the network and the venue do

    @precondition(lambda self: self.wire)
    @rule(index=INDEX, accepts=st.integers(0, 9))
    def arrive(self, index: int, accepts: int) -> None:
        request = self.wire.pop(index % len(self.wire))
        match request.kind:
            case "post":
                answer = self.venue.post(accepts=accepts > 0)
            case "cancel":
                answer = self.venue.cancel()
            case _:
                assert request.amendment is not None
                answer = self.venue.amend(request.amendment)
        if not request.answered:
            self.answers.append(Message(request.kind, answer, request))

    @precondition(lambda self: self.wire)
    @rule(index=INDEX, delivered=st.booleans())
    def lose_answer(self, index: int, delivered: bool) -> None:
        """Our side gives up waiting; the request may still be on its way."""
        request = self.wire[index % len(self.wire)]
        if not request.answered:
            self.give_up(request, unknown=True)
        if not delivered:
            self.wire.remove(request)

    @precondition(lambda self: self.wire)
    @rule(index=INDEX)
    def refuse_connection(self, index: int) -> None:
        """A request does not leave this machine."""
        request = self.wire[index % len(self.wire)]
        if not request.answered:
            self.wire.remove(request)
            self.give_up(request, unknown=False)

    def give_up(self, request: Request, *, unknown: bool) -> None:
        request.answered = True
        match request.kind:
            case "post" if unknown:
                self.apply(self.one.outcome_unknown(self.now))
            case "post":
                self.apply(self.one.refused(self.now, "unavailable"))
            case "cancel":
                self.apply(self.one.cancel_failed())
            case _ if unknown:
                self.apply(self.one.amend_outcome_unknown(self.now))
            case _:
                self.apply(self.one.amend_refused(self.now, "unavailable"))

    @precondition(lambda self: self.answers)
    @rule(index=INDEX)
    def lose_answer_on_its_way(self, index: int) -> None:
        message = self.answers.pop(index % len(self.answers))
        if message.request is not None and not message.request.answered:
            self.give_up(message.request, unknown=True)

    @precondition(lambda self: self.answers)
    @rule(index=INDEX)
    def deliver_answer(self, index: int) -> None:
        message = self.answers.pop(index % len(self.answers))
        payload, one, now = message.payload, self.one, self.now
        if message.request is not None:
            if message.request.answered:
                return
            message.request.answered = True
        match message.kind:
            case "post":
                effects = (
                    one.refused(now, payload) if isinstance(payload, str) else one.answered(payload, now)
                )
            case "cancel" if isinstance(payload, str):
                effects = one.cancel_refused(now, payload)
            case "cancel":
                effects = one.cancel_answered(now, payload)
            case "amend" if isinstance(payload, str):
                effects = one.amend_refused(now, payload)
            case "amend":
                effects = one.amend_answered(now, payload)
            case "QueryOrder" if isinstance(payload, list):
                self.apply(self.pass_fills(message))
                effects = one.not_found(message.asked_at, now, absent=True)
            case "QueryOrder":
                effects = one.reported(payload, now, asked_at=message.asked_at, recovered=True)
            case _:
                effects = self.pass_fills(message)
        self.apply(effects)
        if message.kind == "CheckForgotten":
            agrees = {fill.execution_id for fill in message.payload} == {*self.booked}
            self.apply(one.forgotten(now, agrees=agrees))

    def pass_fills(self, message: Message) -> list[Effect]:
        fills: list[Fill] = message.payload
        return [each for fill in fills for each in self.one.filled(fill, self.now, recovered=True)]

    @precondition(lambda self: self.venue.stream)
    @rule(index=INDEX, how=st.sampled_from(["once", "once", "twice", "never"]))
    def deliver_report(self, index: int, how: str) -> None:
        stream = self.venue.stream
        message = stream[index % len(stream)]
        if how != "twice":
            stream.remove(message)
        if how == "never":
            return
        if message.kind == "fill":
            self.apply(self.one.filled(message.payload, self.now))
        else:
            self.apply(self.one.reported(message.payload, self.now))

    @precondition(lambda self: self.queries)
    @rule(index=INDEX)
    def query(self, index: int) -> None:
        kind = self.queries.pop(index % len(self.queries))
        match kind:
            case "QueryOrder":
                payload = self.venue.snapshot() or [*self.venue.fills]
            case _:
                payload = [*self.venue.fills]
        self.answers.append(Message(kind, payload, None, self.now))

    @precondition(lambda self: self.venue.is_open)
    @rule(quantity=QUANTITIES, price=PRICES, fee=FEES, currency=st.sampled_from(CURRENCIES))
    def trade(self, quantity: Decimal, price: Decimal, fee: Decimal, currency: str) -> None:
        self.venue.trade(quantity, price, fee, currency)

    @precondition(lambda self: self.venue.is_open)
    @rule(ends=RARELY)
    def expire(self, ends: bool) -> None:
        if ends:
            self.venue.expire()

    @precondition(lambda self: self.venue.state is not None and not self.venue.is_open)
    @rule()
    def forget(self) -> None:
        self.venue.forgotten = True

    @precondition(lambda self: self.wire or self.answers)
    @rule()
    def catch_up(self) -> None:
        """Requests arrive and their answers, too; the stream may be behind."""
        while self.wire:
            self.arrive(0, 1)
        while self.answers:
            self.deliver_answer(0)

    # What always holds

    @invariant()
    def sent_once(self) -> None:
        assert self.submits <= 1
        assert self.amendments_sent <= self.amendments_made

    @invariant()
    def an_end_is_an_end(self) -> None:
        state = self.one.record.state
        if self.final not in (None, state):
            assert state is OrderState.FILLED
        self.final = state if state.is_final else None

    @invariant()
    def fills_count_once(self) -> None:
        assert len(set(self.booked)) == len(self.booked)
        booked = [each for each in self.venue.fills if each.execution_id in self.booked]
        record = self.one.record
        assert record.filled_quantity == sum(each.quantity for each in booked)
        assert record.filled_cost == sum(each.quantity * each.price for each in booked)
        fees = {
            currency: sum(each.fee for each in booked if each.fee_currency == currency)
            for currency in {each.fee_currency for each in booked}
        }
        assert record.fees == fees

    @invariant()
    def what_may_trade_is_reserved(self) -> None:
        venue, record = self.venue, self.one.record
        if venue.is_open:
            assert not record.state.is_final
            assert venue.quantity <= record.filled_quantity + record.open_quantity
            assert venue.price <= record.worst_price

    @invariant()
    def a_change_is_written(self) -> None:
        if self.row is not None and not self.dirty:
            record = deepcopy(self.one.record)
            assert record == self.row

    def teardown(self) -> None:
        """When nothing is lost any more, our side arrives at the venue's truth."""
        if self.one.record.state is not OrderState.PENDING:
            # Reports of the stream are lost with the stream, and what is open is queried when it is back.
            self.apply(self.one.query(self.now))
        for _ in range(40):
            self.catch_up()
            while self.venue.stream:
                self.deliver_report(0, "once")
            while self.queries:
                self.query(0)
                self.deliver_answer(0)
            self.wait(1)
            self.sent_once()
            self.an_end_is_an_end()
            self.fills_count_once()
            self.what_may_trade_is_reserved()
            if self.one.record.amendment is not None:
                self.send_amendment(late=False)
            if self.one.record.state is OrderState.PENDING:
                self.commit()
                self.send(late=False)
        self.agree()

    def agree(self) -> None:
        venue, record = self.venue, self.one.record
        assert record.filled_quantity == venue.filled
        assert record.amendment is None
        if venue.is_open:
            assert not record.cancel_wanted
            assert record.state == ("PARTIAL" if venue.filled else "ACK")
            assert (record.quantity, record.limit_price) == (venue.quantity, venue.price)
        elif venue.state is None:
            assert record.state in (OrderState.REJECTED, OrderState.CANCELLED)
        elif venue.forgotten and (
            # Whether an amendment was carried out is forgotten with the order, and with it what fills it.
            venue.state is not OrderState.FILLED or record.quantity != venue.quantity
        ):
            assert record.state.is_final
        else:
            assert record.state is venue.state
        assert not self.one.needs_tick


def test_whatever_happens_the_order_ends_at_the_truth_of_the_venue() -> None:
    run_state_machine_as_test(
        World,
        settings=settings(
            max_examples=int(os.environ.get("EXAMPLES", "150")),
            stateful_step_count=40,
            deadline=None,
            derandomize=FIXED,
            # Explaining a failure traces each line, which takes minutes.
            phases=(Phase.generate, Phase.shrink),
            print_blob=not FIXED,
        ),
    )
