//! The published book of two connections: it does not go back, and does not stand still while the other one goes on.

use super::connections::{change, plane, snapshot};
use super::*;
use crate::codec::SequenceSpec;

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

/// Returns a feed of chained ids, whose book has the id 11 on both connections. Connection 1 or 2 is published.
fn chained(active: u32) -> Plane {
    let mut plane = Plane::new();
    let mut spec = binance_spec();
    for levels in spec.messages.iter_mut().filter_map(|message| message.levels.as_mut()) {
        if let SequenceSpec::Range { first, last: Some(last), .. } = &levels.sequence {
            levels.sequence = SequenceSpec::Chain { last: last.clone(), prev: first.clone() };
        }
    }
    plane.feed.decoder = Some(Decoder::new(Codec::compile(spec).unwrap(), plane.feed.publisher.provider()));
    plane.feed.restart(0).unwrap();
    plane.read(1);
    assert_eq!(plane.on(1, &snapshot(10)), ["10"]);
    assert_eq!(plane.on(1, &link(10, 11)), ["11"]);
    let taken = plane.on(2, &snapshot(if active == 2 { 11 } else { 9 }));
    assert_eq!(taken.len(), usize::from(active == 2));
    plane
}

/// Returns a diff whose ids are a chain.
fn link(prev: u64, id: u64) -> String {
    format!(r#"{{"e":"depthUpdate","E":{id},"s":"BTCUSDT","U":{prev},"u":{id},"b":[["1","{id}"]],"a":[]}}"#)
}

#[test]
fn a_chain_whose_ids_decrease_is_followed_by_both_connections() {
    let mut plane = chained(2);
    assert_eq!(plane.on(2, &link(11, 12)), ["12"]);
    assert_eq!(plane.on(2, &link(12, 3)), ["3"], "the chain is whole");
    assert!(plane.on(1, &link(11, 12)).is_empty());
    assert!(plane.on(1, &link(12, 3)).is_empty());
    assert_eq!(plane.on(2, &link(3, 4)), ["4"]);
    assert!(plane.on(1, &link(3, 4)).is_empty());
    assert_eq!(plane.on(2, &link(8, 9)), ["4"], "the other book has the same updates");
    assert_eq!(plane.on(1, &link(4, 5)), ["5"]);
}

#[test]
fn a_book_before_a_decrease_of_a_chain_replaces_none_after_it() {
    let mut plane = chained(2);
    assert_eq!(plane.on(2, &link(11, 12)), ["12"]);
    assert_eq!(plane.on(2, &link(12, 3)), ["3"]);
    assert!(plane.on(1, &link(11, 12)).is_empty(), "it is older, though its id is higher");
    assert_eq!(plane.on(2, &link(8, 9)), ["hole", "BTC-USDT gap"]);
    assert_eq!(plane.on(1, &link(12, 3)), ["3"], "it has caught up");
}

#[test]
fn a_newer_connection_does_not_take_over_before_a_decrease_of_the_chain() {
    let mut plane = chained(1);
    assert!(plane.on(2, &link(9, 10)).is_empty());
    assert_eq!(plane.on(1, &link(11, 3)), ["3"]);
    assert!(plane.on(2, &link(10, 11)).is_empty(), "it is older, though its id is higher");
    assert_eq!(plane.on(2, &link(11, 3)), ["3"]);
    assert_eq!(plane.on(2, &link(3, 4)), ["4"]);
}
