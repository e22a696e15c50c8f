//! The outcomes of book messages.

/// The outcome of a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffOutcome {
    /// The diff was applied.
    Applied,
    /// The diff was applied. The book is crossed since its snapshot.
    StillCrossed,
    /// The diff has no changes and confirms the id of the book.
    Heartbeat,
    /// The diff was received before.
    Repeated,
    /// The diff is older than the snapshot of the book, or than the one that it waits for.
    Old,
    /// The diff was buffered until a snapshot arrives.
    Buffered,
    /// The diff was buffered, and the oldest buffered diff was dropped.
    BufferFull {
        /// Whether it is the first drop since the last snapshot.
        first_time: bool,
    },
    /// Diffs before this one were lost. The book is stale until a newer snapshot arrives.
    Gap {
        /// The expected id.
        expected: u64,
        /// The received id.
        received: u64,
    },
    /// The venue's numbers have restarted. The book is stale until a snapshot arrives.
    Restarted {
        /// Whether the book was synchronised.
        synced: bool,
    },
    /// The best bid reached the best ask. The book is stale.
    Crossed,
    /// A number does not fit into the scale of the book. The book is stale.
    Overflow,
}

/// The outcome of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// The book is synchronised.
    Synced {
        /// The number of buffered diffs that were applied.
        applied: u32,
    },
    /// The snapshot is too old for the diffs received, or from before a restart of the ids.
    TooOld,
    /// The book is synchronised and does not need the snapshot.
    Older,
    /// The snapshot is older than the previous one: the venue's numbers have restarted. The book is stale until the
    /// next snapshot.
    Restarted,
    /// Diffs were lost between the buffered ones.
    Gap {
        /// The expected id.
        expected: u64,
        /// The received id.
        received: u64,
    },
    /// The book is synchronised and crossed. It goes on with the next diffs.
    Crossed,
    /// A number does not fit into the scale of the book.
    Overflow,
}
