//! Events: kinds, headers and payloads.
//!
//! An event is immutable once dispatched. Payloads of fixed size are `Copy` data, rare ones of variable size are boxed,
//! and a book refers to a pooled slot of its own. A value that the venue did not send is `None`, never zero.

mod check;
mod extension;
mod notice;
mod payload;
mod transfer;

use crate::instrument::Instrument;
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Recycle, Shared};
pub use check::InvalidPayload;
pub use extension::{Extension, ExtensionTooLarge};
pub use notice::Notice;
pub use payload::{
    BalanceUpdate, Book, BookGap, ExecReport, Kline, Liquidity, OrderState, PriceLevel, RiskControl,
    ShortText, StaleReason, Ticker, TimeInForce, Trade, VenueId,
};
pub use transfer::{Transfer, TransferReason};

/// Nanoseconds since the Unix epoch, or a signed difference of two such times.
pub type Nanos = i64;

/// The kind of an event. The first nine are public; `BookGap` and `MarketStale` are notices that travel in the queue,
/// in sequence, to the subscribers of the market data that they are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A whole order book, cut to the delivered depth.
    BookSnapshot = 0,
    /// A public trade.
    Trade = 1,
    /// Last price, best bid and ask.
    Ticker = 2,
    /// A report on one of the account's orders.
    ExecReport = 3,
    /// A candle.
    KlineSummary = 4,
    /// A changed or new instrument.
    InstrumentUpdate = 5,
    /// A balance of the account.
    BalanceUpdate = 6,
    /// A risk check that was triggered or cleared.
    RiskControl = 7,
    /// Free-form JSON from an adapter or a lambda.
    Extension = 8,
    /// Notice: a sequence of a venue had a hole.
    BookGap = 9,
    /// Notice: the book became stale.
    MarketStale = 10,
}

impl Kind {
    /// The number of kinds, notices included.
    pub const COUNT: usize = 11;

    /// Every kind, in numerical order.
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

    /// Returns the name of the kind, the same in Rust, Python, REST and docs.
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

    /// Returns the kind with this name.
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

    /// Returns whether events of the kind are never dropped: those about orders, balances and limits of the account.
    pub const fn is_private(self) -> bool {
        matches!(self, Self::ExecReport | Self::BalanceUpdate | Self::RiskControl)
    }

    /// Returns whether the kind reports the state of another kind's events.
    pub const fn is_notice(self) -> bool {
        matches!(self, Self::BookGap | Self::MarketStale)
    }

    /// Returns whether a provider must be authenticated to publish the kind.
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

    /// Returns the side with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Buy, Self::Sell].into_iter().find(|side| side.name() == name)
    }
}

/// The content of an event.
#[derive(Debug, Default)]
pub enum Payload {
    /// Nothing: the slot is free.
    #[default]
    Empty,
    /// See [`Book`]. The levels are in a slot of their own.
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

/// The origin and the times of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Header {
    /// The global sequence number, from 1, assigned by dispatch.
    pub seq: u64,
    /// The sequence number per provider, kind and symbol, from 1. Restarts of the provider continue it.
    pub provider_seq: u64,
    /// The time of the event by the venue; `None` if the venue sends none.
    pub venue_time: Option<Nanos>,
    /// The arrival of the bytes, wall clock.
    pub received_time: Nanos,
    /// The time at which the event was numbered and routed, wall clock.
    pub dispatched_time: Nanos,
    /// The same instant on the monotonic clock, see [`crate::clock`].
    pub dispatched_ticks: u64,
    /// The version of the routing table that routed the event.
    pub routing_version: u32,
    /// The provider.
    pub provider: ProviderId,
    /// The symbol; the currency of a balance. Empty for an extension that no route names.
    pub symbol: SymbolId,
    /// The kind.
    pub kind: Kind,
}

/// One event: header and payload.
#[derive(Debug, Default)]
pub struct Event {
    /// `None` only while the slot is free.
    pub header: Option<Header>,
    /// The content.
    pub payload: Payload,
}

impl Event {
    /// Returns the header of a dispatched event.
    ///
    /// # Panics
    /// If the event was never dispatched, which the types of `dispatch` rule out.
    #[inline]
    pub fn header(&self) -> &Header {
        self.header.as_ref().expect("Invariant: a shared event has a header")
    }
}

impl Recycle for Event {
    #[inline]
    fn recycle(&mut self) {
        self.payload = Payload::Empty;
    }
}
