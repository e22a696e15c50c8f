//! Restarts of the venue's numbers, chains, repetitions and heartbeats: no book is frozen and counts as good, and none is
//! stale without a fault.

use super::*;

const fn chain(prev: u64, last: u64) -> BookIds {
    BookIds::Chain { last, prev: Some(prev) }
}

/// Returns a book of the stream's own snapshots at `last`.
fn replaced(ids: BookIds) -> BookAssembler {
    let mut book = BookAssembler::default();
    replace(&mut book, ids, 99);
    book
}

/// Replaces the book by a snapshot with the best bid `bid`.
fn replace(book: &mut BookAssembler, ids: BookIds, bid: i64) {
    let levels = levels(&[(bid, 1)], &[(bid + 2, 1)]);
    let outcome = book.snapshot(ids, SnapshotMode::Replaces, &levels, |_, _| {});
    assert_eq!(outcome, SnapshotOutcome::Synced { applied: 0 });
    assert_eq!(top(book).bids[0].price, bid);
}

fn change(n: u64) -> Levels {
    levels(&[(90 + n as i64 % 9, 1 + n as i64)], &[])
}

/// Applies a diff with changes of its own.
fn diff(book: &mut BookAssembler, ids: BookIds) -> DiffOutcome {
    book.diff(ids, Some(ids.last() as i64), &change(ids.last()))
}

#[test]
fn numbers_that_restart_make_the_book_stale_at_the_first_diff() {
    let mut book = synced();
    for id in 11..=3000 {
        assert_eq!(diff(&mut book, at(id)), DiffOutcome::Applied);
    }
    // One diff a minute: no run of old diffs is needed, and the ids were used before with other changes.
    assert_eq!(book.diff(at(1), Some(5000), &change(7)), DiffOutcome::Restarted { synced: true });
    assert!(book.needs_snapshot());
    assert_eq!(book.diff(at(2), Some(5060), &change(8)), DiffOutcome::Buffered);
    let outcome = book.snapshot(at(1), SnapshotMode::Joins, &levels(&[(50, 1)], &[]), |_, _| {});
    assert_eq!(outcome, SnapshotOutcome::Synced { applied: 1 });
    assert_eq!(book.last_update_id(), 2);
}

#[test]
fn numbers_may_restart_while_the_book_waits() {
    let mut book = BookAssembler::default();
    assert_eq!(diff(&mut book, at(3000)), DiffOutcome::Buffered);
    assert_eq!(diff(&mut book, at(5)), DiffOutcome::Restarted { synced: false });
    let outcome = book.snapshot(at(4), SnapshotMode::Joins, &levels(&[(50, 1)], &[]), |_, _| {});
    assert_eq!(outcome, SnapshotOutcome::Synced { applied: 1 });
}

#[test]
fn a_requested_snapshot_older_than_the_previous_one_shows_a_restart() {
    let mut book = synced();
    assert_eq!(diff(&mut book, at(11)), DiffOutcome::Applied);
    let mut join = |last| book.snapshot(at(last), SnapshotMode::Joins, &levels(&[(50, 1)], &[]), |_, _| {});
    assert_eq!(join(10), SnapshotOutcome::Older, "a response that was slow");
    assert_eq!(join(3), SnapshotOutcome::Restarted);
    assert_eq!(join(3), SnapshotOutcome::Synced { applied: 0 });
}

#[test]
fn a_snapshot_of_the_stream_replaces_the_book_whatever_its_id() {
    let mut book = replaced(at(100));
    assert_eq!(diff(&mut book, at(101)), DiffOutcome::Applied);
    replace(&mut book, at(1), 110);
    assert_eq!(diff(&mut book, at(2)), DiffOutcome::Applied);
    replace(&mut book, at(2), 120);
    assert_eq!(diff(&mut book, at(4)), DiffOutcome::Gap { expected: 3, received: 4 });
    replace(&mut book, at(9), 130);
    assert_eq!(diff(&mut book, at(10)), DiffOutcome::Applied, "what waited is in the snapshot");
}

#[test]
fn every_snapshot_without_numbers_replaces_the_book() {
    let mut book = BookAssembler::default();
    assert_eq!(diff(&mut book, BookIds::Unnumbered), DiffOutcome::Old);
    for bid in [50, 60, 55] {
        replace(&mut book, BookIds::Unnumbered, bid);
        let change = levels(&[(bid, 7)], &[]);
        assert_eq!(book.diff(BookIds::Unnumbered, None, &change), DiffOutcome::Applied);
        assert_eq!(top(&book).bids[0].quantity, 7);
    }
}

#[test]
fn old_diffs_in_a_row_show_a_restart() {
    let mut book = synced();
    assert_eq!(diff(&mut book, at(20_011)), DiffOutcome::Gap { expected: 11, received: 20_011 });
    let mut book = synced();
    assert_eq!(diff(&mut book, at(11)), DiffOutcome::Applied);
    // Each diff differs from the others and has the last id of the book.
    for n in 1..u64::from(OLD_RUN) {
        assert_eq!(book.diff(ids(10, 11), Some(n as i64), &change(n)), DiffOutcome::Old);
    }
    let outcome = book.diff(ids(10, 11), Some(99), &change(99));
    assert_eq!(outcome, DiffOutcome::Restarted { synced: true });
}

#[test]
fn a_requested_snapshot_may_be_seconds_ahead_of_the_stream() {
    for form in [at, |last| chain(last - 1, last)] {
        let mut book = BookAssembler::default();
        assert_eq!(diff(&mut book, form(10)), DiffOutcome::Buffered);
        let snapshot = BookIds::Range { first: 500, last: 500, prev: None };
        book.snapshot(snapshot, SnapshotMode::Joins, &levels(&[(99, 1)], &[(101, 1)]), |_, _| {});
        for id in 11..=500 {
            assert_eq!(diff(&mut book, form(id)), DiffOutcome::Old);
        }
        assert_eq!(diff(&mut book, form(501)), DiffOutcome::Applied);
        assert!(book.is_good());
    }
}

#[test]
fn a_second_line_may_be_seconds_late() {
    for form in [at, |last| chain(last - 1, last)] {
        let mut book = replaced(form(10));
        for id in 11..3011 {
            assert_eq!(diff(&mut book, form(id)), DiffOutcome::Applied);
        }
        for id in 11..3011 {
            assert_eq!(diff(&mut book, form(id)), DiffOutcome::Repeated);
        }
        assert_eq!(diff(&mut book, form(3011)), DiffOutcome::Applied);
    }
}

#[test]
fn heartbeats_of_a_chain_change_nothing() {
    let mut book = replaced(chain(0, 10));
    for _ in 0..3600 {
        let outcome = book.diff(chain(10, 10), None, &Levels::default());
        assert_eq!(outcome, DiffOutcome::Heartbeat);
    }
    assert_eq!(diff(&mut book, chain(10, 15)), DiffOutcome::Applied);
    let outcome = book.diff(chain(10, 10), None, &Levels::default());
    assert_eq!(outcome, DiffOutcome::Gap { expected: 15, received: 10 }, "of another state");
}

#[test]
fn a_chain_may_go_down_and_one_lost_diff_breaks_it() {
    let mut book = replaced(chain(0, 1000));
    assert_eq!(diff(&mut book, chain(1000, 1003)), DiffOutcome::Applied);
    assert_eq!(diff(&mut book, chain(1003, 2)), DiffOutcome::Applied);
    assert_eq!(diff(&mut book, chain(2, 5)), DiffOutcome::Applied);
    assert_eq!(diff(&mut book, chain(7, 9)), DiffOutcome::Gap { expected: 5, received: 7 });
    assert_eq!(diff(&mut book, chain(9, 11)), DiffOutcome::Buffered);
    let outcome = book.snapshot(at(9), SnapshotMode::Joins, &levels(&[(50, 1)], &[]), |_, _| {});
    assert_eq!(outcome, SnapshotOutcome::Synced { applied: 1 });
    let first = BookIds::Chain { last: 12, prev: None };
    assert_eq!(diff(&mut book, first), DiffOutcome::Gap { expected: 11, received: 12 });
}

#[test]
fn the_previous_id_is_that_of_the_book() {
    let linked = |first, last, prev| BookIds::Range { first, last, prev: Some(prev) };
    let mut book = synced();
    assert_eq!(diff(&mut book, linked(12, 14, 8)), DiffOutcome::Applied, "it touches the snapshot");
    let gap = DiffOutcome::Gap { expected: 15, received: 15 };
    assert_eq!(diff(&mut book, linked(15, 16, 13)), gap, "an earlier id is no longer enough");
    let mut book = replaced(at(10));
    let gap = DiffOutcome::Gap { expected: 11, received: 11 };
    assert_eq!(diff(&mut book, linked(11, 12, 9)), gap, "the stream's own snapshot");
}

#[test]
fn a_book_that_is_crossed_since_its_snapshot_goes_on() {
    let mut book = BookAssembler::default();
    let crossed = levels(&[(101, 1), (98, 1)], &[(100, 1)]);
    let outcome = book.snapshot(at(10), SnapshotMode::Joins, &crossed, |_, _| panic!("it is not good"));
    assert_eq!(outcome, SnapshotOutcome::Crossed);
    assert!(!book.is_good() && !book.needs_snapshot());
    assert_eq!(book.diff(at(11), None, &levels(&[], &[(102, 1)])), DiffOutcome::StillCrossed);
    assert_eq!(book.diff(at(12), None, &levels(&[(101, 0)], &[])), DiffOutcome::Applied);
    assert!(book.is_good());
    assert_eq!(book.diff(at(13), None, &levels(&[(100, 1)], &[])), DiffOutcome::Crossed, "it was good");
    assert!(book.needs_snapshot());
}

fn join(book: &mut BookAssembler, last: u64) -> SnapshotOutcome {
    book.snapshot(at(last), SnapshotMode::Joins, &levels(&[(80, 1)], &[(200, 1)]), |_, _| {})
}

#[test]
fn a_response_from_before_a_restart_does_not_join() {
    // The book may wait or be good.
    for waits in [true, false] {
        let mut book = synced();
        for id in 11..=3000 {
            assert_eq!(diff(&mut book, at(id)), DiffOutcome::Applied);
        }
        assert_eq!(book.diff(at(1), Some(5000), &change(7)), DiffOutcome::Restarted { synced: true });
        if waits {
            assert_eq!(join(&mut book, 3001), SnapshotOutcome::TooOld);
            assert_eq!(diff(&mut book, at(2)), DiffOutcome::Buffered);
            assert_eq!(join(&mut book, 1), SnapshotOutcome::Synced { applied: 1 });
        } else {
            assert_eq!(join(&mut book, 1), SnapshotOutcome::Synced { applied: 0 });
            assert_eq!(join(&mut book, 3001), SnapshotOutcome::Older);
            assert_eq!(diff(&mut book, at(2)), DiffOutcome::Applied);
        }
        assert!(book.is_good());
        assert_eq!(book.last_update_id(), 2);
    }
    // The restart may have been before the connection.
    let mut book = BookAssembler::default();
    assert_eq!(diff(&mut book, at(1)), DiffOutcome::Buffered);
    assert_eq!(join(&mut book, 1), SnapshotOutcome::Synced { applied: 0 });
    assert_eq!(join(&mut book, 3001), SnapshotOutcome::Older);
    assert_eq!(diff(&mut book, at(2)), DiffOutcome::Applied);
}

#[test]
fn a_snapshot_older_than_the_diffs_does_not_join() {
    let mut book = synced();
    for id in 11..=100 {
        assert_eq!(diff(&mut book, at(id)), DiffOutcome::Applied);
    }
    book.invalidate();
    assert_eq!(join(&mut book, 50), SnapshotOutcome::TooOld);
    assert_eq!(join(&mut book, 100), SnapshotOutcome::Synced { applied: 0 });
    // Two slow responses: the first one is taken for a restart, and the second one does not prove it.
    assert_eq!(diff(&mut book, at(101)), DiffOutcome::Applied);
    assert_eq!(join(&mut book, 99), SnapshotOutcome::Restarted);
    assert_eq!(join(&mut book, 100), SnapshotOutcome::TooOld);
    assert_eq!(join(&mut book, 101), SnapshotOutcome::Synced { applied: 0 });
}

#[test]
fn an_id_that_stands_still_is_a_restart() {
    let mut book = replaced(at(100));
    for n in 1..u64::from(OLD_RUN) {
        assert_eq!(book.diff(at(100), Some(n as i64), &change(n)), DiffOutcome::Old);
    }
    assert_eq!(book.diff(at(100), Some(99), &change(99)), DiffOutcome::Restarted { synced: true });
}

#[test]
fn a_diff_with_levels_between_equal_ids_is_applied() {
    let mut book = replaced(chain(99, 100));
    assert_eq!(book.diff(chain(100, 100), None, &Levels::default()), DiffOutcome::Heartbeat);
    assert_eq!(book.diff(chain(100, 100), None, &levels(&[(99, 7)], &[])), DiffOutcome::Applied);
    assert_eq!(top(&book).bids[0].quantity, 7);
}
