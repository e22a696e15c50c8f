//! The messages of one frame.

use super::events::{BookEvents, publish};
use super::notices::OwedNotices;
use super::{FeedOutcome, FeedStats, Source, Windows, is_new};
use crate::book::{BookAssembler, DiffIds, DiffOutcome, SnapshotOutcome};
use crate::codec::{BookIds, Codec, DecodeError, Decoded, Levels, Sink};
use crate::dispatch::{NotDispatched, Origin, Publisher, Wanted};
use crate::event::{Kind, Nanos, StaleReason};
use crate::names::SymbolId;
use std::collections::BTreeMap;

/// Publishes the messages of one frame and counts them by outcome.
pub(super) struct FrameSink<'f> {
    pub codec: &'f Codec,
    pub publisher: &'f mut Publisher,
    pub books: &'f mut BTreeMap<SymbolId, BookAssembler>,
    pub windows: &'f mut Windows,
    pub owed: &'f mut OwedNotices,
    pub stats: &'f FeedStats,
    pub source: Source,
    /// The symbol of all messages of earlier frames, if it is the only one.
    pub only_symbol: Option<SymbolId>,
    pub frame: &'f [u8],
    pub received_time: Nanos,
    /// The route of the current message.
    pub wanted: Option<Wanted>,
    pub outcome: FeedOutcome,
    /// The reason why a message was not dispatched. The messages after it are dropped.
    pub failed: Option<NotDispatched>,
}

impl Sink for FrameSink<'_> {
    #[inline]
    fn wanted(&mut self, kind: Kind, symbol: SymbolId) -> bool {
        self.wanted = self.publisher.wanted(kind, symbol);
        self.wanted.is_some()
    }

    #[inline]
    fn message(&mut self, message: Result<Decoded<'_>, DecodeError>) {
        if self.failed.is_some() {
            return;
        }
        match self.dispatch(message) {
            Ok(events) => self.outcome.events += events,
            Err(error) => self.failed = Some(error),
        }
    }
}

impl FrameSink<'_> {
    #[inline]
    fn dispatch(&mut self, message: Result<Decoded<'_>, DecodeError>) -> Result<u32, NotDispatched> {
        let received_time = self.received_time;
        let dispatched = match message {
            Ok(Decoded::Event { message, kind, symbol, venue_time, id, payload }) => {
                let mode = self.codec.messages()[usize::from(message)].id_mode;
                let origin = Origin { kind, symbol, venue_time, received_time };
                let (windows, stats) = (&mut *self.windows, self.stats);
                if id.zip(mode).is_none_or(|(id, mode)| is_new(windows, stats, (message, symbol), id, mode)) {
                    publish(self.publisher, stats, self.wanted, origin, payload)
                } else {
                    Ok(0)
                }
            }
            Ok(Decoded::BookDiff { symbol, venue_time, ids, levels, .. }) => match diff_ids(ids) {
                Some(ids) => self.diff(symbol, venue_time, ids, levels),
                None => return Ok(self.bad("no_sequence", "a diff without update ids".into())),
            },
            Ok(Decoded::BookSnapshot { symbol, venue_time, ids, levels, .. }) => {
                let last = diff_ids(ids).map_or(0, |ids| ids.last);
                match self.source.symbol(symbol, self.only_symbol) {
                    Ok(symbol) => self.snapshot(symbol, venue_time, last, levels),
                    Err((kind, text)) => return Ok(self.bad(kind, text)),
                }
            }
            Ok(Decoded::Unwanted { .. }) => {
                self.stats.unwanted.bump(1);
                Ok(0)
            }
            Ok(Decoded::Control { .. }) => {
                self.stats.control.bump(1);
                self.outcome.control += 1;
                return Ok(0);
            }
            Ok(Decoded::Unmatched) => {
                self.stats.unmatched.bump(1);
                self.outcome.unmatched += 1;
                return Ok(0);
            }
            Err(error) => {
                let text = self.codec.describe(&error);
                return Ok(self.bad(error.kind(), text));
            }
        };
        self.outcome.decoded += 1;
        dispatched
    }

    /// Counts a message that could not be used, and returns the number of its events.
    #[cold]
    fn bad(&mut self, kind: &'static str, text: String) -> u32 {
        self.stats.bad(kind, text, self.received_time, self.frame);
        self.outcome.bad += 1;
        0
    }

    fn diff(
        &mut self,
        symbol: SymbolId,
        venue_time: Option<Nanos>,
        ids: DiffIds,
        levels: &Levels,
    ) -> Result<u32, NotDispatched> {
        let book = self.books.entry(symbol).or_default();
        let outcome = book.diff(ids, levels);
        let mut to = BookEvents {
            publisher: self.publisher,
            stats: self.stats,
            owed: self.owed,
            symbol,
            venue_time,
            received_time: self.received_time,
        };
        match outcome {
            DiffOutcome::Applied => to.book(book, ids.first),
            DiffOutcome::Old => {
                self.stats.old_books.bump(1);
                Ok(0)
            }
            DiffOutcome::Buffered => {
                self.stats.buffered.bump(1);
                Ok(0)
            }
            DiffOutcome::BufferFull { first_time } => {
                self.stats.buffered.bump(1);
                if first_time { to.stale(StaleReason::NoSnapshot) } else { Ok(0) }
            }
            DiffOutcome::Gap { expected, received } => to.gap(expected, received),
            DiffOutcome::Crossed => to.stale(StaleReason::Crossed),
            DiffOutcome::Overflow => to.stale(StaleReason::Overflow),
        }
    }

    fn snapshot(
        &mut self,
        symbol: SymbolId,
        venue_time: Option<Nanos>,
        last: u64,
        levels: &Levels,
    ) -> Result<u32, NotDispatched> {
        let book = self.books.entry(symbol).or_default();
        let mut to = BookEvents {
            publisher: self.publisher,
            stats: self.stats,
            owed: self.owed,
            symbol,
            venue_time,
            received_time: self.received_time,
        };
        let mut events = 0;
        let mut failed = None;
        let outcome = book.snapshot(last, levels, |book, first| match to.book(book, first) {
            Ok(n) => events += n,
            Err(error) => failed = Some(error),
        });
        if let Some(error) = failed {
            return Err(error);
        }
        match outcome {
            // Each buffered diff has published its own event. Without buffered diffs the snapshot is published.
            SnapshotOutcome::Synced { applied: 0 } => events += to.book(book, last)?,
            SnapshotOutcome::Synced { .. } => {}
            SnapshotOutcome::TooOld => self.stats.old_snapshots.bump(1),
            SnapshotOutcome::Older => self.stats.old_books.bump(1),
            SnapshotOutcome::Gap { expected, received } => events += to.gap(expected, received)?,
            SnapshotOutcome::Crossed => events += to.stale(StaleReason::Crossed)?,
            SnapshotOutcome::Overflow => events += to.stale(StaleReason::Overflow)?,
        }
        Ok(events)
    }
}

/// Returns the ids of a numbered message.
fn diff_ids(ids: BookIds) -> Option<DiffIds> {
    match ids {
        BookIds::Range { first, last, prev } => Some(DiffIds { first, last, prev }),
        BookIds::Chain { last, prev } => {
            let (last, prev) = (u64::try_from(last).ok()?, prev.and_then(|prev| u64::try_from(prev).ok()));
            Some(DiffIds { first: prev.map_or(last, |prev| prev + 1), last, prev })
        }
        BookIds::Unnumbered => None,
    }
}
