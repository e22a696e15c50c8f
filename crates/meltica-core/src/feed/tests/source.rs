//! The symbols of snapshots that name none: a feed does not guess.

use super::*;

/// Returns a diff of the book of `symbol`.
fn change(symbol: &str, id: u64) -> String {
    format!(r#"{{"e":"depthUpdate","E":1,"s":"{symbol}","U":{id},"u":{id},"b":[["1","1"]],"a":[["2","1"]]}}"#)
}

/// Returns a snapshot that names no symbol.
fn snapshot(last: u64) -> String {
    format!(r#"{{"lastUpdateId":{last},"bids":[["1","1"]],"asks":[["2","1"]]}}"#)
}

/// Returns a feed without synchronised books.
fn feed() -> Feed {
    let Plane { mut feed, .. } = Plane::new();
    feed.restart(0).unwrap();
    feed.books.clear();
    feed.decoder = Some(Decoder::new(Codec::compile(binance_spec()).unwrap(), feed.publisher.provider()));
    feed
}

fn unsynced(feed: &Feed) -> Vec<&'static str> {
    let mut symbols: Vec<_> = feed.unsynced().into_iter().map(SymbolId::name).collect();
    symbols.sort_unstable();
    symbols
}

fn errors(feed: &Feed) -> BTreeMap<&'static str, u64> {
    feed.stats.errors.lock().unwrap().clone()
}

#[test]
fn a_stream_must_name_the_symbol_of_a_snapshot() {
    let mut feed = feed();
    for (bad, symbol) in (1..).zip(["BTCUSDT", "ETHUSDT"]) {
        feed.frame(change(symbol, 101).as_bytes(), 0).unwrap();
        let outcome = feed.frame(snapshot(101).as_bytes(), 0).unwrap();
        assert_eq!(outcome, FeedOutcome { bad: 1, ..FeedOutcome::default() });
        assert_eq!(errors(&feed), BTreeMap::from([("no_symbol", bad)]));
    }
    assert_eq!(unsynced(&feed), ["BTC-USDT", "ETH-USDT"]);
}

#[test]
fn a_requested_snapshot_joins_the_book_of_its_request() {
    let mut feed = feed();
    for (symbol, id) in [("BTCUSDT", 101), ("ETHUSDT", 9001)] {
        feed.frame(change(symbol, id).as_bytes(), 0).unwrap();
    }
    let eth = Source::Request(SymbolId::intern("ETH-USDT"));
    feed.frame_from(eth, 0, snapshot(9001).as_bytes(), 0).unwrap();
    assert_eq!(unsynced(&feed), ["BTC-USDT"]);
    // A second response about the same symbol arrives while another book waits.
    feed.frame_from(eth, 0, snapshot(9002).as_bytes(), 0).unwrap();
    assert_eq!(unsynced(&feed), ["BTC-USDT"]);
    feed.frame_from(Source::Request(SymbolId::intern("BTC-USDT")), 0, snapshot(101).as_bytes(), 0).unwrap();
    assert!(feed.unsynced().is_empty());
    assert!(errors(&feed).is_empty());
}

#[test]
fn a_requested_snapshot_of_another_symbol_is_refused() {
    let mut feed = feed();
    feed.frame(change("BTCUSDT", 101).as_bytes(), 0).unwrap();
    let eth = Source::Request(SymbolId::intern("ETH-USDT"));
    feed.frame_from(eth, 0, wrap(&snapshot(101)).as_bytes(), 0).unwrap();
    assert_eq!(unsynced(&feed), ["BTC-USDT"]);
    let bad = feed.stats.bad.lock().unwrap().back().cloned().unwrap();
    assert_eq!(bad.error, "expected a snapshot of ETH-USDT, saw one of BTC-USDT");
}

#[test]
fn a_recording_of_one_symbol_may_leave_it_out() {
    let mut feed = feed();
    let mut run = |frame: &str| {
        feed.frame_from(Source::Recording, 0, frame.as_bytes(), 0).unwrap();
        (unsynced(&feed), errors(&feed).get("no_symbol").copied())
    };
    assert_eq!(run(&snapshot(100)), (vec![], Some(1)), "the symbol is not known yet");
    assert_eq!(run(&change("BTCUSDT", 101)), (vec!["BTC-USDT"], Some(1)));
    assert_eq!(run(&snapshot(100)), (vec![], Some(1)));
    assert_eq!(run(&TRADE.replace("BTCUSDT", "ETHUSDT")), (vec![], Some(1)));
    assert_eq!(run(&change("BTCUSDT", 200)), (vec!["BTC-USDT"], Some(1)), "a gap");
    assert_eq!(run(&snapshot(200)), (vec!["BTC-USDT"], Some(2)), "the recording is of two symbols");
}
