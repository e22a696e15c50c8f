//! Candles whose venue sends neither their end nor whether they are closed.

use super::*;
use crate::codec::{Convert, FieldSpec, Role, Sign, TimeUnit};

/// Returns a feed of candles with a start and an interval.
fn plane() -> Plane {
    let field = |name: &str, path: &str, convert| FieldSpec {
        name: name.into(),
        path: path.into(),
        convert,
        required: false,
    };
    let number = || Convert::Decimal(Sign::Positive);
    let intervals = [("1", "1m"), ("5", "5m")].map(|(text, name)| (text.into(), name.into()));
    let candle = MessageSpec {
        name: "ohlc".into(),
        role: Role::Event(Kind::KlineSummary),
        matches: vec![Match::Equals("type".into(), "ohlc".into())],
        each: Some("rows".into()),
        symbol: Some("@.s".into()),
        fields: vec![
            field("open", "@.o", number()),
            field("high", "@.h", number()),
            field("low", "@.l", number()),
            field("close", "@.c", number()),
            field("volume", "@.v", number()),
            field("open_time", "@.t", Convert::Time(TimeUnit::Seconds)),
            field("interval", "@.i", Convert::Enum(intervals.into())),
        ],
        ..MessageSpec::default()
    };
    let mut plane = Plane::new();
    let mut spec = binance_spec();
    spec.messages.push(candle);
    let publisher = Publisher::new(&plane.dispatcher, ProviderId::intern("feed-tests"));
    plane.feed = Feed::new(publisher, Some(Codec::compile(spec).unwrap()));
    plane
}

const START: i64 = 1_700_000_040;

/// Returns a frame of candles, each the minute of its start and its volume.
fn frame(candles: &[(i64, i64)]) -> String {
    let candle = |(minute, volume): &(i64, i64)| {
        let start = START + minute * 60;
        format!(r#"{{"s":"BTCUSDT","i":1,"t":{start},"o":2,"h":3,"l":1,"c":2,"v":{volume}}}"#)
    };
    let candles: Vec<_> = candles.iter().map(candle).collect();
    format!(r#"{{"type":"ohlc","rows":[{}]}}"#, candles.join(","))
}

/// Feeds a frame of a connection, and returns the minute, the volume and whether it is closed of each candle.
fn candles(plane: &mut Plane, connection: u32, frame: &str) -> Vec<(i64, i64, bool)> {
    let outcome = plane.feed.frame_from(Source::Stream, connection, frame.as_bytes(), 0).unwrap();
    let candle = |item: Item| {
        let Payload::Kline(candle) = &item.payload else { panic!("{item:?}") };
        let length = candle.close_time - candle.open_time;
        assert_eq!(length, if candle.interval.unwrap().as_str() == "1m" { 60 } else { 300 } * 1_000_000_000);
        let minute = (candle.open_time / 1_000_000_000 - START) / 60;
        (minute, candle.volume.mantissa() as i64, candle.closed.unwrap())
    };
    plane.read(outcome.events).into_iter().map(candle).collect()
}

#[test]
fn the_next_start_closes_a_candle() {
    let plane = &mut plane();
    assert_eq!(candles(plane, 0, &frame(&[(0, 1)])), [(0, 1, false)]);
    assert_eq!(candles(plane, 0, &frame(&[(0, 2)])), [(0, 2, false)]);
    assert_eq!(candles(plane, 0, &frame(&[(1, 1)])), [(0, 2, true), (1, 1, false)]);
    let other = frame(&[(0, 9)]).replace(r#""i":1"#, r#""i":5"#);
    assert_eq!(candles(plane, 0, &other), [(0, 9, false)], "another interval");
    let eth = frame(&[(0, 8)]).replace("BTC", "ETH");
    assert_eq!(candles(plane, 0, &eth), [(0, 8, false)], "another symbol");
    assert_eq!(
        candles(plane, 0, &frame(&[(4, 1)])),
        [(1, 1, true), (4, 1, false)],
        "the venue sends no candle without a trade, and none is made up"
    );
}

#[test]
fn candles_of_a_snapshot_are_closed_by_those_after_them_and_delivered_once() {
    let plane = &mut plane();
    let first = frame(&[(0, 1), (1, 2), (2, 3)]);
    assert_eq!(
        candles(plane, 0, &first),
        [(0, 1, false), (0, 1, true), (1, 2, false), (1, 2, true), (2, 3, false)]
    );
    assert_eq!(candles(plane, 0, &frame(&[(1, 2), (0, 1)])), [], "older ones again");
    assert_eq!(candles(plane, 0, &frame(&[(1, 4)])), [(1, 4, true)], "a correction");
    assert_eq!(plane.feed.stats.repeated_candles.get(), 2);
    let newest_first = &mut self::plane();
    assert_eq!(candles(newest_first, 0, &frame(&[(2, 3), (1, 2), (0, 1)])), [(2, 3, false), (1, 2, true)]);
}

#[test]
fn a_candle_is_closed_over_a_reconnect_only_if_the_venue_sends_it_again() {
    for (again, expected) in [
        (vec![(0, 3), (1, 1)], vec![(0, 3, false), (0, 3, true), (1, 1, false)]),
        (vec![(1, 1)], vec![(1, 1, false)]),
        (vec![(7, 1)], vec![(7, 1, false)]),
    ] {
        let again = frame(&[vec![(-1, 1)], again].concat());
        for others in [0..0, 1..2] {
            let plane = &mut plane();
            let first = frame(&[(-1, 1), (0, 2)]);
            assert_eq!(candles(plane, 0, &first).len(), 3);
            others.for_each(|other| drop(candles(plane, other, &first)));
            let notices = plane.feed.restart_connection(0, 0).unwrap();
            plane.read(notices);
            assert_eq!(candles(plane, 0, &again), expected, "the candle before was delivered");
        }
    }
}

#[test]
fn a_candle_that_cannot_be_decoded_leaves_the_one_before_it_open() {
    let plane = &mut plane();
    candles(plane, 0, &frame(&[(0, 2)]));
    candles(plane, 0, &frame(&[(0, 3)]).replace(r#""v":3"#, r#""v":"x""#));
    assert_eq!(candles(plane, 0, &frame(&[(1, 1)])), [(1, 1, false)]);
    candles(plane, 0, &frame(&[(1, 3)]).replace(r#""i":1"#, r#""i":7"#));
    assert_eq!(plane.errors(), BTreeMap::from([("bad_enum", 1), ("bad_number", 1)]));
}

#[test]
fn the_slower_of_two_connections_adds_nothing() {
    let plane = &mut plane();
    candles(plane, 0, &frame(&[(0, 1)]));
    candles(plane, 1, &frame(&[(0, 1)]));
    assert_eq!(candles(plane, 0, &frame(&[(0, 2), (1, 1)])), [(0, 2, false), (0, 2, true), (1, 1, false)]);
    assert_eq!(candles(plane, 1, &frame(&[(0, 2)])), [], "the candle is closed");
    assert_eq!(candles(plane, 1, &frame(&[(1, 1)])), [(1, 1, false)]);
    assert_eq!(plane.feed.stats.repeated_candles.get(), 2);
}

#[test]
fn a_candle_is_closed_with_its_values_of_while_nobody_read() {
    let plane = &mut plane();
    candles(plane, 0, &frame(&[(0, 1)]));
    let wanted = std::mem::replace(
        &mut plane.feed.publisher,
        Publisher::new(&plane.dispatcher, ProviderId::intern("feed-tests-candles")),
    );
    assert_eq!(candles(plane, 0, &frame(&[(0, 5)])), []);
    plane.feed.publisher = wanted;
    assert_eq!(candles(plane, 0, &frame(&[(1, 1)])), [(0, 5, true), (1, 1, false)]);
}

#[test]
fn a_candle_far_in_the_future_closes_no_later_ones() {
    let plane = &mut plane();
    candles(plane, 0, &frame(&[(0, 1)]));
    assert_eq!(candles(plane, 0, &frame(&[(900_000, 1)])), [(0, 1, true), (900_000, 1, false)]);
    assert_eq!(candles(plane, 0, &frame(&[(1, 1)])), [(1, 1, false)]);
    assert_eq!(candles(plane, 0, &frame(&[(1, 2)])), [(1, 2, false)]);
    assert_eq!(candles(plane, 0, &frame(&[(2, 1)])), [(1, 2, true), (2, 1, false)]);
}

#[test]
fn closed_candles_of_a_slower_connection_are_not_repeated() {
    let plane = &mut Plane::new();
    let mut closed = |connection: u32, minute: u64| {
        let start = 1_700_000_040_000 + minute * 60_000;
        let frame = format!(
            r#"{{"e":"kline","E":1,"s":"BTCUSDT","k":{{"t":{start},"T":{},"i":"1m","o":"1","c":"1","h":"1","l":"1","v":"1","x":true}}}}"#,
            start + 59_999
        );
        let events = plane.feed.frame_from(Source::Stream, connection, frame.as_bytes(), 0).unwrap().events;
        plane.read(events).len()
    };
    for minute in 0..40 {
        assert_eq!(closed(0, minute), 1);
        assert_eq!(minute.checked_sub(10).map_or(0, |minute| closed(1, minute)), 0);
    }
}
