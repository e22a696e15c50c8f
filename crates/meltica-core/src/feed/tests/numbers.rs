//! Numbers of a connection's frames: a lost frame makes the books of its connection stale, whatever it was about.

use super::*;
use crate::codec::{LevelsSpec, Role, SequenceSpec, SnapshotMode};

/// Returns a snapshot of a symbol, or an update of its book, without numbers of their own.
fn book(number: u64, symbol: &str, kind: &str, quantity: u64) -> String {
    format!(
        r#"{{"e":"{kind}","s":"{symbol}","b":[["1","{quantity}"]],"a":[["2","1"]],"n":{number},"E":{number}}}"#
    )
}

fn heartbeat(number: u64) -> String {
    format!(r#"{{"channel":"heartbeats","n":{number}}}"#)
}

/// Returns a feed whose books of BTC-USDT and ETH-USDT are good after the frames 0 to 2 of connection 1.
fn plane() -> Plane {
    let mut spec = binance_spec();
    spec.connection_sequence = Some("n".into());
    let update = spec.messages.iter().find(|message| message.role == Role::BookDiff).unwrap().clone();
    for (name, role) in [("whole", Role::BookSnapshot), ("change", Role::BookDiff)] {
        let sequence = SequenceSpec::Unnumbered;
        spec.messages.push(MessageSpec {
            name: name.into(),
            role,
            matches: vec![Match::Equals("e".into(), name.into())],
            snapshot: (role == Role::BookSnapshot).then_some(SnapshotMode::Replaces),
            levels: update.levels.clone().map(|levels| LevelsSpec { sequence, ..levels }),
            ..update.clone()
        });
    }
    let mut plane = Plane::new();
    plane.feed.decoder = Some(Decoder::new(Codec::compile(spec).unwrap(), plane.feed.publisher.provider()));
    plane.feed.restart(0).unwrap();
    plane.read(1);
    plane.all(1, &[&heartbeat(0)]);
    assert_eq!(plane.all(1, &[&book(1, "BTCUSDT", "whole", 1)]), ["BTC-USDT 1"]);
    assert_eq!(plane.all(1, &[&book(2, "ETHUSDT", "whole", 1)]), ["ETH-USDT 1"]);
    plane
}

impl Plane {
    /// Feeds frames of a connection and returns the best bids of the published books and the notices.
    fn all(&mut self, connection: u32, frames: &[&str]) -> Vec<String> {
        let mut texts = Vec::new();
        for frame in frames {
            let events = self.feed.frame_from(Source::Recording, connection, frame.as_bytes(), 0);
            let text = |item: Item| {
                let symbol = item.header().symbol.name();
                match &item.payload {
                    Payload::Book(book) => format!("{symbol} {}", book.bids[0].quantity),
                    Payload::MarketStale(reason) => format!("{symbol} {}", reason.name()),
                    other => panic!("{other:?}"),
                }
            };
            texts.extend(self.read(events.unwrap().events).into_iter().map(text));
        }
        texts
    }

    fn numbers(&self) -> [u64; 4] {
        let stats = &self.feed.stats;
        [&stats.frame_gaps, &stats.gaps, &stats.old_frames, &stats.frame_restarts]
            .map(crate::stats::Counter::get)
    }
}

const BOTH: [&str; 2] = ["BTC-USDT gap", "ETH-USDT gap"];

#[test]
fn a_lost_frame_makes_every_book_of_its_connection_stale() {
    // Whatever the next frame is: a heartbeat, an unknown frame, an update of one of the books, an array.
    let next = [
        heartbeat(4),
        r#"{"unknown":[{"n":9}],"n":4}"#.to_owned(),
        book(4, "BTCUSDT", "change", 5),
        book(5, "SOLUSDT", "change", 5),
        r#"{"e":"whole","s":"BTCUSDT","b":[["-1","1"]],"a":[],"n":4}"#.to_owned(),
    ];
    for frame in next {
        let mut plane = plane();
        assert_eq!(plane.all(1, &[&frame]), BOTH, "{frame}");
        assert_eq!(plane.feed.unsynced_on(1).len(), 2 + usize::from(frame.contains("SOL")));
        assert_eq!(plane.numbers(), [1, 2, 0, 0]);
    }
    let mut plane = plane();
    assert_eq!(plane.all(1, &[&heartbeat(3), &book(4, "BTCUSDT", "change", 5)]), ["BTC-USDT 5"]);
    // A snapshot after the lost frame is not affected; only its book is good again.
    let frames =
        [book(6, "BTCUSDT", "whole", 7), book(7, "ETHUSDT", "change", 8), book(8, "BTCUSDT", "change", 9)];
    let frames = frames.each_ref().map(String::as_str);
    assert_eq!(plane.all(1, &frames), [&BOTH[..], &["BTC-USDT 7", "BTC-USDT 9"]].concat());
    assert_eq!(plane.numbers(), [1, 2, 0, 0]);
}

#[test]
fn a_frame_that_cannot_be_read_is_a_lost_one() {
    let mut plane = plane();
    let broken = plane.all(1, &[r#"{"channel":"l2_data","#]);
    assert_eq!(broken, ["BTC-USDT undecoded", "ETH-USDT undecoded"]);
    assert!(plane.all(1, &[&heartbeat(4)]).is_empty(), "the books wait for their snapshots");
    assert_eq!(plane.numbers(), [1, 0, 0, 0]);
}

#[test]
fn a_frame_that_was_received_or_is_late_is_dropped() {
    let mut plane = plane();
    let change = book(3, "BTCUSDT", "change", 3);
    assert_eq!(plane.all(1, &[&change, &heartbeat(4)]), ["BTC-USDT 3"]);
    assert!(plane.all(1, &[&change, &heartbeat(4), &heartbeat(0)]).is_empty(), "received before");
    assert_eq!(plane.numbers(), [0, 0, 3, 0]);
    assert_eq!(plane.all(1, &[&heartbeat(7)]), BOTH);
    assert!(plane.all(1, &[&book(5, "BTCUSDT", "whole", 5)]).is_empty(), "it is older than what was read");
    assert_eq!(plane.numbers(), [1, 2, 4, 0]);
    assert_eq!(plane.all(1, &[&book(8, "BTCUSDT", "whole", 8)]), ["BTC-USDT 8"]);
}

#[test]
fn numbers_restart_with_their_connection_and_are_its_own() {
    let mut plane = plane();
    assert!(plane.all(2, &[&heartbeat(900), &book(901, "BTCUSDT", "whole", 2)]).len() < 2);
    assert_eq!(plane.all(1, &[&book(3, "ETHUSDT", "change", 3)]), ["ETH-USDT 3"]);
    assert_eq!(plane.numbers(), [0; 4]);
    let events = plane.feed.restart_connection(1, 0).unwrap();
    plane.read(events);
    assert_eq!(plane.all(1, &[&heartbeat(0), &book(1, "ETHUSDT", "whole", 4)]), ["ETH-USDT 4"]);
    assert_eq!(plane.numbers(), [0; 4]);
    // The other connection lost nothing.
    assert!(plane.all(2, &[&heartbeat(902)]).is_empty());
}

#[test]
fn numbers_that_restart_within_a_connection_make_its_books_stale() {
    let mut plane = plane();
    let restarted = ["BTC-USDT restarted", "ETH-USDT restarted", "BTC-USDT 9"];
    let first = heartbeat(0).replace('}', r#","again":1}"#);
    assert_eq!(plane.all(1, &[&first, &book(1, "BTCUSDT", "whole", 9)]), restarted);
    assert_eq!(plane.all(1, &[&book(2, "BTCUSDT", "change", 10)]), ["BTC-USDT 10"]);
    assert_eq!(plane.numbers(), [0, 0, 0, 1]);
    // Numbers that were lost before do not hide it for ever.
    plane.all(1, &[&heartbeat(500), &book(501, "BTCUSDT", "whole", 1)]);
    let late = [100, 101, 102].map(|number| book(number, "BTCUSDT", "change", number));
    assert!(plane.all(1, &[&late[0], &late[1]]).is_empty());
    assert_eq!(plane.all(1, &[&late[2]]), ["BTC-USDT restarted"]);
    assert_eq!(plane.numbers()[3], 2);
    // Numbers below the first one show it at once.
    plane.all(1, &[&book(103, "BTCUSDT", "whole", 1)]);
    assert_eq!(plane.all(1, &[&book(40, "BTCUSDT", "change", 2)]), ["BTC-USDT restarted"]);
}

#[test]
fn frames_without_a_number_do_not_count() {
    let mut plane = plane();
    assert!(plane.all(1, &[r#"{"type":"error"}"#, &heartbeat(3), r#"{"n":null}"#]).is_empty());
    assert_eq!(plane.all(1, &[&book(4, "BTCUSDT", "change", 5)]), ["BTC-USDT 5"]);
    assert_eq!(plane.numbers(), [0; 4]);
}
