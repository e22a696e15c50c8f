//! The conversion of instruments.

use super::Reader;
use crate::codec::error::Fault;
use crate::codec::plan::{Conversion, Field};
use crate::codec::scan::Scan;
use crate::decimal::Decimal;
use crate::instrument::{Instrument, InstrumentType, parse_symbol};
use crate::names::SymbolId;

impl Reader<'_> {
    /// Converts the fields of an instrument, of which base, quote, kind and terms follow from the symbol.
    #[cold]
    pub(super) fn instrument(
        &mut self,
        venue: &str,
        symbol: SymbolId,
        fields: &[Option<Field>],
    ) -> Scan<Instrument> {
        let Ok(parsed) = parse_symbol(symbol.name()) else { return self.bad(Fault::BadInstrument) };
        let [
            price_increment,
            quantity_increment,
            min_quantity,
            max_quantity,
            min_notional,
            max_notional,
            price_precision,
            quantity_precision,
            contract_value,
            contract_multiplier,
            contract_currency,
            status,
        ] = fields
        else {
            return self.missing();
        };
        let price_increment = self.decimal(price_increment.as_ref())?;
        let quantity_increment = self.decimal(quantity_increment.as_ref())?;
        let value = self.decimal(contract_value.as_ref())?;
        let multiplier = self.decimal(contract_multiplier.as_ref())?;
        let contract_value = match value.zip(multiplier) {
            Some((value, multiplier)) => match value.checked_mul(multiplier) {
                Some(product) => Some(product.normalize()),
                None => return self.bad(Fault::BadInstrument),
            },
            None => value,
        };
        let contract_currency = self.short(contract_currency.as_ref())?;
        let has_contract = parsed.kind != InstrumentType::Spot && contract_value.is_some();
        let instrument = Instrument {
            symbol: symbol.name().to_owned(),
            kind: parsed.kind,
            base: parsed.base.to_owned(),
            quote: parsed.quote.to_owned(),
            venue: venue.to_owned(),
            expiry: parsed.expiry.map(|day| day.to_string()),
            contract_value: contract_value.filter(|_| has_contract),
            contract_currency: contract_currency
                .filter(|_| has_contract)
                .map(|currency| currency.as_str().to_ascii_uppercase()),
            strike: parsed.strike,
            option_type: parsed.option_type,
            price_increment,
            quantity_increment,
            min_quantity: self.decimal(min_quantity.as_ref())?,
            max_quantity: self.decimal(max_quantity.as_ref())?,
            min_notional: self.decimal(min_notional.as_ref())?,
            max_notional: self.decimal(max_notional.as_ref())?,
            price_precision: self.precision(price_precision.as_ref(), price_increment)?,
            quantity_precision: self.precision(quantity_precision.as_ref(), quantity_increment)?,
            notional_precision: None,
            halted: self.is_halted(status.as_ref())?,
        };
        if instrument.validate().is_ok() { Ok(instrument) } else { self.bad(Fault::BadInstrument) }
    }

    /// Returns the digits after the point: as declared, otherwise those of the increment.
    fn precision(&mut self, field: Option<&Field>, increment: Option<Decimal>) -> Scan<Option<u8>> {
        match self.decimal(field)? {
            Some(digits) => match digits.rescale(0).and_then(|digits| u8::try_from(digits.mantissa()).ok()) {
                Some(digits) => Ok(Some(digits)),
                None => self.bad(Fault::BadNumber),
            },
            None => Ok(increment.map(|increment| increment.normalize().scale())),
        }
    }

    /// Returns whether trading is halted. A status that is not declared halts it.
    fn is_halted(&mut self, field: Option<&Field>) -> Scan<bool> {
        let Some(Field { convert: Conversion::Status(statuses), .. }) = field else { return Ok(false) };
        let Some(text) = self.field(field, Fault::BadText)? else { return Ok(false) };
        let found = statuses.iter().find(|(name, _)| **name == *text);
        *self.unknown_enums += u64::from(found.is_none());
        Ok(found.is_none_or(|(_, halted)| *halted))
    }
}
