//! From a market into the data plane. Nothing is built that nobody wants.

use super::machine::Market;
use super::orders::UserOrder;
use super::pair::Pair;
use super::sink::{Event, Print, Quote, Report, Sink};
use super::tape::Candle;
use crate::decimal::Decimal;
use crate::dispatch::{NotDispatched, Origin};
use crate::event::{
    BalanceUpdate, ExecReport, Kind, Kline, Nanos, OrderState, Payload, ShortText, Ticker, Trade, VenueId,
};
use crate::feed::Feed;
use crate::names::{SymbolId, TooManyNames};
use crate::venue::rules::exact;
use crate::venue::{AccountId, AssetId, Balance};

/// How often what is told again and again is told, in virtual time; 0 is with every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// A quote.
    pub ticker: Nanos,
    /// A whole book.
    pub book_snapshot: Nanos,
}

/// An asset as the data plane knows it.
#[derive(Debug, Clone)]
struct Asset {
    id: AssetId,
    symbol: SymbolId,
    scale: u8,
}

/// What it takes to tell one account of a market to a provider's readers.
#[derive(Debug, Clone)]
pub struct Broadcast {
    symbols: Vec<SymbolId>,
    assets: Vec<Asset>,
    account: AccountId,
    intervals: Intervals,
    /// By instrument: when a ticker, and a book, may be told again.
    next: Vec<[Nanos; 2]>,
    kline: Option<ShortText>,
}

/// The sink of one run: a [`Broadcast`] and the feed that it tells.
pub struct Broadcasting<'a> {
    state: &'a mut Broadcast,
    feed: &'a mut Feed,
    /// When it is received; `None` is at the virtual time.
    received: Option<Nanos>,
    stopped: Result<(), NotDispatched>,
}

impl Broadcast {
    /// Tells what everybody may know of `market`, and what concerns `account`; candles are called `kline`.
    ///
    /// # Errors
    /// [`TooManyNames`].
    pub fn new(
        market: &Market,
        account: AccountId,
        intervals: Intervals,
        kline: &str,
    ) -> Result<Self, TooManyNames> {
        let symbols: Result<Vec<_>, _> =
            market.pairs().iter().map(|pair| SymbolId::intern(&pair.instrument().symbol)).collect();
        let asset = |(name, id): &(String, AssetId)| {
            let scale = market.ledger.scale(*id);
            SymbolId::intern(name).map(|symbol| Asset { id: *id, symbol, scale })
        };
        Ok(Self {
            symbols: symbols?,
            assets: market.assets().iter().map(asset).collect::<Result<_, _>>()?,
            account,
            intervals,
            next: vec![[Nanos::MIN; 2]; market.pairs().len()],
            kline: ShortText::new(kline),
        })
    }

    /// Returns the sink for a run into `feed`.
    pub fn to<'a>(&'a mut self, feed: &'a mut Feed, received: Option<Nanos>) -> Broadcasting<'a> {
        Broadcasting { state: self, feed, received, stopped: Ok(()) }
    }

    /// Returns what is reported of an order of an instrument.
    pub fn exec_report(
        &self,
        pair: &Pair,
        order: &UserOrder,
        state: OrderState,
        reason: Option<&str>,
    ) -> ExecReport {
        let (rules, instrument) = (pair.rules(), pair.instrument());
        let fee_asset = pair.engine().fee_asset(order.side);
        let currency = if fee_asset == pair.engine().quote() { &instrument.quote } else { &instrument.base };
        ExecReport {
            client_order_id: order.client_id.clone(),
            exchange_order_id: order.order.map(|order| order.0.to_string()),
            state,
            side: order.side,
            order_type: if order.price.is_some() { "Limit" } else { "Market" }.into(),
            price: order.price.map(|price| rules.price(price)),
            quantity: rules.quantity(order.quantity),
            filled_quantity: rules.quantity(order.filled),
            remaining_quantity: Some(rules.quantity(order.quantity - order.filled)),
            avg_fill_price: mean_price(order.notional, order.filled, rules.price_scale),
            commission: Some(exact(order.fee, self.asset(fee_asset).scale)),
            commission_asset: Some(currency.clone()),
            reject_reason: reason.map(str::to_owned),
        }
    }

    fn asset(&self, id: AssetId) -> &Asset {
        self.assets.iter().find(|asset| asset.id == id).expect("Invariant: the market has no other assets")
    }
}

impl Broadcasting<'_> {
    /// Returns whether the wait for a slow reader was stopped; what came after it was not told.
    ///
    /// # Errors
    /// [`NotDispatched::Stopped`].
    pub fn finish(self) -> Result<(), NotDispatched> {
        self.stopped
    }

    /// Tells every instrument.
    pub fn instruments(&mut self, market: &Market) {
        for (pair, symbol) in market.pairs().iter().zip(self.state.symbols.clone()) {
            self.publish(Kind::InstrumentUpdate, symbol, market.now(), |_| {
                Payload::Instrument(Box::new(pair.instrument().clone()))
            });
        }
    }

    /// Tells every balance of the account.
    pub fn balances(&mut self, market: &Market) {
        for (_, asset, balance) in market.balances(self.state.account) {
            self.balance(market.now(), asset, balance);
        }
    }

    /// Asks whether anybody wants it, then builds and publishes it.
    #[inline]
    fn publish(
        &mut self,
        kind: Kind,
        symbol: SymbolId,
        time: Nanos,
        payload: impl FnOnce(&Broadcast) -> Payload,
    ) {
        if self.stopped.is_err() {
            return;
        }
        let received_time = self.received.unwrap_or(time);
        let origin = Origin { kind, symbol, venue_time: Some(time), received_time };
        let state = &*self.state;
        if let Err(error) = self.feed.publish_with(origin, || payload(state)) {
            self.stopped = Err(error);
        }
    }

    /// Whether a ticker (0) or a book (1) is due, and is then put off.
    #[inline]
    fn is_due(&mut self, pair: usize, which: usize, time: Nanos, interval: Nanos) -> bool {
        let next = &mut self.state.next[pair][which];
        let due = interval == 0 || time >= *next;
        if due {
            *next = time.saturating_add(interval);
        }
        due
    }

    fn book(&mut self, pair: &Pair, symbol: SymbolId, time: Nanos) {
        if self.stopped.is_err() {
            return;
        }
        let received_time = self.received.unwrap_or(time);
        let origin = Origin { kind: Kind::BookSnapshot, symbol, venue_time: Some(time), received_time };
        let fill = |slot: &mut crate::event::Book, depth: u32| pair.engine().copy_top(depth as usize, slot);
        if let Err(error) = self.feed.publish_book_with(origin, fill) {
            self.stopped = Err(error);
        }
    }

    fn balance(&mut self, time: Nanos, asset: AssetId, balance: Balance) {
        let Asset { symbol, scale, .. } = *self.state.asset(asset);
        self.publish(Kind::BalanceUpdate, symbol, time, |_| {
            let (total, available) = (exact(balance.total, scale), exact(balance.available(), scale));
            Payload::Balance(BalanceUpdate { total, available })
        });
    }
}

impl Sink for Broadcasting<'_> {
    #[inline]
    fn on(&mut self, pair: &Pair, time: Nanos, event: Event<'_>) {
        let index = pair.index();
        let symbol = self.state.symbols[index];
        match event {
            Event::Trade(print) => {
                self.publish(Kind::Trade, symbol, time, |_| Payload::Trade(trade(pair, &print)));
            }
            Event::Quote(quote) => {
                if self.is_due(index, 0, time, self.state.intervals.ticker) {
                    self.publish(Kind::Ticker, symbol, time, |_| Payload::Ticker(ticker(pair, &quote)));
                }
            }
            Event::Book(_) => {
                if self.is_due(index, 1, time, self.state.intervals.book_snapshot) {
                    self.book(pair, symbol, time);
                }
            }
            Event::Level(_) => {}
            Event::Candle(candle) => {
                self.publish(Kind::KlineSummary, symbol, time, |state| {
                    Payload::Kline(kline(pair, &candle, state.kline))
                });
            }
            Event::Report(report) => {
                if report.order.account == self.state.account {
                    self.publish(Kind::ExecReport, symbol, time, |state| {
                        let Report { order, state: told, reason, .. } = report;
                        Payload::Exec(Box::new(state.exec_report(pair, order, told, reason)))
                    });
                }
            }
            Event::Balance(account, asset, balance) => {
                if account == self.state.account {
                    self.balance(time, asset, balance);
                }
            }
        }
    }
}

#[inline]
fn trade(pair: &Pair, print: &Print) -> Trade {
    let rules = pair.rules();
    Trade {
        id: VenueId::Number(print.trade_id),
        side: Some(print.taker_side),
        price: rules.price(print.price),
        quantity: rules.quantity(print.quantity),
    }
}

#[inline]
fn ticker(pair: &Pair, quote: &Quote) -> Ticker {
    let rules = pair.rules();
    Ticker {
        last: quote.last.map(|last| rules.price(last)),
        bid: quote.bid.map(|level| rules.price(level.price)),
        bid_quantity: quote.bid.map(|level| rules.quantity(level.quantity)),
        ask: quote.ask.map(|level| rules.price(level.price)),
        ask_quantity: quote.ask.map(|level| rules.quantity(level.quantity)),
        volume_24h: Some(exact(quote.volume_24h, rules.quantity_scale)),
    }
}

fn kline(pair: &Pair, candle: &Candle, interval: Option<ShortText>) -> Kline {
    let rules = pair.rules();
    Kline {
        open: rules.price(candle.open),
        close: rules.price(candle.close),
        high: rules.price(candle.high),
        low: rules.price(candle.low),
        volume: exact(candle.volume, rules.quantity_scale),
        open_time: candle.open_time,
        close_time: candle.close_time,
        interval,
        closed: Some(candle.closed),
    }
}

/// Returns the mean price of what is filled, to eight digits more than prices have.
fn mean_price(notional: i128, filled: i64, price_scale: u8) -> Option<Decimal> {
    const MORE: u8 = 8;
    let scale = (price_scale + MORE).min(Decimal::MAX_SCALE);
    let filled = (filled > 0).then_some(i128::from(filled))?;
    let scaled = notional.checked_mul(10i128.pow(u32::from(scale - price_scale)))?;
    Decimal::new((scaled + filled / 2) / filled, scale).map(Decimal::normalize)
}
