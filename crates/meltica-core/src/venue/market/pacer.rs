//! What is told again and again, thinned: at most once an interval, and what it was last at the end of one.

use crate::event::Nanos;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How often what is told again and again is told, in virtual time; 0 is with every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// A quote.
    pub ticker: Nanos,
    /// A book, or its changes.
    pub book_snapshot: Nanos,
}

/// One of the two that are thinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thin {
    Ticker,
    Book,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    /// When it may be told again.
    next: Nanos,
    /// Whether it changed and was not told.
    owed: bool,
}

/// When each instrument's ticker and book are told.
#[derive(Debug, Clone)]
pub(super) struct Pacer {
    intervals: [Nanos; 2],
    turns: Vec<[Turn; 2]>,
    owed: BinaryHeap<Reverse<(Nanos, usize, Thin)>>,
}

impl Pacer {
    const FRESH: Turn = Turn { next: Nanos::MIN, owed: false };

    pub fn new(intervals: Intervals, pairs: usize) -> Self {
        let Intervals { ticker, book_snapshot } = intervals;
        let turns = vec![[Self::FRESH; 2]; pairs];
        Self { intervals: [ticker, book_snapshot], turns, owed: BinaryHeap::new() }
    }

    /// It has changed: whether it is told now. If not, it is owed.
    #[inline]
    pub fn is_due(&mut self, pair: usize, what: Thin, time: Nanos) -> bool {
        let interval = self.intervals[what as usize];
        if interval == 0 {
            return true;
        }
        let turn = &mut self.turns[pair][what as usize];
        if time >= turn.next {
            *turn = Turn { next: time.saturating_add(interval), owed: false };
            return true;
        }
        if !turn.owed {
            turn.owed = true;
            self.owed.push(Reverse((turn.next, pair, what)));
        }
        false
    }

    /// Returns when something is owed.
    #[inline]
    pub fn next_due(&self) -> Nanos {
        self.owed.peek().map_or(Nanos::MAX, |Reverse((time, ..))| *time)
    }

    /// Takes what is owed by `now`.
    pub fn take(&mut self, now: Nanos) -> Option<(usize, Thin)> {
        while let Some(&Reverse((time, pair, what))) = self.owed.peek()
            && time <= now
        {
            self.owed.pop();
            let turn = &mut self.turns[pair][what as usize];
            // It may have been told since, with a later change.
            if turn.owed && turn.next <= now {
                *turn = Turn { next: now.saturating_add(self.intervals[what as usize]), owed: false };
                return Some((pair, what));
            }
        }
        None
    }

    /// Forgets what is owed: the next change is told at once.
    pub fn reset(&mut self) {
        self.owed.clear();
        self.turns.fill([Self::FRESH; 2]);
    }
}
