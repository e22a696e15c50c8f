//! What an adapter declares: where the fields of each message of a venue are.
//!
//! Paths are keys joined by dots (`k.o`), from the top of the message. Everything is text and enums, so that a
//! declaration can be written in Python and checked as a whole by [`super::Codec::compile`].

use crate::event::Kind;

/// The messages of one venue.
#[derive(Debug, Clone, Default)]
pub struct CodecSpec {
    /// Name, for people.
    pub name: String,
    /// How the venue writes symbols.
    pub symbols: SymbolRule,
    /// The wrapper of combined streams; wrapped and bare messages both decode.
    pub envelope: Option<EnvelopeSpec>,
    /// The messages; the first whose conditions hold is taken.
    pub messages: Vec<MessageSpec>,
}

/// How a venue's symbols become canonical ones (`BTC-USDT`). Case does not matter.
#[derive(Debug, Clone, Default)]
pub struct SymbolRule {
    /// Quote currencies; the longest that ends the text splits it (`BTCUSDT`).
    pub quotes: Vec<String>,
    /// A character between base and quote (`BTC/USDT`), tried before `quotes`.
    pub separator: Option<char>,
    /// Exceptions, looked up first: the venue's text and the canonical symbol.
    pub explicit: Vec<(String, String)>,
}

/// `{"stream": "btcusdt@depth", "data": {..}}`.
#[derive(Debug, Clone)]
pub struct EnvelopeSpec {
    /// Key of the message.
    pub payload: String,
    /// Key of the stream's name.
    pub stream: String,
    /// The text of the stream's name before this is the symbol of a message that has none.
    pub symbol_separator: Option<char>,
}

/// What a message becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An event by itself: `Trade`, `Ticker` or `KlineSummary`.
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
    /// There is a value at the path.
    Present(String),
    /// There is no value at the path.
    Absent(String),
}

/// Unit of a venue's integer time.
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

/// How repeated messages are told by their id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdMode {
    /// Whole numbers that grow.
    Monotonic,
    /// Any text or number.
    Opaque,
}

/// Which numbers a field may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Above zero.
    Positive,
    /// Zero or above.
    NonNegative,
    /// Above zero; zero is how the venue says that there is none.
    ZeroIsAbsent,
    /// Any.
    Any,
}

/// How the text of a field is read. Numbers may stand with or without quotes.
#[derive(Debug, Clone)]
pub enum Convert {
    /// An exact decimal.
    Decimal(Sign),
    /// A name out of a list: text of the venue and canonical name. Another text is counted and the field is absent,
    /// or the message is refused where the field is required.
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
    /// Name of the event's field.
    pub name: String,
    /// Where it is.
    pub path: String,
    /// How it is read.
    pub convert: Convert,
    /// Refuse the message when it is missing, also where the event could do without.
    pub required: bool,
}

/// Where a book message keeps its levels: arrays of arrays that begin with price and quantity.
#[derive(Debug, Clone, Default)]
pub struct LevelsSpec {
    /// Path of the bids.
    pub bids: String,
    /// Path of the asks.
    pub asks: String,
    /// First update id of the message.
    pub first: Option<String>,
    /// Last update id of the message.
    pub last: Option<String>,
    /// Last update id of the message before.
    pub prev: Option<String>,
    /// Checksum of the book after the message, a 32-bit number, signed or not.
    pub checksum: Option<String>,
}

/// One message of a venue.
#[derive(Debug, Clone)]
pub struct MessageSpec {
    /// Name, for people; unique in the codec.
    pub name: String,
    /// What it becomes.
    pub role: Role,
    /// How it is told from others; all must hold.
    pub matches: Vec<Match>,
    /// Path of the venue's symbol.
    pub symbol: Option<String>,
    /// Path and unit of the venue's time.
    pub venue_time: Option<(String, TimeUnit)>,
    /// Path and mode of the id by which repetitions are told.
    pub id: Option<(String, IdMode)>,
    /// The event's fields.
    pub fields: Vec<FieldSpec>,
    /// The book's levels, for [`Role::BookDiff`] and [`Role::BookSnapshot`].
    pub levels: Option<LevelsSpec>,
}

/// A faulty declaration: all its faults, each naming the message and the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("codec {codec} has {} fault(s): {}", .faults.len(), .faults.join("; "))]
pub struct SpecError {
    /// The codec's name.
    pub codec: String,
    /// `message.field: what was expected, what was seen`.
    pub faults: Vec<String>,
}
