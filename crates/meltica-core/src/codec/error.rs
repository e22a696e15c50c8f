//! The errors of decoding.

use crate::names::SymbolId;

/// The kind of a fault of a frame. Counted by [`Fault::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Fault {
    Truncated,
    Syntax,
    TrailingBytes,
    TooDeep,
    TooLarge,
    TooManyLevels,
    DuplicateKey,
    MissingField,
    NoField,
    BadNumber,
    BadTime,
    BadId,
    BadText,
    BadEnum,
    BadBool,
    Overflow,
    UnknownSymbol,
    TooManySymbols,
    BadLevel,
    BadSide,
    BadInstrument,
    ArrayOnPath,
    TimeInSeconds,
    TimeInMillis,
    TimeInMicros,
    TimeInNanos,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 26] = [
        Self::Truncated,
        Self::Syntax,
        Self::TrailingBytes,
        Self::TooDeep,
        Self::TooLarge,
        Self::TooManyLevels,
        Self::DuplicateKey,
        Self::MissingField,
        Self::NoField,
        Self::BadNumber,
        Self::BadTime,
        Self::BadId,
        Self::BadText,
        Self::BadEnum,
        Self::BadBool,
        Self::Overflow,
        Self::UnknownSymbol,
        Self::TooManySymbols,
        Self::BadLevel,
        Self::BadSide,
        Self::BadInstrument,
        Self::ArrayOnPath,
        Self::TimeInSeconds,
        Self::TimeInMillis,
        Self::TimeInMicros,
        Self::TimeInNanos,
    ];

    /// Returns the name of the fault.
    pub const fn name(self) -> &'static str {
        self.texts().0
    }

    /// Returns what was expected at the position of the fault.
    pub const fn expected(self) -> &'static str {
        self.texts().1
    }

    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Truncated => ("truncated", "the rest of the message"),
            Self::Syntax => ("syntax", "well-formed JSON"),
            Self::TrailingBytes => ("trailing_bytes", "nothing after the message"),
            Self::TooDeep => ("too_deep", "at most 64 nested values"),
            Self::TooLarge => ("too_large", "a frame within max_frame of the codec"),
            Self::TooManyLevels => ("too_many_levels", "levels within max_levels of the codec"),
            Self::DuplicateKey => ("duplicate_key", "each key once"),
            Self::MissingField => ("missing_field", "a value in the message"),
            Self::NoField => ("no_field", "a value in one of the declared fields"),
            Self::BadNumber => ("bad_number", "a decimal number of the allowed sign"),
            Self::BadTime => ("bad_time", "a time of the declared form in the range of times"),
            Self::BadId => ("bad_id", "a whole number of 64 bits, or short text where the id is opaque"),
            Self::BadText => ("bad_text", "text of at most 39 bytes of UTF-8"),
            Self::BadEnum => ("bad_enum", "one of the declared names"),
            Self::BadBool => ("bad_bool", "true or false, or 1 or 0"),
            Self::Overflow => ("overflow", "numbers that fit the levels' common scale in 64 bits"),
            Self::UnknownSymbol => ("unknown_symbol", "a symbol that the symbol rule splits"),
            Self::TooManySymbols => ("too_many_symbols", "fewer distinct symbols"),
            Self::BadLevel => {
                ("bad_level", "a level of the declared row: an array for positions, an object for keys")
            }
            Self::BadInstrument => {
                ("bad_instrument", "values that agree with each other and with the symbol")
            }
            Self::BadSide => ("bad_side", "one of the declared sides of a level"),
            Self::ArrayOnPath => (
                "array_on_path",
                "an object where the path continues; an array ends it: read its elements with each=, or one with \
                 a position `[n]`",
            ),
            Self::TimeInSeconds => ("time_in_seconds", "a time in the declared unit (looks like seconds)"),
            Self::TimeInMillis => {
                ("time_in_milliseconds", "a time in the declared unit (looks like milliseconds)")
            }
            Self::TimeInMicros => {
                ("time_in_microseconds", "a time in the declared unit (looks like microseconds)")
            }
            Self::TimeInNanos => {
                ("time_in_nanoseconds", "a time in the declared unit (looks like nanoseconds)")
            }
        }
    }
}

/// A fault and its position, as passed inside the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fail {
    pub at: u32,
    pub fault: Fault,
}

impl Fail {
    #[cold]
    pub fn new<T>(fault: Fault, at: usize) -> Result<T, Self> {
        Err(Self { at: at as u32, fault })
    }

    /// Fails with `Truncated` at the end of the frame and with `Syntax` elsewhere.
    #[cold]
    pub fn unexpected<T>(frame: &[u8], at: usize) -> Result<T, Self> {
        Self::new(if at >= frame.len() { Fault::Truncated } else { Fault::Syntax }, at)
    }
}

/// What is being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    /// The index of the message, once it is identified.
    pub message: Option<u16>,
    /// The symbol of the message, once it is read.
    pub symbol: Option<SymbolId>,
    /// The index of the element.
    pub element: Option<u32>,
    /// The slot of the value.
    pub slot: u8,
}

impl Context {
    pub const NONE: Self = Self { message: None, symbol: None, element: None, slot: DecodeError::NO_SLOT };
}

/// The error of a refused message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// The kind of fault.
    pub fault: Fault,
    /// The index of the message in the declaration, if it was identified.
    pub message: Option<u16>,
    /// The symbol of the message, if it was read.
    pub symbol: Option<SymbolId>,
    /// The index of the element, if the messages of the frame are elements of an array.
    pub element: Option<u32>,
    /// The position in the frame.
    pub offset: u32,
    pub(super) slot: u8,
    pub(super) found: [u8; 16],
    pub(super) found_len: u8,
}

impl DecodeError {
    pub(super) const NO_SLOT: u8 = u8::MAX;

    /// Adds the context and the text at the fault.
    #[cold]
    pub(super) fn complete(&mut self, context: Context, frame: &[u8]) {
        let rest = frame.get(self.offset as usize..).unwrap_or_default();
        let len = rest.len().min(self.found.len());
        self.found[..len].copy_from_slice(&rest[..len]);
        self.found_len = len as u8;
        (self.message, self.symbol, self.element) = (context.message, context.symbol, context.element);
        self.slot = context.slot;
    }

    /// Returns the name of the fault, for counters.
    pub const fn kind(&self) -> &'static str {
        self.fault.name()
    }

    /// Returns whether the message has a symbol that the rule does not split, so that it is none of the known ones. A text
    /// that does not begin with a letter or digit is rather a damage of the frame.
    pub fn names_other_symbol(&self) -> bool {
        let begins = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
        self.fault == Fault::UnknownSymbol && self.found().first().is_some_and(begins)
    }

    /// Returns the first bytes at the fault; none at the end of the frame.
    pub fn found(&self) -> &[u8] {
        &self.found[..usize::from(self.found_len)]
    }
}

impl From<Fail> for DecodeError {
    #[inline]
    fn from(Fail { at, fault }: Fail) -> Self {
        Self {
            fault,
            message: None,
            symbol: None,
            element: None,
            offset: at,
            slot: Self::NO_SLOT,
            found: [0; 16],
            found_len: 0,
        }
    }
}

impl std::error::Error for DecodeError {}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { fault, offset, .. } = self;
        if let Some(element) = self.element {
            write!(f, "element {element}: ")?;
        }
        write!(f, "{}: expected {} at byte {offset}, saw ", fault.name(), fault.expected())?;
        match self.found() {
            [] => f.write_str("the end of the frame"),
            found => write!(f, "`{}`", found.escape_ascii()),
        }
    }
}
