//! What a queue could not deliver.

use crate::stats::Counter;

/// The losses of one kind in one queue.
#[derive(Debug, Default)]
pub struct Losses {
    pub(super) conflated: Counter,
    pub(super) dropped: Counter,
    /// Events that the reader had taken when a later event of the same cell arrived. Written by the reader.
    pub(super) overtaken: Counter,
    /// Events of symbols that were left out. Written by every publisher.
    pub(super) left_out: Counter,
}

impl Losses {
    /// Returns the events replaced by a later event of the same provider, kind and symbol.
    pub fn conflated(&self) -> u64 {
        self.conflated.get() + self.overtaken.get()
    }

    /// Returns the events evicted from a full ring, refused by a halted queue, lost for want of a slot, or of symbols that
    /// were left out.
    pub fn dropped(&self) -> u64 {
        self.dropped.get() + self.left_out.get()
    }
}
