//! Books that stay crossed after a snapshot: an auction, which ends by itself, or a wrong snapshot.

use super::{BookAssembler, State};
use crate::codec::SnapshotMode;
use crate::event::Nanos;

/// How long a book may be crossed before it needs another snapshot: at first, and at most.
const PAUSES: [Nanos; 2] = [30_000_000_000, 1_920_000_000_000];

/// Since when a book is crossed.
#[derive(Debug, Default)]
pub(super) struct Crossing {
    since: Option<Nanos>,
    pause: Nanos,
    is_over: bool,
    /// Whether the last snapshot was a requested one.
    is_requested: bool,
}

impl Crossing {
    /// Starts again at a snapshot. The pause is twice as long if the book was crossed for all of the one before.
    pub fn restart(&mut self, mode: SnapshotMode) {
        (self.since, self.is_over, self.is_requested) = (None, false, mode == SnapshotMode::Joins);
    }

    /// Notes that the book is good.
    pub fn uncross(&mut self) {
        self.pause = 0;
    }
}

impl BookAssembler {
    /// Returns whether the book waits for a snapshot, or has been crossed for so long that its snapshot may be wrong.
    pub fn wants_snapshot(&self) -> bool {
        self.needs_snapshot() || self.state == State::Crossed && self.crossing.is_over
    }

    /// Notes that the book is still crossed. One whose snapshots are requested then waits for another, as it joins only the
    /// diffs that wait; others go on, and are good when they uncross.
    #[cold]
    pub fn count_crossed(&mut self, received_time: Nanos) {
        let crossing = &mut self.crossing;
        let Some(since) = crossing.since else {
            crossing.since = Some(received_time);
            crossing.pause = (2 * crossing.pause).clamp(PAUSES[0], PAUSES[1]);
            return;
        };
        if received_time.saturating_sub(since) >= crossing.pause {
            crossing.is_over = true;
            if crossing.is_requested {
                self.state = State::Waiting;
            }
        }
    }
}
