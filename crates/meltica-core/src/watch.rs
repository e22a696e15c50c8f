//! What the watch of a gateway decides. Pure: times are readings of the monotonic clock, in ns.
//!
//! A probe attaches to the interpreter again and again. While it waits, a callback or other code holds the interpreter:
//! no Python code runs, so signals, REST and supervision wait too. The watch itself needs no interpreter.

use crate::event::Nanos;

const SECOND: Nanos = 1_000_000_000;

/// The interpreter counts as held when the probe has waited this long.
pub const HELD_AFTER: Nanos = SECOND;
/// How far apart two signals are that count as two.
const PAIR: Nanos = SECOND;
/// How long an orderly stop may exceed its deadline: the exit of the interpreter has a limit of its own.
const OVERDUE_AFTER: Nanos = 5 * SECOND;

/// What to report about the interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldReport {
    /// It has been held for this long.
    Held(Nanos),
    /// It is free again, after this long.
    Free(Nanos),
}

/// Reports a held interpreter after 1, 2, 4, ... seconds, and once when it is free again.
#[derive(Debug, Default)]
pub struct Hold {
    /// How long the probe had waited at the last report, 0 without one.
    reported: Nanos,
    waited: Nanos,
}

impl Hold {
    /// Returns what to report. `waiting` is how long the probe has waited, `None` if it does not wait.
    pub fn check(&mut self, waiting: Option<Nanos>) -> Option<HoldReport> {
        // A shorter wait than before is another one.
        let same = waiting.filter(|waiting| *waiting >= self.waited);
        let before = std::mem::replace(&mut self.waited, waiting.unwrap_or(0));
        if same.is_none() && std::mem::take(&mut self.reported) > 0 {
            return Some(HoldReport::Free(before));
        }
        let waiting = waiting?;
        if waiting < HELD_AFTER.max(2 * self.reported) {
            return None;
        }
        self.reported = waiting;
        Some(HoldReport::Held(waiting))
    }

    /// Returns whether the interpreter counts as held.
    pub fn is_held(&self) -> bool {
        self.waited >= HELD_AFTER
    }
}

/// Why the watch ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndCause {
    /// The interpreter is held, so an orderly stop cannot go on.
    Held,
    /// The orderly stop did not end in time.
    Overdue,
    /// A second signal, which the interpreter cannot handle because it is held.
    Again,
}

/// The deadline of a stop that a signal requests.
#[derive(Debug)]
pub struct StopDeadline {
    timeout: Nanos,
    reserve: Nanos,
    requested: Option<Nanos>,
    again: bool,
}

impl StopDeadline {
    /// Returns the deadline of a stop of at most `timeout`. If the interpreter is held, `reserve` before its end remain
    /// to end the process.
    pub fn new(timeout: Nanos, reserve: Nanos) -> Self {
        Self { timeout, reserve: reserve.min(timeout / 2), requested: None, again: false }
    }

    /// Records a signal.
    pub fn signal(&mut self, now: Nanos) {
        let first = *self.requested.get_or_insert(now);
        self.again |= now - first >= PAIR;
    }

    /// Returns how long ago the stop was requested.
    pub fn since(&self, now: Nanos) -> Option<Nanos> {
        self.requested.map(|requested| now - requested)
    }

    /// Returns the time that is left to end the process.
    pub fn left(&self, now: Nanos) -> Nanos {
        self.since(now).map_or(self.timeout, |since| (self.timeout - since).max(0))
    }

    /// Returns whether to end the process now, and why.
    pub fn check(&self, now: Nanos, held: bool) -> Option<EndCause> {
        let since = self.since(now)?;
        if held && self.again {
            Some(EndCause::Again)
        } else if held && since >= self.timeout - self.reserve {
            Some(EndCause::Held)
        } else {
            (since >= self.timeout + OVERDUE_AFTER).then_some(EndCause::Overdue)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_reported_ever_more_rarely_and_its_end_once() {
        let mut hold = Hold::default();
        let mut reports = Vec::new();
        for tenths in 1..=170 {
            reports.extend(hold.check(Some(tenths * SECOND / 10)));
        }
        assert_eq!(reports, [1, 2, 4, 8, 16].map(|seconds| HoldReport::Held(seconds * SECOND)));
        assert!(hold.is_held());
        assert_eq!(hold.check(None), Some(HoldReport::Free(17 * SECOND)));
        assert_eq!(hold.check(None), None);
        assert!(!hold.is_held());
    }

    #[test]
    fn a_new_wait_ends_the_hold_before_it() {
        let mut hold = Hold::default();
        assert_eq!(hold.check(Some(SECOND)), Some(HoldReport::Held(SECOND)));
        assert_eq!(hold.check(Some(SECOND / 2)), Some(HoldReport::Free(SECOND)));
        assert_eq!(hold.check(Some(SECOND)), Some(HoldReport::Held(SECOND)));
    }

    #[test]
    fn short_waits_are_not_reported() {
        let mut hold = Hold::default();
        for waiting in [Some(0), Some(HELD_AFTER - 1), None, Some(HELD_AFTER - 1), None] {
            assert_eq!(hold.check(waiting), None);
        }
    }

    #[test]
    fn a_held_interpreter_leaves_time_to_end_the_process() {
        let mut stop = StopDeadline::new(15 * SECOND, 5 * SECOND);
        assert_eq!(stop.check(1_000 * SECOND, true), None, "without a signal nothing ends");
        stop.signal(SECOND);
        assert_eq!(stop.check(11 * SECOND - 1, true), None);
        assert_eq!(stop.check(11 * SECOND, true), Some(EndCause::Held));
        assert_eq!(stop.left(11 * SECOND), 5 * SECOND);
        assert_eq!(stop.check(21 * SECOND - 1, false), None, "an orderly stop may end late");
        assert_eq!(stop.check(21 * SECOND, false), Some(EndCause::Overdue));
        assert_eq!(StopDeadline::new(2 * SECOND, 5 * SECOND).reserve, SECOND);
    }

    #[test]
    fn a_second_signal_ends_a_held_process_at_once() {
        let mut stop = StopDeadline::new(15 * SECOND, 5 * SECOND);
        stop.signal(0);
        stop.signal(PAIR - 1);
        assert_eq!(stop.check(2 * SECOND, true), None, "signals close together are one");
        stop.signal(PAIR);
        assert_eq!(stop.check(2 * SECOND, true), Some(EndCause::Again));
        assert_eq!(stop.check(2 * SECOND, false), None, "the interpreter handles it");
    }
}
