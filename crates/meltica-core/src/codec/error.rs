//! Why a frame was refused.

/// What sort of fault a frame has. Counted by [`Fault::name`].
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
    BadNumber,
    BadTime,
    BadId,
    BadText,
    BadEnum,
    BadBool,
    Overflow,
    UnknownSymbol,
    TooManySymbols,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 17] = [
        Self::Truncated,
        Self::Syntax,
        Self::TrailingBytes,
        Self::TooDeep,
        Self::TooLarge,
        Self::TooManyLevels,
        Self::DuplicateKey,
        Self::MissingField,
        Self::BadNumber,
        Self::BadTime,
        Self::BadId,
        Self::BadText,
        Self::BadEnum,
        Self::BadBool,
        Self::Overflow,
        Self::UnknownSymbol,
        Self::TooManySymbols,
    ];

    /// Returns the fault's name.
    pub const fn name(self) -> &'static str {
        self.texts().0
    }

    /// Returns what was expected where the fault was found.
    pub const fn expected(self) -> &'static str {
        self.texts().1
    }

    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Truncated => ("truncated", "the rest of the message"),
            Self::Syntax => ("syntax", "well-formed JSON"),
            Self::TrailingBytes => ("trailing_bytes", "nothing after the message"),
            Self::TooDeep => ("too_deep", "at most 64 nested values"),
            Self::TooLarge => ("too_large", "a frame of at most 4 MiB"),
            Self::TooManyLevels => ("too_many_levels", "at most 10000 levels a side"),
            Self::DuplicateKey => ("duplicate_key", "each key once"),
            Self::MissingField => ("missing_field", "a value in the message"),
            Self::BadNumber => ("bad_number", "a decimal number of the allowed sign"),
            Self::BadTime => ("bad_time", "a whole number that is a time"),
            Self::BadId => ("bad_id", "a whole number of 64 bits, or short text where the id is opaque"),
            Self::BadText => ("bad_text", "text of at most 39 bytes of UTF-8"),
            Self::BadEnum => ("bad_enum", "one of the declared names"),
            Self::BadBool => ("bad_bool", "true or false"),
            Self::Overflow => ("overflow", "numbers that fit the levels' common scale in 64 bits"),
            Self::UnknownSymbol => ("unknown_symbol", "a symbol that the symbol rule splits"),
            Self::TooManySymbols => ("too_many_symbols", "fewer distinct symbols"),
        }
    }
}

/// A fault and where it is: what travels inside the decoder.
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

    /// Truncated when `at` is the end of the frame, else syntax.
    #[cold]
    pub fn unexpected<T>(frame: &[u8], at: usize) -> Result<T, Self> {
        Self::new(if at >= frame.len() { Fault::Truncated } else { Fault::Syntax }, at)
    }
}

/// A refused frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// What sort of fault.
    pub fault: Fault,
    /// Index of the message in the declaration, once it was known.
    pub message: Option<u16>,
    /// Where in the frame.
    pub offset: u32,
    pub(super) slot: u8,
    pub(super) seen: [u8; 16],
    pub(super) seen_len: u8,
}

impl DecodeError {
    pub(super) const NO_SLOT: u8 = u8::MAX;

    /// Adds what the decoder knows of the frame.
    #[cold]
    pub(super) fn complete(&mut self, message: Option<u16>, slot: u8, frame: &[u8]) {
        let rest = frame.get(self.offset as usize..).unwrap_or_default();
        let len = rest.len().min(self.seen.len());
        self.seen[..len].copy_from_slice(&rest[..len]);
        (self.seen_len, self.message, self.slot) = (len as u8, message, slot);
    }

    /// Returns the fault's name, to count by.
    pub const fn kind(&self) -> &'static str {
        self.fault.name()
    }

    /// Returns the first bytes that stood there; none at the end of the frame.
    pub fn seen(&self) -> &[u8] {
        &self.seen[..usize::from(self.seen_len)]
    }
}

impl From<Fail> for DecodeError {
    #[inline]
    fn from(Fail { at, fault }: Fail) -> Self {
        Self { fault, message: None, offset: at, slot: Self::NO_SLOT, seen: [0; 16], seen_len: 0 }
    }
}

impl std::error::Error for DecodeError {}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { fault, offset, .. } = self;
        write!(f, "{}: expected {} at byte {offset}, seen ", fault.name(), fault.expected())?;
        match self.seen() {
            [] => f.write_str("the end of the frame"),
            seen => write!(f, "`{}`", seen.escape_ascii()),
        }
    }
}
