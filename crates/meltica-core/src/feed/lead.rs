//! The position of a published book, with which the books of other connections are compared.

use crate::event::Nanos;
use std::cmp::Ordering;

/// How long the published book does not change while another connection goes on, until it is stalled.
pub(super) const STALL: Nanos = 5_000_000_000;
/// The number of changes of other connections in that time.
pub(super) const STALL_CHANGES: u32 = 4;

/// What was published last.
#[derive(Default)]
pub(super) struct Lead {
    id: u64,
    venue_time: Option<Nanos>,
    /// Newer changes of other connections since then, and the received times of the first and the last one.
    newer: u32,
    first: Nanos,
    last: Nanos,
}

impl Lead {
    /// Notes that a book was published. Returns whether its numbers have restarted.
    #[inline]
    pub fn follow(&mut self, id: u64, venue_time: Option<Nanos>) -> bool {
        let is_lower = id < self.id;
        (self.id, self.venue_time, self.newer) = (id, venue_time, 0);
        is_lower
    }

    /// Compares a change with the published book: by the ids, unless the times show that the ids have restarted in between;
    /// without ids, by the times.
    pub fn compare(&self, id: u64, venue_time: Option<Nanos>) -> Ordering {
        let is_unnumbered = id == 0 && self.id == 0;
        match self.venue_time.zip(venue_time) {
            Some((own, other)) if is_unnumbered || id != self.id && own.abs_diff(other) > STALL as u64 => {
                other.cmp(&own)
            }
            None if is_unnumbered => Ordering::Greater,
            _ => id.cmp(&self.id),
        }
    }

    /// Counts a change of another connection if it is newer than the published book.
    pub fn count(&mut self, id: u64, venue_time: Option<Nanos>, received_time: Nanos) {
        if self.compare(id, venue_time) != Ordering::Greater {
            return;
        }
        if self.newer == 0 {
            self.first = received_time;
        }
        (self.newer, self.last) = (self.newer.saturating_add(1), received_time);
    }

    /// Returns whether other connections went on without the published book.
    pub fn is_stalled(&self) -> bool {
        self.newer >= STALL_CHANGES && self.last.saturating_sub(self.first) >= STALL
    }
}
