//! What flows: event kinds, routes, header and payloads.
//!
//! An event is immutable once dispatched. Fixed-size payloads are plain `Copy` data; the rare, variable ones are
//! boxed; a book points at its own pooled slot. What a venue did not send is absent (`None`), never zero.

use crate::decimal::Decimal;
use crate::instrument::Instrument;
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Recycle, Shared};

/// Nanoseconds since the Unix epoch, or a signed difference of two such times.
pub type Nanos = i64;

/// The kind of an event. The first nine are public; `Gap` and `Stale` are notices that travel in the queue, in
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
    Gap = 9,
    /// Notice: a book is no longer good.
    Stale = 10,
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
        Self::Gap,
        Self::Stale,
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
            Self::Gap => "Gap",
            Self::Stale => "Stale",
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
            Self::Gap | Self::Stale => return None,
        })
    }

    /// Whether the kind may never be dropped: it concerns our own orders, balances and limits, or tells of a loss.
    pub const fn is_private(self) -> bool {
        matches!(self, Self::ExecReport | Self::BalanceUpdate | Self::RiskControl | Self::Gap | Self::Stale)
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

/// Short text held in place, at most [`ShortText::MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortText {
    len: u8,
    bytes: [u8; Self::MAX],
}

impl ShortText {
    /// Most bytes it holds.
    pub const MAX: usize = 39;

    /// Returns the text, or `None` when it is longer than [`Self::MAX`] bytes.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; Self::MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { len: text.len() as u8, bytes })
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl std::fmt::Debug for ShortText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}

/// An id that a venue gave: a number, or text kept as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VenueId {
    /// A number.
    Number(u64),
    /// Anything else.
    Text(ShortText),
}

impl std::fmt::Display for VenueId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::Text(text) => f.write_str(text.as_str()),
        }
    }
}

/// A public trade.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trade {
    /// The venue's id of the trade.
    pub id: VenueId,
    /// The taker's side; `None` when the venue does not say.
    pub side: Option<Side>,
    /// Price in quote currency.
    pub price: Decimal,
    /// Quantity in base currency.
    pub quantity: Decimal,
}

/// Last price and top of book. Absent is what the venue did not send.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ticker {
    /// Price of the last trade.
    pub last: Option<Decimal>,
    /// Best bid price.
    pub bid: Option<Decimal>,
    /// Quantity at the best bid.
    pub bid_quantity: Option<Decimal>,
    /// Best ask price.
    pub ask: Option<Decimal>,
    /// Quantity at the best ask.
    pub ask_quantity: Option<Decimal>,
    /// Base volume of the last 24 hours.
    pub volume_24h: Option<Decimal>,
}

/// A candle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kline {
    /// First price.
    pub open: Decimal,
    /// Last price.
    pub close: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Base volume.
    pub volume: Decimal,
    /// Start of the interval.
    pub open_time: Nanos,
    /// End of the interval.
    pub close_time: Nanos,
    /// The venue's name of the interval (`1m`), when it says.
    pub interval: Option<ShortText>,
    /// Whether the candle is final, when the venue says.
    pub closed: Option<bool>,
}

/// One price level: mantissas on the book's two scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    /// Price mantissa.
    pub price: i64,
    /// Quantity mantissa; in a diff, zero removes the level.
    pub quantity: i64,
}

/// The top of a whole book, best level first on either side.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Book {
    /// Bids, highest price first.
    pub bids: Vec<Level>,
    /// Asks, lowest price first.
    pub asks: Vec<Level>,
    /// Digits after the point of each price mantissa.
    pub price_scale: u8,
    /// Digits after the point of each quantity mantissa.
    pub quantity_scale: u8,
    /// Bid levels of the whole, uncut book.
    pub bid_count: u32,
    /// Ask levels of the whole, uncut book.
    pub ask_count: u32,
    /// The venue's first update id that led to this book; 0 when it has none.
    pub first_update_id: u64,
    /// The venue's last update id in this book; 0 when it has none.
    pub last_update_id: u64,
    /// The venue's checksum, where it sends one.
    pub checksum: Option<u32>,
}

impl Recycle for Book {
    fn recycle(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }
}

/// How far an order has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum OrderState {
    Ack,
    Partial,
    Filled,
    Cancelled,
    Rejected,
    Expired,
}

impl OrderState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Ack, Self::Partial, Self::Filled, Self::Cancelled, Self::Rejected, Self::Expired];

    /// Returns the name, as on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ack => "ACK",
            Self::Partial => "PARTIAL",
            Self::Filled => "FILLED",
            Self::Cancelled => "CANCELLED",
            Self::Rejected => "REJECTED",
            Self::Expired => "EXPIRED",
        }
    }

    /// Returns the state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A report on one of our orders.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecReport {
    /// The id we gave.
    pub client_order_id: String,
    /// The id the venue gave.
    pub exchange_order_id: Option<String>,
    /// How far the order has come.
    pub state: OrderState,
    /// Buy or sell.
    pub side: Side,
    /// `Limit` or `Market`.
    pub order_type: String,
    /// Limit price.
    pub price: Option<Decimal>,
    /// Ordered quantity.
    pub quantity: Decimal,
    /// Filled so far.
    pub filled_quantity: Decimal,
    /// Still open.
    pub remaining_quantity: Option<Decimal>,
    /// Average price of the fills.
    pub avg_fill_price: Option<Decimal>,
    /// Fee paid so far.
    pub commission: Option<Decimal>,
    /// Currency of the fee.
    pub commission_asset: Option<String>,
    /// Why it was refused.
    pub reject_reason: Option<String>,
}

/// A balance of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct BalanceUpdate {
    /// All we hold.
    pub total: Decimal,
    /// What is not reserved by open orders.
    pub available: Decimal,
}

/// A risk check that tripped or cleared.
#[derive(Debug, Clone, PartialEq)]
pub struct RiskControl {
    /// The instance concerned.
    pub strategy_id: String,
    /// `TRIGGERED` or `CLEARED`.
    pub status: String,
    /// Why, for people.
    pub reason: String,
    /// Why, for programs.
    pub breach_type: String,
    /// What was seen and what was allowed.
    pub metrics: Vec<(String, String)>,
    /// Whether the kill switch is on.
    pub kill_switch_engaged: bool,
    /// Whether the circuit breaker is open.
    pub circuit_breaker_open: bool,
}

/// Free-form JSON, at most [`Extension::MAX_BYTES`].
#[derive(Debug, Clone, PartialEq)]
pub struct Extension {
    /// The sender's name for it.
    pub name: String,
    /// JSON text.
    pub json: String,
    /// The instance that emitted it, 0 for an adapter; it does not get its own back.
    pub origin: u64,
}

impl Extension {
    /// Most bytes of JSON.
    pub const MAX_BYTES: usize = 100 * 1024;
}

/// A hole in a venue's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The id that should have come next.
    pub expected: u64,
    /// The id that came.
    pub seen: u64,
}

/// Why a book is no longer good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StaleReason {
    /// Diffs were lost.
    Gap,
    /// The best bid reached the best ask.
    Crossed,
    /// The venue's checksum differs from ours.
    Checksum,
    /// No usable snapshot came while diffs piled up.
    NoSnapshot,
    /// A number of the venue does not fit the book.
    Overflow,
    /// The connection was lost.
    Disconnected,
}

impl StaleReason {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Gap, Self::Crossed, Self::Checksum, Self::NoSnapshot, Self::Overflow, Self::Disconnected];

    /// Returns the reason's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Crossed => "crossed",
            Self::Checksum => "checksum",
            Self::NoSnapshot => "no_snapshot",
            Self::Overflow => "overflow",
            Self::Disconnected => "disconnected",
        }
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
    /// See [`Gap`].
    Gap(Gap),
    /// See [`StaleReason`].
    Stale(StaleReason),
}

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
