//! The published book of two connections: it does not go back, and does not stand still while the other one goes on.

use super::connections::{change, plane, snapshot};
use super::*;

/// Returns a feed that publishes connection 2 with the last id 11. Connection 1 has the same book.
fn pair() -> Plane {
    let mut plane = plane();
    plane.on(2, &snapshot(10));
    assert_eq!(plane.on(2, &change(11)), ["11"]);
    plane
}

#[test]
fn a_book_that_stands_still_loses_to_the_one_that_goes_on() {
    let mut plane = pair();
    for id in 12..15 {
        assert!(plane.at(id as Nanos * 60, 1, &change(id)).is_empty(), "few changes");
    }
    assert_eq!(plane.at(900, 1, &change(15)), ["15"]);
    assert_eq!(plane.at(960, 1, &change(16)), ["16"]);
    assert_eq!(plane.at(961, 2, &change(12)), [""; 0], "the other one catches up");
    for id in 13..16 {
        assert!(plane.at(962, 2, &change(id)).is_empty());
    }
    assert_eq!(plane.at(962, 2, &change(16)), ["16"], "it is newer again");
}

#[test]
fn a_stall_of_two_seconds_is_none() {
    let mut plane = pair();
    for id in 12..500 {
        assert!(plane.at(2 + (id / 250) as Nanos, 1, &change(id)).is_empty());
    }
    for id in 12..500 {
        assert_eq!(plane.at(4, 2, &change(id)), [id.to_string()]);
    }
    assert_eq!(plane.feed.stats.takeovers.get(), 1);
}

#[test]
fn a_connection_that_lags_does_not_replace_a_quiet_one() {
    let mut plane = pair();
    for id in 12..40 {
        plane.at(1, 2, &change(id));
    }
    for id in 12..40 {
        assert!(plane.at(id as Nanos * 60, 1, &change(id)).is_empty());
    }
    assert_eq!(plane.at(9000, 2, &change(40)), ["40"]);
    assert_eq!(plane.feed.stats.takeovers.get(), 1);
}

#[test]
fn a_book_is_stale_that_stands_still_while_another_waits_for_its_snapshot() {
    let mut plane = plane();
    let mut texts = Vec::new();
    for id in 12..20 {
        texts.extend(plane.at(id as Nanos * 60, 2, &change(id)));
    }
    assert_eq!(texts, ["BTC-USDT silent"]);
    assert_eq!(plane.feed.unsynced().len(), 1);
    assert_eq!(plane.at(3000, 2, &snapshot(15)), ["19"]);
    assert!(plane.feed.unsynced().is_empty());
}

#[test]
fn a_gap_publishes_no_older_book() {
    let mut plane = pair();
    for id in 12..100 {
        assert_eq!(plane.on(2, &change(id)), [id.to_string()]);
    }
    assert_eq!(plane.on(2, &change(105)), ["hole", "BTC-USDT gap"]);
    assert_eq!(plane.feed.stale_books(), BTreeMap::from([("BTC-USDT", true)]));
    assert_eq!(
        plane.feed.unsynced().len(),
        1,
        "a snapshot is requested, as the other connection may be dead"
    );
    for id in 12..99 {
        assert!(plane.on(1, &change(id)).is_empty(), "it is older than what was published");
    }
    assert_eq!(plane.on(1, &change(99)), ["99"]);
    assert!(plane.feed.unsynced().is_empty());
}

#[test]
fn the_loss_of_a_connection_publishes_no_older_book() {
    let mut plane = pair();
    for id in 12..100 {
        plane.on(2, &change(id));
    }
    assert_eq!(plane.lose(2), ["BTC-USDT disconnected"]);
    assert_eq!(plane.feed.unsynced().len(), 1);
    assert!(plane.on(1, &change(12)).is_empty());
    for id in 13..100 {
        plane.on(1, &change(id));
    }
    assert_eq!(plane.on(1, &change(100)), ["100"]);
}

#[test]
fn a_book_of_the_numbers_before_a_restart_replaces_none_of_those_after_it() {
    let mut plane = pair();
    assert_eq!(plane.on(2, &change(3)), ["BTC-USDT restarted"], "the other book has the old numbers");
    assert_eq!(plane.on(2, &snapshot(3)), ["3"]);
    assert_eq!(plane.on(2, &change(4)), ["4"]);
    assert_eq!(plane.on(2, &change(9)), ["hole", "BTC-USDT gap"]);
}

#[test]
fn the_loss_of_trades_leaves_the_book_of_another_connection_good() {
    let mut plane = plane();
    let outcome = plane.feed.frame_from(Source::Stream, 2, TRADE.as_bytes(), 0).unwrap();
    plane.read(outcome.events);
    assert_eq!(plane.lose(2), ["BTC-USDT disconnected", "11"]);
}
