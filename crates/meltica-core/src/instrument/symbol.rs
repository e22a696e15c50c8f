//! The grammar of symbols and of route types.
//!
//! | kind | symbol |
//! |---|---|
//! | spot | `BASE-QUOTE` |
//! | perp | `BASE-QUOTE-PERP` |
//! | futures | `BASE-QUOTE-YYYYMMDD` |
//! | options | `BASE-QUOTE-YYYYMMDD-STRIKE`, then optionally `-C`, `-P`, `-CALL` or `-PUT` |
//!
//! Base and quote are 2 to 10 of A-Z and 0-9, the date is valid, and the strike is a positive decimal in plain
//! notation.

use std::fmt;

use super::{InstrumentError, InstrumentType, OptionType};
use crate::decimal::Decimal;

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

    /// Parses a day written `YYYYMMDD`.
    pub fn from_compact(text: &str) -> Option<Self> {
        if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Self::new(text[..4].parse().ok()?, text[4..6].parse().ok()?, text[6..].parse().ok()?)
    }

    /// Parses a day written `YYYY-MM-DD`.
    pub fn from_iso(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [_, _, _, _, b'-', _, _, b'-', _, _] => Self::from_compact(&text.replace('-', "")),
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

pub(super) const CURRENCY: &str = "2 to 10 of A-Z and 0-9";

fn all_upper_or_digit(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

pub(super) fn is_currency(text: &str) -> bool {
    (2..=10).contains(&text.len()) && all_upper_or_digit(text)
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

/// Parses a symbol.
///
/// # Errors
/// The first rule of the grammar that `text` breaks.
pub fn parse_symbol(text: &str) -> Result<ParsedSymbol<'_>, InstrumentError> {
    const SHAPE: &str =
        "BASE-QUOTE, BASE-QUOTE-PERP, BASE-QUOTE-YYYYMMDD or BASE-QUOTE-YYYYMMDD-STRIKE[-C|-P|-CALL|-PUT]";
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
    if third == "PERP" && fourth.is_none() {
        return Ok(ParsedSymbol { kind: InstrumentType::Perp, ..spot });
    }
    let Some(expiry) = Day::from_compact(third) else {
        return refuse(&format!("{SHAPE}, the third part PERP alone or a date of the calendar"));
    };
    let futures = ParsedSymbol { kind: InstrumentType::Futures, expiry: Some(expiry), ..spot };
    let Some(fourth) = fourth else { return Ok(futures) };
    let Some(strike) = strike(fourth) else {
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
    parse_symbol(symbol).ok().map(|parsed| (parsed.base, parsed.quote))
}

/// Returns the symbol of `text`, which is a symbol or ccxt's notation with a slash.
///
/// | ccxt | symbol |
/// |---|---|
/// | `BTC/USDT` | `BTC-USDT` |
/// | `BTC/USDT:USDT` | `BTC-USDT-PERP` |
/// | `BTC/USDT:USDT-241227` | `BTC-USDT-20241227` |
/// | `BTC/USDT:USDT-241227-60000-C` | `BTC-USDT-20241227-60000-C` |
///
/// A contract that does not settle in its quote is refused, because its symbol would be that of another contract.
///
/// # Errors
/// The rule that `text` breaks.
pub fn canonical_symbol(text: &str) -> Result<String, InstrumentError> {
    let refuse = |expected: &str| InstrumentError::new("symbol", expected, text);
    let Some((base, rest)) = text.split_once('/') else {
        return parse_symbol(text).map(|_| text.to_owned());
    };
    let (quote, contract) = rest.split_once(':').map_or((rest, None), |(quote, rest)| (quote, Some(rest)));
    if !is_currency(base) || !is_currency(quote) {
        return Err(refuse(&format!("BASE/QUOTE, both of {CURRENCY}")));
    }
    let pair = format!("{base}-{quote}");
    let Some(contract) = contract else { return Ok(pair) };
    let (settle, terms) =
        contract.split_once('-').map_or((contract, None), |(settle, terms)| (settle, Some(terms)));
    if settle != quote {
        return Err(refuse("a contract that settles in its quote, such as BTC/USDT:USDT"));
    }
    let Some(terms) = terms else { return Ok(format!("{pair}-PERP")) };
    let symbol = format!("{pair}-20{terms}");
    match parse_symbol(&symbol) {
        Ok(
            ParsedSymbol { kind: InstrumentType::Futures, .. } | ParsedSymbol { option_type: Some(_), .. },
        ) => Ok(symbol),
        _ => Err(refuse("BASE/QUOTE:SETTLE-YYMMDD or BASE/QUOTE:SETTLE-YYMMDD-STRIKE-C|P")),
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
