//! Streams of the best levels: each message is a book of its own, and never a part of an assembled one.

use super::*;
use crate::codec::{LevelsSpec, Role, SnapshotMode};

/// Returns a feed without books, whose messages `top` are the best levels of a symbol.
fn plane() -> Plane {
    let mut spec = binance_spec();
    let update = spec.messages.iter().find(|message| message.role == Role::BookDiff).unwrap().clone();
    spec.messages.push(MessageSpec {
        name: "top".into(),
        role: Role::BookSnapshot,
        matches: vec![Match::Equals("e".into(), "top".into())],
        snapshot: Some(SnapshotMode::Window),
        levels: update.levels.clone().map(|levels| LevelsSpec { checksum: None, ..levels }),
        ..update
    });
    let mut plane = Plane::new();
    plane.feed.decoder = Some(Decoder::new(Codec::compile(spec).unwrap(), plane.feed.publisher.provider()));
    plane.feed.restart(0).unwrap();
    plane.read(1);
    plane
}

fn message(kind: &str, id: u64, bid: &str) -> String {
    format!(
        r#"{{"e":"{kind}","E":1,"s":"BTCUSDT","U":{id},"u":{id},"b":[["{bid}","{id}"]],"a":[["20","1"]]}}"#
    )
}

fn top(id: u64, bid: &str) -> String {
    message("top", id, bid)
}

fn diff(id: u64, bid: &str) -> String {
    message("depthUpdate", id, bid)
}

impl Plane {
    /// Feeds a frame of a connection; returns the bids of the published books and the reasons of notices.
    fn bids(&mut self, connection: u32, frame: &str) -> Vec<String> {
        let source = if frame.contains("lastUpdateId") {
            Source::Request(SymbolId::intern("BTC-USDT"))
        } else {
            Source::Stream
        };
        let events = self.feed.frame_from(source, connection, frame.as_bytes(), 0).unwrap().events;
        let text = |item: Item| match &item.payload {
            Payload::Book(book) => book
                .bids
                .iter()
                .map(|bid| format!("{}x{}", bid.price, bid.quantity))
                .collect::<Vec<_>>()
                .join(" "),
            Payload::MarketStale(reason) => reason.name().into(),
            other => panic!("{other:?}"),
        };
        self.read(events).into_iter().map(text).collect()
    }
}

#[test]
fn each_message_is_a_whole_book_that_replaces_the_last_one() {
    let mut plane = plane();
    assert_eq!(plane.bids(1, &top(5, "10")), ["10x5"]);
    assert_eq!(
        plane.bids(1, &top(9, "11")),
        ["11x9"],
        "levels of the last one are gone, and no number is lost"
    );
    assert_eq!(plane.bids(1, &top(2, "12")), ["12x2"], "also if the numbers restart");
    assert_eq!(plane.bids(1, &top(3, "20")), ["crossed"]);
    assert_eq!(plane.bids(1, &top(4, "10")), ["10x4"]);
    assert_eq!(plane.bids(1, &top(5, "ten")), ["undecoded"]);
    assert!(plane.bids(1, &top(5, "ten")).is_empty());
    assert_eq!(plane.bids(1, &top(6, "10")), ["10x6"]);
    let events = plane.feed.restart(0).unwrap();
    let [item] = &plane.read(events)[..] else { panic!() };
    assert!(matches!(item.payload, Payload::MarketStale(StaleReason::Disconnected)));
}

#[test]
fn it_is_not_published_beside_an_assembled_book_and_never_part_of_one() {
    let mut plane = plane();
    assert_eq!(plane.bids(1, &top(5, "10")), ["10x5"]);
    // The stream of changes begins: the book that is assembled from it is the one that counts.
    assert_eq!(plane.bids(1, &diff(7, "9")), ["no_snapshot"]);
    assert!(plane.bids(1, &top(7, "11")).is_empty(), "a book that waits is not joined");
    assert_eq!(plane.feed.unsynced().len(), 1);
    let snapshot = r#"{"lastUpdateId":6,"bids":[["8","1"]],"asks":[["20","1"]]}"#;
    assert_eq!(plane.bids(1, snapshot), ["9x7 8x1"]);
    assert!(plane.bids(1, &top(8, "11")).is_empty());
    assert!(plane.bids(2, &top(8, "11")).is_empty(), "nor on another connection");
    assert_eq!(plane.bids(1, &diff(8, "7")), ["9x7 8x1 7x8"], "nothing of them is in it");
    assert_eq!(plane.feed.stats.partial_books.get(), 3);
    // One that is not decoded changes nothing of it.
    assert!(plane.bids(1, &top(8, "ten")).is_empty());
    // The connection that assembled it is lost: the other one publishes its best levels.
    let events = plane.feed.restart_connection(1, 0).unwrap();
    plane.read(events);
    assert_eq!(plane.bids(2, &top(9, "11")), ["11x9"]);
}

#[test]
fn one_connection_publishes_it() {
    let mut plane = plane();
    assert_eq!(plane.bids(1, &top(5, "10")), ["10x5"]);
    assert!(plane.bids(2, &top(4, "9")).is_empty(), "older than the published one");
    assert_eq!(plane.bids(1, &top(6, "10")), ["10x6"]);
    let events = plane.feed.restart_connection(1, 0).unwrap();
    let books = plane.read(events);
    assert_eq!(books.len(), 1, "that of the other connection");
    assert_eq!(plane.bids(2, &top(7, "9")), ["9x7"]);
}
