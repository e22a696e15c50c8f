//! What a provider's feed counts, and the bad frames that it keeps.

use crate::event::{Kind, Nanos, StaleReason};
use crate::names::ProviderId;
use crate::stats::{Counter, Histogram};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

/// A frame that could not be used.
#[derive(Debug, Clone)]
pub struct BadFrame {
    /// When it came.
    pub received_time: Nanos,
    /// What was wrong with it.
    pub error: String,
    /// Its beginning.
    pub head: Vec<u8>,
}

/// Counters of one provider. Its feed's thread is the only writer.
#[derive(Debug)]
pub struct FeedStats {
    /// Whose.
    pub provider: ProviderId,
    /// Frames received.
    pub frames: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Events dispatched, per kind.
    pub dispatched: [Counter; Kind::COUNT],
    /// Messages nobody wanted.
    pub unwanted: Counter,
    /// Messages that the codec declares as not market data.
    pub control: Counter,
    /// Well-formed messages that match no declaration of the codec.
    pub unmatched: Counter,
    /// Enum values that the declaration does not name: the field was absent, or the frame bad where it is required.
    pub unknown_enums: Counter,
    /// Ids seen before.
    pub duplicates: Counter,
    /// Ids too old to be told.
    pub stale_ids: Counter,
    /// Diffs and snapshots older than their book.
    pub old_books: Counter,
    /// Diffs that wait, or waited, for a snapshot.
    pub buffered: Counter,
    /// Books that were resynchronised because of a hole.
    pub gaps: Counter,
    /// Books that went stale, by reason.
    pub stale: [Counter; StaleReason::ALL.len()],
    /// Snapshots that no book could be found for.
    pub orphan_snapshots: Counter,
    /// Snapshots older than the diffs that wait for one.
    pub old_snapshots: Counter,
    /// Events that found the pool empty.
    pub no_slot: Counter,
    /// Symbols whose book waited for a snapshot when last looked at.
    pub unsynced: AtomicU64,
    /// Bad frames, by what was wrong.
    pub errors: Mutex<BTreeMap<&'static str, u64>>,
    /// The last bad frames.
    pub bad: Mutex<VecDeque<BadFrame>>,
    /// From the call to the last dispatch of a frame that had events, ns.
    pub decode: Histogram,
}

impl FeedStats {
    /// Counts from zero.
    pub fn new(provider: ProviderId) -> Self {
        Self {
            provider,
            frames: Counter::default(),
            bytes: Counter::default(),
            dispatched: Default::default(),
            unwanted: Counter::default(),
            control: Counter::default(),
            unmatched: Counter::default(),
            unknown_enums: Counter::default(),
            duplicates: Counter::default(),
            stale_ids: Counter::default(),
            old_books: Counter::default(),
            buffered: Counter::default(),
            gaps: Counter::default(),
            stale: Default::default(),
            orphan_snapshots: Counter::default(),
            old_snapshots: Counter::default(),
            no_slot: Counter::default(),
            unsynced: AtomicU64::new(0),
            errors: Mutex::default(),
            bad: Mutex::default(),
            decode: Histogram::default(),
        }
    }

    /// Counts and keeps a bad frame.
    pub fn bad(&self, kind: &'static str, error: String, received_time: Nanos, frame: &[u8]) {
        const KEPT: usize = 32;
        const HEAD: usize = 4096;
        *self.errors.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        if bad.len() == KEPT {
            bad.pop_front();
        }
        let head = frame[..frame.len().min(HEAD)].to_vec();
        bad.push_back(BadFrame { received_time, error, head });
    }
}
