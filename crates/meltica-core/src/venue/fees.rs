//! Exact fees.
//!
//! The fees of one order add up to its exact fee, rounded up once to the asset's smallest unit, independent of the
//! number of fills. The excess that rounding charged in one fill is kept as `carry` and credited to the next fill. So
//! the fee that an open order may still owe is known exactly, and its reservation is always sufficient.

use super::ledger::{AssetId, Ledger};
use crate::decimal::Decimal;
use crate::event::Side;

/// The asset in which fees are charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FeeAsset {
    /// Quote, from buyer and seller; the buyer pays the fee on top.
    #[default]
    Quote,
    /// Base, from buyer and seller; the seller pays the fee on top.
    Base,
    /// The received asset: base from the buyer, quote from the seller.
    Received,
    /// Another asset. [`FeeAsset::Received`] in a trade for which the account has too little of it.
    Other(OtherAsset),
}

/// An asset that an instrument does not trade, and its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherAsset {
    pub(super) asset: AssetId,
    /// Smallest units of the asset per smallest unit of quote, as a fraction.
    rate: (i128, i128),
}

impl OtherAsset {
    /// Returns `asset` at a price in `quote`; `None` for a price that is not above 0 or does not fit.
    pub fn new(ledger: &Ledger, asset: AssetId, quote: AssetId, price: Decimal) -> Option<Self> {
        let digits = ledger.scale(asset).checked_add(price.scale())?;
        let (more, less) =
            (digits.saturating_sub(ledger.scale(quote)), ledger.scale(quote).saturating_sub(digits));
        let power = |digits: u8| 10i128.checked_pow(u32::from(digits));
        let rate = (power(more)?, price.mantissa().checked_mul(power(less)?)?);
        (rate.1 > 0).then_some(Self { asset, rate })
    }

    /// Returns the value of an amount of quote, rounded up.
    pub(super) fn value(&self, quote: i128) -> Option<i128> {
        let value = (quote.checked_mul(self.rate.0)?.checked_add(self.rate.1 - 1)?) / self.rate.1;
        (value <= Ledger::MAX_AMOUNT).then_some(value)
    }
}

/// Fee rates of makers and takers. A negative rate is a rebate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fees {
    maker: i32,
    taker: i32,
    /// The denominator of the rates.
    parts: u32,
    asset: FeeAsset,
}

impl Default for Fees {
    /// Returns zero rates.
    fn default() -> Self {
        Self { maker: 0, taker: 0, parts: 1, asset: FeeAsset::Quote }
    }
}

/// An invalid fee rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected a rate above -1 and below 1 with at most 9 digits after the point, saw {actual}")]
pub struct FeeError {
    /// `maker_fee` or `taker_fee`.
    pub field: &'static str,
    /// The rate.
    pub actual: Decimal,
}

impl Fees {
    const PLACES: u8 = 9;

    /// Returns fees with the rates `maker` and `taker`; 0.001 is 0.1 %.
    ///
    /// # Errors
    /// When a rate is not between -1 and 1, or has more than 9 digits after the point.
    pub fn new(maker: Decimal, taker: Decimal, asset: FeeAsset) -> Result<Self, FeeError> {
        let parts = 10u32.pow(u32::from(Self::PLACES));
        let rate = |field, actual: Decimal| {
            let rate: Option<i32> =
                actual.normalize().rescale(Self::PLACES).and_then(|rate| rate.mantissa().try_into().ok());
            rate.filter(|rate| rate.unsigned_abs() < parts).ok_or(FeeError { field, actual })
        };
        Ok(Self { maker: rate("maker_fee", maker)?, taker: rate("taker_fee", taker)?, parts, asset })
    }

    pub(super) const fn maker(&self) -> i32 {
        self.maker
    }

    pub(super) const fn taker(&self) -> i32 {
        self.taker
    }

    /// Returns the asset of the fees where it is another than base and quote.
    #[inline]
    pub(super) const fn other(&self) -> Option<OtherAsset> {
        match self.asset {
            FeeAsset::Other(other) => Some(other),
            _ => None,
        }
    }

    /// Whether a side pays its fee in quote, not in base; of [`FeeAsset::Other`], where the account has too little.
    #[inline]
    pub const fn in_quote(&self, side: Side) -> bool {
        match self.asset {
            FeeAsset::Quote => true,
            FeeAsset::Base => false,
            FeeAsset::Received | FeeAsset::Other(_) => matches!(side, Side::Sell),
        }
    }

    /// Whether a side pays its fee in addition to the asset it gives.
    #[inline]
    pub(super) const fn on_top(&self, side: Side) -> bool {
        self.in_quote(side) == matches!(side, Side::Buy)
    }

    /// Returns the fee of `amount`, at most 10^29, for an order that has paid `carry` parts of a unit in advance. A
    /// rebate is negative, and rounded down.
    #[inline]
    pub(super) fn charge(&self, amount: i128, rate: i32, carry: &mut u32) -> i128 {
        if rate == 0 {
            return 0;
        }
        let parts = i128::from(self.parts);
        let owed = amount * i128::from(rate) - i128::from(*carry);
        let fee = match u64::try_from(owed) {
            Ok(owed) => i128::from(owed.div_ceil(u64::from(self.parts))),
            Err(_) => {
                if owed < 0 {
                    -(-owed / parts)
                } else {
                    (owed + parts - 1) / parts
                }
            }
        };
        *carry = (fee * parts - owed) as u32;
        fee
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prop_fees_of_fills_add_up_to_the_fee_of_the_order(
            amounts in proptest::collection::vec(1i128..1_000_000_000_000_000_000_000, 1..20),
            rate in -999_999_999i32..1_000_000_000,
        ) {
            let rate_decimal = Decimal::new(i128::from(rate), 9).expect("a scale of 9 fits");
            let fees = Fees::new(Decimal::ZERO, rate_decimal, FeeAsset::Quote).expect("the rate is below 1");
            let (mut carry, mut total, mut sum) = (0, 0, 0);
            for amount in amounts {
                let fee = fees.charge(amount, fees.taker(), &mut carry);
                prop_assert!((-amount..=amount).contains(&fee) && (rate < 0 || fee >= 0));
                (total, sum) = (total + fee, sum + amount);
                let exact = sum * i128::from(rate);
                prop_assert_eq!(total, (exact + 999_999_999).div_euclid(1_000_000_000));
            }
        }
    }

    #[test]
    fn a_rate_is_between_minus_1_and_1() {
        let rate =
            |text: &str| Fees::new(Decimal::ZERO, text.parse().expect("a valid number"), FeeAsset::Base);
        assert!(rate("0").is_ok() && rate("0.999999999").is_ok() && rate("0.0010000000000").is_ok());
        assert!(rate("-0.0001").is_ok() && rate("-0.999999999").is_ok());
        assert!(rate("1").is_err() && rate("-1").is_err() && rate("0.0000000001").is_err());
        assert_eq!(
            rate("1.5").expect_err("too much").to_string(),
            "taker_fee: expected a rate above -1 and below 1 with at most 9 digits after the point, saw 1.5"
        );
    }
}
