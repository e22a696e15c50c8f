//! A lost connection: each symbol with events since the last one is reported once.

use super::*;

impl Plane {
    /// Restarts the feed and returns the symbols of its notices.
    fn restart(&mut self) -> Vec<&'static str> {
        let notices = self.feed.restart(0).unwrap();
        let lost = |item: Item| {
            assert!(matches!(item.payload, Payload::MarketStale(StaleReason::Disconnected)), "{item:?}");
            item.header().symbol.name()
        };
        self.read(notices).into_iter().map(lost).collect()
    }
}

#[test]
fn books_trades_and_tickers_are_stale_after_a_lost_connection() {
    let mut plane = Plane::new();
    plane.run(TRADE.replace("BTCUSDT", "ETHUSDT").as_bytes());
    plane.run(TICKER.replace("BTCUSDT", "SOLUSDT").as_bytes());
    let mut lost = plane.restart();
    lost.sort_unstable();
    assert_eq!(lost, ["BTC-USDT", "ETH-USDT", "SOL-USDT"]);
}

#[test]
fn a_symbol_with_events_of_several_kinds_has_one_notice() {
    let mut plane = Plane::new();
    plane.run(TRADE.as_bytes());
    plane.run(TICKER.as_bytes());
    assert_eq!(plane.restart(), ["BTC-USDT"]);
}

#[test]
fn a_symbol_without_a_new_event_is_not_reported_again() {
    let mut plane = Plane::new();
    plane.run(TRADE.replace("BTCUSDT", "ETHUSDT").as_bytes());
    assert_eq!(plane.restart().len(), 2);
    assert!(plane.restart().is_empty(), "both are stale already");
    plane.run(TRADE.replace("BTCUSDT", "ETHUSDT").replace("3735683259", "3735683260").as_bytes());
    assert_eq!(plane.restart(), ["ETH-USDT"]);
    assert!(plane.run(&diff(1).into_bytes()).is_empty(), "the book waits for a snapshot");
    assert!(plane.restart().is_empty());
}

#[test]
fn a_feed_of_books_that_are_published_whole_is_stale_after_a_lost_connection() {
    let mut plane = Plane::new();
    plane.restart();
    let symbol = SymbolId::intern("WHOLE-USDT");
    let origin = Origin { kind: Kind::BookSnapshot, symbol, venue_time: None, received_time: 0 };
    assert!(plane.feed.publish_book(origin, &Book::default()).unwrap());
    plane.read(1);
    assert_eq!(plane.restart(), ["WHOLE-USDT"]);
}
