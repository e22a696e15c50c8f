//! The grammar of symbols and of route types.
//!
//! A symbol has 2 to 6 parts joined by dashes. The first two are the currencies, base and quote; the others are the terms
//! of a contract. A part is 1 to 20 letters or digits: A-Z, 0-9, or letters beyond ASCII. A term may also be a number with
//! a point.
//!
//! | kind | symbol |
//! |---|---|
//! | spot | `BASE-QUOTE` |
//! | perp | `BASE-QUOTE-PERP` or `BASE-QUOTE-SWAP` |
//! | futures | `BASE-QUOTE-YYYYMMDD` or `BASE-QUOTE-YYMMDD` |
//! | options | a symbol of futures, `-STRIKE`, then optionally `-C`, `-P`, `-CALL` or `-PUT` |
//!
//! # Letters
//! Only a to z are folded to upper case. A letter beyond ASCII is any character that Unicode calls alphabetic, except four
//! that are invisible. It is kept as the venue writes it: neither folded nor normalised, so two texts with different code
//! points are two symbols.

use std::borrow::Cow;
use std::fmt;

use super::{InstrumentError, InstrumentType, OptionType};
use crate::decimal::Decimal;
use crate::names::MAX_BYTES;

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    /// The year, from 1 to 9999.
    pub year: u16,
    /// The month, from 1 to 12.
    pub month: u8,
    /// The day of the month, from 1.
    pub day: u8,
}

impl Day {
    /// Returns the day, or `None` if the calendar does not have it.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let last = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u8::from(leap),
            _ => return None,
        };
        ((1..=9999).contains(&year) && (1..=last).contains(&day)).then_some(Self { year, month, day })
    }

    /// Parses a day written `YYYYMMDD`, or `YYMMDD` in the years from 2000 to 2099.
    pub fn from_compact(text: &str) -> Option<Self> {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (century, year, rest) = match text.len() {
            8 => (0, &text[..4], &text[4..]),
            6 => (2000, &text[..2], &text[2..]),
            _ => return None,
        };
        Self::new(century + year.parse::<u16>().ok()?, rest[..2].parse().ok()?, rest[2..].parse().ok()?)
    }

    /// Parses a day written `YYYY-MM-DD`.
    pub fn from_iso(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [_, _, _, _, b'-', _, _, b'-', _, _] => Some(text.replace('-', ""))
                .filter(|day| day.len() == 8)
                .and_then(|day| Self::from_compact(&day)),
            _ => None,
        }
    }
}

impl fmt::Display for Day {
    /// Writes `YYYY-MM-DD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// The parts of a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedSymbol<'a> {
    /// The kind of instrument.
    pub kind: InstrumentType,
    /// The first currency.
    pub base: &'a str,
    /// The second currency.
    pub quote: &'a str,
    /// The date of futures and options.
    pub expiry: Option<Day>,
    /// The strike of options.
    pub strike: Option<Decimal>,
    /// The right of an option, if its symbol has one.
    pub option_type: Option<OptionType>,
}

/// The form of a currency, for messages.
pub const CURRENCY: &str = "1 to 20 letters or digits";

/// The longest part of a symbol, in characters.
const MAX_PART: usize = 20;

fn all_upper_or_digit(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn is_letter_or_digit(c: char) -> bool {
    /// Alphabetic characters that are invisible: the fillers of Hangul.
    const INVISIBLE: [char; 4] = ['\u{115F}', '\u{1160}', '\u{3164}', '\u{FFA0}'];
    if c.is_ascii() {
        return c.is_ascii_uppercase() || c.is_ascii_digit();
    }
    c.is_alphabetic() && !INVISIBLE.contains(&c)
}

/// Returns whether `text` is a currency: 1 to 20 letters or digits, a part of a symbol.
pub fn is_currency(text: &str) -> bool {
    // A letter is at most four bytes, so a longer text is refused without a look at each of its characters.
    !text.is_empty()
        && text.len() <= 4 * MAX_PART
        && (text.len() <= MAX_PART || text.chars().count() <= MAX_PART)
        && text.chars().all(is_letter_or_digit)
}

/// Returns whether `text` is a part of a symbol after its currencies, which may be a strike with a point.
fn is_term(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_currency(text)
        || text.len() <= MAX_PART
            && text.split_once('.').is_some_and(|(whole, part)| digits(whole) && digits(part))
}

/// Returns whether `text` is a symbol in its canonical form: 2 to 6 parts joined by dashes.
pub fn is_symbol(text: &str) -> bool {
    /// The most parts of a symbol.
    const MAX_PARTS: usize = 6;
    let mut count = 0;
    let valid = text.len() <= MAX_BYTES
        && text.split('-').all(|part| {
            count += 1;
            count <= MAX_PARTS && if count > 2 { is_term(part) } else { is_currency(part) }
        });
    valid && count >= 2
}

pub(super) fn is_venue(text: &str) -> bool {
    (2..=20).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Parses a strike: digits and optionally a point, without sign or exponent, above zero.
fn strike(text: &str) -> Option<Decimal> {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    Decimal::parse(text.as_bytes()).ok().filter(|strike| !strike.is_zero())
}

/// Parses the symbol of an instrument, whose kind follows from its form.
///
/// # Errors
/// The first rule that `text` breaks.
pub fn parse_symbol(text: &str) -> Result<ParsedSymbol<'_>, InstrumentError> {
    const SHAPE: &str =
        "BASE-QUOTE, BASE-QUOTE-PERP, BASE-QUOTE-DATE or BASE-QUOTE-DATE-STRIKE[-C|-P|-CALL|-PUT]";
    let refuse = |expected: &str| Err(InstrumentError::new("symbol", expected, text));
    let mut segments = text.split('-');
    let (Some(base), Some(quote)) = (segments.next(), segments.next()) else { return refuse(SHAPE) };
    if !is_currency(base) || !is_currency(quote) {
        return refuse(&format!("{SHAPE}, base and quote of {CURRENCY}"));
    }
    let spot = ParsedSymbol {
        kind: InstrumentType::Spot,
        base,
        quote,
        expiry: None,
        strike: None,
        option_type: None,
    };
    let Some(third) = segments.next() else { return Ok(spot) };
    let fourth = segments.next();
    if matches!(third, "PERP" | "SWAP") && fourth.is_none() {
        return Ok(ParsedSymbol { kind: InstrumentType::Perp, ..spot });
    }
    let Some(expiry) = Day::from_compact(third) else {
        return refuse(&format!("{SHAPE}, the third part PERP or SWAP alone, or a date, YYYYMMDD or YYMMDD"));
    };
    let futures = ParsedSymbol { kind: InstrumentType::Futures, expiry: Some(expiry), ..spot };
    let Some(fourth) = fourth else { return Ok(futures) };
    let Some(strike) = strike(fourth).filter(|_| is_term(fourth)) else {
        return refuse(&format!("{SHAPE}, the strike a positive decimal in plain notation"));
    };
    let options = ParsedSymbol { kind: InstrumentType::Options, strike: Some(strike), ..futures };
    let Some(marker) = segments.next() else { return Ok(options) };
    match (OptionType::from_marker(marker), segments.next()) {
        (Some(option_type), None) => Ok(ParsedSymbol { option_type: Some(option_type), ..options }),
        _ => refuse(SHAPE),
    }
}

/// Returns the base and the quote of a symbol, or `None` if `text` is not a symbol.
pub fn base_and_quote(symbol: &str) -> Option<(&str, &str)> {
    let mut parts = symbol.split('-');
    parts.next().zip(parts.next()).filter(|_| is_symbol(symbol))
}

/// Returns the canonical form of `text`, a symbol in any case, with dashes or slashes or in ccxt's notation.
///
/// | text | symbol |
/// |---|---|
/// | `btc-usdt`, `BTC/USDT` | `BTC-USDT` |
/// | `BTC/USDT:USDT` | `BTC-USDT-PERP` |
/// | `BTC/USDT:USDT-241227` | `BTC-USDT-20241227` |
/// | `BTC/USDT:USDT-241227-60000-C` | `BTC-USDT-20241227-60000-C` |
///
/// A contract of ccxt that does not settle in its quote is refused, because its symbol would be that of another contract.
/// White space is refused, also around the text.
///
/// # Errors
/// The rule that `text` breaks.
pub fn canonical_symbol(text: &str) -> Result<Cow<'_, str>, InstrumentError> {
    if is_symbol(text) {
        return Ok(Cow::Borrowed(text));
    }
    let refuse = |expected: &str| Err(InstrumentError::new("symbol", expected, text));
    if text.len() > MAX_BYTES {
        return refuse(&format!("a symbol of at most {MAX_BYTES} bytes"));
    }
    let upper = text.to_ascii_uppercase();
    let Some((pair, contract)) = upper.split_once(':') else {
        let symbol = upper.replace('/', "-");
        if is_symbol(&symbol) {
            return Ok(Cow::Owned(symbol));
        }
        return refuse(&format!("a symbol such as BTC-USDT or BTC/USDT: 2 to 6 parts of {CURRENCY}"));
    };
    let (settle, terms) =
        contract.split_once('-').map_or((contract, None), |(settle, terms)| (settle, Some(terms)));
    let Some((base, quote)) = pair
        .split_once('/')
        .filter(|(base, quote)| is_currency(base) && is_currency(quote) && *quote == settle)
    else {
        return refuse("a contract that settles in its quote, such as BTC/USDT:USDT");
    };
    let symbol = match terms {
        None => format!("{base}-{quote}-PERP"),
        // A day of ccxt has six digits, so the symbol's has eight.
        Some(terms) => match terms.split('-').next() {
            Some(day) if day.len() == 6 => format!("{base}-{quote}-20{terms}"),
            _ => String::new(),
        },
    };
    match parse_symbol(&symbol) {
        Ok(parsed) if parsed.kind != InstrumentType::Options || parsed.option_type.is_some() => {
            Ok(Cow::Owned(symbol))
        }
        _ => refuse("BASE/QUOTE:SETTLE-YYMMDD or BASE/QUOTE:SETTLE-YYMMDD-STRIKE-C|P"),
    }
}

/// Checks a route type: non-empty parts of A-Z and 0-9, joined by points.
///
/// # Errors
/// The expected form and the text.
pub fn validate_route_type(text: &str) -> Result<(), InstrumentError> {
    if text.split('.').all(|part| !part.is_empty() && all_upper_or_digit(part)) {
        return Ok(());
    }
    Err(InstrumentError::new(
        "route type",
        "parts of A-Z and 0-9 joined by points, such as KLINE.SUMMARY",
        text,
    ))
}
