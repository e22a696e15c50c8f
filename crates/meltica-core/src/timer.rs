//! When a repeating timer of a host is due.
//!
//! Live, due times are on the monotonic clock: a wall clock that is set changes no beat, and a late timer makes one beat
//! for all that it missed. In a replay they are on the clock of the events, and a timer makes each beat that it missed,
//! up to [`MAX_BEATS`] in one step of that clock: a step of years, as two units of time in one recording make it, does
//! not keep the host busy for hours. Beats keep their phase.

use crate::event::Nanos;

/// Most beats of a timer in one step of the events' clock. Further ones are skipped.
pub const MAX_BEATS: u64 = 10_000;

/// A repeating timer.
#[derive(Debug, Clone)]
pub struct Timer {
    period: Nanos,
    due: Option<Nanos>,
    /// The step of the events' clock of the latest beat, and the beats in it.
    step: Nanos,
    beats: u64,
}

impl Timer {
    /// Returns a timer whose first beat is one period after `now`. Without `now`, the first call of [`Self::due_by`]
    /// starts it.
    ///
    /// # Panics
    /// If `period` is not positive.
    pub fn new(period: Nanos, now: Option<Nanos>) -> Self {
        assert!(period > 0, "expected a period above 0 ns, saw {period}");
        let due = now.map(|now| now.saturating_add(period));
        Self { period, due, step: Nanos::MIN, beats: 0 }
    }

    /// Returns when the next beat is due; `None` before the timer is started.
    #[inline]
    pub fn next(&self) -> Option<Nanos> {
        self.due
    }

    /// Returns the time of the next beat if it is due by `now`. Starts the timer at `now` if it is not started.
    #[inline]
    pub fn due_by(&mut self, now: Nanos) -> Option<Nanos> {
        let due = *self.due.get_or_insert(now.saturating_add(self.period));
        // The end of time has no next beat.
        (due <= now && due < Nanos::MAX).then_some(due)
    }

    /// Makes a beat at `now`, live, and skips those that `now` is too late for.
    pub fn beat_live(&mut self, now: Nanos) {
        self.advance(1);
        self.skip(now);
    }

    /// Makes a beat while the events' clock is at `now`. Returns the number of beats that it skips, above 0 only after
    /// the last of [`MAX_BEATS`] in this step.
    pub fn beat_recorded(&mut self, now: Nanos) -> u64 {
        if self.step != now {
            (self.step, self.beats) = (now, 0);
        }
        self.beats += 1;
        self.advance(1);
        if self.beats < MAX_BEATS { 0 } else { self.skip(now) }
    }

    /// Skips the beats due by `now`, and returns their number.
    fn skip(&mut self, now: Nanos) -> u64 {
        let Some(due) = self.due_by(now) else { return 0 };
        let missed = (now.saturating_sub(due) / self.period).saturating_add(1);
        self.advance(missed);
        missed as u64
    }

    fn advance(&mut self, periods: i64) {
        self.due = self.due.map(|due| due.saturating_add(self.period.saturating_mul(periods)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Nanos = 86_400_000_000_000;

    /// Makes the beats due by `now` of a replay; returns their times and the number of skipped ones.
    fn replayed(timer: &mut Timer, now: Nanos) -> (Vec<Nanos>, u64) {
        let (mut beats, mut skipped) = (Vec::new(), 0);
        while let Some(due) = timer.due_by(now) {
            beats.push(due);
            skipped += timer.beat_recorded(now);
        }
        (beats, skipped)
    }

    #[test]
    fn a_late_live_timer_beats_once_and_keeps_its_phase() {
        let mut timer = Timer::new(10, Some(100));
        timer.beat_live(110);
        assert_eq!(timer.next(), Some(120));
        timer.beat_live(157);
        assert_eq!(timer.next(), Some(160));
    }

    #[test]
    fn a_timer_without_a_clock_starts_with_the_first_event() {
        let mut timer = Timer::new(10, None);
        assert_eq!(timer.next(), None);
        assert_eq!(replayed(&mut timer, 5), (vec![], 0));
        assert_eq!(replayed(&mut timer, 15), (vec![15], 0));
    }

    #[test]
    fn a_jump_of_years_is_bounded() {
        let mut timer = Timer::new(1_000, Some(0));
        let (beats, skipped) = replayed(&mut timer, 50 * 365 * DAY);
        assert_eq!(beats.len() as u64, MAX_BEATS);
        assert_eq!(beats.len() as u64 + skipped, (50 * 365 * DAY / 1_000) as u64);
        assert_eq!(
            replayed(&mut timer, 50 * 365 * DAY + 2_000).0.len(),
            2,
            "the next step has all of its beats"
        );
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        let timer = Timer::new(1_000, Some(Nanos::MAX - 10));
        assert_eq!(timer.next(), Some(Nanos::MAX));
        let mut timer = Timer::new(1, Some(0));
        assert_eq!(replayed(&mut timer, Nanos::MAX - 1).0.len() as u64, MAX_BEATS);
    }

    proptest! {
        #[test]
        fn prop_beats_and_skips_are_the_multiples_of_the_period(
            period in 1i64..1_000, steps in proptest::collection::vec(0i64..20_000_000, 1..20)
        ) {
            let (mut timer, mut now, mut count) = (Timer::new(period, Some(0)), 0, 0);
            for step in steps {
                now += step;
                let (beats, skipped) = replayed(&mut timer, now);
                prop_assert!(beats.iter().all(|beat| beat % period == 0 && *beat <= now));
                prop_assert!(beats.is_sorted());
                prop_assert!(skipped == 0 || beats.len() as u64 == MAX_BEATS);
                count += beats.len() as u64 + skipped;
                prop_assert_eq!(count, (now / period) as u64);
                prop_assert!(timer.next() > Some(now));
            }
        }
    }
}
