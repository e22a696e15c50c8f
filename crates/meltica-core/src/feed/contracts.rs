//! Quantities of venues that count derivatives in contracts.
//!
//! Quantities leave the feed in base: contracts times the value of one, which the instrument list has, exactly. What the
//! feed keeps stays in contracts, as checksums cover the venue's digits. Without a size, messages are refused. So are those
//! of contracts whose value is not in base (inverse ones), as the quantity in base is then not exact.
//!
//! When the list changes the size, nothing shows which messages are in old contracts. So all market data of the symbol is
//! stale, and its books wait for snapshots.

use super::books::Books;
use super::events::BookEvents;
use super::kept::KeptTickers;
use crate::book::BookAssembler;
use crate::decimal::Decimal;
use crate::dispatch::NotDispatched;
use crate::event::{Book, Payload, StaleReason};
use crate::instrument::Instrument;
use crate::names::SymbolId;
use foldhash::fast::RandomState;
use std::collections::{HashMap, HashSet};

/// The unit of the quantities of a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Base,
    /// Contracts of this size in base.
    Contract(Decimal),
    /// Contracts that the instrument list does not have, or without their value.
    Unknown,
    /// Contracts whose value is not in base.
    Inverse,
}

/// The kind and the text of a fault.
pub(super) type Refusal = (&'static str, String);

/// The contracts of a provider.
#[derive(Default)]
pub(super) struct Contracts {
    /// The units of listed instruments, if their quantities are contracts.
    listed: HashMap<SymbolId, Unit, RandomState>,
    /// The symbols whose quantities are contracts.
    counted: HashSet<SymbolId, RandomState>,
}

impl Contracts {
    /// Takes the contract of an instrument. Returns whether it has another size than that of the published quantities.
    pub fn list(&mut self, symbol: SymbolId, instrument: &Instrument) -> bool {
        let unit = match (instrument.contract_value, &instrument.contract_currency) {
            (Some(value), Some(currency)) if *currency == instrument.base => {
                Unit::Contract(value.normalize())
            }
            (Some(_), Some(_)) => Unit::Inverse,
            _ => Unit::Unknown,
        };
        let before = self.listed.insert(symbol, unit).filter(|_| self.counted.contains(&symbol));
        matches!(before, Some(Unit::Contract(_))) && before != Some(unit)
    }

    /// Notes that the quantities of a symbol are contracts, unless it is a pair. Returns their unit.
    pub fn count(&mut self, symbol: SymbolId) -> Unit {
        if symbol.name().matches('-').count() > 1 {
            self.counted.insert(symbol);
        }
        self.unit(symbol)
    }

    /// Returns the unit of a symbol's quantities.
    pub fn unit(&self, symbol: SymbolId) -> Unit {
        if !self.counted.contains(&symbol) {
            return Unit::Base;
        }
        self.listed.get(&symbol).copied().unwrap_or(Unit::Unknown)
    }
}

impl Unit {
    /// Returns why quantities of the symbol cannot be converted to base; `None` if they can.
    pub fn refusal(self, symbol: SymbolId) -> Option<Refusal> {
        let symbol = symbol.name();
        match self {
            Self::Base | Self::Contract(_) => None,
            Self::Unknown => Some((
                "unknown_contract_size",
                format!("quantities of {symbol} are contracts, and no instrument list has the value of one"),
            )),
            Self::Inverse => Some((
                "inverse_contract",
                format!("quantities of {symbol} are contracts worth an amount that is not in its base"),
            )),
        }
    }

    /// Converts the quantities of an event to base.
    ///
    /// # Errors
    /// The fault, if they cannot be converted.
    pub fn convert(self, symbol: SymbolId, payload: &mut Payload) -> Result<(), Refusal> {
        let size = match (self, &mut *payload) {
            (Self::Base, _) => return Ok(()),
            (Self::Contract(size), _) => size,
            // It is what makes the size known.
            (_, Payload::Instrument(instrument)) => {
                (instrument.quantity_increment, instrument.quantity_precision) = (None, None);
                (instrument.min_quantity, instrument.max_quantity) = (None, None);
                return Ok(());
            }
            _ => return self.refusal(symbol).map_or(Ok(()), Err),
        };
        let mut fits = true;
        let mut multiply = |quantity: &mut Decimal| match quantity.checked_mul(size) {
            Some(product) => *quantity = product,
            None => fits = false,
        };
        match payload {
            Payload::Trade(trade) => multiply(&mut trade.quantity),
            Payload::Ticker(ticker) => {
                let quantities = [&mut ticker.bid_quantity, &mut ticker.ask_quantity, &mut ticker.volume_24h];
                quantities.into_iter().flatten().for_each(multiply);
            }
            Payload::Kline(candle) => multiply(&mut candle.volume),
            Payload::Instrument(instrument) => {
                let Instrument { quantity_increment, min_quantity, max_quantity, .. } = &mut **instrument;
                [quantity_increment, min_quantity, max_quantity].into_iter().flatten().for_each(multiply);
                let increment = instrument.quantity_increment;
                instrument.quantity_precision = increment.map(|increment| increment.normalize().scale());
            }
            _ => {}
        }
        let text = || format!("a quantity of {} in base does not fit a decimal", symbol.name());
        if fits { Ok(()) } else { Err(("overflow", text())) }
    }
}

/// Ends the market data of a symbol in contracts of another size.
#[cold]
pub(super) fn end_size(
    books: [&mut Books; 2],
    kept: &mut KeptTickers,
    to: &mut BookEvents<'_>,
) -> Result<u32, NotDispatched> {
    for books in books {
        if let Some(books) = books.get_mut(&to.symbol) {
            books.invalidate_all();
        }
    }
    kept.forget(None, Some(to.symbol));
    to.stale(StaleReason::ContractSize)
}

/// The size of a contract, as the factor of a book's quantities.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor {
    mantissa: i64,
    scale: u8,
}

impl Factor {
    /// Returns the factor of a book in contracts of a size; `None` if a quantity in base does not fit.
    pub fn new(book: &BookAssembler, size: Decimal) -> Option<Self> {
        let (mantissa, scale) = (i64::try_from(size.mantissa()).ok()?, size.scale());
        let fits = book.quantity_scale() + scale <= Decimal::MAX_SCALE
            && (mantissa == 1 || book.largest_quantity().checked_mul(mantissa).is_some());
        fits.then_some(Self { mantissa, scale })
    }

    /// Converts quantities of contracts to base.
    pub fn apply(self, book: &mut Book) {
        book.quantity_scale += self.scale;
        for level in book.bids.iter_mut().chain(&mut book.asks) {
            level.quantity *= self.mantissa;
        }
    }
}
