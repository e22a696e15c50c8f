use super::*;
use crate::event::PriceLevel;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

mod checksums;
mod crossed;
mod horizon;
mod sequences;

fn levels(bids: &[(i64, i64)], asks: &[(i64, i64)]) -> Levels {
    let side =
        |side: &[(i64, i64)]| side.iter().map(|&(price, quantity)| PriceLevel { price, quantity }).collect();
    let mut levels = Levels::default();
    (levels.bids, levels.asks) = (side(bids), side(asks));
    levels
}

fn ids(first: u64, last: u64) -> BookIds {
    BookIds::Range { first, last, prev: None }
}

fn at(last: u64) -> BookIds {
    ids(last, last)
}

fn synced() -> BookAssembler {
    let mut book = BookAssembler::default();
    let outcome = book.snapshot(
        at(10),
        SnapshotMode::Joins,
        &levels(&[(99, 1), (98, 2)], &[(101, 1), (102, 2)]),
        |_, _| {},
    );
    assert_eq!(outcome, SnapshotOutcome::Synced { applied: 0 });
    book
}

fn top(book: &BookAssembler) -> Book {
    let mut out = Book::default();
    book.copy_top(5000, &mut out);
    out
}

#[test]
fn a_lost_diff_is_a_gap_until_a_newer_snapshot() {
    let mut book = synced();
    assert_eq!(book.diff(ids(11, 12), None, &levels(&[(99, 5)], &[])), DiffOutcome::Applied);
    let outcome = book.diff(ids(15, 16), None, &levels(&[(99, 6)], &[]));
    assert_eq!(outcome, DiffOutcome::Gap { expected: 13, received: 15 });
    assert!(!book.is_good());
    assert_eq!(
        book.snapshot(at(13), SnapshotMode::Joins, &levels(&[(99, 5)], &[(101, 1)]), |_, _| {}),
        SnapshotOutcome::TooOld
    );
    let mut firsts = Vec::new();
    let outcome = book.snapshot(at(14), SnapshotMode::Joins, &levels(&[(99, 5)], &[(101, 1)]), |_, first| {
        firsts.push(first);
    });
    assert_eq!((outcome, firsts), (SnapshotOutcome::Synced { applied: 1 }, vec![15]));
    assert_eq!(top(&book).bids, [PriceLevel { price: 99, quantity: 6 }]);
}

#[test]
fn a_repeated_diff_changes_nothing() {
    let mut book = synced();
    let diff = levels(&[(99, 5)], &[]);
    assert_eq!(book.diff(ids(11, 12), None, &diff), DiffOutcome::Applied);
    let before = top(&book);
    assert_eq!(book.diff(ids(11, 12), None, &diff), DiffOutcome::Repeated);
    assert_eq!(top(&book), before);
}

#[test]
fn a_crossed_book_is_stale() {
    let mut book = synced();
    assert_eq!(book.diff(ids(11, 11), None, &levels(&[(101, 1)], &[])), DiffOutcome::Crossed);
    assert!(!book.is_good());
}

#[test]
fn the_number_of_buffered_diffs_is_bounded() {
    let mut book = BookAssembler::default();
    for n in 0..MAX_BUFFERED as u64 {
        assert_eq!(book.diff(ids(n, n), None, &levels(&[(1, 1)], &[])), DiffOutcome::Buffered);
    }
    let n = MAX_BUFFERED as u64;
    assert_eq!(book.diff(ids(n, n), None, &levels(&[], &[])), DiffOutcome::BufferFull { first_time: true });
    assert_eq!(
        book.diff(ids(n + 1, n + 1), None, &levels(&[], &[])),
        DiffOutcome::BufferFull { first_time: false }
    );
}

/// Returns diffs of 10,000 levels each, of about 160 kB.
fn fill(book: &mut BookAssembler, diffs: u64) -> Vec<DiffOutcome> {
    let many: Vec<(i64, i64)> = (1..=10_000).map(|price| (price, 1)).collect();
    (0..diffs).map(|n| book.diff(at(n), None, &levels(&many, &[]))).collect()
}

#[test]
fn the_levels_of_buffered_diffs_are_bounded() {
    let bytes = Arc::<AtomicU64>::default();
    let mut book = BookAssembler::sharing(Arc::clone(&bytes));
    let full = DiffOutcome::BufferFull { first_time: true };
    assert_eq!(fill(&mut book, 100).iter().position(|outcome| *outcome == full), Some(20));
    let held = bytes.load(Ordering::Relaxed);
    assert!((3_200_000..3_210_000).contains(&held), "20 of 160,000 bytes: {held}");
    book.reset();
    assert_eq!(bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn the_diffs_that_wait_for_snapshots_share_their_memory() {
    let bytes = Arc::<AtomicU64>::default();
    let mut books: Vec<_> = (0..25).map(|_| BookAssembler::sharing(Arc::clone(&bytes))).collect();
    let full = |outcomes: Vec<DiffOutcome>| outcomes.iter().filter(|o| **o != DiffOutcome::Buffered).count();
    let dropped: Vec<_> = books.iter_mut().map(|book| full(fill(book, 20))).collect();
    assert!(dropped[..20].iter().all(|n| *n == 0) && dropped[22..].iter().all(|n| *n == 20), "{dropped:?}");
    assert!(bytes.load(Ordering::Relaxed) <= MAX_BUFFERED_BYTES);
    books.drain(..10);
    assert_eq!(full(fill(&mut books[14], 20)), 20, "they were received before");
    let snapshot = |book: &mut BookAssembler| {
        book.snapshot(at(100), SnapshotMode::Joins, &levels(&[(1, 1)], &[(20_000, 1)]), |_, _| {})
    };
    assert_eq!(snapshot(&mut books[0]), SnapshotOutcome::Synced { applied: 0 });
    assert_eq!(snapshot(&mut books[14]), SnapshotOutcome::Synced { applied: 0 });
    drop(books);
    assert_eq!(bytes.load(Ordering::Relaxed), 0, "each is released");
}

#[test]
fn scales_are_converted_exactly() {
    let mut book = synced();
    let mut finer = levels(&[(9950, 25)], &[]);
    (finer.price_scale, finer.quantity_scale) = (2, 1);
    assert_eq!(book.diff(ids(11, 11), None, &finer), DiffOutcome::Applied);
    let copy = top(&book);
    assert_eq!((copy.price_scale, copy.quantity_scale), (2, 1));
    assert_eq!(
        copy.bids[..2],
        [PriceLevel { price: 9950, quantity: 25 }, PriceLevel { price: 9900, quantity: 10 }]
    );
    assert_eq!(copy.asks[0], PriceLevel { price: 10_100, quantity: 10 });
}

proptest! {
    #[test]
    fn prop_ladders_are_maps(
        diffs in proptest::collection::vec(proptest::collection::vec((1i64..40, 0i64..4, any::<bool>()), 0..12), 1..30),
        sorted: bool,
    ) {
        let (mut bids, mut asks) = (BTreeMap::new(), BTreeMap::new());
        let mut book = BookAssembler::default();
        book.snapshot(at(0), SnapshotMode::Joins, &Levels::default(), |_, _| {});
        for (n, diff) in diffs.iter().enumerate() {
            let mut message = Levels::default();
            for &(price, quantity, ask) in diff {
                let (price, side) = if ask { (price + 100, &mut message.asks) } else { (price, &mut message.bids) };
                side.push(PriceLevel { price, quantity });
            }
            if sorted {
                message.bids.sort_by_key(|l| -l.price);
                message.asks.sort_by_key(|l| l.price);
            }
            for (side, map) in [(&message.bids, &mut bids), (&message.asks, &mut asks)] {
                for level in side {
                    if level.quantity == 0 { map.remove(&level.price); } else { map.insert(level.price, level.quantity); }
                }
            }
            let id = n as u64 + 1;
            prop_assert_eq!(book.diff(ids(id, id), None, &message), DiffOutcome::Applied);
            let copy = top(&book);
            let flat = |side: &[PriceLevel]| side.iter().map(|l| (l.price, l.quantity)).collect::<Vec<_>>();
            prop_assert_eq!(flat(&copy.bids), bids.iter().rev().map(|(p, q)| (*p, *q)).collect::<Vec<_>>());
            prop_assert_eq!(flat(&copy.asks), asks.iter().map(|(p, q)| (*p, *q)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn prop_deep_ladders_are_maps(
        deep in 100i64..400,
        diffs in proptest::collection::vec(proptest::collection::vec((0i64..400, 0i64..3), 0..60), 1..40),
        sorted: bool,
    ) {
        let start: Vec<(i64, i64)> = (0..deep).map(|i| (1000 - i * 2, 1)).collect();
        let asks: Vec<(i64, i64)> = (0..deep).map(|i| (2000 + i * 2, 1)).collect();
        let mut maps = [&start, &asks].map(|side| side.iter().copied().collect::<BTreeMap<_, _>>());
        let mut book = BookAssembler::default();
        book.snapshot(at(0), SnapshotMode::Joins, &levels(&start, &asks), |_, _| {});
        for (n, diff) in diffs.iter().enumerate() {
            let mut sides = [1000, 2000].map(|best: i64| {
                let out = if best == 1000 { -1 } else { 1 };
                diff.iter().map(|(at, quantity)| (best + out * at * 2, *quantity)).collect::<Vec<_>>()
            });
            if sorted {
                sides[0].sort_by_key(|level| -level.0);
                sides[1].sort_by_key(|level| level.0);
            }
            for (map, side) in maps.iter_mut().zip(&sides) {
                for (price, quantity) in side {
                    map.insert(*price, *quantity);
                }
                map.retain(|_, quantity| *quantity != 0);
            }
            let id = n as u64 + 1;
            prop_assert_eq!(book.diff(ids(id, id), None, &levels(&sides[0], &sides[1])), DiffOutcome::Applied);
            for depth in [1, 25, 64, 65, 5000] {
                let mut out = Book::default();
                book.copy_top(depth, &mut out);
                let flat = |side: &[PriceLevel]| side.iter().map(|l| (l.price, l.quantity)).collect::<Vec<_>>();
                let pair = |(price, quantity): (&i64, &i64)| (*price, *quantity);
                prop_assert_eq!(flat(&out.bids), maps[0].iter().rev().take(depth).map(pair).collect::<Vec<_>>());
                prop_assert_eq!(flat(&out.asks), maps[1].iter().take(depth).map(pair).collect::<Vec<_>>());
                prop_assert_eq!((out.bid_count as usize, out.ask_count as usize), (maps[0].len(), maps[1].len()));
            }
        }
    }

    #[test]
    fn prop_a_synchronised_book_equals_the_venues(scenario in proptest::collection::vec(any::<u8>(), 1..400)) {
        scenario::run(&scenario);
    }

    #[test]
    fn prop_any_lost_diff_is_a_gap(lost in 0usize..20, n in 21usize..30) {
        let mut book = synced();
        for i in (0..n).filter(|i| *i != lost) {
            let id = 11 + i as u64;
            let outcome = book.diff(ids(id, id), None, &levels(&[(50 + i as i64 % 9, 1)], &[]));
            match i.cmp(&(lost + 1)) {
                std::cmp::Ordering::Less => prop_assert_eq!(outcome, DiffOutcome::Applied),
                std::cmp::Ordering::Equal => prop_assert_eq!(outcome, DiffOutcome::Gap { expected: id - 1, received: id }),
                std::cmp::Ordering::Greater => prop_assert_eq!(outcome, DiffOutcome::Buffered),
            }
        }
    }
}
