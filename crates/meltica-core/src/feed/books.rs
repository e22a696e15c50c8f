//! The books of a provider, by symbol and connection.
//!
//! Each connection has a book of its own, so that the messages of two never mix. The books of one connection, the active
//! one, are published. A newer connection becomes active once its book is good and as new, so that a planned change of
//! connections leaves no hole. If the active book is stale, any good one replaces it.

use super::FeedStats;
use super::checks::{Check, FAILED_SNAPSHOTS};
use super::events::BookEvents;
use crate::book::{BookAssembler, DiffOutcome, SnapshotOutcome};
use crate::codec::{BookIds, Levels, SnapshotMode};
use crate::dispatch::NotDispatched;
use crate::event::StaleReason;
use crate::names::SymbolId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The books of one symbol, by connection; the connections in the order of their first message.
#[derive(Default)]
pub(super) struct SymbolBooks {
    books: Vec<(u32, BookAssembler)>,
    active: usize,
}

/// The books of all symbols.
pub(super) type Books = BTreeMap<SymbolId, SymbolBooks>;

impl SymbolBooks {
    #[inline]
    fn position(&mut self, connection: u32, stats: &FeedStats) -> usize {
        self.books.iter().position(|(other, _)| *other == connection).unwrap_or_else(|| {
            self.books.push((connection, BookAssembler::sharing(Arc::clone(&stats.waiting_bytes))));
            self.books.len() - 1
        })
    }

    /// Returns whether no connection has a synchronised book.
    pub fn needs_snapshot(&self) -> bool {
        self.books.iter().all(|(_, book)| book.needs_snapshot())
    }

    /// Returns whether the book of a connection waits for a snapshot.
    pub fn waits(&self, connection: u32) -> bool {
        self.books.iter().any(|(other, book)| *other == connection && book.needs_snapshot())
    }

    /// Returns whether the last snapshots of a connection did not have their checksums.
    pub fn has_checksum_fault(&self) -> bool {
        self.books.iter().any(|(_, book)| book.failed_snapshots() >= FAILED_SNAPSHOTS)
    }

    /// Returns whether the venue does not number the messages of the symbol.
    pub fn is_unnumbered(&self) -> bool {
        self.books.iter().any(|(_, book)| book.is_unnumbered())
    }

    /// Makes the book of a connection stale.
    pub fn invalidate(
        &mut self,
        connection: u32,
        reason: StaleReason,
        to: &mut BookEvents<'_>,
    ) -> Result<u32, NotDispatched> {
        match self.books.iter().position(|(other, _)| *other == connection) {
            Some(at) if self.books[at].1.invalidate() => {
                to.stats.gaps.bump(u64::from(reason == StaleReason::Gap));
                self.stale(at, reason, to)
            }
            _ => Ok(0),
        }
    }

    /// Sets the window of levels that the venue has confirmed for the book of a connection.
    pub fn confirm_window(&mut self, connection: u32, levels: u32) {
        if let Some((_, book)) = self.books.iter_mut().find(|(other, _)| *other == connection) {
            book.confirm_window(levels as usize);
        }
    }

    /// Makes the books of all connections stale.
    pub fn invalidate_all(&mut self) {
        for (_, book) in &mut self.books {
            book.invalidate();
        }
    }

    /// Returns whether no connection has a book.
    pub fn is_empty(&self) -> bool {
        self.books.is_empty()
    }

    /// Returns whether some connection has a good book.
    pub fn is_good(&self) -> bool {
        self.good().is_some()
    }

    fn good(&self) -> Option<usize> {
        (0..self.books.len()).rev().find(|at| self.books[*at].1.is_good())
    }

    /// Applies a diff of a connection and publishes the book, or that it is stale.
    pub fn diff(
        &mut self,
        connection: u32,
        ids: BookIds,
        levels: &Levels,
        check: &mut Check<'_>,
        to: &mut BookEvents<'_>,
    ) -> Result<u32, NotDispatched> {
        let at = self.position(connection, to.stats);
        let stats = to.stats;
        let counter = match self.books[at].1.diff(ids, to.venue_time, levels) {
            DiffOutcome::Applied | DiffOutcome::Heartbeat
                if self.books[at].1.is_good() && check.has_failed(&mut self.books[at].1, false) =>
            {
                self.books[at].1.invalidate();
                return self.stale(at, StaleReason::Checksum, to);
            }
            DiffOutcome::Applied => {
                to.checksum = check.expected;
                return self.publish(at, ids.first(), to);
            }
            DiffOutcome::BufferFull { first_time: true } => {
                stats.buffered.bump(1);
                return self.stale(at, StaleReason::NoSnapshot, to);
            }
            DiffOutcome::Gap { expected, received } => return self.gap(at, expected, received, to),
            DiffOutcome::Restarted { .. } => return self.stale(at, StaleReason::Restarted, to),
            DiffOutcome::Crossed => return self.stale(at, StaleReason::Crossed, to),
            DiffOutcome::Overflow => return self.stale(at, StaleReason::Overflow, to),
            DiffOutcome::Buffered | DiffOutcome::BufferFull { .. } => &stats.buffered,
            DiffOutcome::Old => &stats.old_books,
            DiffOutcome::Repeated => &stats.repeated_diffs,
            DiffOutcome::Heartbeat => &stats.heartbeats,
            DiffOutcome::StillCrossed => &stats.crossed_diffs,
        };
        counter.bump(1);
        Ok(0)
    }

    /// Applies a snapshot of a connection and publishes the book, or that it is stale.
    pub fn snapshot(
        &mut self,
        connection: u32,
        ids: BookIds,
        mode: SnapshotMode,
        levels: &Levels,
        check: &mut Check<'_>,
        to: &mut BookEvents<'_>,
    ) -> Result<u32, NotDispatched> {
        let at = self.position(connection, to.stats);
        // A book that is not published may become so by the snapshot; then its buffered diffs have no events of their own.
        let is_active = at == self.active;
        let (mut events, mut failed) = (0, None);
        let longer = levels.bids.len().max(levels.asks.len());
        if mode != SnapshotMode::Joins || self.books[at].1.needs_snapshot() {
            self.books[at].1.set_window(check.depth(connection).as_ref(), longer);
        }
        let outcome = self.books[at].1.snapshot(ids, mode, levels, |book, first| {
            if is_active && failed.is_none() {
                match to.book(book, first) {
                    Ok(n) => events += n,
                    Err(error) => failed = Some(error),
                }
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let stats = to.stats;
        Ok(events
            + match outcome {
                // Each buffered diff has published its own event. Without buffered diffs the snapshot is published.
                SnapshotOutcome::Synced { applied } if is_active && applied > 0 => 0,
                SnapshotOutcome::Synced { applied: 0 } if check.has_failed(&mut self.books[at].1, true) => {
                    self.books[at].1.invalidate();
                    self.stale(at, StaleReason::Checksum, to)?
                }
                SnapshotOutcome::Synced { applied } => {
                    to.checksum = check.expected.filter(|_| applied == 0);
                    self.publish(at, self.books[at].1.last_update_id(), to)?
                }
                SnapshotOutcome::TooOld => {
                    stats.old_snapshots.bump(1);
                    0
                }
                SnapshotOutcome::Older => {
                    stats.old_books.bump(1);
                    0
                }
                SnapshotOutcome::Restarted => self.stale(at, StaleReason::Restarted, to)?,
                SnapshotOutcome::Gap { expected, received } => self.gap(at, expected, received, to)?,
                SnapshotOutcome::Crossed => self.stale(at, StaleReason::Crossed, to)?,
                SnapshotOutcome::Overflow => self.stale(at, StaleReason::Overflow, to)?,
            })
    }

    /// Publishes a good book if it is the active one, or becomes so.
    #[inline]
    fn publish(&mut self, at: usize, first: u64, to: &mut BookEvents<'_>) -> Result<u32, NotDispatched> {
        if at != self.active && !self.take_over(at, to) {
            to.stats.standby.bump(1);
            return Ok(0);
        }
        to.book(&self.books[at].1, first)
    }

    /// Makes a good book the active one if the active one is stale, or older and of an older connection.
    #[cold]
    fn take_over(&mut self, at: usize, to: &BookEvents<'_>) -> bool {
        let (active, other) = (&self.books[self.active].1, &self.books[at].1);
        let is_newer = at > self.active && other.last_update_id() >= active.last_update_id();
        let takes_over = is_newer || !active.is_good();
        if takes_over {
            self.active = at;
            to.stats.takeovers.bump(1);
        }
        takes_over
    }

    fn gap(
        &mut self,
        at: usize,
        expected: u64,
        received: u64,
        to: &mut BookEvents<'_>,
    ) -> Result<u32, NotDispatched> {
        to.stats.gaps.bump(1);
        self.replace(at, to, |to| to.gap(expected, received))
    }

    /// Publishes that a book became stale, unless another connection has a good one.
    pub fn stale(
        &mut self,
        at: usize,
        reason: StaleReason,
        to: &mut BookEvents<'_>,
    ) -> Result<u32, NotDispatched> {
        self.replace(at, to, |to| to.stale(reason))
    }

    /// Publishes the good book of another connection in place of one that became stale, or `report`s that it is stale.
    #[cold]
    fn replace(
        &mut self,
        at: usize,
        to: &mut BookEvents<'_>,
        report: impl FnOnce(&mut BookEvents<'_>) -> Result<u32, NotDispatched>,
    ) -> Result<u32, NotDispatched> {
        if at != self.active {
            return Ok(0);
        }
        match self.good() {
            Some(other) => {
                self.active = other;
                to.stats.takeovers.bump(1);
                let book = &self.books[other].1;
                to.book(book, book.last_update_id())
            }
            None => report(to),
        }
    }

    /// Forgets every connection.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Forgets a connection. Publishes the good book of another one if the lost one was active; returns `None` if there is
    /// none, otherwise the number of events.
    pub fn lose(&mut self, connection: u32, to: &mut BookEvents<'_>) -> Result<Option<u32>, NotDispatched> {
        let Some(at) = self.books.iter().position(|(other, _)| *other == connection) else {
            return Ok(Some(0));
        };
        if self.books.len() == 1 {
            self.reset();
            return Ok(None);
        }
        self.books.remove(at);
        if at != self.active {
            self.active -= usize::from(at < self.active);
            return Ok(Some(0));
        }
        self.active = self.good().unwrap_or(self.books.len() - 1);
        let book = &self.books[self.active].1;
        if !book.is_good() {
            return Ok(None);
        }
        to.stats.takeovers.bump(1);
        to.book(book, book.last_update_id()).map(Some)
    }
}
