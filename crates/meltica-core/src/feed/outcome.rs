//! The outcome of a frame.

/// Counts the messages of the frames passed to [`Feed::frame`](super::Feed::frame) by outcome.
///
/// Each message counts as exactly one of `decoded`, `control`, `unmatched` and `bad`. A frame holds one message
/// or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedOutcome {
    /// Events dispatched, notices about books included.
    pub events: u32,
    /// Market data. Also counts messages without an event: duplicates, book changes that wait for a snapshot, and what
    /// no subscriber wants.
    pub decoded: u32,
    /// Messages that the codec declares as not market data.
    pub control: u32,
    /// Well-formed messages that match no declaration of the codec.
    pub unmatched: u32,
    /// Messages that could not be used. The provider's counters show the error.
    pub bad: u32,
}

impl FeedOutcome {
    /// Returns whether the adapter has to handle the frame: some message of it is control or unmatched.
    #[inline]
    pub const fn needs_adapter(self) -> bool {
        self.control | self.unmatched != 0
    }
}
