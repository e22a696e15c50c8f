//! The payloads of the kinds.

use super::{Nanos, Side, Transfer};
use crate::decimal::Decimal;
use crate::pool::Recycle;

/// Text of at most [`ShortText::MAX`] bytes, stored without allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortText {
    len: u8,
    bytes: [u8; Self::MAX],
}

impl ShortText {
    /// Maximum number of bytes.
    pub const MAX: usize = 39;

    /// Returns the text, or `None` if it is longer than [`Self::MAX`] bytes.
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

/// An id assigned by a venue: a number, or text as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VenueId {
    /// A number.
    Number(u64),
    /// Any other text.
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
    /// The venue's id of the trade; `None` if the venue does not send it.
    pub id: Option<VenueId>,
    /// The taker's side; `None` if the venue does not send it.
    pub side: Option<Side>,
    /// Price in quote currency.
    pub price: Decimal,
    /// Quantity in base currency.
    pub quantity: Decimal,
    /// Whether the trade was missed while the connection was lost, and delivered out of the recent trades that the venue
    /// sends at a subscription.
    pub late: bool,
}

/// Last price and top of book. A value that the venue did not send is absent.
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

impl Ticker {
    /// Returns every value, in the order of the fields.
    pub fn values_mut(&mut self) -> [&mut Option<Decimal>; 6] {
        let Self { last, bid, bid_quantity, ask, ask_quantity, volume_24h } = self;
        [last, bid, bid_quantity, ask, ask_quantity, volume_24h]
    }
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
    /// The venue's name of the interval (`1m`), if the venue sends it.
    pub interval: Option<ShortText>,
    /// Whether the candle is final, if the venue sends it.
    pub closed: Option<bool>,
}

/// One price level: mantissas on the book's two scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PriceLevel {
    /// Price mantissa.
    pub price: i64,
    /// Quantity mantissa; in a diff, zero removes the level.
    pub quantity: i64,
}

/// The top of a whole book, best level first on either side.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Book {
    /// Bids, highest price first.
    pub bids: Vec<PriceLevel>,
    /// Asks, lowest price first.
    pub asks: Vec<PriceLevel>,
    /// Digits after the point of each price mantissa.
    pub price_scale: u8,
    /// Digits after the point of each quantity mantissa.
    pub quantity_scale: u8,
    /// Number of bid levels of the whole book.
    pub bid_count: u32,
    /// Number of ask levels of the whole book.
    pub ask_count: u32,
    /// The first update id of the message that led to this book; 0 if the venue sends none.
    pub first_update_id: u64,
    /// The last update id in this book; 0 if the venue sends none.
    pub last_update_id: u64,
    /// The price down to which every bid is known, also those below the best levels; `None` if it is not known.
    pub bid_horizon: Option<i64>,
    /// The price up to which every ask is known.
    pub ask_horizon: Option<i64>,
    /// The venue's checksum, if it sends one.
    pub checksum: Option<u32>,
}

impl Book {
    /// Returns an empty book with room for `levels` levels per side.
    pub fn with_capacity(levels: usize) -> Self {
        Self { bids: Vec::with_capacity(levels), asks: Vec::with_capacity(levels), ..Self::default() }
    }

    /// Copies the best `depth` levels of each side of `from`. Keeps the book's own buffers.
    pub fn copy_top(&mut self, from: &Self, depth: usize) {
        let Self { bids, asks, .. } = self;
        for (mine, theirs) in [(bids, &from.bids), (asks, &from.asks)] {
            mine.clear();
            mine.extend_from_slice(&theirs[..theirs.len().min(depth)]);
        }
        (self.price_scale, self.quantity_scale) = (from.price_scale, from.quantity_scale);
        (self.bid_count, self.ask_count) = (from.bid_count, from.ask_count);
        (self.first_update_id, self.last_update_id) = (from.first_update_id, from.last_update_id);
        (self.bid_horizon, self.ask_horizon) = (from.bid_horizon, from.ask_horizon);
        self.checksum = from.checksum;
    }
}

impl Recycle for Book {
    fn recycle(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }
}

/// The state of an order.
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
    /// The venue no longer knows the order. No venue reports this state: it is ours.
    Unknown,
}

impl OrderState {
    /// Returns whether the order has ended.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Filled | Self::Cancelled | Self::Rejected | Self::Expired)
    }

    /// Every state that a report can have.
    pub const ALL: [Self; 7] = [
        Self::Ack,
        Self::Partial,
        Self::Filled,
        Self::Cancelled,
        Self::Rejected,
        Self::Expired,
        Self::Unknown,
    ];

    /// Returns the name, as on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ack => "ACK",
            Self::Partial => "PARTIAL",
            Self::Filled => "FILLED",
            Self::Cancelled => "CANCELLED",
            Self::Rejected => "REJECTED",
            Self::Expired => "EXPIRED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Returns the state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What happens to the part of an order that cannot be filled on arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TimeInForce {
    /// Good till cancelled: it rests in the book until it is filled or cancelled.
    Gtc,
    /// Immediate or cancel: it expires.
    Ioc,
    /// Fill or kill: the order is filled completely on arrival, or not at all.
    Fok,
}

impl TimeInForce {
    /// Every time in force.
    pub const ALL: [Self; 3] = [Self::Gtc, Self::Ioc, Self::Fok];

    /// Returns `GTC`, `IOC` or `FOK`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gtc => "GTC",
            Self::Ioc => "IOC",
            Self::Fok => "FOK",
        }
    }

    /// Returns the time in force of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|time_in_force| time_in_force.name() == name)
    }
}

/// Whether an order added liquidity to the book in a fill or removed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Liquidity {
    /// The order rested in the book.
    Maker,
    /// The order arrived and traded with a resting one.
    Taker,
}

impl Liquidity {
    /// Returns `maker` or `taker`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Maker => "maker",
            Self::Taker => "taker",
        }
    }

    /// Returns the liquidity of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Maker, Self::Taker].into_iter().find(|liquidity| liquidity.name() == name)
    }
}

/// A report on one of the account's orders. A report describes at most one fill.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecReport {
    /// The order id that the client assigned.
    pub client_order_id: String,
    /// The order id that the venue assigned.
    pub venue_order_id: Option<String>,
    /// The order's state after the change that this report describes.
    pub state: OrderState,
    /// Buy or sell.
    pub side: Side,
    /// `Limit` or `Market`.
    pub order_type: String,
    /// How long the order stays in the book.
    pub time_in_force: Option<TimeInForce>,
    /// Limit price.
    pub price: Option<Decimal>,
    /// Ordered quantity.
    pub quantity: Decimal,
    /// Quantity filled so far.
    pub filled_quantity: Decimal,
    /// Quantity still open.
    pub remaining_quantity: Option<Decimal>,
    /// Average price of all fills so far.
    pub average_price: Option<Decimal>,
    /// Fee of all fills so far.
    pub fee: Option<Decimal>,
    /// Currency of `fee`.
    pub fee_currency: Option<String>,
    /// Why the order was rejected or ended.
    pub reason: Option<String>,
    /// The venue's id of the fill that this report describes. This and the fields below are absent when the report
    /// does not describe a fill.
    pub execution_id: Option<String>,
    /// Quantity of that fill.
    pub last_quantity: Option<Decimal>,
    /// Price of that fill.
    pub last_price: Option<Decimal>,
    /// Whether the order was the maker or the taker in that fill.
    pub liquidity: Option<Liquidity>,
    /// Fee of that fill.
    pub last_fee: Option<Decimal>,
    /// Currency of `last_fee`.
    pub last_fee_currency: Option<String>,
}

/// A balance of the account.
#[derive(Debug, Clone, PartialEq)]
pub struct BalanceUpdate {
    /// The total amount.
    pub total: Decimal,
    /// The amount not reserved by open orders.
    pub available: Decimal,
    /// The deposit or withdrawal that led to it, if one did.
    pub transfer: Option<Box<Transfer>>,
}

/// A risk check that was triggered or cleared.
#[derive(Debug, Clone, PartialEq)]
pub struct RiskControl {
    /// The instance whose check it is.
    pub strategy_id: String,
    /// `TRIGGERED` or `CLEARED`.
    pub status: String,
    /// The reason as text.
    pub reason: String,
    /// The reason as a machine code.
    pub breach_type: String,
    /// Measured values and limits.
    pub metrics: Vec<(String, String)>,
    /// Whether the kill switch is on.
    pub kill_switch_engaged: bool,
    /// Whether the circuit breaker is open.
    pub circuit_breaker_open: bool,
}

/// A gap in a venue's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookGap {
    /// The expected next id.
    pub expected: u64,
    /// The received id.
    pub received: u64,
}

/// The reason for which a book or a feed of a symbol is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StaleReason {
    /// Diffs were lost.
    Gap,
    /// The best bid reached the best ask.
    Crossed,
    /// The venue's checksum differs from ours.
    Checksum,
    /// No usable snapshot arrived while diffs were buffered.
    NoSnapshot,
    /// A number of the venue does not fit into the book.
    Overflow,
    /// The connection was lost.
    Disconnected,
    /// The venue sent nothing for too long.
    Silent,
    /// The venue's update ids have restarted.
    Restarted,
    /// Changes of the book could not be decoded.
    Undecoded,
    /// A queue had no room for the symbol and missed earlier events, which no later one replaces.
    LeftOut,
    /// The best bid of a ticker reached its best ask.
    TickerCrossed,
    /// The venue's ids of trades have restarted, and the first trades after that were taken for repeated ones.
    IdsRestarted,
    /// The instrument list changed the size of a contract: quantities in base have the old one.
    ContractSize,
}

impl StaleReason {
    /// Every reason.
    pub const ALL: [Self; 13] = [
        Self::Gap,
        Self::Crossed,
        Self::Checksum,
        Self::NoSnapshot,
        Self::Overflow,
        Self::Disconnected,
        Self::Silent,
        Self::Restarted,
        Self::Undecoded,
        Self::LeftOut,
        Self::TickerCrossed,
        Self::IdsRestarted,
        Self::ContractSize,
    ];

    /// Returns the name of the reason.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Crossed => "crossed",
            Self::Checksum => "checksum",
            Self::NoSnapshot => "no_snapshot",
            Self::Overflow => "overflow",
            Self::Disconnected => "disconnected",
            Self::Silent => "silent",
            Self::Restarted => "restarted",
            Self::Undecoded => "undecoded",
            Self::LeftOut => "left_out",
            Self::TickerCrossed => "ticker_crossed",
            Self::IdsRestarted => "ids_restarted",
            Self::ContractSize => "contract_size",
        }
    }
}
