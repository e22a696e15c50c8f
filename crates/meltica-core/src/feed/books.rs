//! The books of a provider, by symbol and connection.
//!
//! Each connection has a book of its own, so that the messages of two never mix. The books of one connection, the active
//! one, are published. A newer connection becomes active once its book is good and as new, so that a planned change of
//! connections leaves no hole. If the active book is stale, or does not change while another connection goes on, a good
//! one replaces it that is not older than what was published.

use super::FeedStats;
use super::checks::{Check, FAILED_SNAPSHOTS};
use super::events::BookEvents;
use super::lead::Lead;
use crate::book::{BookAssembler, DiffOutcome, SnapshotOutcome};
use crate::codec::{BookIds, Levels, SnapshotMode};
use crate::dispatch::NotDispatched;
use crate::event::{Nanos, StaleReason};
use crate::names::SymbolId;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The book of one connection.
struct Line {
    connection: u32,
    book: BookAssembler,
    /// The venue's time of the last change.
    venue_time: Option<Nanos>,
    /// Whether the numbers of the published book have restarted, and those of this one have not yet.
    is_former: bool,
}

/// The books of one symbol, by connection; the connections in the order of their first message.
#[derive(Default)]
pub(super) struct SymbolBooks {
    books: Vec<Line>,
    /// The position of the published book, [`NONE`] after its connection was lost.
    active: usize,
    lead: Lead,
}

const NONE: usize = usize::MAX;

/// The books of all symbols.
pub(super) type Books = BTreeMap<SymbolId, SymbolBooks>;

impl SymbolBooks {
    #[inline]
    fn position(&mut self, connection: u32, stats: &FeedStats) -> usize {
        self.books.iter().position(|line| line.connection == connection).unwrap_or_else(|| {
            let book = BookAssembler::sharing(Arc::clone(&stats.waiting_bytes));
            self.books.push(Line { connection, book, venue_time: None, is_former: false });
            self.books.len() - 1
        })
    }

    /// Returns whether no synchronised book is published.
    pub fn needs_snapshot(&self) -> bool {
        self.books.get(self.active).is_none_or(|line| line.book.wants_snapshot())
    }

    /// Returns whether the book of a connection waits for a snapshot.
    pub fn waits(&self, connection: u32) -> bool {
        self.books.iter().any(|line| line.connection == connection && line.book.wants_snapshot())
    }

    /// Returns whether the last snapshots of a connection did not have their checksums.
    pub fn has_checksum_fault(&self) -> bool {
        self.books.iter().any(|line| line.book.failed_snapshots() >= FAILED_SNAPSHOTS)
    }

    /// Returns whether the venue does not number the messages of the symbol.
    pub fn is_unnumbered(&self) -> bool {
        self.books.iter().any(|line| line.book.is_unnumbered())
    }

    /// Makes the book of a connection stale.
    pub fn invalidate(
        &mut self,
        connection: u32,
        reason: StaleReason,
        to: &mut BookEvents<'_>,
    ) -> Result<u32, NotDispatched> {
        match self.books.iter().position(|line| line.connection == connection) {
            Some(at) if self.books[at].book.invalidate() => {
                to.stats.gaps.bump(u64::from(reason == StaleReason::Gap));
                self.stale(at, reason, to)
            }
            _ => Ok(0),
        }
    }

    /// Sets the window of levels that the venue has confirmed for the book of a connection.
    pub fn confirm_window(&mut self, connection: u32, levels: u32) {
        if let Some(line) = self.books.iter_mut().find(|line| line.connection == connection) {
            line.book.confirm_window(levels as usize);
        }
    }

    /// Makes the books of all connections stale.
    pub fn invalidate_all(&mut self) {
        for line in &mut self.books {
            line.book.invalidate();
        }
    }

    /// Returns whether no connection has a book.
    pub fn is_empty(&self) -> bool {
        self.books.is_empty()
    }

    /// Returns whether the published book is good.
    pub fn is_good(&self) -> bool {
        self.books.get(self.active).is_some_and(|line| line.book.is_good())
    }

    /// Returns the good book that can be published in place of the active one.
    fn good(&self) -> Option<usize> {
        (0..self.books.len()).rev().find(|at| self.books[*at].book.is_good() && !self.is_older(*at))
    }

    /// Returns whether a book is older than the published one.
    fn is_older(&self, at: usize) -> bool {
        let Line { book, venue_time, is_former, .. } = &self.books[at];
        *is_former || self.lead.compare(book.last_update_id(), *venue_time) == Ordering::Less
    }

    /// Publishes the next books from this one on.
    #[inline]
    fn follow(&mut self, at: usize) {
        self.active = at;
        let line = &self.books[at];
        if self.lead.follow(line.book.last_update_id(), line.venue_time) {
            self.renumber(at);
        }
    }

    /// Notes that the numbers of a book have restarted.
    #[cold]
    fn renumber(&mut self, at: usize) {
        for (_, line) in self.books.iter_mut().enumerate().filter(|(other, _)| *other != at) {
            line.is_former = true;
        }
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
        let outcome = self.books[at].book.diff(ids, to.venue_time, levels);
        if matches!(outcome, DiffOutcome::Applied | DiffOutcome::StillCrossed) {
            let line = &mut self.books[at];
            line.venue_time = to.venue_time;
            // A chain goes on before the decrease of its ids that the published book has had.
            line.is_former &= matches!(ids, BookIds::Chain { last, prev: Some(prev) } if prev <= last);
        }
        if at != self.active && self.is_ahead(ids.last(), to) && !self.books[at].book.is_good() {
            self.books[self.active].book.invalidate();
            return self.stale(self.active, StaleReason::Silent, to);
        }
        let counter = match outcome {
            DiffOutcome::Applied | DiffOutcome::Heartbeat
                if self.books[at].book.is_good() && check.has_failed(&mut self.books[at].book, false) =>
            {
                self.books[at].book.invalidate();
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
            DiffOutcome::Restarted { .. } => {
                if at == self.active {
                    self.renumber(at);
                }
                return self.stale(at, StaleReason::Restarted, to);
            }
            DiffOutcome::Crossed => return self.stale(at, StaleReason::Crossed, to),
            DiffOutcome::Overflow => return self.stale(at, StaleReason::Overflow, to),
            DiffOutcome::Buffered | DiffOutcome::BufferFull { .. } => &stats.buffered,
            DiffOutcome::Old => &stats.old_books,
            DiffOutcome::Repeated => &stats.repeated_diffs,
            DiffOutcome::Heartbeat => &stats.heartbeats,
            DiffOutcome::StillCrossed => {
                self.books[at].book.count_crossed(to.received_time);
                &stats.crossed_diffs
            }
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
        if mode != SnapshotMode::Joins || self.books[at].book.needs_snapshot() {
            self.books[at].book.set_window(check.depth(connection).as_ref(), longer);
        }
        let outcome = self.books[at].book.snapshot(ids, mode, levels, |book, first| {
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
        if matches!(outcome, SnapshotOutcome::Synced { .. } | SnapshotOutcome::Crossed) {
            let line = &mut self.books[at];
            (line.venue_time, line.is_former) = (to.venue_time, false);
        }
        if events > 0 {
            self.follow(at);
        }
        let stats = to.stats;
        Ok(events
            + match outcome {
                // Each buffered diff has published its own event. Without buffered diffs the snapshot is published.
                SnapshotOutcome::Synced { applied } if is_active && applied > 0 => 0,
                SnapshotOutcome::Synced { applied: 0 }
                    if check.has_failed(&mut self.books[at].book, true) =>
                {
                    self.books[at].book.invalidate();
                    self.stale(at, StaleReason::Checksum, to)?
                }
                SnapshotOutcome::Synced { applied } => {
                    to.checksum = check.expected.filter(|_| applied == 0);
                    self.publish(at, self.books[at].book.last_update_id(), to)?
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
                SnapshotOutcome::Crossed => {
                    self.books[at].book.count_crossed(to.received_time);
                    self.stale(at, StaleReason::Crossed, to)?
                }
                SnapshotOutcome::Overflow => self.stale(at, StaleReason::Overflow, to)?,
            })
    }

    /// Publishes a good book if it is the active one, or becomes so.
    #[inline]
    fn publish(&mut self, at: usize, first: u64, to: &mut BookEvents<'_>) -> Result<u32, NotDispatched> {
        if at != self.active && !self.takes_over(at) {
            to.stats.standby.bump(1);
            return Ok(0);
        }
        self.publish_from(at, first, to)
    }

    /// Publishes a good book, from now on the active one.
    #[inline]
    fn publish_from(&mut self, at: usize, first: u64, to: &mut BookEvents<'_>) -> Result<u32, NotDispatched> {
        to.stats.takeovers.bump(u64::from(at != self.active));
        self.follow(at);
        to.book(&self.books[at].book, first)
    }

    /// Returns whether a good book becomes the active one: the active one is stale, or stalled, or of an older connection;
    /// and it is not older than what was published.
    #[cold]
    fn takes_over(&self, at: usize) -> bool {
        let is_newer = at > self.active;
        (is_newer || !self.is_good() || self.lead.is_stalled()) && !self.is_older(at)
    }

    /// Counts a change of another connection. Returns whether the active book is good, and does not change while the other
    /// connection goes on.
    #[cold]
    fn is_ahead(&mut self, id: u64, to: &BookEvents<'_>) -> bool {
        self.is_good() && {
            self.lead.count(id, to.venue_time, to.received_time);
            self.lead.is_stalled()
        }
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
            Some(other) => self.publish_from(other, self.books[other].book.last_update_id(), to),
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
        let Some(at) = self.books.iter().position(|line| line.connection == connection) else {
            return Ok(Some(0));
        };
        if self.books.len() == 1 {
            self.reset();
            return Ok(None);
        }
        self.books.remove(at);
        if at != self.active {
            self.active -= usize::from(at < self.active && self.active != NONE);
            return Ok(Some(0));
        }
        self.active = NONE;
        let Some(other) = self.good() else { return Ok(None) };
        self.publish_from(other, self.books[other].book.last_update_id(), to).map(Some)
    }

    /// Publishes the active book again if it is good.
    pub fn repeat(&mut self, to: &mut BookEvents<'_>) -> Result<u32, NotDispatched> {
        match self.books.get(self.active) {
            Some(line) if line.book.is_good() => to.book(&line.book, line.book.last_update_id()),
            _ => Ok(0),
        }
    }
}
