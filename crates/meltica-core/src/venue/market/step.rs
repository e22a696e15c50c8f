//! Runs one command: the engine executes it, the tape and the background flow record the outcome, and the sink
//! receives the events.

use super::machine::Market;
use super::orders::{Orders, UserFill};
use super::pair::Pair;
use super::reporter::Reporter;
use super::sink::{BalanceChange, Event, Print, Sink};
use crate::event::{Nanos, OrderState};
use crate::venue::{AccountId, CloseReason, Command, Fill, NewOrder, OrderId, Outcome, Party, Reject};

/// What the outcomes of a command add up to.
#[derive(Default)]
struct Summary {
    accepted: Option<OrderId>,
    rejected: Option<Reject>,
    traded: bool,
    /// The last update id of the book, where the command changed it.
    update_id: Option<u64>,
}

impl Market {
    /// Gives a command to an instrument's engine and reports the outcomes. Returns the id of a new order.
    pub(super) fn step(
        &mut self,
        index: usize,
        command: Command,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<Option<OrderId>, Reject> {
        let (now, pair) = (self.now, &mut self.pairs[index]);
        let mut outcomes = std::mem::take(&mut self.outcomes);
        outcomes.clear();
        pair.engine.process(&mut self.ledger, command, now, &mut outcomes);
        let mut summary = Summary::default();
        for outcome in &outcomes {
            self.apply(index, &command, outcome, &mut summary, sink);
        }
        self.outcomes = outcomes;
        let pair = &mut self.pairs[index];
        if let Some(update_id) = summary.update_id {
            sink.on(pair, now, Event::Book(update_id));
        }
        if summary.traded {
            pair.flow.traded();
        }
        let quote = pair.quote_at(now);
        if quote != pair.quote {
            pair.quote = quote;
            sink.on(pair, now, Event::Quote(quote));
        }
        self.report_balances(index, sink);
        summary.rejected.map_or(Ok(summary.accepted), Err)
    }

    /// Records and reports one outcome of a command.
    #[inline]
    fn apply(
        &mut self,
        index: usize,
        command: &Command,
        outcome: &Outcome,
        summary: &mut Summary,
        sink: &mut (impl Sink + ?Sized),
    ) {
        let (now, pair) = (self.now, &mut self.pairs[index]);
        match *outcome {
            Outcome::Accepted { order, tag, account } => {
                summary.accepted = Some(order);
                if account == AccountId::OUTSIDE {
                    pair.opened(tag, order);
                } else {
                    self.touched.push(account);
                    if let Some(user) = self.orders.get_mut(tag) {
                        user.order = Some(order);
                        user.set_state(OrderState::Ack, now);
                        self.reporter.order(sink, pair, now, user, None);
                    }
                }
            }
            Outcome::Rejected(reject) => {
                if let Command::New(NewOrder { account: AccountId::OUTSIDE, tag, .. }) = *command {
                    pair.flow.closed(tag);
                }
                summary.rejected = Some(reject);
            }
            Outcome::Filled(fill) => {
                summary.traded = true;
                self.fill(index, &fill, sink);
            }
            Outcome::Amended { tag, account, price, quantity, .. } => {
                self.touched.push(account);
                if let Some(user) = self.orders.get_mut(tag) {
                    (user.price, user.quantity) = (Some(price), quantity);
                    user.set_state(open_state(user.filled), now);
                    self.reporter.order(sink, pair, now, user, None);
                }
            }
            Outcome::Closed { tag, account, reason, .. } => {
                if account == AccountId::OUTSIDE {
                    pair.flow.closed(tag);
                } else {
                    self.touched.push(account);
                    let (state, reason) = final_state(reason);
                    if let Some(user) = self.orders.end(tag, state, now, reason.map(Into::into)) {
                        self.reporter.order(sink, pair, now, user, None);
                    }
                }
            }
            Outcome::Level(change) => {
                summary.update_id = Some(change.update_id);
                sink.on(pair, now, Event::Level(change));
            }
        }
    }

    /// Records a trade and reports it, then the fill of each order of an account in it.
    #[inline]
    fn fill(&mut self, index: usize, fill: &Fill, sink: &mut (impl Sink + ?Sized)) {
        let (now, pair) = (self.now, &mut self.pairs[index]);
        let Fill { trade_id, price, quantity, taker_side, .. } = *fill;
        pair.tape.trade(now, price, quantity);
        sink.on(pair, now, Event::Trade(Print { trade_id, taker_side, price, quantity }));
        for (party, maker) in [(&fill.maker, true), (&fill.taker, false)] {
            if party.account != AccountId::OUTSIDE {
                self.touched.push(party.account);
                let reports = (&mut self.orders, &mut self.reporter);
                fill_order(reports, sink, pair, now, (fill, party, maker));
            } else if party.remaining == 0 {
                pair.flow.closed(party.tag);
            }
        }
    }

    /// Reports the balances that a command of an instrument changed.
    #[inline]
    pub(super) fn report_balances(&mut self, index: usize, sink: &mut (impl Sink + ?Sized)) {
        if self.touched.is_empty() {
            return;
        }
        let (time, pair) = (self.now, &self.pairs[index]);
        let fee_asset = pair.engine.fees().other().map(|other| other.asset);
        let assets = [Some(pair.engine.base()), Some(pair.engine.quote()), fee_asset];
        for account in std::mem::take(&mut self.touched) {
            for asset in assets.into_iter().flatten() {
                let balance = self.ledger.balance(account, asset);
                if self.reporter.balance(account, asset, balance, time) {
                    let change = BalanceChange { account, asset, balance, time, transfer: None };
                    sink.on(pair, time, Event::Balance(change));
                }
            }
        }
    }
}

/// Returns the state of an order that was closed, and the reason for people.
fn final_state(reason: CloseReason) -> (OrderState, Option<&'static str>) {
    match reason {
        CloseReason::Cancelled => (OrderState::Cancelled, None),
        CloseReason::Amended => (OrderState::Cancelled, Some("amended to the filled quantity")),
        CloseReason::Remainder => {
            (OrderState::Expired, Some("the book has no further quantity within the limit"))
        }
        CloseReason::SelfTrade => {
            (OrderState::Expired, Some("would trade with an order of the same account"))
        }
    }
}

fn open_state(filled: i64) -> OrderState {
    if filled == 0 { OrderState::Ack } else { OrderState::Partial }
}

/// Adds a fill to an account's order and reports it. Every fill has a report of its own.
fn fill_order(
    (orders, reporter): (&mut Orders, &mut Reporter),
    sink: &mut (impl Sink + ?Sized),
    pair: &Pair,
    time: Nanos,
    (fill, party, maker): (&Fill, &Party, bool),
) {
    let Some(user) = orders.get_mut(party.tag) else { return };
    user.fill(fill.price, fill.quantity, (party.fee_asset, party.fee));
    user.set_state(OrderState::Partial, time);
    let fill = UserFill {
        number: 0,
        time,
        account: party.account,
        pair: pair.index(),
        order: party.order,
        client_order_id: user.client_order_id.clone(),
        trade_id: fill.trade_id,
        side: user.side,
        price: fill.price,
        quantity: fill.quantity,
        fee: party.fee,
        fee_asset: party.fee_asset,
        maker,
        withheld: reporter.faults.withhold_fills,
    };
    let fill = orders.fill(fill).clone();
    let user = if party.remaining == 0 {
        orders.end(party.tag, OrderState::Filled, time, None)
    } else {
        orders.get_mut(party.tag).map(|user| &*user)
    };
    if let Some(user) = user {
        reporter.order(sink, pair, time, user, Some(&fill));
    }
}
