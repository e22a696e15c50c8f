//! The shares of a round that are for calls which no event causes.
//!
//! In each round, an instance may call as many posted functions, and for as long, as it may handle events; as many timers;
//! and the host may start as many instances. The rest waits for the next round, in its order, so neither the events of the
//! host's instances nor a stop wait for it. In a replay the shares have no end, so that the order of calls does not depend
//! on time.

use super::thread::Loop;
use meltica_core::clock;

/// A round, and what each share of it allows.
#[derive(Clone, Copy)]
pub struct Limit {
    round: u64,
    calls: usize,
    ticks: u64,
}

/// What was used of a round for one purpose.
#[derive(Default)]
pub struct Share {
    round: u64,
    calls: usize,
    ticks: u64,
}

impl Share {
    /// Returns whether the round has room for one more call.
    pub fn has_room(&mut self, limit: Limit) -> bool {
        if self.round != limit.round {
            *self = Self { round: limit.round, ..Self::default() };
        }
        self.calls < limit.calls && self.ticks < limit.ticks
    }

    /// Counts a call that started at `started`, in ticks, and has just ended.
    pub fn spend(&mut self, started: u64) {
        self.calls += 1;
        self.ticks += clock::ticks().saturating_sub(started);
    }
}

impl Loop {
    /// Returns what each share of this round allows.
    pub fn limit(&self) -> Limit {
        let (calls, ticks) = self.merge.share();
        Limit { round: self.round, calls, ticks }
    }
}
