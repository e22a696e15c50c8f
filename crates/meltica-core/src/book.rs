//! Order books assembled from snapshots and diffs, one [`BookAssembler`] per connection and
//! instrument.
//!
//! The branches are numbered by Binance's rules for a local book:
//! 1. Buffer the diffs that arrive before the snapshot.
//! 2. A snapshot whose `lastUpdateId` is lower than the first buffered `U - 1` is too old: request another one.
//! 3. Drop every buffered diff whose `u` is at most `lastUpdateId`.
//! 4. The first applied diff has `U <= lastUpdateId + 1 <= u`.
//! 5. Each further diff has `U == u + 1` of its predecessor. Otherwise diffs were lost.
//! 6. A quantity is absolute. Zero removes the level, which may be absent.
//!
//! If a venue sends the id before the diff (`prev`), it must equal the id of the book: from the first diff after a snapshot
//! of the stream, and from the second one after a snapshot that joins, whose id may lie within a diff. In a chain of ids
//! ([`BookIds::Chain`]) that is the only rule, so its ids may decrease; a diff without levels between equal ids is a heartbeat.
//!
//! A diff that was received before changes nothing. Other diffs that are not newer than the book are old only before the
//! first newer one since a snapshot. Later they show that the venue's numbers have restarted: at once if the id is lower
//! than the previous one, otherwise after [`OLD_RUN`] in a row. Then the book needs a new snapshot.
//!
//! A snapshot that joins is not older than the diffs received, unless diffs that wait lead from it to them. After a restart
//! of the numbers it is none whose response was on its way with the numbers from before; as a restart may have been before
//! the connection, it does not replace a good book either.
//!
//! A book that is still crossed after a snapshot, as in an auction, goes on and is good again when it uncrosses. After some
//! time it needs another snapshot, as its own may be wrong.
//!
//! Both sides are sorted arrays with the best level last, as most changes are near the best level and move few others.
//! The assembler keeps all levels; [`BookAssembler::copy_top`] returns the top of the book.

pub mod checksum;
mod crossed;
mod history;
mod horizon;
mod join;
mod ladder;
mod outcome;
#[cfg(any(test, feature = "fixtures"))]
pub mod scenario;
mod waiting;
mod window;

use crate::codec::{BookIds, Levels, Part, SnapshotMode};
use crate::event::{Book, Nanos};
use crossed::Crossing;
use history::History;
use horizon::Horizon;
use ladder::Ladder;
pub use outcome::{DiffOutcome, SnapshotOutcome};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use waiting::Waiting;
pub use waiting::{MAX_BYTES as MAX_BUFFERED_BYTES, MAX_WAITING as MAX_BUFFERED};
use window::Window;

/// The number of old diffs in a row that show a restart of the venue's numbers.
pub const OLD_RUN: u32 = 16;

/// The position of a diff relative to a synchronised book.
enum Position {
    Next,
    Heartbeat,
    Old,
    Ahead { expected: u64, received: u64 },
}

/// The state of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// It waits for a snapshot.
    #[default]
    Waiting,
    /// The best bid has reached the best ask since the snapshot. Diffs are applied.
    Crossed,
    Good,
}

/// The book of one instrument on one connection.
#[derive(Debug, Default)]
pub struct BookAssembler {
    bids: Ladder<false>,
    asks: Ladder<true>,
    price_scale: u8,
    quantity_scale: u8,
    last: u64,
    unnumbered: bool,
    window: Window,
    state: State,
    /// The snapshots in a row, up to now, that did not have their checksum.
    failed_snapshots: u32,
    horizon: Horizon,
    crossing: Crossing,
    /// Whether no diff was applied since a snapshot that joined.
    joined: bool,
    /// The id of the last snapshot.
    base: u64,
    /// The last id of the previous diff.
    received: Option<u64>,
    /// The highest id before the ids restarted on the connection.
    former: Option<u64>,
    /// The id of a snapshot since the last one that was older than it.
    older: Option<u64>,
    /// Old diffs in a row since the last one that was applied.
    old_run: u32,
    history: History,
    buffer: Waiting,
    dropped: bool,
}

impl BookAssembler {
    /// Returns a book whose buffered diffs count in `bytes`, as do those of other books.
    pub fn sharing(bytes: Arc<AtomicU64>) -> Self {
        Self { buffer: Waiting::sharing(bytes), ..Self::default() }
    }

    /// Returns the number of snapshots in a row, up to now, that did not have their checksum.
    pub fn failed_snapshots(&self) -> u32 {
        self.failed_snapshots
    }

    /// Returns whether the book equals the venue's, as far as is known.
    #[inline]
    pub fn is_good(&self) -> bool {
        self.state == State::Good
    }

    /// Returns whether the book waits for a snapshot.
    #[inline]
    pub fn needs_snapshot(&self) -> bool {
        self.state == State::Waiting
    }

    /// Returns whether the book has no levels.
    pub fn is_empty(&self) -> bool {
        self.bids.best().is_none() && self.asks.best().is_none()
    }

    /// Returns the last update id of the book.
    #[inline]
    pub fn last_update_id(&self) -> u64 {
        self.last
    }

    /// Returns whether the venue does not number the messages of the book.
    pub fn is_unnumbered(&self) -> bool {
        self.unnumbered
    }

    /// Resets the book, after the connection was lost.
    pub fn reset(&mut self) {
        *self = Self { buffer: self.buffer.renewed(), ..Self::default() };
    }

    /// Counts a snapshot that does not have its checksum, or does. Returns the number of those in a row that do not.
    pub fn count_failed(&mut self, has_failed: bool) -> u32 {
        self.failed_snapshots = if has_failed { self.failed_snapshots + 1 } else { 0 };
        self.failed_snapshots
    }

    /// Makes the book stale until the next snapshot. Returns whether it was synchronised.
    pub fn invalidate(&mut self) -> bool {
        std::mem::take(&mut self.state) != State::Waiting
    }

    /// Applies or buffers a diff.
    pub fn diff(&mut self, ids: BookIds, venue_time: Option<Nanos>, levels: &Levels) -> DiffOutcome {
        if ids == BookIds::Unnumbered {
            // The next snapshot replaces what came before it.
            return if self.needs_snapshot() { DiffOutcome::Old } else { self.apply(ids, levels, false) };
        }
        let print = history::print(ids, venue_time, levels);
        if self.needs_snapshot() {
            return self.wait(ids, print, levels); // 1
        }
        match self.position(ids, levels) {
            Position::Next => {
                self.add(ids, print);
                self.apply(ids, levels, false)
            }
            Position::Heartbeat => DiffOutcome::Heartbeat,
            Position::Old | Position::Ahead { .. } if self.history.contains(print) => DiffOutcome::Repeated,
            Position::Old => self.old(ids, print, levels),
            Position::Ahead { expected, received } => {
                self.state = State::Waiting;
                self.add(ids, print);
                self.buffer(ids, levels);
                DiffOutcome::Gap { expected, received }
            }
        }
    }

    #[inline]
    fn position(&self, ids: BookIds, levels: &Levels) -> Position {
        let is_empty = levels.bids.is_empty() && levels.asks.is_empty();
        match ids {
            BookIds::Range { last, .. } if last <= self.last => Position::Old, // 3
            BookIds::Range { first, prev, .. } => {
                let expected = self.last + 1;
                let follows = prev
                    .map_or(first <= expected, |prev| prev == self.last || self.joined && prev < self.last);
                if follows { Position::Next } else { Position::Ahead { expected, received: first } } // 4, 5
            }
            BookIds::Chain { last, prev } if prev == Some(self.last) => {
                if last == self.last && is_empty {
                    Position::Heartbeat
                } else {
                    Position::Next
                }
            }
            // Only the numbers tell which of the two is newer, a snapshot that joins or a diff that does not touch it.
            BookIds::Chain { last, .. } if self.joined && last <= self.last => Position::Old,
            BookIds::Chain { prev: Some(prev), .. } if self.joined && prev < self.last => Position::Next,
            BookIds::Chain { last, prev } => {
                Position::Ahead { expected: self.last, received: prev.unwrap_or(last) }
            }
            BookIds::Unnumbered => Position::Next,
        }
    }

    #[inline]
    fn add(&mut self, ids: BookIds, print: u64) {
        self.history.add(print);
        self.received = Some(ids.last());
    }

    /// Returns whether the numbers have restarted: the id is lower than the previous one.
    fn is_lower(&self, ids: BookIds) -> bool {
        matches!(ids, BookIds::Range { last, .. } if self.received.is_some_and(|received| last < received))
    }

    #[cold]
    fn old(&mut self, ids: BookIds, print: u64, levels: &Levels) -> DiffOutcome {
        if !self.joined {
            self.old_run += 1;
        }
        if self.is_lower(ids) || self.old_run >= OLD_RUN {
            return self.restart(ids, print, levels);
        }
        self.add(ids, print);
        DiffOutcome::Old
    }

    /// Forgets the ids before a restart of the venue's numbers, and buffers the first diff after it.
    #[cold]
    fn restart(&mut self, ids: BookIds, print: u64, levels: &Levels) -> DiffOutcome {
        self.former = self.received.max(Some(self.last));
        let synced = self.forget();
        self.add(ids, print);
        self.buffer(ids, levels);
        DiffOutcome::Restarted { synced }
    }

    /// Makes the book stale and forgets the ids of its messages. Returns whether it was synchronised.
    fn forget(&mut self) -> bool {
        self.history.clear();
        self.buffer.clear();
        self.received = None;
        self.invalidate()
    }

    fn wait(&mut self, ids: BookIds, print: u64, levels: &Levels) -> DiffOutcome {
        if self.history.contains(print) {
            return DiffOutcome::Repeated;
        }
        if let BookIds::Chain { last, prev } = ids {
            if prev == Some(last) {
                return DiffOutcome::Heartbeat;
            }
            // No snapshot leads over a broken chain, and ids before a decrease are not comparable with later ones.
            let follows = self.buffer.back().is_none_or(|(before, _)| prev == Some(before.last()));
            if !follows || prev > Some(last) {
                self.buffer.clear();
            }
        }
        if self.is_lower(ids) {
            return self.restart(ids, print, levels);
        }
        self.add(ids, print);
        self.buffer(ids, levels)
    }

    fn buffer(&mut self, ids: BookIds, levels: &Levels) -> DiffOutcome {
        if self.buffer.push(ids, levels) {
            let first_time = !std::mem::replace(&mut self.dropped, true);
            return DiffOutcome::BufferFull { first_time };
        }
        DiffOutcome::Buffered
    }

    /// Applies the levels of a diff or a snapshot. A book is `fresh` until the diffs that waited for its snapshot are
    /// applied.
    fn apply(&mut self, ids: BookIds, levels: &Levels, fresh: bool) -> DiffOutcome {
        let mut own;
        let levels = if (levels.price_scale, levels.quantity_scale) == (self.price_scale, self.quantity_scale)
        {
            levels
        } else {
            own = levels.clone();
            if !self.reconcile(&mut own) {
                self.state = State::Waiting;
                return DiffOutcome::Overflow;
            }
            &own
        };
        self.bids.apply(&levels.bids); // 6
        self.asks.apply(&levels.asks);
        self.window.cut(&mut self.bids, &mut self.asks, levels);
        (self.last, self.joined, self.old_run) = (ids.last(), false, 0);
        let crossed = matches!((self.bids.best(), self.asks.best()), (Some(bid), Some(ask)) if bid >= ask);
        if !crossed {
            if std::mem::replace(&mut self.state, State::Good) != State::Good {
                self.crossing.uncross();
            }
            return DiffOutcome::Applied;
        }
        if self.is_good() && !fresh {
            self.state = State::Waiting;
            return DiffOutcome::Crossed;
        }
        self.state = State::Crossed;
        DiffOutcome::StillCrossed
    }

    /// Converts the book and `levels` exactly to common scales: the finer ones if all numbers fit, otherwise those of
    /// the book.
    fn reconcile(&mut self, levels: &mut Levels) -> bool {
        let parts = [
            (Part::Price, &mut self.price_scale, levels.price_scale),
            (Part::Quantity, &mut self.quantity_scale, levels.quantity_scale),
        ];
        for (part, own, theirs) in parts {
            let mut message = [&mut levels.bids[..], &mut levels.asks[..]];
            let mut book = vec![self.bids.live(), self.asks.live(), &mut self.horizon[..]];
            book.extend(self.window.fallen());
            if theirs > *own && part.rescale(&mut book, *own, theirs) {
                *own = theirs;
            } else if !part.rescale(&mut message, theirs, *own) {
                // The numbers may fit on the smallest scale on which both are exact.
                let scale = part.places(&mut book, *own).max(part.places(&mut message, theirs));
                if !part.rescale(&mut book, *own, scale) || !part.rescale(&mut message, theirs, scale) {
                    return false;
                }
                *own = scale;
            }
        }
        true
    }

    /// Replaces the book by a snapshot, then applies the buffered diffs that follow it. `applied` is called after each of
    /// them that leaves the book good, with the book and the first id of the diff.
    pub fn snapshot(
        &mut self,
        ids: BookIds,
        mode: SnapshotMode,
        levels: &Levels,
        mut applied: impl FnMut(&Self, u64),
    ) -> SnapshotOutcome {
        let last = ids.last();
        self.unnumbered = ids == BookIds::Unnumbered;
        match mode {
            SnapshotMode::Joins => {
                if let Some(refused) = self.admit(ids) {
                    return refused;
                }
            }
            SnapshotMode::Replaces | SnapshotMode::Window | SnapshotMode::History => {
                self.buffer.clear();
                if self.received.is_some_and(|received| last < received) {
                    self.history.clear();
                }
                self.received = Some(last);
            }
        }
        self.bids.clear();
        self.asks.clear();
        (self.horizon, self.dropped, self.older) = Default::default();
        self.crossing.restart(mode);
        (self.price_scale, self.quantity_scale) = (levels.price_scale, levels.quantity_scale);
        if self.apply(ids, levels, true) == DiffOutcome::Overflow {
            return SnapshotOutcome::Overflow;
        }
        (self.base, self.joined) = (last, mode == SnapshotMode::Joins);
        if self.joined {
            self.horizon = horizon::of(&self.bids, &self.asks);
        }
        let mut n = 0;
        let renewed = self.buffer.renewed();
        let mut waiting = std::mem::replace(&mut self.buffer, renewed);
        while let Some((ids, levels)) = waiting.pop_front() {
            match self.position(ids, &levels) {
                Position::Next => match self.apply(ids, &levels, true) {
                    DiffOutcome::Applied => {
                        n += 1;
                        applied(self, ids.first());
                    }
                    DiffOutcome::Overflow => return SnapshotOutcome::Overflow,
                    _ => {}
                },
                Position::Heartbeat | Position::Old => {}
                Position::Ahead { expected, received } => {
                    self.state = State::Waiting;
                    // The diffs after the gap stay buffered until the next snapshot.
                    self.buffer(ids, &levels);
                    while let Some((ids, levels)) = waiting.pop_front() {
                        self.buffer(ids, &levels);
                    }
                    return SnapshotOutcome::Gap { expected, received };
                }
            }
        }
        if self.is_good() { SnapshotOutcome::Synced { applied: n } } else { SnapshotOutcome::Crossed }
    }

    /// Copies the top `depth` levels of both sides into `out` and reuses its buffers.
    pub fn copy_top(&self, depth: usize, out: &mut Book) {
        self.bids.top(depth, &mut out.bids);
        self.asks.top(depth, &mut out.asks);
        (out.price_scale, out.quantity_scale) = (self.price_scale, self.quantity_scale);
        (out.bid_count, out.ask_count) = (self.bids.len() as u32, self.asks.len() as u32);
        (out.first_update_id, out.last_update_id) = (self.last, self.last);
        let known = horizon::prices(&self.horizon, &self.bids, &self.asks);
        [out.bid_horizon, out.ask_horizon] = self.window.bound(known, &self.bids, &self.asks);
        out.checksum = None;
    }
}

#[cfg(test)]
mod tests;
