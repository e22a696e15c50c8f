//! Joins a requested snapshot with the diffs that waited for it.

use super::{BookAssembler, SnapshotOutcome};
use crate::codec::{BookIds, Levels};

impl BookAssembler {
    /// Returns whether an id is nearer to those before a restart of the ids than to those after it.
    fn is_former(&self, id: u64) -> bool {
        let distance = |from: Option<u64>| from.map(|from| from.abs_diff(id));
        distance(self.former).is_some_and(|former| Some(former) <= distance(self.received))
    }

    /// Prepares the book for a snapshot that joins. Returns the outcome if it cannot join or is not needed.
    pub(super) fn admit(&mut self, ids: BookIds) -> Option<SnapshotOutcome> {
        let last = ids.last();
        if !self.needs_snapshot() && last <= self.last {
            if last < self.base {
                // A slow response looks like this too, so the ids of the diffs still bound the next snapshot.
                let received = self.received;
                self.forget();
                (self.received, self.older) = (received, Some(last));
                return Some(SnapshotOutcome::Restarted);
            }
            return Some(SnapshotOutcome::Older);
        }
        if matches!(ids, BookIds::Range { .. }) && self.received.is_some_and(|received| last > received) {
            if self.is_good() {
                return Some(SnapshotOutcome::Older);
            }
            if self.is_former(last) {
                return Some(SnapshotOutcome::TooOld);
            }
        }
        if !self.join(ids) {
            return Some(SnapshotOutcome::TooOld); // 2
        }
        if self.buffer.front().is_none() {
            self.received = self.received.map(|received| received.min(last));
        }
        None
    }

    /// Drops the buffered diffs that a snapshot of all updates up to `last` contains. Returns whether it joins the rest.
    fn join(&mut self, ids: BookIds) -> bool {
        let last = ids.last();
        let is_chain = |(ids, _): &(BookIds, Levels)| matches!(ids, BookIds::Chain { .. });
        let follows = self
            .buffer
            .position(|(ids, _)| matches!(ids, BookIds::Chain { prev: Some(prev), .. } if *prev == last));
        if let Some(n) = follows {
            (0..n).for_each(|_| drop(self.buffer.pop_front()));
        } else if self.buffer.back().is_some_and(|diff| is_chain(diff) && diff.0.last() == last) {
            self.buffer.clear();
        }
        if follows.is_none() {
            while self.buffer.front().is_some_and(|(ids, _)| ids.last() <= last) {
                self.buffer.pop_front(); // 3
            }
        }
        match self.buffer.front().map(|(ids, _)| *ids) {
            Some(BookIds::Range { first, prev, .. }) => {
                prev.map_or(first <= last.saturating_add(1), |prev| prev <= last)
            }
            Some(BookIds::Chain { prev, .. }) => prev.is_some_and(|prev| prev <= last),
            Some(BookIds::Unnumbered) => true,
            // Ids of chains may decrease, so only those of ranges are compared. A second snapshot below the previous base
            // confirms a restart.
            None => {
                !matches!(ids, BookIds::Range { .. })
                    || self.older.is_some() && last < self.base
                    || self.received.is_none_or(|received| received <= last)
            }
        }
    }
}
