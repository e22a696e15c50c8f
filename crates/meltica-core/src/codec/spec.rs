//! Declarations: where the fields of each message of a venue are.
//!
//! Paths are keys joined by dots (`k.o`), from the top of the message. A declaration consists of text and enums, so
//! that it can be written in Python and checked as a whole by [`super::Codec::compile`].

use super::SnapshotMode;
use crate::event::Kind;

/// The messages of one venue.
#[derive(Debug, Clone, Default)]
pub struct CodecSpec {
    /// The name, for messages and logs.
    pub name: String,
    /// The form of the venue's symbols in each category (`spot`, `linear`) of connections. The first one is the default; its
    /// name is empty if it is the only one.
    pub symbols: Vec<(String, SymbolRule)>,
    /// The wrapper of combined streams. Wrapped and bare messages are both decoded.
    pub envelope: Option<EnvelopeSpec>,
    /// The messages. The first one whose conditions hold applies.
    pub messages: Vec<MessageSpec>,
}

/// The conversion of a venue's symbols to canonical ones (`BTC-USDT`). The case of ASCII letters does not matter; other
/// letters are kept. A text of the venue's instrument list takes precedence over the rule, then `explicit`, `suffixes`,
/// `separator` and `quotes`.
#[derive(Debug, Clone, Default)]
pub struct SymbolRule {
    /// Quote currencies. The longest one that ends the text splits it (`BTCUSDT`).
    pub quotes: Vec<String>,
    /// A character between the parts (`BTC/USDT`, `BTC-USD-220527`).
    pub separator: Option<char>,
    /// Exceptions: the venue's text and the canonical symbol.
    pub explicit: Vec<(String, String)>,
    /// Other names of base and quote: the venue's currency and the canonical one (`XBT`, `BTC`).
    pub aliases: Vec<(String, String)>,
    /// Ends of the text and the parts that replace them. Parts that begin with a quote follow a base (`PERP` and
    /// `USDC-PERP`: `BTCPERP`), a single part follows a pair (`_PERP` and `PERP`: `BTCUSD_PERP`).
    pub suffixes: Vec<(String, String)>,
    /// The third part of symbols that the rule splits into base and quote only, such as `PERP`.
    pub contract: Option<String>,
}

/// The wrapper of combined streams, `{"stream": "btcusdt@depth", "data": {..}}`.
#[derive(Debug, Clone)]
pub struct EnvelopeSpec {
    /// The key of the message.
    pub payload: String,
    /// The key of the stream's name.
    pub stream: String,
    /// Ends the symbol at the start of the stream's name, for messages without a symbol.
    pub symbol_separator: Option<char>,
}

/// The role of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A complete event: `Trade`, `Ticker` or `KlineSummary`.
    Event(Kind),
    /// Changed levels of a book.
    BookDiff,
    /// All levels of a book.
    BookSnapshot,
    /// Not market data: an acknowledgement, a heartbeat, an error. The adapter handles the frame. The message has
    /// conditions only: no symbol, time, id, fields or levels.
    Control,
}

/// A condition on a message.
#[derive(Debug, Clone)]
pub enum Match {
    /// The value at the path, with or without quotes, is this text.
    Equals(String, String),
    /// The path has a value.
    Present(String),
    /// The path has no value.
    Absent(String),
}

/// The unit of a venue's integer time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TimeUnit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

impl TimeUnit {
    pub(super) const fn nanos(self) -> u64 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
            Self::Nanos => 1,
        }
    }
}

/// The kind of ids that identify repeated messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdMode {
    /// Whole numbers that grow.
    Monotonic,
    /// Any text or number.
    Opaque,
}

/// The range of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Above zero.
    Positive,
    /// Zero or above.
    NonNegative,
    /// Above zero. Zero means that the value is absent.
    ZeroIsAbsent,
    /// Any number.
    Any,
}

/// The conversion of a field's text. Numbers are read with or without quotes.
#[derive(Debug, Clone)]
pub enum Convert {
    /// An exact decimal.
    Decimal(Sign),
    /// One of a list of names: the venue's text and the canonical name. Any other text is counted, and the field is
    /// absent, or the message is refused if the field is required.
    Enum(Vec<(String, String)>),
    /// An id: a 64-bit number or short text.
    Id,
    /// An integer time.
    Time(TimeUnit),
    /// Short text.
    Text,
    /// `true` or `false`.
    Bool,
}

/// One field of an event.
#[derive(Debug, Clone)]
pub struct FieldSpec {
    /// The name of the event's field.
    pub name: String,
    /// Where it is.
    pub path: String,
    /// The conversion of the value.
    pub convert: Convert,
    /// Whether a message without the field is refused, even if the event does not require the field.
    pub required: bool,
}

/// The update ids of a book message.
#[derive(Debug, Clone, Default)]
pub enum SequenceSpec {
    /// Ids that grow by one with each update. A diff needs `first` and `last`, a snapshot `last`.
    Range {
        /// The path of the first update id of the message.
        first: Option<String>,
        /// The path of the last update id of the message.
        last: Option<String>,
        /// The path of the last update id of the previous message.
        prev: Option<String>,
    },
    /// Each message has an id, of either sign, and the id of the previous message. A diff needs `prev`.
    Chain {
        /// The path of the id.
        last: String,
        /// The path of the id of the previous message.
        prev: Option<String>,
    },
    /// The venue does not number its messages.
    #[default]
    Unnumbered,
}

/// The levels of a book message: arrays of arrays that begin with price and quantity.
#[derive(Debug, Clone, Default)]
pub struct LevelsSpec {
    /// The path of the bids.
    pub bids: String,
    /// The path of the asks.
    pub asks: String,
    /// The update ids.
    pub sequence: SequenceSpec,
    /// The path of the checksum of the book after the message, a 32-bit number, signed or unsigned.
    pub checksum: Option<String>,
}

/// One message of a venue.
#[derive(Debug, Clone)]
pub struct MessageSpec {
    /// The name, unique in the codec.
    pub name: String,
    /// What it becomes.
    pub role: Role,
    /// The conditions that identify the message, all of which must hold.
    pub matches: Vec<Match>,
    /// The path of the venue's symbol.
    pub symbol: Option<String>,
    /// The path and unit of the venue's time.
    pub venue_time: Option<(String, TimeUnit)>,
    /// The path and kind of the id that identifies repetitions.
    pub id: Option<(String, IdMode)>,
    /// The event's fields.
    pub fields: Vec<FieldSpec>,
    /// The book's levels, for [`Role::BookDiff`] and [`Role::BookSnapshot`].
    pub levels: Option<LevelsSpec>,
    /// What a [`Role::BookSnapshot`] does with the book of its connection.
    pub snapshot: Option<SnapshotMode>,
}

/// A declaration with faults, each of which names the message and the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("codec {codec} not compiled: {} fault(s): {}", .faults.len(), .faults.join("; "))]
pub struct SpecError {
    /// The name of the codec.
    pub codec: String,
    /// Faults of the form `message.field: expected .., saw ..`.
    pub faults: Vec<String>,
}
