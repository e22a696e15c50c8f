//! Publishes a market's events to the data plane. Events without a subscriber are not built.

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests;

use super::behavior::Behavior;
use super::budget::Budget;
use super::machine::Market;
use super::network::SimulatedNetwork;
use super::pacer::{Intervals, Pacer, Stream};
use super::pair::Pair;
use super::refresh::{Item, Refresh};
use super::report::exec_report;
use super::simulated_venue::Outlet;
use super::sink::{BalanceChange, Event, Print, Quote, Report, Sink};
use super::tape::Candle;
use crate::dispatch::{NotDispatched, Origin};
use crate::event::{
    BalanceUpdate, Book, ExecReport, Kind, Kline, Nanos, Payload, ShortText, Ticker, Trade, Transfer,
    TransferReason, VenueId,
};
use crate::feed::Feed;
use crate::instrument::Instrument;
use crate::names::SymbolId;
use crate::venue::increments::exact;
use crate::venue::{AccountId, AssetId};

/// An asset with its symbol in the data plane.
#[derive(Debug, Clone)]
struct Asset {
    id: AssetId,
    name: String,
    symbol: SymbolId,
    scale: u8,
}

/// The payload of an event in flight.
#[derive(Debug, Clone)]
enum Content {
    Trade(Trade),
    Ticker(Ticker),
    Kline(Kline),
    Exec(Box<ExecReport>),
    Balance(BalanceUpdate),
    Instrument(Box<Instrument>),
}

impl From<Content> for Payload {
    #[inline]
    fn from(content: Content) -> Self {
        match content {
            Content::Trade(trade) => Self::Trade(trade),
            Content::Ticker(ticker) => Self::Ticker(ticker),
            Content::Kline(kline) => Self::Kline(kline),
            Content::Exec(report) => Self::Exec(report),
            Content::Balance(balance) => Self::Balance(balance),
            Content::Instrument(instrument) => Self::Instrument(instrument),
        }
    }
}

#[derive(Debug, Clone)]
enum Message {
    Event { kind: Kind, symbol: SymbolId, time: Nanos, content: Content },
    Book { symbol: SymbolId, time: Nanos, book: Box<Book> },
}

/// Publishes a market, from the view of one account, to the readers of a provider.
#[derive(Debug, Clone)]
pub struct Broadcast {
    symbols: Vec<SymbolId>,
    assets: Vec<Asset>,
    account: AccountId,
    pacer: Pacer,
    kline: Option<ShortText>,
    network: SimulatedNetwork<Message>,
    refresh: Refresh,
    connected: bool,
    /// Whether the account's events are lost.
    muted: bool,
}

/// The sink of one run: a [`Broadcast`] and its feed.
pub struct Broadcasting<'a> {
    state: &'a mut Broadcast,
    feed: &'a mut Feed,
    /// Received time of the events; `None` for the virtual time.
    received: Option<Nanos>,
    stopped: Result<(), NotDispatched>,
}

impl Broadcast {
    /// Returns the publisher of `market`'s public events and of `account`'s private events, without simulated faults.
    /// `kline` is the name of the candle interval.
    pub fn new(market: &Market, account: AccountId, intervals: Intervals, kline: &str) -> Self {
        let asset = |(name, id): &(String, AssetId)| {
            let scale = market.scale(*id);
            Asset { id: *id, name: name.clone(), symbol: SymbolId::intern(name), scale }
        };
        Self {
            symbols: market.pairs().iter().map(|pair| SymbolId::intern(&pair.instrument().symbol)).collect(),
            assets: market.assets().iter().map(asset).collect(),
            account,
            pacer: Pacer::new(intervals, market.pairs().len()),
            kline: ShortText::new(kline),
            network: SimulatedNetwork::new(0, Behavior::default()),
            refresh: Refresh::default(),
            connected: true,
            muted: false,
        }
    }

    /// Adds simulated faults.
    #[must_use]
    pub fn with_faults(self, seed: u64, behavior: Behavior) -> Self {
        Self { network: SimulatedNetwork::new(seed, behavior), ..self }
    }

    /// Returns when a pending publication or an arriving message is due.
    pub fn next_due(&self) -> Nanos {
        self.network.next_due().min(self.pacer.next_due()).min(self.refresh.next_due())
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
    /// Returns whether the wait for a slow reader was stopped. Later events were not published.
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

    fn record(&mut self, published: Result<bool, NotDispatched>) {
        if let Err(error) = published {
            self.stopped = Err(error);
        }
    }

    /// Builds an event if it has a subscriber, and publishes or sends it.
    #[inline]
    fn publish(
        &mut self,
        kind: Kind,
        symbol: SymbolId,
        time: Nanos,
        content: impl FnOnce(&Broadcast) -> Content,
    ) {
        self.publish_at(kind, symbol, (time, time), content);
    }

    /// Publishes an event with a venue time, at a time.
    #[inline]
    fn publish_at(
        &mut self,
        kind: Kind,
        symbol: SymbolId,
        (time, now): (Nanos, Nanos),
        content: impl FnOnce(&Broadcast) -> Content,
    ) {
        let is_report = matches!(kind, Kind::ExecReport | Kind::BalanceUpdate);
        if self.stopped.is_err() || !self.state.connected || (is_report && self.state.muted) {
            return;
        }
        if self.state.network.is_immediate(is_report) {
            let origin = self.origin(kind, symbol, time, now);
            let state = &*self.state;
            let published = self.feed.publish_with(origin, || content(state).into());
            self.record(published);
        } else if self.feed.publisher().wanted(kind, symbol).is_some() {
            let content = content(self.state);
            self.state.network.send(now, is_report, Message::Event { kind, symbol, time, content });
        }
    }

    fn book(&mut self, pair: &Pair, time: Nanos) {
        if self.stopped.is_err() || !self.state.connected {
            return;
        }
        let symbol = self.state.symbols[pair.index()];
        if self.state.network.is_immediate(false) {
            let origin = self.origin(Kind::BookSnapshot, symbol, time, time);
            let fill = |slot: &mut Book, depth: u32| pair.engine().copy_top(depth as usize, slot);
            let published = self.feed.publish_book_with(origin, fill);
            self.record(published);
        } else if let Some(wanted) = self.feed.publisher().wanted(Kind::BookSnapshot, symbol) {
            let mut book = Box::<Book>::default();
            pair.engine().copy_top(wanted.depth as usize, &mut book);
            self.state.network.send(time, false, Message::Book { symbol, time, book });
        }
    }

    fn ticker(&mut self, pair: &Pair, quote: &Quote, time: Nanos) {
        let symbol = self.state.symbols[pair.index()];
        self.publish(Kind::Ticker, symbol, time, |_| Content::Ticker(ticker(pair, quote)));
    }

    fn arrive(&mut self, now: Nanos, message: Message) {
        if self.stopped.is_err() {
            return;
        }
        let published = match message {
            Message::Event { kind, symbol, time, content } => {
                self.feed.publish(self.origin(kind, symbol, time, now), content.into())
            }
            Message::Book { symbol, time, book } => {
                self.feed.publish_book(self.origin(Kind::BookSnapshot, symbol, time, now), &book)
            }
        };
        self.record(published);
    }

    fn refresh(&mut self, market: &Market, now: Nanos, item: Item) {
        match item {
            Item::Quote(index) => {
                let pair = &market.pairs()[index];
                self.ticker(pair, pair.quote(), now);
                self.book(pair, now);
            }
            Item::Instrument(index) => {
                self.publish(Kind::InstrumentUpdate, self.state.symbols[index], now, |_| {
                    Content::Instrument(Box::new(market.pairs()[index].instrument().clone()))
                });
            }
            Item::Order(account, id) => {
                if let Some(order) = market.order(account, &id) {
                    let report = Report { order, fill: None, time: now };
                    self.report(&market.pairs()[order.pair], now, report);
                }
            }
            Item::Balance(account, asset) => {
                self.balance(now, &BalanceChange::of(market, account, asset));
            }
        }
    }

    fn balance(&mut self, now: Nanos, change: &BalanceChange) {
        let Asset { symbol, scale, .. } = *self.state.asset(change.asset);
        let BalanceChange { balance, time, transfer, .. } = *change;
        self.publish_at(Kind::BalanceUpdate, symbol, (time, now), |_| {
            let (total, available) = (exact(balance.total, scale), exact(balance.available(), scale));
            let transfer = transfer.map(|transfer| {
                Box::new(Transfer {
                    id: transfer.id.to_string(),
                    change: exact(transfer.amount, scale),
                    reason: TransferReason::of(transfer.amount),
                })
            });
            Content::Balance(BalanceUpdate { total, available, transfer })
        });
    }

    fn report(&mut self, pair: &Pair, now: Nanos, report: Report<'_>) {
        let symbol = self.state.symbols[pair.index()];
        let Report { order, fill, time } = report;
        self.publish_at(Kind::ExecReport, symbol, (time, now), |state| {
            let report = exec_report(pair, order, fill, |id| {
                let Asset { name, scale, .. } = state.asset(id);
                (name, *scale)
            });
            Content::Exec(Box::new(report))
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
                self.publish(Kind::Trade, symbol, time, |_| Content::Trade(trade(pair, &print)));
            }
            Event::Quote(quote) => {
                if self.state.pacer.is_due(index, Stream::Ticker, time) {
                    self.ticker(pair, &quote, time);
                }
            }
            Event::Book(_) => {
                if self.state.pacer.is_due(index, Stream::Book, time) {
                    self.book(pair, time);
                }
            }
            Event::Level(_) => {}
            Event::Candle(candle) => {
                self.publish(Kind::KlineSummary, symbol, time, |state| {
                    Content::Kline(kline(pair, &candle, state.kline))
                });
            }
            Event::Report(report) => {
                if report.order.account == self.state.account {
                    self.report(pair, time, report);
                }
            }
            Event::Balance(change) => {
                if change.account == self.state.account {
                    self.balance(time, &change);
                }
            }
        }
    }
}

impl Outlet for Broadcasting<'_> {
    fn next_due(&self) -> Nanos {
        self.state.next_due()
    }

    fn tick(&mut self, market: &Market, now: Nanos, budget: &mut Budget) -> bool {
        while self.state.next_due() <= now {
            if budget.is_spent() {
                return false;
            }
            if let Some((time, message)) = self.state.network.take(now) {
                self.arrive(time, message);
            } else if let Some((index, what)) = self.state.pacer.take(now) {
                let pair = &market.pairs()[index];
                match what {
                    Stream::Ticker => self.ticker(pair, pair.quote(), now),
                    Stream::Book => self.book(pair, now),
                }
            } else if let Some(item) = self.state.refresh.take() {
                self.refresh(market, now, item);
            }
        }
        true
    }

    fn cut(&mut self, _: &Market, now: Nanos) -> Nanos {
        let since = self.state.network.cut(now);
        self.state.pacer.reset();
        self.state.refresh.clear();
        self.state.connected = false;
        let restarted = self.feed.restart(self.received.unwrap_or(now)).map(|events| events > 0);
        self.record(restarted);
        since
    }

    fn restored(&mut self, market: &Market, since: Nanos) {
        self.state.connected = true;
        let (now, account) = (market.now(), self.state.account);
        let refresh = &mut self.state.refresh;
        refresh.add(now, (0..market.pairs().len()).map(Item::Quote));
        // The missed reports of the account. Its missed fills are in the venue's list of fills.
        let orders = market.orders_since(account, since);
        refresh.add(now, orders.map(|order| Item::Order(account, order.client_order_id.clone())));
        refresh.add_balances(market, account);
    }

    fn instruments(&mut self, market: &Market) {
        self.state.refresh.add_instruments(market);
    }

    fn balances(&mut self, market: &Market) {
        self.state.refresh.add_balances(market, self.state.account);
    }

    fn set_behavior(&mut self, behavior: Behavior) {
        self.state.network.set_behavior(behavior);
    }

    fn set_muted(&mut self, muted: bool) {
        self.state.muted = muted;
    }
}

#[inline]
fn trade(pair: &Pair, print: &Print) -> Trade {
    let rules = pair.rules();
    Trade {
        id: Some(VenueId::Number(print.trade_id)),
        side: Some(print.taker_side),
        price: rules.price(print.price),
        quantity: rules.quantity(print.quantity),
        late: false,
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
