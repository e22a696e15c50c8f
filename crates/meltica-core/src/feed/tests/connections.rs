//! Several connections of a provider: each has books of its own, and one of them is published.

use super::*;

/// Returns a diff of BTC-USDT.
pub(super) fn change(id: u64) -> String {
    format!(r#"{{"e":"depthUpdate","E":{id},"s":"BTCUSDT","U":{id},"u":{id},"b":[["1","{id}"]],"a":[]}}"#)
}

pub(super) fn snapshot(last: u64) -> String {
    format!(r#"{{"lastUpdateId":{last},"bids":[["1","{last}"]],"asks":[["2","1"]]}}"#)
}

impl Plane {
    /// Feeds one frame of a connection and returns the ids of the published books and the reasons of its notices.
    pub(super) fn on(&mut self, connection: u32, frame: &str) -> Vec<String> {
        self.at(0, connection, frame)
    }

    /// Feeds one frame of a connection at a time in seconds.
    pub(super) fn at(&mut self, seconds: Nanos, connection: u32, frame: &str) -> Vec<String> {
        let source = if frame.contains("last") {
            Source::Request(SymbolId::intern("BTC-USDT"))
        } else {
            Source::Stream
        };
        let events = self.feed.frame_from(source, connection, frame.as_bytes(), seconds * 1_000_000_000);
        let events = events.unwrap().events;
        self.texts(events)
    }

    pub(super) fn lose(&mut self, connection: u32) -> Vec<String> {
        let events = self.feed.restart_connection(connection, 0).unwrap();
        self.texts(events)
    }

    fn texts(&mut self, events: u32) -> Vec<String> {
        let text = |item: Item| match &item.payload {
            Payload::Book(book) => format!("{}", book.last_update_id),
            Payload::MarketStale(reason) => format!("{} {}", item.header().symbol.name(), reason.name()),
            Payload::BookGap(_) => "hole".into(),
            other => panic!("{other:?}"),
        };
        self.read(events).into_iter().map(text).collect()
    }
}

/// Returns a feed whose book of BTC-USDT is good on connection 1.
pub(super) fn plane() -> Plane {
    let mut plane = Plane::new();
    plane.feed.restart(0).unwrap();
    plane.read(1);
    assert_eq!(plane.on(1, &snapshot(10)), ["10"]);
    assert_eq!(plane.on(1, &change(11)), ["11"]);
    plane
}

#[test]
fn a_newer_connection_takes_over_once_its_book_is_good() {
    let mut plane = plane();
    assert!(plane.on(2, &change(11)).is_empty(), "its book waits for a snapshot");
    assert_eq!(plane.feed.unsynced_on(2).len(), 1);
    assert!(plane.feed.unsynced().is_empty(), "the book of the other connection is good");
    assert_eq!(plane.on(1, &change(12)), ["12"]);
    assert!(plane.on(2, &snapshot(11)).is_empty(), "it is older than the published one");
    assert_eq!(plane.on(2, &change(12)), ["12"]);
    assert!(plane.on(1, &change(13)).is_empty(), "the older connection is a standby");
    assert_eq!(plane.on(2, &change(13)), ["13"]);
    assert!(plane.lose(1).is_empty(), "nothing is lost");
    assert_eq!(plane.on(2, &change(14)), ["14"]);
    assert_eq!((plane.feed.stats.takeovers.get(), plane.feed.stats.standby.get()), (1, 2));
    assert_eq!(plane.lose(2), ["BTC-USDT disconnected"]);
}

#[test]
fn a_good_book_of_another_connection_replaces_a_stale_one() {
    let mut plane = plane();
    plane.on(2, &snapshot(10));
    assert_eq!(plane.on(2, &change(11)), ["11"]);
    assert_eq!(plane.on(2, &change(13)), ["11"], "a gap: the other book has the same updates");
    assert_eq!(plane.on(1, &change(12)), ["12"]);
    assert!(plane.feed.stale_books().is_empty());
    assert_eq!(plane.on(1, &change(15)), ["hole", "BTC-USDT gap"], "no book is good");
    assert_eq!(plane.feed.stats.gaps.get(), 2);
    assert_eq!(plane.feed.stale_books(), BTreeMap::from([("BTC-USDT", true)]));
    plane.lose(1);
    assert_eq!(plane.feed.stale_books().len(), 1, "the book of the other connection is still stale");
    plane.lose(2);
    assert!(plane.feed.stale_books().is_empty(), "no connection is left");
}

#[test]
fn the_messages_of_two_connections_do_not_mix() {
    let mut plane = plane();
    assert!(plane.on(2, &change(500)).is_empty(), "the numbers of another connection");
    assert_eq!(plane.on(1, &change(12)), ["12"]);
}

#[test]
fn a_lost_connection_makes_only_its_own_symbols_stale() {
    let mut plane = plane();
    let trade = |symbol: &str| TRADE.replace("BTCUSDT", symbol);
    for (connection, symbol) in [(1, "ETHUSDT"), (2, "SOLUSDT"), (2, "ADAUSDT"), (1, "ADAUSDT")] {
        let outcome = plane.feed.frame_from(Source::Stream, connection, trade(symbol).as_bytes(), 0).unwrap();
        plane.read(outcome.events);
    }
    assert_eq!(plane.lose(2), ["SOL-USDT disconnected"]);
    assert!(plane.lose(2).is_empty(), "no connection has this number");
    assert_eq!(plane.on(1, &change(12)), ["12"]);
    let mut lost = plane.lose(1);
    lost.sort_unstable();
    assert_eq!(lost, ["ADA-USDT disconnected", "BTC-USDT disconnected", "ETH-USDT disconnected"]);
}
