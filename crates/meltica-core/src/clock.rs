//! Two clocks: wall time in ns for display and venues, and a monotonic clock for durations and what is due.
//!
//! The monotonic clock is read in ticks of the calibrated time stamp counter. The wall clock may be set at any time, so
//! nothing waits for it.

use crate::event::Nanos;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

#[inline]
fn counter() -> &'static quanta::Clock {
    static CLOCK: OnceLock<quanta::Clock> = OnceLock::new();
    CLOCK.get_or_init(quanta::Clock::new)
}

/// Reads the monotonic clock, in a unit that only [`elapsed_ns`] converts.
#[inline]
pub fn ticks() -> u64 {
    counter().raw()
}

/// Returns the nanoseconds between two readings, or 0 if they are not in order.
#[inline]
pub fn elapsed_ns(from: u64, to: u64) -> u64 {
    counter().delta_as_nanos(from, to)
}

/// Returns the ticks in `ns`, below 2^40, to six digits.
pub fn ticks_in(ns: u64) -> u64 {
    const MANY: u64 = 1 << 24;
    ns * MANY / elapsed_ns(0, MANY).max(1)
}

/// Reads the monotonic clock, in ns since the first reading in this process.
#[inline]
pub fn monotonic() -> Nanos {
    static ORIGIN: OnceLock<u64> = OnceLock::new();
    elapsed_ns(*ORIGIN.get_or_init(ticks), ticks()) as Nanos
}

/// Reads the wall clock, ns since the Unix epoch.
#[inline]
pub fn wall() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as Nanos
}

/// Converts readings of the monotonic clock into wall time, from a recent pair of readings of both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    wall: Nanos,
    ticks: u64,
}

impl Anchor {
    /// The age at which a pair is read again, as the wall clock may have been adjusted.
    const MAX_AGE_NS: u64 = 100_000_000;

    /// Reads both clocks.
    pub fn now() -> Self {
        Self { wall: wall(), ticks: ticks() }
    }

    /// Returns the wall time at `ticks`. Reads both clocks again if the last pair is old.
    #[inline]
    pub fn wall_at(&mut self, ticks: u64) -> Nanos {
        let age = elapsed_ns(self.ticks, ticks);
        if age > Self::MAX_AGE_NS {
            *self = Self::now();
            return self.wall;
        }
        self.wall + age as Nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_agree_with_the_wall() {
        let (t0, w0) = (ticks(), wall());
        while wall() - w0 < 20_000_000 {
            std::hint::spin_loop();
        }
        let (ticked, walked) = (elapsed_ns(t0, ticks()) as i64, wall() - w0);
        assert!((ticked - walked).abs() < 5_000_000, "{ticked} ns by ticks, {walked} ns by the wall clock");
    }

    #[test]
    fn monotonic_time_counts_from_the_first_reading_and_not_from_the_epoch() {
        let first = monotonic();
        let day = 86_400_000_000_000;
        assert!((0..day).contains(&first), "{first} ns");
        assert!((first..day).contains(&monotonic()));
    }
}
