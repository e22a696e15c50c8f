//! Declarations: where the fields of each message of a venue are.
//!
//! A path is made of keys joined by dots (`k.o`) and positions in arrays (`[0]`, `c[-1]`), from the top of the message.
//! Where a message is the element of an array (`each`), `@` is the element (`@.px`, `@[0]`), other paths are of the
//! frame around it, and `events[].type` is of the element of the outer of two arrays.
//!
//! A declaration consists of text and enums, so that it can be written in Python and checked as a whole by
//! [`super::Codec::compile`].

use super::SnapshotMode;
use crate::event::Kind;
use std::collections::BTreeSet;

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
    /// The path of a number that grows by one with each frame of a connection.
    pub connection_sequence: Option<String>,
    /// Maximum size of a frame in bytes; [`super::MAX_FRAME`] if `None`.
    pub max_frame: Option<usize>,
    /// Maximum number of levels per list of a message; [`super::MAX_LEVELS`] if `None`.
    pub max_levels: Option<usize>,
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
    /// Whether texts of other symbols than `BASE-QUOTE` are refused, for a venue whose derivatives are not in base.
    pub pairs_only: bool,
    /// Whether the quantities of other symbols than `BASE-QUOTE` are contracts, which the feed converts to base.
    pub contracts: bool,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// A complete event: `Trade`, `Ticker`, `KlineSummary` or `Extension`, whose fields have any names.
    Event(Kind),
    /// Changed levels of a book.
    BookDiff,
    /// All levels of a book.
    BookSnapshot,
    /// Not market data: an acknowledgement, a heartbeat, an error. The adapter handles the frame. The message has
    /// conditions only: no symbol, time, id, fields or levels.
    #[default]
    Control,
}

/// A condition on a message. The path [`EnvelopeSpec::stream`] is that of the envelope.
#[derive(Debug, Clone)]
pub enum Match {
    /// The value, with or without quotes, is this text.
    Equals(TextSpec, String),
    /// The text begins with this text.
    Prefix(TextSpec, String),
    /// The value is one of these texts.
    OneOf(TextSpec, Vec<String>),
    /// The path has a value.
    Present(String),
    /// The path has no value.
    Absent(String),
    /// The frame is this text, which is not JSON. The only condition of a control message.
    Whole(String),
}

/// A text, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextSpec {
    /// The path of the text.
    pub path: String,
    /// The separator and the position of the part, counted from the end if negative.
    pub part: Option<(char, i32)>,
}

impl From<&str> for TextSpec {
    fn from(path: &str) -> Self {
        Self { path: path.into(), part: None }
    }
}

/// Where the venue's time is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeSpec {
    /// The value at a path.
    Path(String, TimeUnit),
    /// The newest time of the levels.
    NewestLevel,
}

/// The form of a venue's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TimeUnit {
    Seconds,
    Millis,
    Micros,
    Nanos,
    /// Seconds with up to nine decimals.
    DecimalSeconds,
    /// RFC 3339 with up to nine decimals.
    Rfc3339,
}

impl TimeUnit {
    pub(super) const fn nanos(self) -> u64 {
        match self {
            Self::Seconds | Self::DecimalSeconds | Self::Rfc3339 => 1_000_000_000,
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
    /// A time.
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

/// A part of a level: the position in an array, or the key in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// A position.
    At(u8),
    /// A key.
    Key(String),
}

/// Where the parts of a level are. All are positions, or all are keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSpec {
    /// The price.
    pub price: Column,
    /// The quantity.
    pub quantity: Column,
    /// The side, in a list of changes.
    pub side: Option<Column>,
    /// The texts of the sides: the venue's and `Buy` or `Sell`.
    pub sides: Vec<(String, String)>,
    /// The time of the level.
    pub time: Option<(Column, TimeUnit)>,
}

impl Default for RowSpec {
    fn default() -> Self {
        Self { price: Column::At(0), quantity: Column::At(1), side: None, sides: Vec::new(), time: None }
    }
}

/// The levels of a book message. A list that a message lacks is empty, but not all of them.
#[derive(Debug, Clone, Default)]
pub struct LevelsSpec {
    /// The paths of the bids.
    pub bids: Vec<String>,
    /// The paths of the asks.
    pub asks: Vec<String>,
    /// The path of a list of levels of both sides.
    pub changes: Option<String>,
    /// Where the parts of a level are.
    pub row: RowSpec,
    /// The update ids.
    pub sequence: SequenceSpec,
    /// The checksum of the book after the message.
    pub checksum: Option<ChecksumSpec>,
    /// The window of levels that the venue sends, to which the book is cut; `None` for all levels.
    pub depth: Option<Depth>,
}

/// The number of levels per side that a venue sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Depth {
    /// This many.
    Levels(u32),
    /// The smallest of these that the last snapshot does not exceed, as a thin market fills no window, until messages show
    /// a larger one; without one, the levels of its longer side.
    Snapshot(Vec<u32>),
}

impl Depth {
    /// Returns the sizes above one, in order.
    pub fn larger(&self, size: usize) -> Vec<usize> {
        let Self::Snapshot(sizes) = self else { return Vec::new() };
        let larger = sizes.iter().map(|other| *other as usize).filter(|other| *other > size);
        larger.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Returns the levels per side after a snapshot with this many on its longer side.
    pub fn of(&self, snapshot: usize) -> usize {
        match self {
            Self::Levels(levels) => *levels as usize,
            Self::Snapshot(sizes) => {
                let sizes = sizes.iter().map(|size| *size as usize);
                sizes.filter(|size| *size >= snapshot).min().unwrap_or(snapshot)
            }
        }
    }
}

/// The checksum of a book: a CRC-32 over the digits of its best levels.
#[derive(Debug, Clone)]
pub struct ChecksumSpec {
    /// The path of a 32-bit number, signed or unsigned.
    pub path: String,
    /// What it covers.
    pub rule: ChecksumRule,
    /// Whether the venue writes 0 for a missing checksum.
    pub zero_is_none: bool,
}

/// The text that a checksum covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChecksumRule {
    /// The number of levels per side.
    pub levels: usize,
    /// The order of the levels.
    pub layout: Layout,
    /// The text between two numbers.
    pub separator: String,
    /// The form of the numbers.
    pub digits: Digits,
}

/// The order of the levels in the text of a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All asks, then all bids.
    AsksBids,
    /// The best bid, the best ask, the second bid, and so on.
    Interleaved,
}

/// The form of the numbers in the text of a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digits {
    /// All digits on the scale of the instrument, without the point and zeros in front.
    Mantissa,
    /// The number with a point and without zeros at the end.
    Shortest,
}

/// One message of a venue.
#[derive(Debug, Clone, Default)]
pub struct MessageSpec {
    /// The name, unique in the codec.
    pub name: String,
    /// What it becomes.
    pub role: Role,
    /// The conditions that identify the message, all of which must hold.
    pub matches: Vec<Match>,
    /// The array whose elements are the messages: its path, with `[]` after an array that holds it; `[]` for an array
    /// on top.
    pub each: Option<String>,
    /// The venue's symbol.
    pub symbol: Option<TextSpec>,
    /// The venue's time.
    pub venue_time: Option<TimeSpec>,
    /// The path and kind of the id that identifies repetitions.
    pub id: Option<(String, IdMode)>,
    /// The event's fields.
    pub fields: Vec<FieldSpec>,
    /// The name of an `Extension`; that of the message if `None`.
    pub extension: Option<String>,
    /// The book's levels, for [`Role::BookDiff`] and [`Role::BookSnapshot`].
    pub levels: Option<LevelsSpec>,
    /// What a [`Role::BookSnapshot`] does with the book of its connection. A ticker that replaces forgets the kept values;
    /// [`SnapshotMode::History`] is for the trades of a subscription's snapshot.
    pub snapshot: Option<SnapshotMode>,
    /// Whether a ticker has only the values that changed: the others are those of its symbol's previous ones on the
    /// connection.
    pub keep: bool,
    /// Whether the message is read beside the first one whose conditions hold.
    pub also: bool,
    /// The path of the levels per side that a [`Role::Control`] confirms for the book of its symbol.
    pub depth: Option<String>,
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
