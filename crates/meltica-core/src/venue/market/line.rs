//! What is on its way from a venue to a client: one connection, so that nothing overtakes, but for the reports whose
//! faults say so.

use super::behavior::{Behavior, Delays};
use crate::event::Nanos;
use std::collections::BTreeMap;

/// When a message arrives, then in which order.
type Place = (Nanos, u64);

/// A message, and when it was sent.
type Sent<M> = (Nanos, M);

/// Messages on their way.
#[derive(Debug, Clone)]
pub(super) struct Line<M> {
    behavior: Behavior,
    delays: Delays,
    queue: BTreeMap<Place, Sent<M>>,
    sent: u64,
    /// Until when the latency is drawn. It is drawn for the time and not for the message, so that what one client is
    /// told does not depend on what else anybody asked for.
    drawn: Nanos,
    /// Before when nothing arrives that was sent since: nothing overtakes.
    front: Nanos,
    /// A report that waits for the next one to go before it.
    held: Option<Place>,
}

impl<M: Clone> Line<M> {
    pub fn new(seed: u64, behavior: Behavior) -> Self {
        let delays = Delays::new(seed);
        let (drawn, front) = (Nanos::MIN, Nanos::MIN);
        Self { behavior, delays, queue: BTreeMap::new(), sent: 0, drawn, front, held: None }
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
        let mut at = self.arrival(now);
        if !is_report {
            self.put(at, now, message);
            return;
        }
        let fate = self.delays.report(&self.behavior);
        let late = self.behavior.report_late_for;
        if fate.late {
            at = at.saturating_add(late);
        }
        if fate.twice {
            self.put(at, now, message.clone());
        }
        // One that waits for its successor waits no longer than a late one.
        let due = if fate.after_next { at.saturating_add(late) } else { at };
        let place = self.put(due, now, message);
        if let Some(held) = self.held.take().filter(|held| *held > place)
            && let Some((sent, message)) = self.queue.remove(&held)
        {
            self.put(due, sent, message);
        }
        self.held = fate.after_next.then_some(place);
    }

    /// Returns when what is sent at `now` arrives.
    fn arrival(&mut self, now: Nanos) -> Nanos {
        const STEP: Nanos = 10_000_000;
        let step = now.div_euclid(STEP);
        // Whoever is here after a long time has nothing on its way that was drawn before.
        let oldest = step - self.behavior.latency_max / STEP - 1;
        self.drawn = self.drawn.max(oldest);
        while self.drawn < step {
            self.drawn += 1;
            let latency = self.delays.latency_at(&self.behavior, self.drawn);
            self.front = self.front.max(self.drawn * STEP + latency);
        }
        self.front.max(now + self.behavior.latency_min)
    }

    fn put(&mut self, at: Nanos, sent: Nanos, message: M) -> Place {
        self.sent += 1;
        self.queue.insert((at, self.sent), (sent, message));
        (at, self.sent)
    }

    /// Takes the next message that has arrived by `now`, and when it did.
    pub fn take(&mut self, now: Nanos) -> Option<(Nanos, M)> {
        let first = self.queue.first_entry().filter(|first| first.key().0 <= now)?;
        let ((time, _), (_, message)) = first.remove_entry();
        Some((time, message))
    }

    /// Loses everything; returns since when something sent is lost, at `now`.
    pub fn cut(&mut self, now: Nanos) -> Nanos {
        let since = self.queue.values().map(|(sent, _)| *sent).min();
        self.queue.clear();
        (self.drawn, self.front, self.held) = (Nanos::MIN, Nanos::MIN, None);
        since.unwrap_or(now)
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
        const MS: Nanos = 1_000_000;
        let behavior = Behavior { latency_min: 5 * MS, latency_max: 500 * MS, ..Behavior::default() };
        let sends: Vec<_> = (0..2000).map(|i| (i * 10 * MS + i, false)).collect();
        let all = told(behavior, &sends);
        assert!(all.iter().map(|(_, i)| *i).eq(0..2000));
        assert!(all.is_sorted());
        let waits: Vec<_> = all.iter().map(|(at, i)| *at - sends[*i].0).collect();
        assert!(waits.iter().all(|wait| (5 * MS..=500 * MS).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait > 400 * MS));
        let few: Vec<_> = sends.iter().copied().step_by(7).collect();
        let alone = told(behavior, &few);
        assert!(alone.iter().all(|(at, i)| all[i * 7].0 == *at), "whatever else is sent");
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
        assert_eq!(line.cut(4), 0, "since when something is lost");
        assert_eq!((line.next_due(), line.take(9)), (Nanos::MAX, None));
        assert_eq!(line.cut(9), 9);
        line.send(10, false, 'b');
        assert_eq!(line.take(15), Some((15, 'b')));
        let slow = Behavior { latency_min: 5000, latency_max: 5000, ..behavior };
        line.set(slow);
        line.send(20, false, 'c');
        line.cut(30);
        line.set(behavior);
        line.send(40, false, 'd');
        assert_eq!(line.take(45), Some((45, 'd')), "what was slow before the cut delays nothing after it");
    }
}
