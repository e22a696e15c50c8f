//! The plain model that the engine is compared with: one vector of orders by time, which every operation scans. Fees
//! and reservations are computed from exact sums each time.

use crate::event::Side;
use crate::venue::{AccountId, InstrumentRules, OrderKind, SelfTrade, TimeInForce};
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub struct Order {
    pub tag: u64,
    pub side: Side,
    pub price: i64,
    pub quantity: i64,
    pub filled: i64,
    pub account: AccountId,
    pub post_only: bool,
    pub self_trade: SelfTrade,
    /// In billionths of the smallest unit.
    exact_fee: i128,
    charged: i128,
}

impl Order {
    pub fn remaining(&self) -> i64 {
        self.quantity - self.filled
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Fill { maker: u64, taker: u64, price: i64, quantity: i64, maker_fee: i128, taker_fee: i128 },
    Closed { tag: u64, unfilled: i64, reason: &'static str },
}

#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub side: Side,
    pub quantity: i64,
    pub kind: OrderKind,
    pub account: AccountId,
    pub self_trade: SelfTrade,
    pub tag: u64,
}

#[derive(Debug, Clone)]
pub struct Model {
    pub rules: InstrumentRules,
    /// Rates, in billionths.
    pub maker_rate: i128,
    pub taker_rate: i128,
    /// Whether buyers, and sellers, pay in quote.
    pub in_quote: [bool; 2],
    /// Smallest units of base per unit of quantity, and of quote per unit of notional.
    pub factors: [i128; 2],
    /// By account: whether it is funded.
    pub accounts: BTreeMap<AccountId, bool>,
    /// By account: base, quote.
    pub totals: BTreeMap<AccountId, [i128; 2]>,
    pub orders: Vec<Order>,
}

const BASE: usize = 0;
const QUOTE: usize = 1;
const BILLION: i128 = 1_000_000_000;

fn ceil(billionths: i128) -> i128 {
    -(-billionths).div_euclid(BILLION)
}

fn better(side: Side, a: i64, b: i64) -> bool {
    if side == Side::Buy { a > b } else { a < b }
}

impl Model {
    fn gives(side: Side) -> usize {
        if side == Side::Buy { QUOTE } else { BASE }
    }

    fn fee_asset(&self, side: Side) -> usize {
        if self.in_quote[side as usize] { QUOTE } else { BASE }
    }

    fn amount(&self, asset: usize, price: i64, quantity: i64) -> i128 {
        let amount = if asset == BASE { 1 } else { i128::from(price) };
        amount * i128::from(quantity) * self.factors[asset]
    }

    /// Returns the amount that an order must pay for `quantity` at `price`, including fees that are not yet charged.
    fn need(&self, order: &Order, price: i64, quantity: i64, rate: i128) -> i128 {
        let asset = Self::gives(order.side);
        let amount = self.amount(asset, price, quantity);
        let on_top = self.fee_asset(order.side) == asset && rate != 0;
        amount + if on_top { ceil(order.exact_fee + amount * rate) - order.charged } else { 0 }
    }

    pub fn reserved(&self, account: AccountId, asset: usize) -> i128 {
        if !self.accounts[&account] {
            return 0;
        }
        let own =
            self.orders.iter().filter(|order| order.account == account && Self::gives(order.side) == asset);
        own.map(|order| self.need(order, order.price, order.remaining(), self.maker_rate)).sum()
    }

    fn available(&self, account: AccountId, asset: usize) -> i128 {
        self.totals[&account][asset] - self.reserved(account, asset)
    }

    /// Returns the oldest of the best opposite orders within the limit.
    fn first(&self, side: Side, limit: Option<i64>) -> Option<usize> {
        let mut found: Option<usize> = None;
        for (i, order) in self.orders.iter().enumerate().filter(|(_, order)| order.side != side) {
            let within = limit.is_none_or(|limit| order.price == limit || better(side, limit, order.price));
            if within && found.is_none_or(|at| better(order.side, order.price, self.orders[at].price)) {
                found = Some(i);
            }
        }
        found
    }

    fn charge(&self, order: &mut Order, rate: i128, price: i64, quantity: i64) -> i128 {
        if rate == 0 {
            return 0;
        }
        order.exact_fee += self.amount(self.fee_asset(order.side), price, quantity) * rate;
        let fee = (ceil(order.exact_fee) - order.charged).max(0);
        order.charged += fee;
        fee
    }

    fn give(&mut self, from: AccountId, to: AccountId, asset: usize, amount: i128) {
        self.totals.get_mut(&from).expect("an account")[asset] -= amount;
        self.totals.get_mut(&to).expect("an account")[asset] += amount;
    }

    /// Matches an order. Returns whether self-trade prevention stops it.
    fn take(&mut self, taker: &mut Order, limit: Option<i64>, events: &mut Vec<Event>) -> bool {
        while taker.remaining() > 0
            && let Some(at) = self.first(taker.side, limit)
        {
            let own = self.orders[at].account == taker.account && taker.account != AccountId::OUTSIDE;
            if own && taker.self_trade != SelfTrade::Allow {
                if taker.self_trade != SelfTrade::ExpireTaker {
                    let maker = self.orders.remove(at);
                    events.push(Event::Closed {
                        tag: maker.tag,
                        unfilled: maker.remaining(),
                        reason: "SelfTrade",
                    });
                }
                if taker.self_trade != SelfTrade::ExpireMaker {
                    return true;
                }
                continue;
            }
            let mut maker = self.orders[at].clone();
            let (price, quantity) = (maker.price, maker.remaining().min(taker.remaining()));
            maker.filled += quantity;
            taker.filled += quantity;
            let maker_fee = self.charge(&mut maker, self.maker_rate, price, quantity);
            let taker_fee = self.charge(taker, self.taker_rate, price, quantity);
            let (buyer, seller) = if taker.side == Side::Buy {
                (taker.account, maker.account)
            } else {
                (maker.account, taker.account)
            };
            self.give(seller, buyer, BASE, self.amount(BASE, price, quantity));
            self.give(buyer, seller, QUOTE, self.amount(QUOTE, price, quantity));
            self.give(maker.account, AccountId::FEES, self.fee_asset(maker.side), maker_fee);
            self.give(taker.account, AccountId::FEES, self.fee_asset(taker.side), taker_fee);
            events.push(Event::Fill {
                maker: maker.tag,
                taker: taker.tag,
                price,
                quantity,
                maker_fee,
                taker_fee,
            });
            if maker.remaining() == 0 {
                self.orders.remove(at);
            } else {
                self.orders[at] = maker;
            }
        }
        false
    }

    fn check_rules(&self, order: &Order, price: Option<i64>) -> Result<(), &'static str> {
        let rules = &self.rules;
        let quantity = order.quantity;
        let best = self.first(order.side, None).map(|at| self.orders[at].price);
        let tests = [
            (quantity > 0, "invalid_quantity"),
            (price.is_none_or(|price| price > 0), "invalid_price"),
            (price.is_none_or(|price| price % rules.tick_size == 0), "tick_size"),
            (quantity % rules.lot_size == 0, "lot_size"),
            (quantity >= rules.min_quantity, "min_quantity"),
            (quantity <= rules.max_quantity, "max_quantity"),
            (
                price.or(best).is_none_or(|p| i128::from(p) * i128::from(quantity) >= rules.min_notional),
                "min_notional",
            ),
        ];
        tests.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, code)| Err(code))
    }

    pub fn submit(&mut self, request: &Request) -> Result<Vec<Event>, &'static str> {
        if request.account == AccountId::FEES || !self.accounts.contains_key(&request.account) {
            return Err("unknown_account");
        }
        let price = request.kind.price();
        let mut order = Order {
            tag: request.tag,
            side: request.side,
            price: price.unwrap_or(0),
            quantity: request.quantity,
            filled: 0,
            account: request.account,
            post_only: matches!(request.kind, OrderKind::PostOnly { .. }),
            self_trade: request.self_trade,
            exact_fee: 0,
            charged: 0,
        };
        self.check_rules(&order, price)?;
        let crosses = self.first(request.side, price).is_some();
        if order.post_only && crosses {
            return Err("would_cross");
        }
        let mut trial = (self.clone(), order.clone(), Vec::new());
        trial.0.take(&mut trial.1, price, &mut trial.2);
        let fok = matches!(
            request.kind,
            OrderKind::Limit { time_in_force: TimeInForce::Fok, .. } | OrderKind::Market { fok: true }
        );
        if fok && trial.1.remaining() > 0 {
            return Err("unfillable");
        }
        let gtc = matches!(request.kind, OrderKind::Limit { time_in_force: TimeInForce::Gtc, .. });
        let rate = match (order.post_only || gtc && !crosses, gtc) {
            (true, _) => self.maker_rate,
            (_, true) => self.maker_rate.max(self.taker_rate),
            _ => self.taker_rate,
        };
        let needed = if price.is_none() && request.side == Side::Buy {
            let fills = trial.2.iter().filter_map(|event| match event {
                Event::Fill { price, quantity, .. } => Some(self.amount(QUOTE, *price, *quantity)),
                Event::Closed { .. } => None,
            });
            let cost: i128 = fills.sum();
            cost + if self.in_quote[0] { ceil(cost * rate) } else { 0 }
        } else {
            self.need(&order, order.price, order.quantity, rate)
        };
        if self.accounts[&request.account]
            && needed > self.available(request.account, Self::gives(request.side))
        {
            return Err("insufficient_funds");
        }
        let mut events = Vec::new();
        let stopped = self.take(&mut order, price, &mut events);
        self.finish(
            order,
            (gtc || request.kind == OrderKind::PostOnly { price: price.unwrap_or(0) }) && !stopped,
            stopped,
            &mut events,
        );
        Ok(events)
    }

    fn finish(&mut self, order: Order, rests: bool, stopped: bool, events: &mut Vec<Event>) {
        if order.remaining() == 0 {
        } else if rests {
            self.orders.push(order);
        } else {
            let reason = if stopped { "SelfTrade" } else { "Remainder" };
            events.push(Event::Closed { tag: order.tag, unfilled: order.remaining(), reason });
        }
    }

    pub fn cancel(&mut self, tag: u64) -> Result<Vec<Event>, &'static str> {
        let at = self.orders.iter().position(|order| order.tag == tag).ok_or("unknown_order")?;
        let order = self.orders.remove(at);
        Ok(vec![Event::Closed { tag, unfilled: order.remaining(), reason: "Cancelled" }])
    }

    pub fn amend(
        &mut self,
        tag: u64,
        price: Option<i64>,
        quantity: Option<i64>,
    ) -> Result<Vec<Event>, &'static str> {
        let at = self.orders.iter().position(|order| order.tag == tag).ok_or("unknown_order")?;
        let old = self.orders[at].clone();
        let mut new = old.clone();
        (new.price, new.quantity) = (price.unwrap_or(old.price), quantity.unwrap_or(old.quantity));
        if new.quantity <= 0 {
            return Err("invalid_quantity");
        }
        if new.quantity <= old.filled {
            self.orders.remove(at);
            return Ok(vec![Event::Closed { tag, unfilled: old.remaining(), reason: "Amended" }]);
        }
        self.check_rules(&new, Some(new.price))?;
        let crosses = self.first(new.side, Some(new.price)).is_some();
        if new.post_only && crosses {
            return Err("would_cross");
        }
        let rate = if crosses { self.maker_rate.max(self.taker_rate) } else { self.maker_rate };
        let needed = self.need(&new, new.price, new.remaining(), rate);
        let freed = self.need(&old, old.price, old.remaining(), self.maker_rate);
        if self.accounts[&old.account] && needed > self.available(old.account, Self::gives(old.side)) + freed
        {
            return Err("insufficient_funds");
        }
        if new.price == old.price && new.quantity <= old.quantity {
            self.orders[at] = new;
            return Ok(Vec::new());
        }
        self.orders.remove(at);
        let mut events = Vec::new();
        let limit = Some(new.price);
        let stopped = self.take(&mut new, limit, &mut events);
        self.finish(new, !stopped, stopped, &mut events);
        Ok(events)
    }
}
