//! A plain model that receives a market's events and checks each event against the previous ones.

use crate::event::{Nanos, OrderState, Side};
use crate::venue::market::{BalanceChange, Candle, Event, Market, Pair, Print, Quote, Report, Sink};
use crate::venue::{AccountId, AssetId, Balance, BookLevel, LevelChange, OrderId};
use std::collections::BTreeMap;
use std::fmt::Write;

const MINUTE: Nanos = 60_000_000_000;

#[derive(Default)]
struct Replica {
    /// By price, bids then asks.
    books: [BTreeMap<i64, BookLevel>; 2],
    update_id: u64,
    tape: Vec<(Nanos, Print)>,
    /// Quantity already traded at the best level in this command.
    traded: i64,
    candles: Vec<Candle>,
    quote: Quote,
}

/// The progress of an account's order.
#[derive(Default, Clone, Copy)]
struct Progress {
    filled: i64,
    done: bool,
}

/// Checks and records the events of a market.
pub(super) struct Checker {
    replicas: Vec<Replica>,
    interval: Nanos,
    time: Nanos,
    orders: BTreeMap<(usize, OrderId), Progress>,
    fills: u64,
    pub balances: BTreeMap<(AccountId, AssetId), Balance>,
    pub text: String,
    pub counts: BTreeMap<&'static str, u64>,
}

impl Checker {
    pub fn new(market: &Market, interval: Nanos) -> Self {
        let replicas = market.pairs().iter().map(|pair| {
            let side = |side| pair.engine().levels(side).map(|level| (level.price, level)).collect();
            Replica {
                books: [side(Side::Buy), side(Side::Sell)],
                update_id: pair.engine().update_id(),
                quote: *pair.quote(),
                ..Replica::default()
            }
        });
        Self {
            replicas: replicas.collect(),
            interval,
            time: market.now(),
            orders: BTreeMap::new(),
            fills: 0,
            balances: BTreeMap::new(),
            text: String::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Returns the recorded events of one instrument, one per line.
    pub fn of(&self, pair: &str) -> Vec<&str> {
        self.text.lines().filter(|line| line.starts_with(pair)).collect()
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn report(&mut self, index: usize, report: &Report<'_>) {
        let Report { order, fill, .. } = *report;
        let state = order.state;
        self.count(state.name());
        if state == OrderState::Rejected {
            assert!(order.reason.as_ref().is_some_and(|reason| reason.contains("saw")), "{report:?}");
            return;
        }
        let id = order.order.expect("an order that was accepted has an id");
        let progress = self.orders.entry((index, id)).or_default();
        assert!(!progress.done, "a report after the end of its order: {report:?}");
        assert_eq!(state == OrderState::Filled, order.filled == order.quantity, "{report:?}");
        if let Some(fill) = fill {
            self.fills += 1;
            assert_eq!(fill.number, self.fills);
            progress.filled += fill.quantity;
            let replica = &self.replicas[index];
            let (_, print) = replica.tape.last().expect("a fill follows its trade");
            assert_eq!(
                (print.trade_id, print.price, print.quantity),
                (fill.trade_id, fill.price, fill.quantity)
            );
            assert_eq!(fill.maker, print.taker_side != fill.side);
        }
        assert_eq!(progress.filled, order.filled);
        progress.done = !matches!(state, OrderState::Ack | OrderState::Partial);
    }
}

impl Replica {
    fn best(&self, side: Side) -> Option<BookLevel> {
        match side {
            Side::Buy => self.books[0].values().next_back().copied(),
            Side::Sell => self.books[1].values().next().copied(),
        }
    }

    fn trade(&mut self, time: Nanos, print: Print) {
        let maker = if print.taker_side == Side::Buy { Side::Sell } else { Side::Buy };
        let best = self.best(maker).expect("a trade has a level to trade with");
        assert_eq!(best.price, print.price, "a trade is at the best price");
        self.traded += print.quantity;
        assert!(self.traded <= best.quantity, "a level trades at most its quantity");
        // Background traders have traded before the start.
        assert!(self.tape.last().is_none_or(|(_, last)| print.trade_id == last.trade_id + 1));
        self.tape.push((time, print));
    }

    fn level(&mut self, change: LevelChange) {
        self.update_id += 1;
        assert_eq!(change.update_id, self.update_id);
        self.traded = 0;
        let BookLevel { side, price, orders, .. } = change.level;
        if orders == 0 {
            assert!(self.books[side as usize].remove(&price).is_some(), "a removed level was in the book");
        } else {
            self.books[side as usize].insert(price, change.level);
        }
    }

    fn quote(&mut self, time: Nanos, quote: Quote) {
        let since = time.div_euclid(MINUTE) - 1439;
        let recent = self.tape.iter().rev().take_while(|(at, _)| at.div_euclid(MINUTE) >= since);
        let expected = Quote {
            last: self.tape.last().map(|(_, print)| print.price),
            bid: self.best(Side::Buy),
            ask: self.best(Side::Sell),
            volume_24h: recent.map(|(_, print)| i128::from(print.quantity)).sum(),
        };
        assert_eq!(quote, expected);
        assert_ne!(quote, self.quote, "a published quote differs from the previous one");
        self.quote = quote;
    }

    fn candle(&mut self, time: Nanos, interval: Nanos, candle: Candle) {
        assert_eq!((candle.close_time, candle.close_time - candle.open_time), (time, interval));
        if let Some(last) = self.candles.last() {
            assert_eq!(last.close_time, candle.open_time, "candles are consecutive");
        }
        let within = |(at, _): &&(Nanos, Print)| *at >= candle.open_time;
        let prints: Vec<_> = self.tape.iter().rev().take_while(within).map(|(_, print)| print).collect();
        let before =
            self.tape.iter().rev().find(|(at, _)| *at < candle.open_time).map(|(_, print)| print.price);
        let prices = || prints.iter().map(|print| print.price);
        let flat = || before.expect("the first candle has a trade");
        let expected = Candle {
            open: prices().next_back().unwrap_or_else(flat),
            high: prices().max().unwrap_or_else(flat),
            low: prices().min().unwrap_or_else(flat),
            close: prices().next().unwrap_or_else(flat),
            volume: prints.iter().map(|print| i128::from(print.quantity)).sum(),
            closed: true,
            ..candle
        };
        assert_eq!(candle, expected);
        self.candles.push(candle);
    }
}

impl Sink for Checker {
    fn on(&mut self, pair: &Pair, time: Nanos, event: Event<'_>) {
        assert!(time >= self.time, "time goes forward");
        self.time = time;
        writeln!(self.text, "{} {time} {}", pair.instrument().symbol, line(&event))
            .expect("a String accepts text");
        let index = pair.index();
        let replica = &mut self.replicas[index];
        match event {
            Event::Trade(print) => {
                replica.trade(time, print);
                self.count("trade");
            }
            Event::Level(change) => replica.level(change),
            Event::Book(update_id) => {
                assert_eq!(update_id, replica.update_id);
                for side in [Side::Buy, Side::Sell] {
                    let mut levels: Vec<_> = replica.books[side as usize].values().copied().collect();
                    if side == Side::Buy {
                        levels.reverse();
                    }
                    assert!(
                        levels.into_iter().eq(pair.engine().levels(side)),
                        "the rebuilt book is the engine's"
                    );
                }
                if let (Some(bid), Some(ask)) = (replica.best(Side::Buy), replica.best(Side::Sell)) {
                    assert!(bid.price < ask.price, "crossed");
                }
                self.count("book");
            }
            Event::Quote(quote) => {
                replica.quote(time, quote);
                self.count("quote");
            }
            Event::Candle(candle) => {
                replica.candle(time, self.interval, candle);
                self.count("candle");
            }
            Event::Report(report) => self.report(index, &report),
            Event::Balance(BalanceChange { account, asset, balance, .. }) => {
                assert!(0 <= balance.reserved && balance.reserved <= balance.total);
                let last = self.balances.insert((account, asset), balance);
                assert_ne!(last, Some(balance), "a published balance differs from the previous one");
                self.count("balance");
            }
        }
    }
}

/// Returns an event as text that does not depend on the names of fields and types.
fn line(event: &Event<'_>) -> String {
    let side = |level: Option<BookLevel>| level.map(|level| (level.price, level.quantity, level.orders));
    match event {
        Event::Trade(Print { trade_id, taker_side, price, quantity }) => {
            format!("trade {trade_id} {} {price} {quantity}", taker_side.name())
        }
        Event::Level(LevelChange { update_id, level }) => {
            format!("level {update_id} {} {:?}", level.side.name(), side(Some(*level)))
        }
        Event::Book(update_id) => format!("book {update_id}"),
        Event::Quote(Quote { last, bid, ask, volume_24h }) => {
            format!("quote {last:?} {:?} {:?} {volume_24h}", side(*bid), side(*ask))
        }
        Event::Candle(Candle { open_time, close_time, open, high, low, close, volume, closed }) => {
            format!("candle {open_time} {close_time} {open} {high} {low} {close} {volume} {closed}")
        }
        Event::Report(Report { order, fill, .. }) => {
            let id = order.order.map(|order| order.0);
            let fill = fill
                .map(|fill| (fill.number, fill.trade_id, fill.price, fill.quantity, fill.fee, fill.maker));
            let (client_id, state) = (&order.client_order_id, order.state.name());
            let (account, price, quantity) = (order.account, order.price, order.quantity);
            let (filled, notional, fee) = (order.filled, order.notional, order.fee);
            format!(
                "report {client_id} {id:?} {account:?} {state} {price:?} {quantity} {filled} {notional} {fee} {fill:?}"
            )
        }
        Event::Balance(BalanceChange { account, asset, balance: Balance { total, reserved }, .. }) => {
            format!("balance {account:?} {asset:?} {total} {reserved}")
        }
    }
}
