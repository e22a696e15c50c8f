//! The reference price, towards which the background flow moves the book.
//!
//! The price moves in fixed time steps, so its path does not depend on the rate of orders.

use super::options::PriceModel;
use super::random::Random;
use crate::event::Nanos;

/// One instrument's reference price, in ticks.
#[derive(Debug, Clone)]
pub(super) struct Price {
    random: Random,
    ticks: f64,
    /// Minimum and maximum price.
    bounds: (f64, f64),
    stepped: Nanos,
    drift: f64,
    deviation: f64,
    shock_probability: f64,
    shock_magnitude: f64,
}

impl Price {
    const STEP: Nanos = 100_000_000;
    /// The price stays within this factor of its initial value, up and down.
    const RANGE: f64 = 100.0;

    /// Returns a price path that starts with `ticks` at `start`.
    pub fn new(model: &PriceModel, random: Random, ticks: f64, start: Nanos) -> Self {
        let part = Self::STEP as f64 / 1e9;
        Self {
            random,
            ticks,
            bounds: ((ticks / Self::RANGE).max(1.0), ticks * Self::RANGE),
            stepped: start,
            drift: model.drift * part,
            deviation: model.volatility * part.sqrt(),
            shock_probability: model.shock_probability * part,
            shock_magnitude: model.shock_magnitude,
        }
    }

    /// Returns the price, in ticks.
    #[inline]
    pub fn ticks(&self) -> f64 {
        self.ticks
    }

    /// Advances to `now`. Returns whether a shock occurred.
    #[inline]
    pub fn advance(&mut self, now: Nanos) -> bool {
        let mut shocked = false;
        while now - self.stepped >= Self::STEP {
            self.stepped += Self::STEP;
            shocked |= self.step();
        }
        shocked
    }

    fn step(&mut self) -> bool {
        let mut change = self.drift + self.deviation * self.random.normal();
        let shocked = self.random.chance(self.shock_probability);
        if shocked {
            change += if self.random.chance(0.5) { self.shock_magnitude } else { -self.shock_magnitude };
        }
        self.ticks = (self.ticks * (1.0 + change)).clamp(self.bounds.0, self.bounds.1);
        shocked
    }
}
