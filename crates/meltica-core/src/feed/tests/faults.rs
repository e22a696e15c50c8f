//! Messages that are not delivered as they are: what they leave behind is counted, and no book misses their changes.

use super::*;
use crate::codec::fixtures::KLINE;
use crate::event::Ticker;

fn reasons(items: Vec<Item>) -> Vec<String> {
    let reason = |item: Item| match &item.payload {
        Payload::MarketStale(reason) => format!("{} {}", item.header().symbol.name(), reason.name()),
        other => panic!("{other:?}"),
    };
    items.into_iter().map(reason).collect()
}

/// Synchronises a second book.
fn add_book(plane: &mut Plane, symbol: &str) {
    let source = Source::Request(SymbolId::intern(symbol));
    let outcome = plane.feed.frame_from(source, 0, SNAPSHOT.as_bytes(), 0).unwrap();
    assert_eq!(plane.read(outcome.events).len(), 1);
}

#[test]
fn a_diff_that_cannot_be_decoded_makes_its_book_stale() {
    for (whole, damaged) in [
        (r#""0.32332000""#, r#""-1""#),
        (r#"["55653.87000000","0.00000000"]"#, r#"["55653.87000000"]"#),
        (r#""U":50093239219"#, r#""U":"x""#),
    ] {
        let mut plane = Plane::new();
        add_book(&mut plane, "ETH-USDT");
        let frame = diff(1).replace(whole, damaged);
        assert_ne!(frame, diff(1));
        assert_eq!(reasons(plane.run(frame.as_bytes())), ["BTC-USDT undecoded"]);
        assert!(plane.run(frame.as_bytes()).is_empty(), "it is stale already");
        assert_eq!(plane.feed.unsynced(), [SymbolId::intern("BTC-USDT")]);
    }
}

#[test]
fn a_diff_of_an_unreadable_symbol_makes_all_books_of_its_connection_stale() {
    let mut plane = Plane::new();
    add_book(&mut plane, "ETH-USDT");
    let frame = diff(1).replace("BTCUSDT", "???");
    let other = plane.feed.frame_from(Source::Stream, 7, frame.as_bytes(), 0).unwrap();
    assert!(plane.read(other.events).is_empty(), "another connection");
    let mut stale = reasons(plane.run(frame.as_bytes()));
    stale.sort_unstable();
    assert_eq!(stale, ["BTC-USDT undecoded", "ETH-USDT undecoded"]);
}

#[test]
fn a_diff_of_a_symbol_that_the_rule_does_not_split_concerns_no_book() {
    let mut plane = Plane::new();
    add_book(&mut plane, "ETH-USDT");
    for text in ["BTCPERP", "BTC-USDT-SWAP", "1000", "币安"] {
        let frame = diff(1).replace("BTCUSDT", text);
        assert!(plane.run(frame.as_bytes()).is_empty(), "{text}");
    }
    assert!(plane.feed.unsynced().is_empty());
    assert_eq!(plane.run(diff(1).as_bytes()).len(), 1);
}

#[test]
fn other_frames_that_cannot_be_decoded_leave_numbered_books_alone() {
    let mut plane = Plane::new();
    let trade = TRADE.replace("61837.63000000", "-1");
    for frame in ["pong", r#"{"e":"depthUp"#, &trade] {
        assert!(plane.run(frame.as_bytes()).is_empty());
    }
    assert_eq!(plane.run(diff(1).as_bytes()).len(), 1);
}

#[test]
fn a_crossed_ticker_is_delivered_without_bid_and_ask() {
    let mut plane = Plane::new();
    let frame = TICKER.replace(r#""A":"0.00000000""#, r#""A":"1""#).replace("61837.63", "61837.64");
    let mut items = plane.run(frame.as_bytes());
    let Payload::Ticker(ticker) = &items[0].payload else { panic!("{items:?}") };
    let last = Some("61837.64".parse().unwrap());
    assert_eq!(*ticker, Ticker { last, volume_24h: ticker.volume_24h, ..Ticker::default() });
    items.remove(0);
    assert_eq!(reasons(items), ["BTC-USDT ticker_crossed"]);
    assert_eq!(plane.feed.stats.crossed_tickers.get(), 1);
}

#[test]
fn wrong_and_repeated_candles_are_counted() {
    let mut plane = Plane::new();
    assert!(plane.run(KLINE.replace("0.0025", "0.0014").as_bytes()).is_empty());
    assert_eq!(plane.run(KLINE.as_bytes()).len(), 1);
    assert_eq!(plane.run(KLINE.as_bytes()).len(), 1, "it is open");
    let closed = KLINE.replace(r#""x":false"#, r#""x":true"#);
    assert_eq!(plane.run(closed.as_bytes()).len(), 1);
    assert!(plane.run(closed.as_bytes()).is_empty());
    assert_eq!(plane.run(closed.replace("\"1000\"", "\"1001\"").as_bytes()).len(), 1, "a correction");
    let stats = &plane.feed.stats;
    assert_eq!((stats.bad_candles.get(), stats.repeated_candles.get()), (1, 1));
}

#[test]
fn ids_stay_known_over_a_reconnect() {
    let mut plane = Plane::new();
    assert_eq!(plane.run(TRADE.as_bytes()).len(), 1);
    let notices = plane.feed.restart(0).unwrap();
    plane.read(notices);
    assert!(plane.run(TRADE.as_bytes()).is_empty());
    plane.feed.forget_ids();
    assert_eq!(plane.run(TRADE.as_bytes()).len(), 1);
}
