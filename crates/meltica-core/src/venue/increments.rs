//! Tick size, lot size, scales and limits of an instrument, as integers.

use crate::decimal::Decimal;
use crate::instrument::{Instrument, InstrumentError, InstrumentErrors, InstrumentType};

/// Scales, increments and limits of one instrument.
///
/// Inside the engine, a price or quantity is the mantissa of a decimal on its scale. The scale of a notional is the sum
/// of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstrumentRules {
    /// Digits after the point of a price.
    pub price_scale: u8,
    /// Digits after the point of a quantity.
    pub quantity_scale: u8,
    /// Prices are multiples of this.
    pub tick_size: i64,
    /// Quantities are multiples of this.
    pub lot_size: i64,
    /// Minimum quantity of an order.
    pub min_quantity: i64,
    /// Maximum quantity of an order.
    pub max_quantity: i64,
    /// Minimum notional (price times quantity) of an order.
    pub min_notional: i128,
}

impl InstrumentRules {
    /// Digits after the point where the instrument has neither increment nor precision.
    pub const DEFAULT_SCALE: u8 = 8;

    /// Returns the rules of a spot instrument. Missing limits default to the `i64` limits, missing scales to
    /// [`Self::DEFAULT_SCALE`].
    ///
    /// # Errors
    /// All faults of the instrument, or all of its numbers that the engine cannot represent.
    pub fn new(instrument: &Instrument) -> Result<Self, InstrumentErrors> {
        instrument.validate()?;
        let mut faults = Vec::new();
        if instrument.kind != InstrumentType::Spot {
            faults.push(fault("type", "spot", instrument.kind));
        }
        let i = instrument;
        let (price_scale, tick_size) =
            increment("price_increment", i.price_increment, i.price_precision, &mut faults);
        let (quantity_scale, lot_size) =
            increment("quantity_increment", i.quantity_increment, i.quantity_precision, &mut faults);
        let notional_scale = price_scale + quantity_scale;
        if notional_scale > Decimal::MAX_SCALE {
            let expected = format!("at most {} together with those of a quantity", Decimal::MAX_SCALE);
            faults.push(fault("digits of a price", expected, price_scale));
            return Err(InstrumentErrors(faults));
        }
        let lot = Decimal::new(i128::from(lot_size), quantity_scale);
        let unit = Decimal::new(1, notional_scale);
        let mut limit = |field, value: Option<Decimal>, step: Option<Decimal>, up, absent: i128| {
            let Some(value) = value else { return absent };
            let rounded = step.and_then(|step| value.round_to_increment(step, up)?.rescale(step.scale()));
            rounded.map_or_else(
                || {
                    faults.push(fault(field, "a number that fits the increments' digits", value));
                    absent
                },
                Decimal::mantissa,
            )
        };
        let min_quantity = limit("min_quantity", i.min_quantity, lot, true, 1);
        let max_quantity = limit("max_quantity", i.max_quantity, lot, false, i128::from(i64::MAX));
        let min_notional = limit("min_notional", i.min_notional, unit, true, 0);
        // Quantities beyond 64 bits are refused in any case.
        let max_quantity = i64::try_from(max_quantity).unwrap_or(i64::MAX);
        let min_quantity = i64::try_from(min_quantity).unwrap_or_else(|_| {
            let expected = "a number of 64 bits";
            faults.push(fault("min_quantity", expected, i.min_quantity.unwrap_or(Decimal::ZERO)));
            1
        });
        if min_quantity > max_quantity && faults.is_empty() {
            let expected = "min_quantity or more in whole lots".to_owned();
            faults.push(fault("max_quantity", expected, i.max_quantity.unwrap_or(Decimal::ZERO)));
        }
        if faults.is_empty() {
            Ok(Self {
                price_scale,
                quantity_scale,
                tick_size,
                lot_size,
                min_quantity,
                max_quantity,
                min_notional,
            })
        } else {
            Err(InstrumentErrors(faults))
        }
    }

    /// Returns a price as a decimal.
    pub fn price(&self, price: i64) -> Decimal {
        exact(i128::from(price), self.price_scale)
    }

    /// Returns a quantity as a decimal.
    pub fn quantity(&self, quantity: i64) -> Decimal {
        exact(i128::from(quantity), self.quantity_scale)
    }

    /// Returns a notional as a decimal.
    pub fn notional(&self, notional: i128) -> Decimal {
        exact(notional, self.price_scale + self.quantity_scale)
    }
}

/// Returns a decimal whose scale is within the rules' limits.
pub(super) fn exact(mantissa: i128, scale: u8) -> Decimal {
    Decimal::new(mantissa, scale).expect("Invariant: scales are at most Decimal::MAX_SCALE")
}

fn fault(field: &'static str, expected: impl Into<String>, found: impl std::fmt::Display) -> InstrumentError {
    InstrumentError { field, expected: expected.into(), found: format!("\"{found}\"") }
}

/// Returns the scale and the mantissa of an increment.
fn increment(
    field: &'static str,
    increment: Option<Decimal>,
    precision: Option<u8>,
    faults: &mut Vec<InstrumentError>,
) -> (u8, i64) {
    let Some(increment) = increment else { return (precision.unwrap_or(InstrumentRules::DEFAULT_SCALE), 1) };
    let scale = increment.scale().max(precision.unwrap_or(0));
    let size = increment.rescale(scale).and_then(|increment| i64::try_from(increment.mantissa()).ok());
    if size.is_none() {
        faults.push(fault(
            field,
            format!("a number of 64 bits with {scale} digits after the point"),
            increment,
        ));
    }
    (scale, size.unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instrument::tests::listed;

    fn instrument() -> Instrument {
        listed("BTC-USDT")
    }

    fn some(text: &str) -> Option<Decimal> {
        text.parse().ok()
    }

    #[test]
    fn defaults_are_64_bits_and_eight_digits() {
        let rules = InstrumentRules::new(&instrument()).expect("it fits");
        assert_eq!((rules.price_scale, rules.quantity_scale, rules.tick_size, rules.lot_size), (8, 8, 1, 1));
        assert_eq!((rules.min_quantity, rules.max_quantity, rules.min_notional), (1, i64::MAX, 0));
    }

    #[test]
    fn limits_are_rounded_to_increments() {
        let rules = InstrumentRules::new(&Instrument {
            price_increment: some("0.50"),
            price_precision: Some(3),
            quantity_increment: some("0.0002"),
            min_quantity: some("0.00011"),
            max_quantity: some("1000.0003"),
            min_notional: some("10.00000001"),
            ..instrument()
        });
        let expected = InstrumentRules {
            price_scale: 3,
            quantity_scale: 4,
            tick_size: 500,
            lot_size: 2,
            min_quantity: 2,
            max_quantity: 10_000_002,
            min_notional: 100_000_001,
        };
        assert_eq!(rules.expect("it fits"), expected);
        assert_eq!(expected.notional(100_000_001).to_string(), "10.0000001");
    }

    #[test]
    fn all_faults_are_listed() {
        let text =
            |instrument: &Instrument| InstrumentRules::new(instrument).expect_err("refused").to_string();
        let perp = Instrument { symbol: "BTC-USDT-PERP".into(), kind: InstrumentType::Perp, ..instrument() };
        assert_eq!(text(&perp), "type: expected spot, saw \"perp\"");
        let fine = Instrument { price_precision: Some(18), quantity_precision: Some(18), ..instrument() };
        assert!(text(&fine).contains("expected at most 28 together"));
        let coarse = Instrument {
            quantity_increment: some("1000"),
            price_increment: some("99999999999999999999"),
            min_quantity: some("1"),
            max_quantity: some("999"),
            ..instrument()
        };
        let faults = text(&coarse);
        assert!(faults.contains("price_increment: expected a number of 64 bits"), "{faults}");
        let narrow = Instrument { price_increment: None, ..coarse };
        assert_eq!(text(&narrow), "max_quantity: expected min_quantity or more in whole lots, saw \"999\"");
        let huge = Instrument { min_quantity: some("92233720368.54775808"), ..instrument() };
        assert_eq!(text(&huge), "min_quantity: expected a number of 64 bits, saw \"92233720368.54775808\"");
        let zero = Instrument { quantity_increment: some("0"), max_quantity: some("-1"), ..instrument() };
        assert_eq!(text(&zero).matches("expected a value above zero").count(), 2);
    }
}
