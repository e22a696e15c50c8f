//! The simulated network between a venue and a client. A message never overtakes an earlier one, apart from reports
//! with simulated faults.

use super::behavior::{Behavior, Delays};
use crate::event::Nanos;
use std::collections::BTreeMap;

/// Arrival time of a message, then its number.
type Arrival = (Nanos, u64);

/// Time of sending, and the message.
type Sent<M> = (Nanos, M);

/// The messages in flight.
#[derive(Debug, Clone)]
pub(super) struct SimulatedNetwork<M> {
    behavior: Behavior,
    delays: Delays,
    queue: BTreeMap<Arrival, Sent<M>>,
    sent: u64,
    /// The time step up to which latencies are drawn. A latency belongs to a time step and not to a message, so a
    /// client's messages do not depend on the subscriptions of other clients.
    drawn: Nanos,
    /// Earliest arrival time of the next message, so that it does not overtake.
    front: Nanos,
    /// A report that waits for the next report to overtake it.
    held: Option<Arrival>,
}

impl<M: Clone> SimulatedNetwork<M> {
    pub fn new(seed: u64, behavior: Behavior) -> Self {
        let delays = Delays::new(seed);
        let (drawn, front) = (Nanos::MIN, Nanos::MIN);
        Self { behavior, delays, queue: BTreeMap::new(), sent: 0, drawn, front, held: None }
    }

    pub fn set_behavior(&mut self, behavior: Behavior) {
        self.behavior = behavior;
    }

    /// Whether a message may be delivered at once, without [`Self::send`].
    #[inline]
    pub fn is_immediate(&self, is_report: bool) -> bool {
        let Behavior { latency_max, report_late, report_duplicate, report_reorder, .. } = self.behavior;
        let faultless = report_late == 0.0 && report_duplicate == 0.0 && report_reorder == 0.0;
        latency_max == 0 && self.queue.is_empty() && (faultless || !is_report)
    }

    /// Returns when the next message arrives.
    #[inline]
    pub fn next_due(&self) -> Nanos {
        self.queue.first_key_value().map_or(Nanos::MAX, |((time, _), _)| *time)
    }

    /// Sends a message at `now`.
    pub fn send(&mut self, now: Nanos, is_report: bool, message: M) {
        let mut at = self.arrival_time(now);
        if !is_report {
            self.put(at, now, message);
            return;
        }
        let faults = self.delays.report(&self.behavior);
        let late = self.behavior.report_late_for;
        if faults.late {
            at = at.saturating_add(late);
        }
        if faults.twice {
            self.put(at, now, message.clone());
        }
        // A report waits for its successor at most as long as a late report.
        let due = if faults.after_next { at.saturating_add(late) } else { at };
        let arrival = self.put(due, now, message);
        if let Some(held) = self.held.take().filter(|held| *held > arrival)
            && let Some((sent, message)) = self.queue.remove(&held)
        {
            self.put(due, sent, message);
        }
        self.held = faults.after_next.then_some(arrival);
    }

    /// Returns the arrival time of a message sent at `now`.
    fn arrival_time(&mut self, now: Nanos) -> Nanos {
        const STEP: Nanos = 10_000_000;
        let step = now.div_euclid(STEP);
        // Latencies of older steps have no message in flight.
        let oldest = step - self.behavior.latency_max / STEP - 1;
        self.drawn = self.drawn.max(oldest);
        while self.drawn < step {
            self.drawn += 1;
            let latency = self.delays.latency_at(&self.behavior, self.drawn);
            self.front = self.front.max(self.drawn * STEP + latency);
        }
        self.front.max(now + self.behavior.latency_min)
    }

    fn put(&mut self, at: Nanos, sent: Nanos, message: M) -> Arrival {
        self.sent += 1;
        self.queue.insert((at, self.sent), (sent, message));
        (at, self.sent)
    }

    /// Takes the next message that has arrived by `now`, with its arrival time.
    pub fn take(&mut self, now: Nanos) -> Option<(Nanos, M)> {
        let first = self.queue.first_entry().filter(|first| first.key().0 <= now)?;
        let ((time, _), (_, message)) = first.remove_entry();
        Some((time, message))
    }

    /// Loses all messages in flight. Returns the time of sending of the earliest lost message, or `now`.
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

    fn arrivals(behavior: Behavior, sends: &[(Nanos, bool)]) -> Vec<(Nanos, usize)> {
        let mut network = SimulatedNetwork::new(7, behavior);
        for (i, (now, is_report)) in sends.iter().enumerate() {
            network.send(*now, *is_report, i);
        }
        std::iter::from_fn(|| network.take(Nanos::MAX)).collect()
    }

    #[test]
    fn messages_keep_their_order_on_a_slow_network() {
        const MS: Nanos = 1_000_000;
        let behavior = Behavior { latency_min: 5 * MS, latency_max: 500 * MS, ..Behavior::default() };
        let sends: Vec<_> = (0..2000).map(|i| (i * 10 * MS + i, false)).collect();
        let all = arrivals(behavior, &sends);
        assert!(all.iter().map(|(_, i)| *i).eq(0..2000));
        assert!(all.is_sorted());
        let waits: Vec<_> = all.iter().map(|(at, i)| *at - sends[*i].0).collect();
        assert!(waits.iter().all(|wait| (5 * MS..=500 * MS).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait > 400 * MS));
        let few: Vec<_> = sends.iter().copied().step_by(7).collect();
        let alone = arrivals(behavior, &few);
        assert!(alone.iter().all(|(at, i)| all[i * 7].0 == *at), "independent of other messages");
    }

    #[test]
    fn reports_are_delayed_duplicated_and_reordered() {
        let sends = [(0, true), (10, true), (20, false), (30, true)];
        let late = Behavior { report_late: 1.0, report_late_for: 1000, ..Behavior::default() };
        assert_eq!(arrivals(late, &sends), [(20, 2), (1000, 0), (1010, 1), (1030, 3)]);
        let twice = Behavior { report_duplicate: 1.0, ..Behavior::default() };
        assert_eq!(arrivals(twice, &sends), [(0, 0), (0, 0), (10, 1), (10, 1), (20, 2), (30, 3), (30, 3)]);
    }

    #[test]
    fn a_reordered_report_waits_no_longer_than_a_late_one() {
        let behavior = Behavior { report_reorder: 0.3, report_late_for: 1000, ..Behavior::default() };
        let sends: Vec<_> = (0..500).map(|i| (i * 10, true)).collect();
        let arrived = arrivals(behavior, &sends);
        assert_eq!(arrived.len(), 500);
        assert!(arrived.iter().all(|(at, i)| (sends[*i].0..=sends[*i].0 + 1000).contains(at)), "{arrived:?}");
        let swapped = arrived.windows(2).filter(|pair| pair[0].1 == pair[1].1 + 1).count();
        assert!(swapped > 50, "{swapped} follow their successor");
        let alone = SimulatedNetwork::new(7, Behavior { report_reorder: 1.0, ..behavior });
        let mut network = alone;
        network.send(0, true, 'a');
        assert_eq!((network.take(999), network.take(1000)), (None, Some((1000, 'a'))));
    }

    #[test]
    fn a_cut_loses_messages_in_flight() {
        let behavior = Behavior { latency_min: 5, latency_max: 5, ..Behavior::default() };
        let mut network = SimulatedNetwork::new(7, behavior);
        network.send(0, false, 'a');
        assert_eq!((network.next_due(), network.take(4)), (5, None));
        assert_eq!(network.cut(4), 0, "time of the first lost message");
        assert_eq!((network.next_due(), network.take(9)), (Nanos::MAX, None));
        assert_eq!(network.cut(9), 9);
        network.send(10, false, 'b');
        assert_eq!(network.take(15), Some((15, 'b')));
        let slow = Behavior { latency_min: 5000, latency_max: 5000, ..behavior };
        network.set_behavior(slow);
        network.send(20, false, 'c');
        network.cut(30);
        network.set_behavior(behavior);
        network.send(40, false, 'd');
        assert_eq!(
            network.take(45),
            Some((45, 'd')),
            "a latency before the cut does not delay messages after it"
        );
    }
}
