//! How many events wait in a queue.

use super::Queue;
use super::ring::Ring;

impl Queue {
    /// Returns the number of events that wait. Those of conflated kinds, one per symbol at most, are not counted.
    pub fn waiting(&self) -> u64 {
        let rings = [&self.ring, &self.blocking, &self.extensions.ring];
        rings.map(Ring::len).iter().sum::<u64>() + self.private.len() as u64
    }

    /// Returns whether an event waits, of any kind.
    pub fn has_waiting(&self) -> bool {
        self.waiting() > 0 || !self.pending.is_empty()
    }
}
