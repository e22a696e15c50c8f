//! The counters of a provider's feed, and the last bad frames.

use crate::event::{Kind, Nanos, StaleReason};
use crate::names::ProviderId;
use crate::stats::{Counter, Histogram};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

/// A frame that was refused.
#[derive(Debug, Clone)]
pub struct BadFrame {
    /// The receive time.
    pub received_time: Nanos,
    /// The error.
    pub error: String,
    /// The beginning of the frame.
    pub head: Vec<u8>,
}

/// The counters of one provider. The thread of its feed is the only writer.
#[derive(Debug)]
pub struct FeedStats {
    /// The provider.
    pub provider: ProviderId,
    /// Received frames.
    pub frames: Counter,
    /// Bytes of the received frames.
    pub bytes: Counter,
    /// Dispatched events per kind.
    pub dispatched: [Counter; Kind::COUNT],
    /// Messages without a subscriber.
    pub unwanted: Counter,
    /// Messages that the codec declares as not market data.
    pub control: Counter,
    /// Well-formed messages that match no declaration of the codec.
    pub unmatched: Counter,
    /// Enum values that the declaration does not name: the field is absent, or the frame bad if the field is required.
    pub unknown_enums: Counter,
    /// Messages with a repeated id.
    pub duplicates: Counter,
    /// Messages with an id older than its window.
    pub stale_ids: Counter,
    /// Checksums of books that were right.
    pub checksums_verified: Counter,
    /// Checksums that were not verified: the scales of the instrument are not known, or the verification is off.
    pub checksums_unverified: Counter,
    /// Checksums that were not those of their book.
    pub checksums_failed: Counter,
    /// Books of which three snapshots in a row did not have their checksum: the declared layout or the scales are wrong.
    pub checksum_faults: Counter,
    /// Symbols whose checksums proved other scales than those of the instrument list.
    pub scale_faults: Counter,
    /// Trades of a subscription's snapshot that were dropped, as they are older than the subscription.
    pub history: Counter,
    /// Trades that were missed, and delivered out of a later subscription's snapshot.
    pub late: Counter,
    /// Restarts of the ids by which repetitions are recognized.
    pub id_restarts: Counter,
    /// Tickers whose bid reached the ask, delivered without both.
    pub crossed_tickers: Counter,
    /// Tickers of changed values without a value, which are not delivered.
    pub unchanged_tickers: Counter,
    /// Candles whose high is below the low, which are not delivered.
    pub bad_candles: Counter,
    /// Closed candles with the values of the last one, and older ones, which are not delivered.
    pub repeated_candles: Counter,
    /// Jumps of the numbers of a connection's frames: frames were lost.
    pub frame_gaps: Counter,
    /// Restarts of the numbers of a connection's frames.
    pub frame_restarts: Counter,
    /// Frames that were dropped, as their connection sent them or later ones before.
    pub old_frames: Counter,
    /// Partial books that were not published, as a connection assembles the book of their symbol.
    pub partial_books: Counter,
    /// Diffs and snapshots that are older than their book.
    pub old_books: Counter,
    /// Diffs that were received before.
    pub repeated_diffs: Counter,
    /// Diffs without changes, which confirm the id of their book.
    pub heartbeats: Counter,
    /// Diffs of books that are crossed since their snapshot.
    pub crossed_diffs: Counter,
    /// Good books that were not published because another connection is the active one of their symbol.
    pub standby: Counter,
    /// Changes of the active connection of a book.
    pub takeovers: Counter,
    /// Diffs buffered until a snapshot arrives.
    pub buffered: Counter,
    /// Gaps after which a book had to be resynchronised.
    pub gaps: Counter,
    /// Notices of stale books and feeds, by reason.
    pub stale: [Counter; StaleReason::ALL.len()],
    /// Snapshots that are older than the buffered diffs.
    pub old_snapshots: Counter,
    /// Events not dispatched because the pool was exhausted.
    pub no_slot: Counter,
    /// The size of the diffs that wait for snapshots.
    pub waiting_bytes: Arc<AtomicU64>,
    /// Symbols whose book waited for a snapshot at the last check.
    pub unsynced: AtomicU64,
    /// Bad frames by kind of error.
    pub errors: Mutex<BTreeMap<&'static str, u64>>,
    /// The last bad frames.
    pub bad: Mutex<VecDeque<BadFrame>>,
    /// The beginnings of the first frames that match no declaration of the codec.
    pub ignored: Mutex<Vec<Vec<u8>>>,
    /// The time from the call to the last dispatch, of frames with events, ns.
    pub decode: Histogram,
}

impl FeedStats {
    /// Returns counters at zero.
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
            checksums_verified: Counter::default(),
            checksums_unverified: Counter::default(),
            checksums_failed: Counter::default(),
            checksum_faults: Counter::default(),
            scale_faults: Counter::default(),
            history: Counter::default(),
            late: Counter::default(),
            id_restarts: Counter::default(),
            crossed_tickers: Counter::default(),
            unchanged_tickers: Counter::default(),
            bad_candles: Counter::default(),
            repeated_candles: Counter::default(),
            frame_gaps: Counter::default(),
            frame_restarts: Counter::default(),
            old_frames: Counter::default(),
            partial_books: Counter::default(),
            old_books: Counter::default(),
            repeated_diffs: Counter::default(),
            heartbeats: Counter::default(),
            crossed_diffs: Counter::default(),
            standby: Counter::default(),
            takeovers: Counter::default(),
            buffered: Counter::default(),
            gaps: Counter::default(),
            stale: Default::default(),
            old_snapshots: Counter::default(),
            no_slot: Counter::default(),
            waiting_bytes: Arc::default(),
            unsynced: AtomicU64::new(0),
            errors: Mutex::default(),
            bad: Mutex::default(),
            ignored: Mutex::default(),
            decode: Histogram::default(),
        }
    }

    /// Returns a number that grows with each frame and each dispatched event of market data.
    pub fn delivered(&self) -> u64 {
        let kinds = [Kind::BookSnapshot, Kind::Trade, Kind::Ticker, Kind::KlineSummary];
        self.frames.get() + kinds.iter().map(|kind| self.dispatched[*kind as usize].get()).sum::<u64>()
    }

    /// Counts a message that matches no declaration, and keeps the beginning of the first ones.
    #[cold]
    pub fn ignore(&self, frame: &[u8]) {
        const KEPT: u64 = 8;
        const HEAD: usize = 400;
        self.unmatched.bump(1);
        if self.unmatched.get() <= KEPT {
            let mut ignored = self.ignored.lock().unwrap_or_else(PoisonError::into_inner);
            ignored.push(frame[..frame.len().min(HEAD)].to_vec());
        }
    }

    /// Counts a bad frame and keeps its beginning.
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
