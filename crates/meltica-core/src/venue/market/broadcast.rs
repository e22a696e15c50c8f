//! From a market into the data plane. Nothing is built that nobody wants.

use super::behavior::Behavior;
use super::line::Line;
use super::live::Outlet;
use super::machine::Market;
use super::orders::{UserFill, UserOrder};
use super::pacer::{Intervals, Pacer, Thin};
use super::pair::Pair;
use super::report::exec_report;
use super::sink::{Event, Print, Quote, Sink};
use super::tape::Candle;
use crate::dispatch::{NotDispatched, Origin};
use crate::event::{
    BalanceUpdate, Book, ExecReport, Kind, Kline, Nanos, Payload, ShortText, Ticker, Trade, VenueId,
};
use crate::feed::Feed;
use crate::instrument::Instrument;
use crate::names::{SymbolId, TooManyNames};
use crate::venue::rules::exact;
use crate::venue::{AccountId, AssetId, Balance};

/// An asset as the data plane knows it.
#[derive(Debug, Clone)]
struct Asset {
    id: AssetId,
    symbol: SymbolId,
    scale: u8,
}

/// What is told, as long as it is on its way.
#[derive(Debug, Clone)]
enum Told {
    Trade(Trade),
    Ticker(Ticker),
    Kline(Kline),
    Exec(Box<ExecReport>),
    Balance(BalanceUpdate),
    Instrument(Box<Instrument>),
}

impl From<Told> for Payload {
    #[inline]
    fn from(told: Told) -> Self {
        match told {
            Told::Trade(trade) => Self::Trade(trade),
            Told::Ticker(ticker) => Self::Ticker(ticker),
            Told::Kline(kline) => Self::Kline(kline),
            Told::Exec(report) => Self::Exec(report),
            Told::Balance(balance) => Self::Balance(balance),
            Told::Instrument(instrument) => Self::Instrument(instrument),
        }
    }
}

#[derive(Debug, Clone)]
enum Message {
    Event { kind: Kind, symbol: SymbolId, time: Nanos, told: Told },
    Book { symbol: SymbolId, time: Nanos, book: Box<Book> },
}

/// What it takes to tell one account of a market to a provider's readers.
#[derive(Debug, Clone)]
pub struct Broadcast {
    symbols: Vec<SymbolId>,
    assets: Vec<Asset>,
    account: AccountId,
    pacer: Pacer,
    kline: Option<ShortText>,
    line: Line<Message>,
    connected: bool,
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
    /// Tells what everybody may know of `market`, and what concerns `account`; candles are called `kline`. Nothing is
    /// late or lost before [`Self::with_faults`].
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
            let scale = market.scale(*id);
            SymbolId::intern(name).map(|symbol| Asset { id: *id, symbol, scale })
        };
        Ok(Self {
            symbols: symbols?,
            assets: market.assets().iter().map(asset).collect::<Result<_, _>>()?,
            account,
            pacer: Pacer::new(intervals, market.pairs().len()),
            kline: ShortText::new(kline),
            line: Line::new(0, Behavior::default()),
            connected: true,
        })
    }

    /// As it is, with faults on the way.
    #[must_use]
    pub fn with_faults(self, seed: u64, behavior: Behavior) -> Self {
        Self { line: Line::new(seed, behavior), ..self }
    }

    /// Returns when something is owed, or arrives.
    pub fn next_due(&self) -> Nanos {
        self.line.next_due().min(self.pacer.next_due())
    }

    /// Returns the sink for a run into `feed`.
    pub fn to<'a>(&'a mut self, feed: &'a mut Feed, received: Option<Nanos>) -> Broadcasting<'a> {
        Broadcasting { state: self, feed, received, stopped: Ok(()) }
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

    fn origin(&self, kind: Kind, symbol: SymbolId, venue_time: Nanos, now: Nanos) -> Origin {
        let received_time = self.received.unwrap_or(now);
        Origin { kind, symbol, venue_time: Some(venue_time), received_time }
    }

    fn note(&mut self, told: Result<bool, NotDispatched>) {
        if let Err(error) = told {
            self.stopped = Err(error);
        }
    }

    /// Asks whether anybody wants it, then builds it, and publishes it or sends it on its way.
    #[inline]
    fn tell(&mut self, kind: Kind, symbol: SymbolId, time: Nanos, told: impl FnOnce(&Broadcast) -> Told) {
        if self.stopped.is_err() || !self.state.connected {
            return;
        }
        let is_report = matches!(kind, Kind::ExecReport | Kind::BalanceUpdate);
        if self.state.line.is_straight(is_report) {
            let origin = self.origin(kind, symbol, time, time);
            let state = &*self.state;
            let told = self.feed.publish_with(origin, || told(state).into());
            self.note(told);
        } else if self.feed.publisher().wanted(kind, symbol).is_some() {
            let told = told(self.state);
            self.state.line.send(time, is_report, Message::Event { kind, symbol, time, told });
        }
    }

    fn book(&mut self, pair: &Pair, time: Nanos) {
        if self.stopped.is_err() || !self.state.connected {
            return;
        }
        let symbol = self.state.symbols[pair.index()];
        if self.state.line.is_straight(false) {
            let origin = self.origin(Kind::BookSnapshot, symbol, time, time);
            let fill = |slot: &mut Book, depth: u32| pair.engine().copy_top(depth as usize, slot);
            let told = self.feed.publish_book_with(origin, fill);
            self.note(told);
        } else if let Some(wanted) = self.feed.publisher().wanted(Kind::BookSnapshot, symbol) {
            let mut book = Box::<Book>::default();
            pair.engine().copy_top(wanted.depth as usize, &mut book);
            self.state.line.send(time, false, Message::Book { symbol, time, book });
        }
    }

    fn ticker(&mut self, pair: &Pair, quote: &Quote, time: Nanos) {
        let symbol = self.state.symbols[pair.index()];
        self.tell(Kind::Ticker, symbol, time, |_| Told::Ticker(ticker(pair, quote)));
    }

    fn arrive(&mut self, now: Nanos, message: Message) {
        if self.stopped.is_err() {
            return;
        }
        let told = match message {
            Message::Event { kind, symbol, time, told } => {
                self.feed.publish(self.origin(kind, symbol, time, now), told.into())
            }
            Message::Book { symbol, time, book } => {
                self.feed.publish_book(self.origin(Kind::BookSnapshot, symbol, time, now), &book)
            }
        };
        self.note(told);
    }

    fn balance(&mut self, time: Nanos, asset: AssetId, balance: Balance) {
        let Asset { symbol, scale, .. } = *self.state.asset(asset);
        self.tell(Kind::BalanceUpdate, symbol, time, |_| {
            let (total, available) = (exact(balance.total, scale), exact(balance.available(), scale));
            Told::Balance(BalanceUpdate { total, available })
        });
    }

    fn report(&mut self, pair: &Pair, order: &UserOrder, fill: Option<&UserFill>, time: Nanos) {
        let symbol = self.state.symbols[pair.index()];
        self.tell(Kind::ExecReport, symbol, time, |state| {
            let fee_scale = state.asset(pair.engine().fee_asset(order.side)).scale;
            Told::Exec(Box::new(exec_report(pair, order, fill, fee_scale)))
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
                self.tell(Kind::Trade, symbol, time, |_| Told::Trade(trade(pair, &print)));
            }
            Event::Quote(quote) => {
                if self.state.pacer.is_due(index, Thin::Ticker, time) {
                    self.ticker(pair, &quote, time);
                }
            }
            Event::Book(_) => {
                if self.state.pacer.is_due(index, Thin::Book, time) {
                    self.book(pair, time);
                }
            }
            Event::Level(_) => {}
            Event::Candle(candle) => {
                self.tell(Kind::KlineSummary, symbol, time, |state| {
                    Told::Kline(kline(pair, &candle, state.kline))
                });
            }
            Event::Report(report) => {
                if report.order.account == self.state.account {
                    self.report(pair, report.order, report.fill, time);
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

impl Outlet for Broadcasting<'_> {
    fn next_due(&self) -> Nanos {
        self.state.next_due()
    }

    fn tick(&mut self, market: &Market, now: Nanos) {
        while let Some((time, message)) = self.state.line.take(now) {
            self.arrive(time, message);
        }
        while let Some((index, what)) = self.state.pacer.take(now) {
            let pair = &market.pairs()[index];
            match what {
                Thin::Ticker => self.ticker(pair, pair.quote(), now),
                Thin::Book => self.book(pair, now),
            }
        }
    }

    fn cut(&mut self, _: &Market, now: Nanos) -> Nanos {
        let since = self.state.line.cut(now);
        self.state.pacer.reset();
        self.state.connected = false;
        let restarted = self.feed.restart(self.received.unwrap_or(now)).map(|events| events > 0);
        self.note(restarted);
        since
    }

    fn restored(&mut self, market: &Market, since: Nanos) {
        self.state.connected = true;
        let now = market.now();
        for pair in market.pairs() {
            self.ticker(pair, pair.quote(), now);
            self.book(pair, now);
        }
        // What was missed of the account; its fills are in the venue's list.
        for order in market.orders_since(self.state.account, since) {
            self.report(&market.pairs()[order.pair], order, None, now);
        }
        self.balances(market);
    }

    fn instruments(&mut self, market: &Market) {
        for (index, pair) in market.pairs().iter().enumerate() {
            let symbol = self.state.symbols[index];
            self.tell(Kind::InstrumentUpdate, symbol, market.now(), |_| {
                Told::Instrument(Box::new(pair.instrument().clone()))
            });
        }
    }

    fn balances(&mut self, market: &Market) {
        for (_, asset, balance) in market.balances(self.state.account) {
            self.balance(market.now(), asset, balance);
        }
    }

    fn behave(&mut self, behavior: Behavior) {
        self.state.line.set(behavior);
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
