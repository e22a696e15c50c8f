//! Connections to a small venue that lose, repeat and delay messages: a good book equals the venue's.
//!
//! Tests and the fuzz target `resync` share it; each byte string is a scenario.

use super::BookAssembler;
use crate::codec::{BookIds, Levels, SnapshotMode};
use crate::event::{Book, PriceLevel};
use std::collections::{BTreeMap, HashMap};

type Side = BTreeMap<i64, i64>;

/// The form of the update ids.
#[derive(Clone, Copy)]
enum Form {
    Range,
    Linked,
    Chain,
}

/// One symbol of the venue, and the book that is assembled from its messages.
struct Market {
    id: u64,
    /// The last id of the latest diff.
    diffed: u64,
    sides: [Side; 2],
    form: Form,
    /// Both sides at every id of the past.
    history: HashMap<u64, [Side; 2]>,
    /// The latest diff, to repeat it.
    latest: Option<(BookIds, Levels)>,
    held: Option<(u64, Levels)>,
    book: BookAssembler,
}

impl Market {
    fn new(id: u64, form: Form) -> Self {
        let history = HashMap::from([(id, Default::default())]);
        let (sides, book) = (Default::default(), BookAssembler::default());
        Self { id, diffed: id, sides, form, history, latest: None, held: None, book }
    }

    /// Changes up to three levels, one id each, and returns the diff; `None` once the ids are used up.
    fn advance(&mut self, arg: u8) -> Option<(BookIds, Levels)> {
        let mut levels = Levels::default();
        let first = self.id.checked_add(1)?;
        for n in 0..=arg % 3 {
            let Some(id) = self.id.checked_add(1) else { break };
            self.id = id;
            let (ask, level) = (arg & 4 != 0, i64::from(arg >> 3) + i64::from(n));
            let price = if ask { 1000 + level } else { 100 - level };
            let quantity = i64::from(arg.wrapping_add(n) % 4);
            if quantity == 0 {
                self.sides[usize::from(ask)].remove(&price);
            } else {
                self.sides[usize::from(ask)].insert(price, quantity);
            }
            let side = if ask { &mut levels.asks } else { &mut levels.bids };
            side.push(PriceLevel { price, quantity });
            self.history.insert(self.id, self.sides.clone());
        }
        let (last, prev) = (self.id, Some(self.diffed));
        let ids = match self.form {
            Form::Range => BookIds::Range { first, last, prev: None },
            Form::Linked => BookIds::Range { first, last, prev },
            Form::Chain => BookIds::Chain { last, prev },
        };
        self.diffed = self.id;
        self.latest = Some((ids, levels.clone()));
        Some((ids, levels))
    }

    fn snapshot(&self) -> (u64, Levels) {
        let mut levels = Levels::default();
        let list = |side: &Side| {
            side.iter().map(|(price, quantity)| PriceLevel { price: *price, quantity: *quantity }).collect()
        };
        (levels.bids, levels.asks) = (list(&self.sides[0]), list(&self.sides[1]));
        (self.id, levels)
    }

    /// Panics if the book is good and differs from the venue's.
    fn check(book: &BookAssembler, history: &HashMap<u64, [Side; 2]>) {
        let mut out = Book::default();
        book.copy_top(usize::MAX, &mut out);
        let map = |side: &[PriceLevel]| side.iter().map(|level| (level.price, level.quantity)).collect();
        let sides: [Side; 2] = [map(&out.bids), map(&out.asks)];
        let id = book.last_update_id();
        assert_eq!(Some(&sides), history.get(&id), "the book at {id} differs from the venue's");
    }

    fn deliver_diff(&mut self, ids: BookIds, levels: &Levels) {
        self.book.diff(ids, None, levels);
        if self.book.is_good() {
            Self::check(&self.book, &self.history);
        }
    }

    fn deliver_snapshot(&mut self, mode: SnapshotMode, last: u64, levels: &Levels) {
        let history = &self.history;
        let ids = match self.form {
            Form::Chain => BookIds::Chain { last, prev: None },
            _ => BookIds::Range { first: last, last, prev: None },
        };
        self.book.snapshot(ids, mode, levels, |book, _| Self::check(book, history));
        if self.book.is_good() {
            Self::check(&self.book, &self.history);
        }
    }

    fn step(&mut self, action: u8, arg: u8) {
        let mode = if arg & 2 == 0 { SnapshotMode::Joins } else { SnapshotMode::Replaces };
        match action {
            0..=2 => {
                if let Some((ids, levels)) = self.advance(arg) {
                    self.deliver_diff(ids, &levels);
                }
            }
            // A lost diff.
            3 => drop(self.advance(arg)),
            4 => {
                if let Some((ids, levels)) = self.latest.clone() {
                    self.deliver_diff(ids, &levels);
                }
            }
            5 => self.held = Some(self.snapshot()),
            6 => {
                if let Some((last, levels)) = self.held.take() {
                    self.deliver_snapshot(mode, last, &levels);
                }
            }
            _ => {
                if arg & 1 == 0 {
                    self.book.reset();
                }
                let (last, levels) = self.snapshot();
                self.deliver_snapshot(mode, last, &levels);
                assert!(self.book.is_good(), "a snapshot of now synchronises the book");
            }
        }
    }
}

/// Runs a scenario of two symbols. The first byte selects the form of ids, and ids near the end of their range.
///
/// # Panics
/// If a good book differs from the venue's, or a current snapshot does not synchronise it.
pub fn run(scenario: &[u8]) {
    let Some((mode, steps)) = scenario.split_first() else { return };
    let form = [Form::Range, Form::Linked, Form::Chain][usize::from(mode % 3)];
    let start = if mode & 4 == 0 { 0 } else { u64::MAX - u64::from(mode >> 3) };
    let mut markets = [Market::new(start, form), Market::new(start / 2, form)];
    for step in steps.chunks_exact(2).take(512) {
        markets[usize::from(step[0] & 1)].step((step[0] >> 1) % 8, step[1]);
    }
}
