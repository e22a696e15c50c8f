//! One command: the engine does it, the tape and the background take note, and everybody is told.

use super::machine::Market;
use super::orders::{Orders, UserFill, UserOrder};
use super::pair::Pair;
use super::sink::{Event, Print, Report, Sink};
use crate::event::{Nanos, OrderState};
use crate::venue::{AccountId, CloseReason, Command, Fill, NewOrder, OrderId, Outcome, Party, Reject};

impl Market {
    /// Gives a command to an engine and tells what happened. Returns the id of a new order.
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
        let mut accepted = None;
        let mut level = None;
        let mut traded = false;
        let mut refused = None;
        for outcome in &outcomes {
            match *outcome {
                Outcome::Accepted { order, tag, account } => {
                    accepted = Some(order);
                    if account == AccountId::OUTSIDE {
                        pair.opened(tag, order);
                    } else {
                        self.touched.push(account);
                        if let Some(user) = self.orders.get_mut(tag) {
                            user.order = Some(order);
                            user.reach(OrderState::Ack, now);
                            tell(sink, pair, now, user, None);
                        }
                    }
                }
                Outcome::Rejected(reject) => {
                    if let Command::New(NewOrder { account: AccountId::OUTSIDE, tag, .. }) = command {
                        pair.flow.closed(tag);
                    }
                    refused = Some(reject);
                }
                Outcome::Filled(fill) => {
                    traded = true;
                    let Fill { trade_id, price, quantity, taker_side, .. } = fill;
                    pair.tape.trade(now, price, quantity);
                    sink.on(pair, now, Event::Trade(Print { trade_id, taker_side, price, quantity }));
                    for (party, maker) in [(&fill.maker, true), (&fill.taker, false)] {
                        if party.account != AccountId::OUTSIDE {
                            self.touched.push(party.account);
                            filled(&mut self.orders, sink, pair, now, (&fill, party, maker));
                        } else if party.remaining == 0 {
                            pair.flow.closed(party.tag);
                        }
                    }
                }
                Outcome::Amended { tag, account, price, quantity, .. } => {
                    self.touched.push(account);
                    if let Some(user) = self.orders.get_mut(tag) {
                        (user.price, user.quantity) = (Some(price), quantity);
                        user.reach(open_state(user.filled), now);
                        tell(sink, pair, now, user, None);
                    }
                }
                Outcome::Closed { tag, account, reason, .. } => {
                    if account == AccountId::OUTSIDE {
                        pair.flow.closed(tag);
                    } else {
                        self.touched.push(account);
                        let (state, reason) = ended(reason);
                        if let Some(user) = self.orders.end(tag, state, now, reason.map(Into::into)) {
                            tell(sink, pair, now, user, None);
                        }
                    }
                }
                Outcome::Level(change) => {
                    level = Some(change.update_id);
                    sink.on(pair, now, Event::Level(change));
                }
            }
        }
        self.outcomes = outcomes;
        if let Some(update_id) = level {
            sink.on(pair, now, Event::Book(update_id));
        }
        if traded {
            pair.flow.traded();
        }
        let quote = pair.quote_at(now);
        if quote != pair.quote {
            pair.quote = quote;
            sink.on(pair, now, Event::Quote(quote));
        }
        self.tell_balances(index, sink);
        refused.map_or(Ok(accepted), Err)
    }

    /// Tells the balances that a command of an instrument changed.
    #[inline]
    fn tell_balances(&mut self, index: usize, sink: &mut (impl Sink + ?Sized)) {
        if self.touched.is_empty() {
            return;
        }
        let pair = &self.pairs[index];
        for account in std::mem::take(&mut self.touched) {
            for asset in [pair.engine.base(), pair.engine.quote()] {
                let balance = self.ledger.balance(account, asset);
                if self.told.insert((account, asset), balance).unwrap_or_default() != balance {
                    sink.on(pair, self.now, Event::Balance(account, asset, balance));
                }
            }
        }
    }
}

fn ended(reason: CloseReason) -> (OrderState, Option<&'static str>) {
    match reason {
        CloseReason::Cancelled => (OrderState::Cancelled, None),
        CloseReason::Amended => (OrderState::Cancelled, Some("amended to what is filled")),
        CloseReason::Remainder => (OrderState::Expired, Some("the book offers no more within the limit")),
        CloseReason::SelfTrade => (OrderState::Expired, Some("it met an order of its own account")),
    }
}

fn open_state(filled: i64) -> OrderState {
    if filled == 0 { OrderState::Ack } else { OrderState::Partial }
}

fn tell(
    sink: &mut (impl Sink + ?Sized),
    pair: &Pair,
    now: Nanos,
    order: &UserOrder,
    fill: Option<&UserFill>,
) {
    sink.on(pair, now, Event::Report(Report { order, fill }));
}

/// Counts a fill of an account's order in, and tells it.
fn filled(
    orders: &mut Orders,
    sink: &mut (impl Sink + ?Sized),
    pair: &Pair,
    time: Nanos,
    (fill, party, maker): (&Fill, &Party, bool),
) {
    let Some(user) = orders.get_mut(party.tag) else { return };
    user.filled += fill.quantity;
    user.notional += i128::from(fill.price) * i128::from(fill.quantity);
    user.fee += party.fee;
    user.reach(OrderState::Partial, time);
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
        maker,
    };
    let fill = orders.fill(fill).clone();
    let user = if party.remaining == 0 {
        orders.end(party.tag, OrderState::Filled, time, None)
    } else {
        orders.get_mut(party.tag).map(|user| &*user)
    };
    if let Some(user) = user {
        tell(sink, pair, time, user, Some(&fill));
    }
}
