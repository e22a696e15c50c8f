//! The update ids of book messages.

/// The update ids of a diff or a snapshot, in the form that the venue sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookIds {
    /// Numbers that grow: a message covers the updates from `first` to `last`.
    Range {
        /// The id of the first update.
        first: u64,
        /// The id of the last update.
        last: u64,
        /// The last id of the previous message, if the venue sends it.
        prev: Option<u64>,
    },
    /// Names of states: a diff leads from the state `prev` to the state `last`. They may decrease.
    Chain {
        /// The id of the state after the message.
        last: u64,
        /// The id of the state before the message; `None` if there is none.
        prev: Option<u64>,
    },
    /// The venue does not number its messages.
    Unnumbered,
}

impl BookIds {
    /// Returns the id of the last update, 0 without numbers.
    #[inline]
    pub const fn last(self) -> u64 {
        match self {
            Self::Range { last, .. } | Self::Chain { last, .. } => last,
            Self::Unnumbered => 0,
        }
    }

    /// Returns the id of the first update: that of the last one if the venue does not send it, 0 without numbers.
    #[inline]
    pub const fn first(self) -> u64 {
        match self {
            Self::Range { first, .. } => first,
            _ => self.last(),
        }
    }
}

/// What the messages of a snapshot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotMode {
    /// The snapshot was requested beside the stream: the diffs that it does not contain are applied to it, and one that
    /// is older than the book is ignored.
    Joins,
    /// The snapshot is part of the stream: it replaces the book, whatever its id, and the next diff follows it.
    Replaces,
    /// The snapshot is a window of the book, such as its best 20 levels, that the venue sends whole each time. It is
    /// published as it is, and never becomes the book that diffs are applied to.
    Window,
    /// The recent trades that the venue sends at a subscription: those before the first subscription are dropped, later
    /// ones that were missed are delivered as late.
    History,
}
