//! Prices beyond which the levels of a book are not known.

use super::*;
use crate::codec::Depth;

fn horizon(book: &BookAssembler) -> [Option<i64>; 2] {
    let top = top(book);
    [top.bid_horizon, top.ask_horizon]
}

#[test]
fn beyond_a_snapshot_that_joins_only_changes_are_known() {
    let mut book = synced();
    assert_eq!(horizon(&book), [Some(98), Some(102)]);
    let diff = levels(&[(90, 5), (98, 0)], &[(102, 0), (110, 1)]);
    assert_eq!(book.diff(at(11), None, &diff), DiffOutcome::Applied);
    assert_eq!(horizon(&book), [Some(98), Some(102)], "whether or not the level is still there");
    // The market leaves the levels of the snapshot: the best bid is beyond the horizon, and shows it.
    assert_eq!(book.diff(at(12), None, &levels(&[(99, 0)], &[(95, 1)])), DiffOutcome::Applied);
    assert_eq!((top(&book).bids[0].price, horizon(&book)), (90, [Some(98), Some(102)]));
    // It stays the same price on another scale.
    let mut fine = levels(&[(8_999_999, 5)], &[]);
    fine.price_scale = 5;
    assert_eq!(book.diff(at(13), None, &fine), DiffOutcome::Applied);
    assert_eq!((top(&book).price_scale, horizon(&book)), (5, [Some(9_800_000), Some(10_200_000)]));
    // The next snapshot of a stale book has a horizon of its own.
    book.invalidate();
    let next = levels(&[(89, 1)], &[(101, 1)]);
    assert!(matches!(
        book.snapshot(at(20), SnapshotMode::Joins, &next, |_, _| {}),
        SnapshotOutcome::Synced { .. }
    ));
    assert_eq!(horizon(&book), [Some(89), Some(101)]);
}

#[test]
fn of_a_book_of_the_stream_every_level_is_known_up_to_its_worst_one() {
    let mut book = synced();
    let whole = levels(&[(99, 1), (98, 2)], &[]);
    assert!(matches!(
        book.snapshot(at(3), SnapshotMode::Replaces, &whole, |_, _| {}),
        SnapshotOutcome::Synced { .. }
    ));
    assert_eq!(horizon(&book), [Some(98), None]);
    assert_eq!(book.diff(at(4), None, &levels(&[(98, 0), (90, 1)], &[(101, 1)])), DiffOutcome::Applied);
    assert_eq!(horizon(&book), [Some(90), Some(101)]);
    // A window of the levels: those that fell out of it are not known.
    book.set_window(Some(&Depth::Levels(1)), 0);
    assert_eq!(book.diff(at(5), None, &levels(&[(97, 1)], &[])), DiffOutcome::Applied);
    assert_eq!(horizon(&book), [Some(99), Some(101)]);
}
