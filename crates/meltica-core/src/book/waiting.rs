//! The diffs that wait for a snapshot. All books of a feed share the memory for them.

use crate::codec::{BookIds, Levels};
use crate::event::PriceLevel;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Maximum number of diffs of one book.
pub const MAX_WAITING: usize = 1024;
/// Maximum number of levels in the diffs of one book.
const MAX_LEVELS: usize = 200_000;
/// Maximum size of the diffs of all books that share their memory.
pub const MAX_BYTES: u64 = 64 << 20;

type Diff = (BookIds, Levels);

/// The diffs of one book, oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    diffs: VecDeque<Diff>,
    levels: usize,
    /// The size of the diffs of all books.
    shared: Arc<AtomicU64>,
}

fn levels((_, levels): &Diff) -> usize {
    levels.bids.len() + levels.asks.len()
}

fn bytes(diff: &Diff) -> u64 {
    (size_of::<Diff>() + levels(diff) * size_of::<PriceLevel>()) as u64
}

impl Waiting {
    /// Returns an empty queue whose size counts in `shared`.
    pub fn sharing(shared: Arc<AtomicU64>) -> Self {
        Self { diffs: VecDeque::new(), levels: 0, shared }
    }

    /// Returns an empty queue that shares the same memory.
    pub fn renewed(&self) -> Self {
        Self::sharing(Arc::clone(&self.shared))
    }

    pub fn front(&self) -> Option<&Diff> {
        self.diffs.front()
    }

    pub fn back(&self) -> Option<&Diff> {
        self.diffs.back()
    }

    /// Returns the index of the first diff for which `is` holds.
    pub fn position(&self, is: impl Fn(&Diff) -> bool) -> Option<usize> {
        self.diffs.iter().position(is)
    }

    /// Adds a diff, and drops the oldest ones that have no room. Returns whether there were some.
    pub fn push(&mut self, ids: BookIds, levels_of: &Levels) -> bool {
        let diff = (ids, levels_of.clone());
        self.levels += levels(&diff);
        self.shared.fetch_add(bytes(&diff), Ordering::Relaxed);
        self.diffs.push_back(diff);
        let mut full = false;
        while self.is_over() && self.pop_front().is_some() {
            full = true;
        }
        full
    }

    fn is_over(&self) -> bool {
        self.diffs.len() > MAX_WAITING
            || self.levels > MAX_LEVELS
            || self.shared.load(Ordering::Relaxed) > MAX_BYTES
    }

    /// Removes the oldest diff.
    pub fn pop_front(&mut self) -> Option<Diff> {
        let diff = self.diffs.pop_front()?;
        self.levels -= levels(&diff);
        self.shared.fetch_sub(bytes(&diff), Ordering::Relaxed);
        Some(diff)
    }

    pub fn clear(&mut self) {
        while self.pop_front().is_some() {}
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.clear();
    }
}
