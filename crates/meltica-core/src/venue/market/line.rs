//! What is on its way from a venue to a client: one connection, so that nothing overtakes, but for the reports whose
//! faults say so.

use super::behavior::{Behavior, Delays};
use crate::event::Nanos;
use std::collections::BTreeMap;

/// When a message arrives, then in which order.
type Place = (Nanos, u64);

/// Messages on their way.
#[derive(Debug, Clone)]
pub(super) struct Line<M> {
    behavior: Behavior,
    delays: Delays,
    queue: BTreeMap<Place, M>,
    sent: u64,
    /// When the last message arrives that nothing may overtake.
    last: Nanos,
    /// A report that waits for the next one to go before it.
    held: Option<Place>,
}

impl<M: Clone> Line<M> {
    pub fn new(seed: u64, behavior: Behavior) -> Self {
        let delays = Delays::new(seed);
        Self { behavior, delays, queue: BTreeMap::new(), sent: 0, last: Nanos::MIN, held: None }
    }

    pub fn set(&mut self, behavior: Behavior) {
        self.behavior = behavior;
    }

    /// Whether a message may go at once, without this line.
    #[inline]
    pub fn is_straight(&self, is_report: bool) -> bool {
        let Behavior { latency_max, report_late, report_duplicate, report_reorder, .. } = self.behavior;
        let fair = report_late == 0.0 && report_duplicate == 0.0 && report_reorder == 0.0;
        latency_max == 0 && self.queue.is_empty() && (fair || !is_report)
    }

    /// Returns when the next message arrives.
    #[inline]
    pub fn next_due(&self) -> Nanos {
        self.queue.first_key_value().map_or(Nanos::MAX, |((time, _), _)| *time)
    }

    /// Sends a message at `now`.
    pub fn send(&mut self, now: Nanos, is_report: bool, message: M) {
        let latency = self.delays.latency(&self.behavior);
        self.last = self.last.max(now.saturating_add(latency));
        let mut at = self.last;
        if !is_report {
            self.put(at, message);
            return;
        }
        let fate = self.delays.report(&self.behavior);
        let late = self.behavior.report_late_for;
        if fate.late {
            at = at.saturating_add(late);
        }
        if fate.twice {
            self.put(at, message.clone());
        }
        // One that waits for its successor waits no longer than a late one.
        let due = if fate.after_next { at.saturating_add(late) } else { at };
        let place = self.put(due, message);
        if let Some(held) = self.held.take().filter(|held| *held > place)
            && let Some(message) = self.queue.remove(&held)
        {
            self.put(due, message);
        }
        self.held = fate.after_next.then_some(place);
    }

    fn put(&mut self, at: Nanos, message: M) -> Place {
        self.sent += 1;
        self.queue.insert((at, self.sent), message);
        (at, self.sent)
    }

    /// Takes the next message that has arrived by `now`, and when it did.
    pub fn take(&mut self, now: Nanos) -> Option<(Nanos, M)> {
        let first = self.queue.first_entry().filter(|first| first.key().0 <= now)?;
        let ((time, _), message) = first.remove_entry();
        Some((time, message))
    }

    /// Loses everything.
    pub fn cut(&mut self) {
        self.queue.clear();
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(behavior: Behavior, sends: &[(Nanos, bool)]) -> Vec<(Nanos, usize)> {
        let mut line = Line::new(7, behavior);
        for (i, (now, is_report)) in sends.iter().enumerate() {
            line.send(*now, *is_report, i);
        }
        std::iter::from_fn(|| line.take(Nanos::MAX)).collect()
    }

    #[test]
    fn nothing_overtakes_on_a_slow_line() {
        let behavior = Behavior { latency_min: 5, latency_max: 5000, ..Behavior::default() };
        let sends: Vec<_> = (0..500).map(|i| (i * 10, i % 3 == 0)).collect();
        let told = told(behavior, &sends);
        assert!(told.iter().map(|(_, i)| *i).eq(0..500));
        assert!(told.is_sorted());
        assert!(told.iter().all(|(at, i)| *at >= sends[*i].0 + 5));
        assert!(told.iter().any(|(at, i)| *at > sends[*i].0 + 4000));
    }

    #[test]
    fn reports_are_late_twice_and_after_the_next() {
        let sends = [(0, true), (10, true), (20, false), (30, true)];
        let late = Behavior { report_late: 1.0, report_late_for: 1000, ..Behavior::default() };
        assert_eq!(told(late, &sends), [(20, 2), (1000, 0), (1010, 1), (1030, 3)]);
        let twice = Behavior { report_duplicate: 1.0, ..Behavior::default() };
        assert_eq!(told(twice, &sends), [(0, 0), (0, 0), (10, 1), (10, 1), (20, 2), (30, 3), (30, 3)]);
    }

    #[test]
    fn a_report_waits_for_its_successor_and_no_longer_than_a_late_one() {
        let behavior = Behavior { report_reorder: 0.3, report_late_for: 1000, ..Behavior::default() };
        let sends: Vec<_> = (0..500).map(|i| (i * 10, true)).collect();
        let told = told(behavior, &sends);
        assert_eq!(told.len(), 500);
        assert!(told.iter().all(|(at, i)| (sends[*i].0..=sends[*i].0 + 1000).contains(at)), "{told:?}");
        let swapped = told.windows(2).filter(|pair| pair[0].1 == pair[1].1 + 1).count();
        assert!(swapped > 50, "{swapped} follow their successor");
        let alone = Line::new(7, Behavior { report_reorder: 1.0, ..behavior });
        let mut line = alone;
        line.send(0, true, 'a');
        assert_eq!((line.take(999), line.take(1000)), (None, Some((1000, 'a'))));
    }

    #[test]
    fn a_cut_loses_what_is_on_its_way() {
        let behavior = Behavior { latency_min: 5, latency_max: 5, ..Behavior::default() };
        let mut line = Line::new(7, behavior);
        line.send(0, false, 'a');
        assert_eq!((line.next_due(), line.take(4)), (5, None));
        line.cut();
        assert_eq!((line.next_due(), line.take(9)), (Nanos::MAX, None));
        line.send(10, false, 'b');
        assert_eq!(line.take(15), Some((15, 'b')));
    }
}
