//! Tickers of which the venue sends only what changed.

use super::*;
use crate::codec::{Convert, Fault, FieldSpec, Role, Sign, SnapshotMode};
use crate::event::Ticker;

/// Returns a feed of tickers that have only what changed; those of the type `snapshot` replace the kept values.
fn plane() -> Plane {
    let field = |name: &str, path: &str| FieldSpec {
        name: name.into(),
        path: path.into(),
        convert: Convert::Decimal(Sign::ZeroIsAbsent),
        required: false,
    };
    let ticker = |name: &str| MessageSpec {
        name: name.into(),
        role: Role::Event(Kind::Ticker),
        matches: vec![Match::Equals("type".into(), name.into())],
        symbol: Some("s".into()),
        fields: vec![
            field("last", "p"),
            field("bid", "b"),
            field("bid_quantity", "B"),
            field("ask", "a"),
            field("ask_quantity", "A"),
        ],
        keep: true,
        ..MessageSpec::default()
    };
    let mut plane = Plane::new();
    let mut spec = binance_spec();
    spec.connection_sequence = Some("n".into());
    let snapshot = MessageSpec { snapshot: Some(SnapshotMode::Replaces), ..ticker("snapshot") };
    spec.messages.extend([snapshot, ticker("delta"), MessageSpec { keep: false, ..ticker("whole") }]);
    let publisher = Publisher::new(&plane.dispatcher, ProviderId::intern("feed-tests"));
    plane.feed = Feed::new(publisher, Some(Codec::compile(spec).unwrap()));
    plane
}

fn frame(of: &str, values: &str) -> String {
    format!(r#"{{"type":"{of}","s":"BTCUSDT"{values}}}"#)
}

/// Feeds a frame of a connection, and returns the last price, bid and ask of each ticker.
fn tickers(plane: &mut Plane, connection: u32, frame: &str) -> Vec<[String; 3]> {
    let outcome = plane.feed.frame_from(Source::Stream, connection, frame.as_bytes(), 0).unwrap();
    let values = |item: &Item| {
        let Payload::Ticker(Ticker { last, bid, ask, .. }) = &item.payload else { return None };
        Some([last, bid, ask].map(|value| value.map_or_else(|| "-".into(), |value| value.to_string())))
    };
    plane.read(outcome.events).iter().filter_map(values).collect()
}

const WHOLE: &str = r#","p":"100","b":"99","B":"1","a":"101","A":"2""#;

#[test]
fn values_that_a_message_does_not_have_keep_theirs() {
    let plane = &mut plane();
    let delta = |values| frame("delta", values);
    assert_eq!(tickers(plane, 0, &delta(r#","p":"100""#)), [["100", "-", "-"]], "nothing is known yet");
    assert_eq!(tickers(plane, 0, &frame("snapshot", WHOLE)), [["100", "99", "101"]]);
    assert_eq!(tickers(plane, 0, &delta(r#","p":"100.5""#)), [["100.5", "99", "101"]]);
    assert_eq!(tickers(plane, 0, &delta(r#","a":"101.5","p":null"#)), [["100.5", "99", "101.5"]]);
    let other = delta(r#","b":"7""#).replace("BTC", "ETH");
    assert_eq!(tickers(plane, 0, &other), [["-", "7", "-"]], "another symbol");
    assert_eq!(tickers(plane, 1, &delta(r#","b":"98""#)), [["-", "98", "-"]], "another connection");
    assert_eq!(
        tickers(plane, 0, &delta(r#","b":"0","B":"0""#)),
        [["100.5", "-", "101.5"]],
        "no bid any more"
    );
    assert_eq!(tickers(plane, 0, &delta(r#","a":"""#)), [["100.5", "-", "-"]], "no ask any more");
    assert_eq!(tickers(plane, 0, &delta(r#","p":"101""#)), [["101", "-", "-"]]);
    assert_eq!(tickers(plane, 0, &frame("snapshot", r#","b":"99""#)), [["-", "99", "-"]], "all is new");
}

#[test]
fn a_ticker_without_a_value_is_refused_or_unchanged() {
    let plane = &mut plane();
    tickers(plane, 0, &frame("snapshot", WHOLE));
    for values in ["", r#","p":null"#, r#","open":"1""#] {
        assert!(tickers(plane, 0, &frame("delta", values)).is_empty());
        assert!(tickers(plane, 0, &frame("whole", values)).is_empty());
    }
    assert_eq!(plane.feed.stats.unchanged_tickers.get(), 3);
    assert_eq!(plane.errors(), BTreeMap::from([(Fault::NoField.name(), 3)]));
    assert_eq!(
        tickers(plane, 0, &frame("whole", r#","b":"0""#)),
        [["-", "-", "-"]],
        "it says that it is absent"
    );
    assert_eq!(tickers(plane, 0, &frame("delta", r#","p":"1""#)), [["1", "99", "101"]]);
}

#[test]
fn a_lost_connection_forgets_its_values() {
    let plane = &mut plane();
    let delta = frame("delta", r#","p":"1""#);
    for connection in [0, 1] {
        tickers(plane, connection, &frame("snapshot", WHOLE));
    }
    let notices = plane.feed.restart_connection(0, 0).unwrap();
    plane.read(notices);
    assert_eq!(tickers(plane, 0, &delta), [["1", "-", "-"]]);
    assert_eq!(tickers(plane, 1, &delta), [["1", "99", "101"]]);
    let notices = plane.feed.restart(0).unwrap();
    plane.read(notices);
    assert_eq!(tickers(plane, 1, &delta), [["1", "-", "-"]]);
}

#[test]
fn a_message_that_cannot_be_decoded_forgets_the_values_that_it_may_have_changed() {
    let whole = frame("snapshot", WHOLE);
    let other = whole.replace("BTC", "ETH");
    let delta = frame("delta", r#","p":"1""#);
    for (damaged, btc, eth) in [
        (frame("delta", r#","b":"x""#), ["1", "-", "-"], ["1", "99", "101"]),
        (frame("delta", r#","b":"5""#).replace("BTCUSDT", "?"), ["1", "-", "-"], ["1", "-", "-"]),
        (r#"{"type":"delta","s":"BTCU"#.into(), ["1", "-", "-"], ["1", "-", "-"]),
        (TRADE.replace("61837.63000000", "-1"), ["1", "99", "101"], ["1", "99", "101"]),
    ] {
        let plane = &mut plane();
        tickers(plane, 0, &whole);
        tickers(plane, 0, &other);
        assert!(tickers(plane, 0, &damaged).is_empty());
        assert_eq!(tickers(plane, 0, &delta), [btc], "{damaged}");
        assert_eq!(tickers(plane, 0, &delta.replace("BTC", "ETH")), [eth], "{damaged}");
    }
}

#[test]
fn a_lost_frame_of_the_connection_forgets_its_values() {
    let plane = &mut plane();
    let numbered = |n, values: &str| format!(r#","n":{n}{values}"#);
    tickers(plane, 0, &frame("snapshot", &numbered(1, WHOLE)));
    tickers(plane, 1, &frame("snapshot", &numbered(1, WHOLE)));
    assert_eq!(tickers(plane, 0, &frame("delta", &numbered(2, r#","p":"1""#))), [["1", "99", "101"]]);
    assert_eq!(tickers(plane, 0, &frame("delta", &numbered(4, r#","p":"2""#))), [["2", "-", "-"]]);
    assert_eq!(tickers(plane, 1, &frame("delta", &numbered(2, r#","p":"1""#))), [["1", "99", "101"]]);
}

#[test]
fn values_are_kept_while_nobody_reads() {
    let plane = &mut plane();
    let publisher = Publisher::new(&plane.dispatcher, ProviderId::intern("feed-tests-kept"));
    let codec = Arc::clone(plane.feed.decoder.as_ref().unwrap().codec());
    plane.feed = Feed::new(publisher, Some(codec));
    assert!(tickers(plane, 0, &frame("snapshot", WHOLE)).is_empty());
    assert_eq!(plane.feed.stats.unwanted.get(), 1);
    let publisher = Publisher::new(&plane.dispatcher, ProviderId::intern("feed-tests"));
    plane.feed.publisher = publisher;
    let bid = frame("delta", r#","b":"98""#);
    assert_eq!(tickers(plane, 0, &bid), [["100", "98", "101"]], "no value of before is missing or old");
}

#[test]
fn a_kept_ask_that_a_new_bid_reaches_is_not_delivered() {
    let plane = &mut plane();
    tickers(plane, 0, &frame("snapshot", WHOLE));
    assert_eq!(tickers(plane, 0, &frame("delta", r#","b":"101""#)), [["100", "-", "-"]]);
    assert_eq!(plane.feed.stats.crossed_tickers.get(), 1);
    assert_eq!(tickers(plane, 0, &frame("delta", r#","a":"102""#)), [["100", "101", "102"]], "it uncrosses");
}
