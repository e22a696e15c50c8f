//! The slowest deliveries of the last minute, kept whole.

use super::HostShared;
use super::seat::Seat;
use super::thread::Loop;
use meltica_core::clock;
use meltica_core::event::{Header, Nanos};
use pyo3::prelude::*;
use std::cmp::Reverse;
use std::sync::atomic::Ordering;

/// How many are kept.
pub const KEPT: usize = 50;
/// For how long, in ns.
const KEPT_FOR: u64 = 60_000_000_000;
/// How often those that are too old are removed, in ns.
const EVERY: u64 = 1_000_000_000;

/// One delivery.
#[derive(Clone)]
pub struct Slow {
    lambda: String,
    header: Header,
    /// When the round of deliveries began, and the callback, in ticks.
    read: u64,
    began: u64,
    /// How long the callback ran, in ns.
    spent: u64,
}

impl Slow {
    /// Returns the time from dispatched to the end of the callback, in ns.
    fn total(&self) -> u64 {
        clock::elapsed_ns(self.header.dispatched_ticks, self.began) + self.spent
    }

    fn is_recent(&self, now: u64) -> bool {
        clock::elapsed_ns(self.began, now) < KEPT_FOR + self.spent
    }
}

/// The slowest deliveries of one host. The host's thread adds them.
#[derive(Default)]
pub struct Slowest {
    kept: Vec<(u64, Slow)>,
}

impl Slowest {
    /// Adds a delivery if it is among the slowest; returns the shortest time that still is.
    pub fn offer(&mut self, slow: impl FnOnce() -> Slow, total: u64) -> u64 {
        if self.kept.len() < KEPT {
            self.kept.push((total, slow()));
        } else if let Some(least) = self.kept.iter_mut().min_by_key(|(total, _)| *total)
            && least.0 < total
        {
            *least = (total, slow());
        }
        self.floor()
    }

    /// Removes what is too old; returns the shortest time that is among the slowest.
    fn expire(&mut self, now: u64) -> u64 {
        self.kept.retain(|(_, slow)| slow.is_recent(now));
        self.floor()
    }

    fn floor(&self) -> u64 {
        if self.kept.len() < KEPT { 0 } else { self.kept.iter().map(|(total, _)| *total).min().unwrap_or(0) }
    }

    /// Returns those of the last minute.
    pub fn recent(&self, now: u64) -> Vec<Slow> {
        let slow = self.kept.iter().map(|(_, slow)| slow);
        slow.filter(|slow| slow.is_recent(now)).cloned().collect()
    }
}

impl Seat {
    /// Handles a delivery that took at least `watch_ns`: `total` from dispatched to the end of the callback, which began
    /// at `began` and took `spent`.
    #[cold]
    #[inline(never)]
    pub fn watch(&mut self, host: &HostShared, header: &Header, began: u64, spent: u64, total: u64) {
        let stats = &self.instance.stats;
        if spent >= self.member.slow_ns {
            stats.slow.bump(1);
        }
        // The deliveries of a replay wait for nothing.
        let floor = if host.event_clock {
            u64::MAX
        } else {
            let slow = || Slow {
                lambda: self.instance.id.clone(),
                header: *header,
                read: host.round.load(Ordering::Relaxed),
                began,
                spent,
            };
            host.slowest.lock().offer(slow, total)
        };
        self.watch_from(floor);
    }

    /// Sets from when on a delivery is among the slowest.
    fn watch_from(&mut self, floor: u64) {
        self.watch_ns = floor.min(self.member.slow_ns);
    }
}

impl Loop {
    /// Removes from the slowest what is too old, once a second, so that faster ones are kept again.
    #[cold]
    #[inline(never)]
    pub fn expire_slowest(&mut self, now: u64) {
        self.slowest_until = now + clock::ticks_in(EVERY);
        let floor = self.shared.slowest.lock().expire(now);
        for seat in self.groups.iter_mut().flat_map(|group| &mut group.seats) {
            seat.watch_from(floor);
        }
    }
}

/// One delivery that was among the slowest of the last minute.
#[pyclass(module = "meltica._core", name = "SlowDelivery", frozen, get_all, immutable_type)]
pub struct PySlowDelivery {
    /// The instance.
    lambda_id: String,
    /// The global number of the event.
    sequence: u64,
    /// Its kind.
    kind: &'static str,
    /// Its provider.
    provider: &'static str,
    /// Its symbol.
    symbol: &'static str,
    /// The time by the venue; None if the venue sends none.
    venue_time: Option<Nanos>,
    /// When its bytes arrived, wall clock.
    received_time: Nanos,
    /// When it was numbered and routed, wall clock.
    dispatched_time: Nanos,
    /// Nanoseconds from then to the begin of the round of deliveries that has it.
    read_ns: u64,
    /// From then to the begin of the callback.
    callback_ns: u64,
    /// How long the callback ran.
    returned_ns: u64,
}

impl PySlowDelivery {
    /// Returns the slowest of all, the slowest first.
    pub fn ranked(mut all: Vec<Slow>) -> Vec<Self> {
        all.sort_by_key(|slow| Reverse(slow.total()));
        all.iter().take(KEPT).map(Self::new).collect()
    }

    fn new(slow: &Slow) -> Self {
        let header = &slow.header;
        Self {
            lambda_id: slow.lambda.clone(),
            sequence: header.seq,
            kind: header.kind.name(),
            provider: header.provider.name(),
            symbol: header.symbol.name(),
            venue_time: header.venue_time,
            received_time: header.received_time,
            dispatched_time: header.dispatched_time,
            read_ns: clock::elapsed_ns(header.dispatched_ticks, slow.read),
            callback_ns: clock::elapsed_ns(slow.read, slow.began),
            returned_ns: slow.spent,
        }
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PySlowDelivery>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltica_core::event::Kind;
    use meltica_core::names::{ProviderId, SymbolId};

    fn slow(seq: u64, began: u64) -> Slow {
        let header = Header {
            seq,
            provider_seq: 1,
            venue_time: None,
            received_time: 0,
            dispatched_time: 0,
            dispatched_ticks: 0,
            routing_version: 0,
            provider: ProviderId::EMPTY,
            symbol: SymbolId::EMPTY,
            kind: Kind::Trade,
        };
        Slow { lambda: String::new(), header, read: 0, began, spent: 0 }
    }

    #[test]
    fn the_fastest_of_the_slowest_makes_room_and_the_old_ones_end() {
        let mut slowest = Slowest::default();
        let second = clock::ticks_in(1_000_000_000);
        for total in 1..=KEPT as u64 {
            let floor = slowest.offer(|| slow(total, second), total);
            assert_eq!(floor, u64::from(total == KEPT as u64), "everything is kept until there are enough");
        }
        assert_eq!(slowest.offer(|| panic!("not made"), 1), 1);
        assert_eq!(slowest.offer(|| slow(99, 30 * second), 99), 2, "the fastest one made room");
        let sequences = |found: Vec<Slow>| found.iter().map(|each| each.header.seq).max();
        assert_eq!(sequences(slowest.recent(2 * second)), Some(99));
        assert_eq!(slowest.recent(70 * second).len(), 1, "a minute has passed for the others");
        assert_eq!(slowest.expire(70 * second), 0, "fewer than enough: any delivery is among the slowest");
        assert_eq!(slowest.recent(70 * second).len(), 1);
    }
}
