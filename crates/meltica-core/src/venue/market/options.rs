//! What a market is made of.

use crate::decimal::Decimal;
use crate::event::Nanos;
use crate::instrument::Instrument;
use crate::venue::{Fees, SelfTrade};

/// How the reference price moves, a second of virtual time. Zero means none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PriceModel {
    /// Fraction of the price that it grows by in a second.
    pub drift: f64,
    /// Standard deviation of its change in a second, as a fraction of the price.
    pub volatility: f64,
    /// Probability of a shock in a second.
    pub shock_probability: f64,
    /// Fraction of the price that a shock moves it by, up or down.
    pub shock_magnitude: f64,
}

/// What background orders are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TradeModel {
    /// The least quantity, in base.
    pub min_quantity: Decimal,
    /// The greatest.
    pub max_quantity: Decimal,
}

/// How deep the book is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookModel {
    /// About how many prices a side has orders at.
    pub levels: u32,
    /// Most levels that one background order takes.
    pub max_mutation_width: u32,
}

/// Options of a [`super::Market`].
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Where all randomness comes from.
    pub seed: u64,
    /// Where the clock starts.
    pub start: Nanos,
    /// How the reference prices move.
    pub price_model: PriceModel,
    /// What background orders are.
    pub trade_model: TradeModel,
    /// How deep books are.
    pub order_book: BookModel,
    /// Length of a candle.
    pub kline_interval: Nanos,
    /// What makers and takers pay.
    pub fees: Fees,
    /// What happens when an account meets itself.
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
    /// Its rules.
    pub instrument: Instrument,
    /// Where its price starts.
    pub price: Decimal,
    /// Background orders, cancellations included, a second of virtual time.
    pub rate: f64,
}

/// All that is wrong with options and listings, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct OptionErrors(pub Vec<String>);

impl Options {
    /// Most background orders a second: ten nanoseconds apart, on a clock that counts single ones.
    const MAX_RATE: f64 = 1e8;

    /// Checks everything that no type rules out.
    pub(super) fn check(&self, listings: &[Listing]) -> Result<(), OptionErrors> {
        let mut faults = Vec::new();
        let mut expect = |ok: bool, key: &str, expected: &str, seen: &dyn std::fmt::Display| {
            if !ok {
                faults.push(format!("{key}: expected {expected}, seen {seen}"));
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
