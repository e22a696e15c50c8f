//! What flows: event kinds, routes, header and payloads.
//!
//! An event is immutable once dispatched. Fixed-size payloads are plain `Copy` data; the rare, variable ones are
//! boxed; a book points at its own pooled slot. What a venue did not send is absent (`None`), never zero.

mod payload;

use crate::instrument::Instrument;
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Recycle, Shared};
pub use payload::{
    BalanceUpdate, Book, BookGap, ExecReport, Extension, Kline, Liquidity, OrderState, PriceLevel,
    RiskControl, ShortText, StaleReason, Ticker, TimeInForce, Trade, VenueId,
};

/// Nanoseconds since the Unix epoch, or a signed difference of two such times.
pub type Nanos = i64;

/// The kind of an event. The first nine are public; `BookGap` and `MarketStale` are notices that travel in the queue, in
/// sequence, to whoever is routed for the book they speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A whole order book, cut to the delivered depth.
    BookSnapshot = 0,
    /// A public trade.
    Trade = 1,
    /// Last price, best bid and ask.
    Ticker = 2,
    /// A report on one of our orders.
    ExecReport = 3,
    /// A candle.
    KlineSummary = 4,
    /// A changed or new instrument.
    InstrumentUpdate = 5,
    /// A balance of ours.
    BalanceUpdate = 6,
    /// A risk check that tripped or cleared.
    RiskControl = 7,
    /// Free-form JSON from an adapter or a lambda.
    Extension = 8,
    /// Notice: a sequence of a venue had a hole.
    BookGap = 9,
    /// Notice: a book is no longer good.
    MarketStale = 10,
}

impl Kind {
    /// How many kinds there are, notices included.
    pub const COUNT: usize = 11;

    /// Every kind, in the order of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::BookSnapshot,
        Self::Trade,
        Self::Ticker,
        Self::ExecReport,
        Self::KlineSummary,
        Self::InstrumentUpdate,
        Self::BalanceUpdate,
        Self::RiskControl,
        Self::Extension,
        Self::BookGap,
        Self::MarketStale,
    ];

    /// The kinds that can be subscribed to.
    pub const PUBLIC: &'static [Self] = Self::ALL.split_at(9).0;

    /// Returns the kind's name, the same in Rust, Python, REST and docs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BookSnapshot => "BookSnapshot",
            Self::Trade => "Trade",
            Self::Ticker => "Ticker",
            Self::ExecReport => "ExecReport",
            Self::KlineSummary => "KlineSummary",
            Self::InstrumentUpdate => "InstrumentUpdate",
            Self::BalanceUpdate => "BalanceUpdate",
            Self::RiskControl => "RiskControl",
            Self::Extension => "Extension",
            Self::BookGap => "BookGap",
            Self::MarketStale => "MarketStale",
        }
    }

    /// Returns the kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns the route type of the control plane, or `None` for a notice.
    pub const fn route(self) -> Option<&'static str> {
        Some(match self {
            Self::BookSnapshot => "ORDERBOOK.SNAPSHOT",
            Self::Trade => "TRADE",
            Self::Ticker => "TICKER",
            Self::ExecReport => "EXECUTION.REPORT",
            Self::KlineSummary => "KLINE.SUMMARY",
            Self::InstrumentUpdate => "INSTRUMENT.UPDATE",
            Self::BalanceUpdate => "ACCOUNT.BALANCE",
            Self::RiskControl => "RISK.CONTROL",
            Self::Extension => "EXTENSION.EVENT",
            Self::BookGap | Self::MarketStale => return None,
        })
    }

    /// Whether the kind may never be dropped: it concerns our own orders, balances and limits, or tells of a loss.
    pub const fn is_private(self) -> bool {
        matches!(
            self,
            Self::ExecReport | Self::BalanceUpdate | Self::RiskControl | Self::BookGap | Self::MarketStale
        )
    }

    /// Whether a provider must be authenticated to send the kind.
    pub const fn needs_auth(self) -> bool {
        matches!(self, Self::ExecReport | Self::BalanceUpdate)
    }
}

/// Which side of the market an order or a trade's taker is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Side {
    /// Buys base for quote.
    Buy,
    /// Sells base for quote.
    Sell,
}

impl Side {
    /// Returns `Buy` or `Sell`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buy => "Buy",
            Self::Sell => "Sell",
        }
    }

    /// Returns the side of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Buy, Self::Sell].into_iter().find(|side| side.name() == name)
    }
}

/// What an event carries.
#[derive(Debug, Default)]
pub enum Payload {
    /// Nothing: a slot at rest.
    #[default]
    Empty,
    /// See [`Book`]. The levels live in a slot of their own.
    Book(Shared<Book>),
    /// See [`Trade`].
    Trade(Trade),
    /// See [`Ticker`].
    Ticker(Ticker),
    /// See [`Kline`].
    Kline(Kline),
    /// See [`ExecReport`].
    Exec(Box<ExecReport>),
    /// See [`Instrument`].
    Instrument(Box<Instrument>),
    /// See [`BalanceUpdate`]; the symbol of the header is the currency.
    Balance(BalanceUpdate),
    /// See [`RiskControl`].
    Risk(Box<RiskControl>),
    /// See [`Extension`].
    Extension(Box<Extension>),
    /// See [`BookGap`].
    BookGap(BookGap),
    /// See [`StaleReason`].
    MarketStale(StaleReason),
}

// Every slot of the pool has this size. Payloads that are larger are boxed.
const _: () = assert!(size_of::<Payload>() == 192);

/// Where an event comes from and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Header {
    /// Global sequence number, from 1, given by dispatch.
    pub seq: u64,
    /// Per provider, kind and symbol, from 1 at each start of the provider.
    pub provider_seq: u64,
    /// When the venue says it happened; `None` when it does not.
    pub venue_time: Option<Nanos>,
    /// When the bytes arrived, wall clock.
    pub received_time: Nanos,
    /// When it was numbered and routed, wall clock.
    pub dispatched_time: Nanos,
    /// The same instant on the monotonic clock, see [`crate::clock`].
    pub dispatched_ticks: u64,
    /// Version of the routing table that routed it.
    pub routing_version: u32,
    /// Whose event.
    pub provider: ProviderId,
    /// Of what.
    pub symbol: SymbolId,
    /// Which kind.
    pub kind: Kind,
}

/// One event: header and payload.
#[derive(Debug, Default)]
pub struct Event {
    /// `None` only while the slot is at rest.
    pub header: Option<Header>,
    /// What it carries.
    pub payload: Payload,
}

impl Event {
    /// Returns the header of a dispatched event.
    ///
    /// # Panics
    /// When the event was never dispatched, which the types of `dispatch` rule out.
    #[inline]
    pub fn header(&self) -> &Header {
        self.header.as_ref().expect("Invariant: a shared event has a header")
    }
}

impl Recycle for Event {
    fn recycle(&mut self) {
        self.payload = Payload::Empty;
    }
}
