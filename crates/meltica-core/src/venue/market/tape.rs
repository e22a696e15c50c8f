//! Aggregates of one instrument's trades: last price, 24-hour volume, candles.

use crate::event::Nanos;

const MINUTE: Nanos = 60_000_000_000;
const MINUTES: usize = 24 * 60;

/// A candle, in integers on the scales of the instrument's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candle {
    /// Start of the interval.
    pub open_time: Nanos,
    /// End of the interval, exclusive.
    pub close_time: Nanos,
    /// Price of the first trade; without trades, the previous close.
    pub open: i64,
    /// Highest price.
    pub high: i64,
    /// Lowest price.
    pub low: i64,
    /// Price of the last trade.
    pub close: i64,
    /// Sum of the quantities.
    pub volume: i128,
    /// Whether the interval is over.
    pub closed: bool,
}

/// Aggregates of one instrument's trades.
#[derive(Debug, Clone)]
pub(super) struct Tape {
    last: Option<i64>,
    volume: Volume,
    interval: Nanos,
    candle: Candle,
}

impl Tape {
    /// Returns an empty tape at `now`. Candles start at multiples of `interval`.
    pub fn new(now: Nanos, interval: Nanos) -> Self {
        let open_time = now.div_euclid(interval) * interval;
        let close_time = open_time + interval;
        let candle =
            Candle { open_time, close_time, open: 0, high: 0, low: 0, close: 0, volume: 0, closed: false };
        Self { last: None, volume: Volume::new(now), interval, candle }
    }

    /// Returns an empty tape at `now` with the same interval.
    pub fn restarted(&self, now: Nanos) -> Self {
        Self::new(now, self.interval)
    }

    /// Returns the price of the last trade.
    pub fn last(&self) -> Option<i64> {
        self.last
    }

    /// Returns the volume of the minute of `now` and the 1,439 before it.
    #[inline]
    pub fn volume_24h(&mut self, now: Nanos) -> i128 {
        self.volume.roll(now);
        self.volume.sum
    }

    /// Returns the open candle; `None` before the first trade.
    pub fn candle(&self) -> Option<Candle> {
        self.last.map(|_| self.candle)
    }

    /// Returns when the open candle closes.
    #[inline]
    pub fn closes(&self) -> Nanos {
        self.candle.close_time
    }

    /// Adds a trade.
    #[inline]
    pub fn trade(&mut self, now: Nanos, price: i64, quantity: i64) {
        self.last = Some(price);
        self.volume.add(now, quantity);
        let candle = &mut self.candle;
        if candle.volume == 0 {
            (candle.open, candle.high, candle.low) = (price, price, price);
        }
        candle.high = candle.high.max(price);
        candle.low = candle.low.min(price);
        candle.close = price;
        candle.volume += i128::from(quantity);
    }

    /// Closes the open candle and opens the next one. Returns `None` before the first trade.
    pub fn close(&mut self) -> Option<Candle> {
        let closed = Candle { closed: true, ..self.candle };
        let at = closed.close;
        self.candle = Candle {
            open_time: closed.close_time,
            close_time: closed.close_time + self.interval,
            open: at,
            high: at,
            low: at,
            close: at,
            volume: 0,
            closed: false,
        };
        self.last.map(|_| closed)
    }
}

/// The exact volume of the last 24 hours, in buckets of one minute.
#[derive(Debug, Clone)]
struct Volume {
    buckets: Box<[i128]>,
    minute: Nanos,
    sum: i128,
}

impl Volume {
    fn new(now: Nanos) -> Self {
        Self { buckets: vec![0; MINUTES].into(), minute: now.div_euclid(MINUTE), sum: 0 }
    }

    fn bucket(&mut self, minute: Nanos) -> &mut i128 {
        &mut self.buckets[minute.rem_euclid(MINUTES as Nanos) as usize]
    }

    #[inline]
    fn roll(&mut self, now: Nanos) {
        let minute = now.div_euclid(MINUTE);
        if minute > self.minute {
            self.forget(minute);
        }
    }

    #[cold]
    fn forget(&mut self, minute: Nanos) {
        let first = (self.minute + 1).max(minute - MINUTES as Nanos + 1);
        for minute in first..=minute {
            self.sum -= std::mem::take(self.bucket(minute));
        }
        self.minute = minute;
    }

    #[inline]
    fn add(&mut self, now: Nanos, quantity: i64) {
        self.roll(now);
        *self.bucket(self.minute) += i128::from(quantity);
        self.sum += i128::from(quantity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prop_volume_is_the_sum_of_the_last_1440_minutes(
            trades in proptest::collection::vec((0i64..300 * MINUTE, 1i64..1000), 1..60),
        ) {
            let (mut tape, mut now, mut all) = (Tape::new(0, MINUTE), 0, Vec::new());
            for (pause, quantity) in trades {
                now += pause;
                tape.trade(now, 1, quantity);
                all.push((now / MINUTE, i128::from(quantity)));
                now += pause / 2;
                let sum: i128 =
                    all.iter().filter(|(m, _)| *m > now / MINUTE - 1440).map(|(_, quantity)| quantity).sum();
                prop_assert_eq!(tape.volume_24h(now), sum);
            }
        }
    }
}
