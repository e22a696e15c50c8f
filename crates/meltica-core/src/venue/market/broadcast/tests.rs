//! Tests of a market from the view of the data plane's readers.

use crate::bus::{Item, OverflowPolicy, Reader, fixtures};
use crate::decimal::Decimal;
use crate::dispatch::{Dispatcher, Publisher, Route, RouteKey};
use crate::event::{Kind, Liquidity, Nanos, OrderState, Payload, Side};
use crate::feed::Feed;
use crate::names::ProviderId;
use crate::pool::Pools;
use crate::venue::market::tests::{busy, listing};
use crate::venue::market::*;
use crate::venue::{AccountId, FeeAsset, Fees, OrderKind, TimeInForce};
use std::sync::Arc;

const SECOND: Nanos = 1_000_000_000;

struct Plane {
    dispatcher: Arc<Dispatcher>,
    reader: Reader,
    feed: Feed,
    market: Market,
    broadcast: Broadcast,
    account: AccountId,
}

impl Plane {
    fn new(provider: &str, kinds: &[Kind], intervals: Intervals) -> Self {
        let pools = Pools::new(1 << 28);
        let dispatcher = Dispatcher::new(pools);
        let provider = ProviderId::intern(provider);
        let key = |kind: &Kind| RouteKey { provider, kind: *kind, symbol: None };
        let route = |kind| Route { key: key(kind), filters: Vec::new(), depth: 5 };
        let policies = [OverflowPolicy::DropOldest; Kind::COUNT];
        let routes = kinds.iter().map(route).collect();
        let size = fixtures::Size::of(1 << 12);
        let (_, reader, _) = fixtures::subscribed(&dispatcher, policies, size, routes, &Arc::default());
        let feed = Feed::new(Publisher::new(&dispatcher, provider), None);
        let rate = |text: &str| text.parse().unwrap();
        let fees = Fees::new(rate("0.001"), rate("0.002"), FeeAsset::Quote).unwrap();
        let options = Options { kline_interval: SECOND, fees, ..Options::default() };
        let mut market = Market::new(&options, &[listing("BTC", "600", 20.0)]).unwrap();
        let account = market.open_account();
        for (_, asset) in market.assets().to_vec() {
            market.deposit(account, asset, Decimal::from_i64(10_000)).unwrap();
        }
        let broadcast = Broadcast::new(&market, account, intervals, "1s");
        Self { dispatcher, reader, feed, market, broadcast, account }
    }

    fn advance(&mut self, until: Nanos) -> Vec<Item> {
        let mut to = self.broadcast.to(&mut self.feed, None);
        self.market.advance(until, &mut to);
        to.finish().unwrap();
        self.read()
    }

    fn submit(&mut self, side: Side, quantity: i64, kind: OrderKind) -> Vec<Item> {
        self.send(&Request { client_order_id: "a".into(), side, quantity, kind })
    }

    fn send(&mut self, request: &Request) -> Vec<Item> {
        let mut to = self.broadcast.to(&mut self.feed, None);
        let _ = self.market.submit(self.account, 0, request, &mut to);
        to.finish().unwrap();
        self.read()
    }

    fn read(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        while self.reader.has_work() {
            self.reader.read(self.dispatcher.watermark(), 4096, &mut items);
        }
        items
    }
}

const EACH: Intervals = Intervals { ticker: 0, book_snapshot: 0 };

fn of(items: &[Item], kind: Kind) -> usize {
    items.iter().filter(|item| item.header().kind == kind).count()
}

#[test]
fn published_events_agree_with_the_market() {
    let kinds = [Kind::Trade, Kind::Ticker, Kind::BookSnapshot, Kind::KlineSummary];
    let mut plane = Plane::new("market-public", &kinds, EACH);
    let (mut last, mut book, mut volume) = (None, None, Decimal::ZERO);
    let mut candles = 0;
    for tenth in 1..600 {
        for item in plane.advance(tenth * SECOND / 10) {
            assert_eq!(item.header().venue_time, Some(item.header().received_time));
            match &item.payload {
                Payload::Trade(trade) => {
                    last = Some(trade.price);
                    volume = volume.checked_add(trade.quantity).unwrap();
                }
                Payload::Book(levels) => {
                    assert!(levels.bids.len() <= 5 && levels.bid_count >= levels.bids.len() as u32);
                    book = Some((levels.bids[0], levels.asks[0]));
                }
                Payload::Ticker(ticker) => {
                    assert_eq!(ticker.last, last);
                    assert_eq!(ticker.volume_24h.unwrap(), volume);
                    let (bid, ask) = book.expect("a command's book comes before its ticker");
                    let two = |mantissa| Decimal::new(i128::from(mantissa), 2);
                    assert_eq!((ticker.bid, ticker.ask), (two(bid.price), two(ask.price)));
                    assert_eq!(ticker.bid_quantity, Decimal::new(i128::from(bid.quantity), 4));
                }
                Payload::Kline(kline) => {
                    candles += 1;
                    assert_eq!((kline.close_time - kline.open_time, kline.closed), (SECOND, Some(true)));
                    assert_eq!((Some(kline.close), kline.interval.unwrap().as_str()), (last, "1s"));
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    assert!(last.is_some() && candles > 50, "{candles} candles");
}

#[test]
fn intervals_throttle_tickers_and_books() {
    let intervals = Intervals { ticker: SECOND, book_snapshot: 5 * SECOND };
    let mut plane = Plane::new("market-thin", &[Kind::Ticker, Kind::BookSnapshot], intervals);
    let items = plane.advance(100 * SECOND);
    assert!((70..=100).contains(&of(&items, Kind::Ticker)), "{}", of(&items, Kind::Ticker));
    assert!((15..=20).contains(&of(&items, Kind::BookSnapshot)), "{}", of(&items, Kind::BookSnapshot));
}

#[test]
fn an_account_receives_its_own_reports() {
    let mut plane = Plane::new("market-private", &[Kind::ExecReport, Kind::BalanceUpdate], EACH);
    assert!(plane.advance(5 * SECOND).is_empty(), "background orders are not reported");
    let far = OrderKind::Limit { price: 30_000, time_in_force: TimeInForce::Gtc };
    let items = plane.submit(Side::Buy, 10_000, far);
    let Payload::Exec(ack) = &items[0].payload else { panic!("expected a report, saw {items:?}") };
    assert_eq!((ack.state, ack.price, ack.average_price), (OrderState::Ack, "300".parse().ok(), None));
    let Payload::Balance(usdt) = &items[1].payload else { panic!("expected a balance, saw {items:?}") };
    assert_eq!(items[1].header().symbol.name(), "USDT");
    assert_eq!(usdt.available, "9699.7".parse().unwrap(), "300 and the maker fee of 0.3 are reserved");
    let again = plane.submit(Side::Buy, 10_000, OrderKind::Market { fok: false });
    assert!(again.is_empty(), "an open order has the same id: {again:?}");
    let mut to = plane.broadcast.to(&mut plane.feed, None);
    plane.market.cancel(plane.account, "a", &mut to).unwrap();
    let items = plane.read();
    assert_eq!((of(&items, Kind::ExecReport), of(&items, Kind::BalanceUpdate)), (1, 1));
    let items = plane.submit(Side::Sell, 20_000, OrderKind::Market { fok: false });
    let last = items.iter().rev().find_map(|item| match &item.payload {
        Payload::Exec(report) => Some(report),
        _ => None,
    });
    let last = last.unwrap();
    assert_eq!((last.state, last.filled_quantity), (OrderState::Filled, Decimal::from_i64(2)));
    let received = last.average_price.unwrap().checked_mul(Decimal::from_i64(2)).unwrap();
    let fee = received.checked_mul("0.002".parse().unwrap()).unwrap();
    let short = last.fee.unwrap().checked_sub(fee).unwrap();
    assert!(short.abs() < "0.0000001".parse().unwrap(), "the fee is 0.2 % of the notional: {short}");
    assert_eq!(last.fee_currency.as_deref(), Some("USDT"));
}

#[test]
fn each_fill_is_in_one_report() {
    let mut plane = Plane::new("market-fills", &[Kind::ExecReport], EACH);
    let mut items = Vec::new();
    for i in 1..200 {
        items.extend(plane.advance(i * SECOND / 5));
        let middle = plane.market.pairs()[0].reference() as i64;
        items.extend(plane.send(&busy(i, middle)));
    }
    let mut fills = plane.market.fills_since(0);
    let (mut makers, mut takers) = (0, 0);
    let (rules, usdt) = (plane.market.pairs()[0].rules(), plane.market.assets()[1].1);
    for item in &items {
        let Payload::Exec(report) = &item.payload else { panic!("expected a report, saw {item:?}") };
        let Some(liquidity) = report.liquidity else {
            assert_eq!((&report.execution_id, report.last_price, report.last_quantity), (&None, None, None));
            assert_eq!((report.last_fee, &report.last_fee_currency), (None, &None));
            continue;
        };
        let fill = fills.next().unwrap();
        assert_eq!(report.execution_id, Some(fill.number.to_string()));
        assert_eq!(report.venue_order_id, Some(fill.order.0.to_string()));
        assert_eq!((&report.client_order_id, report.side), (&fill.client_order_id, fill.side));
        assert_eq!(report.last_price, Some(rules.price(fill.price)));
        assert_eq!(report.last_quantity, Some(rules.quantity(fill.quantity)));
        assert_eq!(report.last_fee, Some(plane.market.money(usdt, fill.fee)));
        assert_eq!(report.last_fee_currency.as_deref(), Some("USDT"));
        assert_eq!(liquidity == Liquidity::Maker, fill.maker);
        if fill.maker { makers += 1 } else { takers += 1 }
    }
    assert!(fills.next().is_none(), "each fill is reported");
    assert!(makers > 10 && takers > 10, "{makers} as maker, {takers} as taker");
}

#[test]
fn events_without_a_subscriber_are_not_built() {
    let mut plane = Plane::new("market-unsubscribed", &[], EACH);
    assert!(plane.advance(10 * SECOND).is_empty());
    assert!(plane.feed.stats().unwanted.get() > 100);
    plane
        .feed
        .publish_with(
            crate::dispatch::Origin {
                kind: Kind::Trade,
                symbol: crate::names::SymbolId::intern("BTC-USDT"),
                venue_time: None,
                received_time: 0,
            },
            || panic!("an event without a subscriber was built"),
        )
        .unwrap();
}
