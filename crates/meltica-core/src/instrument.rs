//! Instruments: the listings of a venue and the rules for them.
//!
//! An instrument's texts are neither trimmed nor converted in case: a text that breaks a rule is refused.

use std::fmt;
use std::str::FromStr;

use crate::decimal::Decimal;

mod symbol;

use symbol::is_venue;
pub use symbol::{
    CURRENCY, Day, ParsedSymbol, base_and_quote, canonical_symbol, is_currency, is_symbol, parse_symbol,
    validate_route_type,
};

/// The kind of an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstrumentType {
    /// Base against quote, delivered immediately.
    Spot,
    /// A perpetual contract.
    Perp,
    /// A contract with a delivery date.
    Futures,
    /// A call or a put.
    Options,
}

impl InstrumentType {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Spot, Self::Perp, Self::Futures, Self::Options];

    /// Returns the name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Perp => "perp",
            Self::Futures => "futures",
            Self::Options => "options",
        }
    }
}

impl fmt::Display for InstrumentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for InstrumentType {
    type Err = InstrumentError;

    /// Parses a name in any case.
    fn from_str(text: &str) -> Result<Self, InstrumentError> {
        let found = Self::ALL.into_iter().find(|kind| text.eq_ignore_ascii_case(kind.name()));
        found.ok_or_else(|| InstrumentError::new("type", "spot, perp, futures or options", text))
    }
}

/// The right of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OptionType {
    /// The right to buy.
    Call,
    /// The right to sell.
    Put,
}

impl OptionType {
    /// Returns the name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Put => "put",
        }
    }

    fn from_marker(marker: &str) -> Option<Self> {
        match marker {
            "C" | "CALL" => Some(Self::Call),
            "P" | "PUT" => Some(Self::Put),
            _ => None,
        }
    }
}

impl fmt::Display for OptionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for OptionType {
    type Err = InstrumentError;

    /// Parses a name in any case.
    fn from_str(text: &str) -> Result<Self, InstrumentError> {
        let found = [Self::Call, Self::Put].into_iter().find(|kind| text.eq_ignore_ascii_case(kind.name()));
        found.ok_or_else(|| InstrumentError::new("option_type", "call or put", text))
    }
}

/// A rule that a symbol or an instrument breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, saw {found}")]
pub struct InstrumentError {
    /// The field that breaks the rule.
    pub field: &'static str,
    /// What the rule expects.
    pub expected: String,
    /// The value of the field: a quoted text, escaped and shortened, or `nothing`.
    pub found: String,
}

impl InstrumentError {
    fn new(field: &'static str, expected: impl Into<String>, found: &str) -> Self {
        const MOST: usize = 40;
        let mut excerpt: String = found.escape_debug().take(MOST).collect();
        if found.escape_debug().nth(MOST).is_some() {
            excerpt.push_str("..");
        }
        Self { field, expected: expected.into(), found: format!("\"{excerpt}\"") }
    }

    fn absent(field: &'static str, expected: impl Into<String>) -> Self {
        Self { field, expected: expected.into(), found: "nothing".into() }
    }
}

/// Every rule that an instrument breaks, in the order of the checks; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstrumentErrors(pub Vec<InstrumentError>);

impl fmt::Display for InstrumentErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for InstrumentErrors {}

/// An instrument as a venue lists it, with its increments and limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Instrument {
    /// The canonical symbol.
    pub symbol: String,
    /// The kind.
    pub kind: InstrumentType,
    /// The base currency.
    pub base: String,
    /// The quote currency.
    pub quote: String,
    /// The venue's name, in upper case.
    pub venue: String,
    /// The last day of futures and options, `YYYY-MM-DD`.
    pub expiry: Option<String>,
    /// The value of one contract.
    pub contract_value: Option<Decimal>,
    /// The currency of [`Self::contract_value`].
    pub contract_currency: Option<String>,
    /// The strike of options.
    pub strike: Option<Decimal>,
    /// The right of an option.
    pub option_type: Option<OptionType>,
    /// The tick size.
    pub price_increment: Option<Decimal>,
    /// The lot size.
    pub quantity_increment: Option<Decimal>,
    /// The minimum quantity of an order.
    pub min_quantity: Option<Decimal>,
    /// The maximum quantity of an order.
    pub max_quantity: Option<Decimal>,
    /// The minimum price times quantity of an order.
    pub min_notional: Option<Decimal>,
    /// The maximum price times quantity of an order.
    pub max_notional: Option<Decimal>,
    /// Digits after the point of a price.
    pub price_precision: Option<u8>,
    /// Digits after the point of a quantity.
    pub quantity_precision: Option<u8>,
    /// Digits after the point of a notional.
    pub notional_precision: Option<u8>,
    /// Whether the venue has halted trading in it.
    pub halted: bool,
}

impl Instrument {
    /// Maximum precision in digits after the point.
    pub const MAX_PRECISION: u8 = 18;

    /// Checks every rule: the symbol, its agreement with the kind, base and quote, their agreement with the symbol, the
    /// venue, the expiry, the contract, the option and the trading constraints.
    ///
    /// # Errors
    /// All broken rules, in that order. Comparisons with the symbol are made only if the symbol is valid.
    pub fn validate(&self) -> Result<(), InstrumentErrors> {
        let mut errors = Vec::new();
        let symbol = parse_symbol(&self.symbol).map_err(|error| errors.push(error)).ok();
        if let Some(symbol) = symbol.filter(|symbol| symbol.kind != self.kind) {
            let expected = format!("the symbol of {}, not of {}", self.kind, symbol.kind);
            errors.push(InstrumentError::new("symbol", expected, &self.symbol));
        }
        let currencies = [("base", &self.base), ("quote", &self.quote)];
        for (field, currency) in currencies {
            if !is_currency(currency) {
                errors.push(InstrumentError::new(field, CURRENCY, currency));
            }
        }
        if let Some(symbol) = symbol {
            for ((field, currency), segment) in currencies.into_iter().zip([symbol.base, symbol.quote]) {
                if currency != segment {
                    errors.push(InstrumentError::new(
                        field,
                        format!("{segment}, as in the symbol"),
                        currency,
                    ));
                }
            }
        }
        if !is_venue(&self.venue) {
            errors.push(InstrumentError::new("venue", "2 to 20 of A-Z, 0-9 and _", &self.venue));
        }
        self.check_expiry(symbol.and_then(|symbol| symbol.expiry), &mut errors);
        self.check_contract(&mut errors);
        self.check_options(symbol, &mut errors);
        self.check_constraints(&mut errors);
        if errors.is_empty() { Ok(()) } else { Err(InstrumentErrors(errors)) }
    }

    /// Adds an error if the field has a value that the kind does not allow.
    fn forbid<T: fmt::Display>(
        &self,
        field: &'static str,
        value: Option<T>,
        errors: &mut Vec<InstrumentError>,
    ) {
        if let Some(value) = value {
            errors.push(InstrumentError::new(
                field,
                format!("nothing for {}", self.kind),
                &value.to_string(),
            ));
        }
    }

    fn check_expiry(&self, in_symbol: Option<Day>, errors: &mut Vec<InstrumentError>) {
        const FORM: &str = "a date of the calendar as YYYY-MM-DD";
        if matches!(self.kind, InstrumentType::Spot | InstrumentType::Perp) {
            return self.forbid("expiry", self.expiry.as_ref(), errors);
        }
        let Some(text) = &self.expiry else {
            return errors.push(InstrumentError::absent("expiry", FORM));
        };
        match (Day::from_iso(text), in_symbol) {
            (None, _) => errors.push(InstrumentError::new("expiry", FORM, text)),
            (Some(day), Some(expected)) if day != expected => {
                errors.push(InstrumentError::new("expiry", format!("{expected}, as in the symbol"), text));
            }
            _ => {}
        }
    }

    fn check_contract(&self, errors: &mut Vec<InstrumentError>) {
        if self.kind == InstrumentType::Spot {
            self.forbid("contract_value", self.contract_value, errors);
            return self.forbid("contract_currency", self.contract_currency.as_ref(), errors);
        }
        match self.contract_value {
            Some(_) => positive("contract_value", self.contract_value, errors),
            None if self.contract_currency.is_some() => {
                errors.push(InstrumentError::absent("contract_value", "a value beside contract_currency"));
            }
            None => {}
        }
        match &self.contract_currency {
            Some(currency) if !is_currency(currency) => {
                errors.push(InstrumentError::new("contract_currency", CURRENCY, currency));
            }
            None if self.contract_value.is_some() => {
                errors.push(InstrumentError::absent("contract_currency", "a currency beside contract_value"));
            }
            _ => {}
        }
    }

    fn check_options(&self, symbol: Option<ParsedSymbol<'_>>, errors: &mut Vec<InstrumentError>) {
        if self.kind != InstrumentType::Options {
            self.forbid("strike", self.strike, errors);
            return self.forbid("option_type", self.option_type, errors);
        }
        positive("strike", self.strike, errors);
        match (self.strike, symbol.and_then(|symbol| symbol.strike)) {
            (None, _) => errors.push(InstrumentError::absent("strike", "a value above zero")),
            (Some(strike), Some(expected)) if strike != expected => {
                let found = strike.to_string();
                errors.push(InstrumentError::new("strike", format!("{expected}, as in the symbol"), &found));
            }
            _ => {}
        }
        match (self.option_type, symbol.and_then(|symbol| symbol.option_type)) {
            (None, _) => errors.push(InstrumentError::absent("option_type", "call or put")),
            (Some(option_type), Some(expected)) if option_type != expected => {
                let expected = format!("{expected}, as in the symbol");
                errors.push(InstrumentError::new("option_type", expected, option_type.name()));
            }
            _ => {}
        }
    }

    fn check_constraints(&self, errors: &mut Vec<InstrumentError>) {
        positive("price_increment", self.price_increment, errors);
        positive("quantity_increment", self.quantity_increment, errors);
        positive("min_quantity", self.min_quantity, errors);
        positive("max_quantity", self.max_quantity, errors);
        positive("min_notional", self.min_notional, errors);
        positive("max_notional", self.max_notional, errors);
        if let (Some(min), Some(max)) = (self.min_quantity, self.max_quantity)
            && max < min
        {
            let expected = format!("min_quantity, {min}, or more");
            errors.push(InstrumentError::new("max_quantity", expected, &max.to_string()));
        }
        for (field, precision) in [
            ("price_precision", self.price_precision),
            ("quantity_precision", self.quantity_precision),
            ("notional_precision", self.notional_precision),
        ] {
            if let Some(precision) = precision.filter(|&precision| precision > Self::MAX_PRECISION) {
                let expected = format!("0 to {}", Self::MAX_PRECISION);
                errors.push(InstrumentError::new(field, expected, &precision.to_string()));
            }
        }
    }
}

/// Adds an error if the value is present and not above zero.
fn positive(field: &'static str, value: Option<Decimal>, errors: &mut Vec<InstrumentError>) {
    if let Some(value) = value.filter(|value| value.is_negative() || value.is_zero()) {
        errors.push(InstrumentError::new(field, "a value above zero", &value.to_string()));
    }
}

#[cfg(test)]
pub(crate) mod tests;
