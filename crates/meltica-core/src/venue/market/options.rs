//! Options of a market.

use crate::decimal::Decimal;
use crate::event::Nanos;
use crate::instrument::Instrument;
use crate::venue::{Fees, SelfTrade};

/// How the reference price moves, per second of virtual time. Zero disables an effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PriceModel {
    /// Relative growth per second.
    pub drift: f64,
    /// Standard deviation of the relative change per second.
    pub volatility: f64,
    /// Probability of a shock per second.
    pub shock_probability: f64,
    /// Relative size of a shock, up or down.
    pub shock_magnitude: f64,
}

/// Sizes of background orders.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TradeModel {
    /// Minimum quantity, in base.
    pub min_quantity: Decimal,
    /// Maximum quantity, in base.
    pub max_quantity: Decimal,
}

/// Depth of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookModel {
    /// Approximate number of price levels per side.
    pub levels: u32,
    /// Maximum number of levels that one background order takes.
    pub max_mutation_width: u32,
}

/// Options of a [`super::Market`].
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Seed of all randomness.
    pub seed: u64,
    /// Initial virtual time.
    pub start: Nanos,
    /// How the reference prices move.
    pub price_model: PriceModel,
    /// Sizes of background orders.
    pub trade_model: TradeModel,
    /// Depth of the books.
    pub order_book: BookModel,
    /// Length of a candle.
    pub kline_interval: Nanos,
    /// Fee rates.
    pub fees: Fees,
    /// What happens when an order meets an order of the same account.
    pub self_trade: SelfTrade,
}

impl Default for Options {
    fn default() -> Self {
        let quantity = |mantissa, scale| Decimal::new(mantissa, scale).unwrap_or(Decimal::ZERO);
        Self {
            seed: 1,
            start: 0,
            price_model: PriceModel {
                drift: 0.0,
                volatility: 0.0001,
                shock_probability: 0.0005,
                shock_magnitude: 0.002,
            },
            trade_model: TradeModel { min_quantity: quantity(1, 2), max_quantity: quantity(15, 1) },
            order_book: BookModel { levels: 50, max_mutation_width: 25 },
            kline_interval: 60_000_000_000,
            fees: Fees::default(),
            self_trade: SelfTrade::ExpireTaker,
        }
    }
}

/// An instrument of a [`super::Market`].
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The instrument.
    pub instrument: Instrument,
    /// Initial reference price.
    pub price: Decimal,
    /// Background actions, cancellations included, per second of virtual time.
    pub rate: f64,
}

/// All faults of options and listings, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct OptionErrors(pub Vec<String>);

impl Options {
    /// Maximum rate: one action per ten nanoseconds on a nanosecond clock.
    const MAX_RATE: f64 = 1e8;

    /// Validates the options and the listings.
    pub(super) fn check(&self, listings: &[Listing]) -> Result<(), OptionErrors> {
        let mut faults = Vec::new();
        let mut expect = |ok: bool, key: &str, expected: &str, actual: &dyn std::fmt::Display| {
            if !ok {
                faults.push(format!("{key}: expected {expected}, saw {actual}"));
            }
        };
        let model = &self.price_model;
        let within = |x: f64, least, most| (least..=most).contains(&x);
        expect(within(model.drift, -0.01, 0.01), "price_model.drift", "-0.01 to 0.01", &model.drift);
        let fractions = [
            ("price_model.volatility", model.volatility, 0.1),
            ("price_model.shock_probability", model.shock_probability, 1.0),
            ("price_model.shock_magnitude", model.shock_magnitude, 0.5),
        ];
        for (key, value, most) in fractions {
            expect(within(value, 0.0, most), key, &format!("0 to {most}"), &value);
        }
        let TradeModel { min_quantity, max_quantity } = self.trade_model;
        expect(
            min_quantity > Decimal::ZERO,
            "trade_model.min_quantity",
            "a quantity above zero",
            &min_quantity,
        );
        expect(
            max_quantity >= min_quantity,
            "trade_model.max_quantity",
            "min_quantity or more",
            &max_quantity,
        );
        let BookModel { levels, max_mutation_width } = self.order_book;
        expect((1..=5000).contains(&levels), "order_book.levels", "1 to 5000", &levels);
        let key = "order_book.max_mutation_width";
        expect(
            (1..=levels).contains(&max_mutation_width),
            key,
            "1 to order_book.levels",
            &max_mutation_width,
        );
        expect(
            self.kline_interval >= 1_000_000,
            "kline_interval",
            "a millisecond or more",
            &self.kline_interval,
        );
        expect(!listings.is_empty(), "symbols", "at least one", &"none");
        for (i, Listing { instrument, price, rate }) in listings.iter().enumerate() {
            let symbol = &instrument.symbol;
            let twice = listings[..i].iter().any(|other| other.instrument.symbol == *symbol);
            expect(!twice, "symbols", "each symbol once", symbol);
            let key = format!("symbols.{symbol}");
            expect(*price > Decimal::ZERO, &format!("{key}.price"), "a price above zero", price);
            let fits = *rate > 0.0 && *rate <= Self::MAX_RATE;
            expect(fits, &format!("{key}.rate"), "above 0 to 1e8 a second", rate);
        }
        if faults.is_empty() { Ok(()) } else { Err(OptionErrors(faults)) }
    }
}
