//! Books that stay crossed after a snapshot.

use super::*;

const SECOND: i64 = 1_000_000_000;

fn crossed(book: &mut BookAssembler, last: u64, mode: SnapshotMode, seconds: i64) {
    let snapshot = levels(&[(105, 1), (99, 1)], &[(101, 1)]);
    assert_eq!(book.snapshot(at(last), mode, &snapshot, |_, _| {}), SnapshotOutcome::Crossed);
    book.count_crossed(seconds * SECOND);
    assert!(!book.wants_snapshot());
}

fn go_on(book: &mut BookAssembler, last: u64, seconds: i64) {
    assert_eq!(book.diff(at(last), None, &levels(&[(98, 1)], &[])), DiffOutcome::StillCrossed);
    book.count_crossed(seconds * SECOND);
}

#[test]
fn a_stream_goes_on_while_another_snapshot_is_wanted() {
    let mut book = BookAssembler::default();
    crossed(&mut book, 10, SnapshotMode::Replaces, 0);
    go_on(&mut book, 11, 29);
    assert!(!book.wants_snapshot(), "an auction");
    go_on(&mut book, 12, 30);
    assert!(book.wants_snapshot() && !book.needs_snapshot());
    crossed(&mut book, 12, SnapshotMode::Replaces, 31);
    go_on(&mut book, 13, 90);
    assert!(!book.wants_snapshot(), "the second pause is twice as long");
    go_on(&mut book, 14, 91);
    assert!(book.wants_snapshot());
    assert_eq!(book.diff(at(15), None, &levels(&[(105, 0)], &[])), DiffOutcome::Applied);
    assert!(book.is_good() && !book.wants_snapshot(), "the chain is unbroken");
    crossed(&mut book, 16, SnapshotMode::Replaces, 200);
    go_on(&mut book, 17, 230);
    assert!(book.wants_snapshot(), "the first pause again");
}

#[test]
fn diffs_wait_for_a_requested_snapshot() {
    let mut book = BookAssembler::default();
    crossed(&mut book, 10, SnapshotMode::Joins, 0);
    go_on(&mut book, 11, 40);
    assert!(book.needs_snapshot());
    assert_eq!(book.diff(at(12), None, &levels(&[(97, 1)], &[])), DiffOutcome::Buffered);
    let snapshot = levels(&[(99, 1)], &[(101, 1)]);
    let outcome = book.snapshot(at(11), SnapshotMode::Joins, &snapshot, |_, _| {});
    assert_eq!(outcome, SnapshotOutcome::Synced { applied: 1 });
}
