//! Forms of declarations, each with frames that only it can read.

use super::*;
use crate::decimal::Decimal;
use crate::event::Nanos;
use proptest::prelude::*;
use std::sync::Arc;

pub(super) fn field(name: &str, path: &str, convert: Convert) -> FieldSpec {
    FieldSpec { name: name.into(), path: path.into(), convert, required: false }
}

pub(super) fn equals(path: &str, text: &str) -> Match {
    Match::Equals(path.into(), text.into())
}

pub(super) fn message(
    name: &str,
    role: Role,
    each: Option<&str>,
    symbol: &str,
    matches: Vec<Match>,
) -> MessageSpec {
    MessageSpec {
        name: name.into(),
        role,
        matches,
        each: each.map(Into::into),
        symbol: Some(symbol.into()),
        ..MessageSpec::default()
    }
}

pub(super) fn trade(
    name: &str,
    each: Option<&str>,
    symbol: &str,
    matches: Vec<Match>,
    paths: [&str; 3],
) -> MessageSpec {
    let [id, price, quantity] = paths;
    let number = || Convert::Decimal(Sign::Positive);
    let fields = vec![
        field("id", id, Convert::Id),
        field("price", price, number()),
        field("quantity", quantity, number()),
    ];
    MessageSpec { fields, ..message(name, Role::Event(Kind::Trade), each, symbol, matches) }
}

pub(super) fn codec(messages: Vec<MessageSpec>) -> CodecSpec {
    let symbols = vec![(String::new(), SymbolRule { separator: Some('-'), ..SymbolRule::default() })];
    CodecSpec { name: "venue".into(), symbols, messages, ..CodecSpec::default() }
}

/// Returns each message in short: what it is, its symbol, and price or error.
pub(super) fn short(decoder: &mut Decoder, frame: &str) -> Vec<String> {
    all(decoder, frame, |_, _| true)
        .into_iter()
        .map(|outcome| match outcome {
            Ok(Decoded::Event { symbol, payload: Payload::Trade(trade), .. }) => {
                format!("{} {} {}", symbol.name(), trade.id.unwrap(), trade.price)
            }
            Ok(Decoded::Event { symbol, payload: Payload::Ticker(ticker), .. }) => {
                format!("{} {:?}", symbol.name(), ticker.last.map(|last| last.to_string()))
            }
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("{} {:?}", error.kind(), error.element),
        })
        .collect()
}

fn okx() -> CodecSpec {
    let channel = |name| vec![equals("arg.channel", name)];
    let mut spec = codec(vec![
        trade("trades", Some("data"), "arg.instId", channel("trades"), ["@.tradeId", "@.px", "@.sz"]),
        message("ticker", Role::Event(Kind::Ticker), Some("data"), "@.instId", channel("tickers")),
    ]);
    spec.messages[0].venue_time = Some(TimeSpec::Path("@.ts".into(), TimeUnit::Millis));
    spec.messages[1].fields = vec![field("last", "@.last", Convert::Decimal(Sign::ZeroIsAbsent))];
    spec
}

const OKX: &str = r#"{"data":[{"tradeId":"1","px":"10.5","sz":"1","ts":"1723161255342"},{"tradeId":"2","px":"11","sz":"2","ts":"1723161255343"}],"arg":{"instId":"BTC-USDT","channel":"trades"}}"#;

#[test]
fn an_array_holds_a_message_per_element() {
    let mut decoder = decoder_of(okx());
    assert_eq!(short(&mut decoder, OKX), ["BTC-USDT 1 10.5", "BTC-USDT 2 11"]);
    let tickers = r#"{"arg":{"channel":"tickers"},"data":[{"instId":"BTC-USDT","last":"1"},{"instId":"ETH-USDT","last":""},{"instId":"ETH-USDT","last":"0"}]}"#;
    let expected = [r#"BTC-USDT Some("1")"#, "ETH-USDT None", "ETH-USDT None"];
    assert_eq!(short(&mut decoder, tickers), expected);
    assert!(short(&mut decoder, &OKX.replace("trades", "other"))[0].starts_with("Unmatched"));
    assert!(short(&mut decoder, r#"{"arg":{"channel":"trades"},"data":[]}"#).is_empty());
    assert!(short(&mut decoder, r#"{"arg":{"channel":"trades"},"data":{}}"#)[0].starts_with("Unmatched"));
}

#[test]
fn a_faulty_element_is_refused_alone() {
    let mut decoder = decoder_of(okx());
    let frame = OKX.replace("10.5", "ten");
    assert_eq!(short(&mut decoder, &frame), ["bad_number Some(0)", "BTC-USDT 2 11"]);
    let codec = Arc::clone(decoder.codec());
    let error = all(&mut decoder, &frame, |_, _| true).remove(0).unwrap_err();
    assert!(codec.describe(&error).starts_with(r#"venue trades "data[].px": element 0: bad_number"#));
    assert_eq!((error.message, error.symbol.map(name)), (Some(0), Some("BTC-USDT")));
    // Broken JSON stops there; what precedes it was delivered.
    let frame = r#"{"arg":{"instId":"BTC-USDT","channel":"trades"},"data":[{"tradeId":"1","px":"10.5","sz":"1"},{"tradeId":"2","px":"11,"sz":"2"}]}"#;
    assert_eq!(short(&mut decoder, frame), ["BTC-USDT 1 10.5", "syntax Some(1)"]);
    let cut = &frame[..frame.len() - 20];
    assert_eq!(short(&mut decoder, cut), ["BTC-USDT 1 10.5", "truncated Some(1)"]);
    assert_eq!(
        short(&mut decoder, &OKX.replace("trades", "x").replace("10.5\"", "10.5")),
        ["truncated None"]
    );
}

/// Keeps the numbers of frames.
struct Numbers(Vec<u64>);

impl Sink for Numbers {
    fn wanted(&mut self, _: Kind, _: SymbolId) -> bool {
        false
    }
    fn message(&mut self, _: Result<Decoded<'_>, DecodeError>) {}
    fn connection_sequence(&mut self, number: u64) -> bool {
        self.0.push(number);
        true
    }
}

#[test]
fn arrays_may_be_nested_and_on_top() {
    let of = |channel: &str| vec![equals("channel", channel)];
    let mut spec = codec(vec![
        trade(
            "history",
            Some("events[].trades"),
            "@.product_id",
            [of("market_trades"), vec![equals("events[].type", "snapshot")]].concat(),
            ["@.trade_id", "@.price", "@.size"],
        ),
        trade(
            "trades",
            Some("events[].trades"),
            "@.product_id",
            of("market_trades"),
            ["@.trade_id", "@.price", "@.size"],
        ),
        trade("top", Some("[]"), "@.s", vec![equals("@.e", "t")], ["@.i", "@.p", "@.q"]),
    ]);
    spec.connection_sequence = Some("sequence_num".into());
    let mut decoder = decoder_of(spec);
    let trade = |id| format!(r#"{{"trade_id":"{id}","product_id":"BTC-USD","price":"1","size":"2"}}"#);
    let frame = format!(
        r#"{{"channel":"market_trades","events":[{{"type":"snapshot","trades":[{},{}]}},{{"trades":[{}],"type":"update"}},{{"type":"update"}}],"sequence_num":7}}"#,
        trade(1),
        trade(2),
        trade(3)
    );
    let outcomes = all(&mut decoder, &frame, |_, _| true);
    let of: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(Decoded::Event { message, id: None, payload: Payload::Trade(trade), .. }) => {
                (*message, trade.id.unwrap().to_string())
            }
            Ok(Decoded::Unmatched) => (9, String::new()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [(0, "1"), (0, "2"), (1, "3"), (9, "")].map(|(message, id)| (message, id.to_owned()));
    assert_eq!(of, expected, "an outer element without the array matches nothing");
    let top = r#" [ {"e":"t","s":"BTC-USD","i":1,"p":2,"q":3} , {"e":"u"}, 7 ] "#;
    let found = short(&mut decoder, top);
    assert_eq!(found, ["BTC-USD 1 2", "Unmatched", "Unmatched"]);

    let mut numbers = Numbers(vec![]);
    for frame in [&frame, r#"{"channel":"heartbeats","sequence_num":8}"#, top] {
        decoder.decode(frame.as_bytes(), &mut numbers);
    }
    assert_eq!(numbers.0, [7, 8]);
}

fn kraken() -> CodecSpec {
    let mut book =
        message("book", Role::BookDiff, None, "[-1]", vec![Match::Prefix("[-2]".into(), "book-".into())]);
    book.venue_time = Some(TimeSpec::NewestLevel);
    book.levels = Some(LevelsSpec {
        bids: vec!["[1].b".into(), "[2].b".into()],
        asks: vec!["[1].a".into()],
        row: RowSpec { time: Some((Column::At(2), TimeUnit::DecimalSeconds)), ..RowSpec::default() },
        ..LevelsSpec::default()
    });
    codec(vec![book])
}

type Book<'a> = (&'a str, Vec<(i64, i64)>, Vec<(i64, i64)>, Option<Nanos>);

fn book(decoder: &mut Decoder, frame: &str) -> Result<Book<'static>, &'static str> {
    let levels = |levels: &[PriceLevel]| levels.iter().map(|level| (level.price, level.quantity)).collect();
    match one(decoder, frame) {
        Ok(Decoded::BookDiff { symbol, ids: BookIds::Unnumbered, venue_time, levels: found, .. }) => {
            Ok((symbol.name(), levels(&found.bids), levels(&found.asks), venue_time))
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.kind()),
    }
}

#[test]
fn elements_are_read_by_position_from_either_end() {
    let mut decoder = decoder_of(kraken());
    let both = r#"[1234,{"a":[["5541.3","2.5","1534614248.456738"]]},{"b":[["5541.2","1.5","1534614248.123678","r"]],"c":"974942666"},"book-10","XBT-USD"]"#;
    let time = Some(1_534_614_248_456_738_000);
    assert_eq!(book(&mut decoder, both), Ok(("XBT-USD", vec![(55412, 15)], vec![(55413, 25)], time)));
    let bids = r#"[1234,{"b":[["1","2","1534614248.0"]]},"book-10","XBT-USD"]"#;
    let time = Some(1_534_614_248_000_000_000);
    assert_eq!(book(&mut decoder, bids), Ok(("XBT-USD", vec![(1, 2)], vec![], time)));
    assert_eq!(book(&mut decoder, r#"[1234,{"c":"1"},"book-10","XBT-USD"]"#), Err("missing_field"));
    assert_eq!(book(&mut decoder, r#"[1,{"a":[["1","2","x"]]},"book-10","XBT-USD"]"#), Err("bad_time"));
    assert_eq!(book(&mut decoder, r#"[1,{"a":[{"b":1}]},"book-10","XBT-USD"]"#), Err("bad_level"));
    assert!(short(&mut decoder, r#"[1,2,"trade","XBT-USD"]"#)[0].starts_with("Unmatched"));
    assert!(short(&mut decoder, "[]")[0].starts_with("Unmatched"));

    let mut candles = message(
        "candle",
        Role::Event(Kind::KlineSummary),
        Some("data"),
        "arg.instId",
        vec![Match::OneOf("arg.channel".into(), vec!["candle1m".into(), "candle1H".into()])],
    );
    let number = || Convert::Decimal(Sign::Positive);
    candles.fields = [("open", 1), ("high", 2), ("low", 3), ("close", 4), ("volume", 5)]
        .map(|(name, at)| field(name, &format!("@[{at}]"), number()))
        .into();
    for (name, at) in [("open_time", 0), ("close_time", -2)] {
        candles.fields.push(field(name, &format!("@[{at}]"), Convert::Time(TimeUnit::Millis)));
    }
    let mut decoder = decoder_of(codec(vec![candles]));
    let frame = r#"{"arg":{"channel":"candle1H","instId":"BTC-USDT"},"data":[["1597026383085","3","5","2","4","100","1597026383999","1"]]}"#;
    let Ok(Decoded::Event { payload: Payload::Kline(kline), .. }) = one(&mut decoder, frame) else {
        panic!()
    };
    let of = [kline.open, kline.high, kline.low, kline.close, kline.volume].map(Decimal::mantissa);
    assert_eq!(
        (of, kline.open_time, kline.close_time),
        ([3, 5, 2, 4, 100], 1_597_026_383_085_000_000, 1_597_026_383_999_000_000)
    );
    assert!(short(&mut decoder, &frame.replace("1H", "1D"))[0].starts_with("Unmatched"));
}

#[test]
fn levels_are_objects_or_one_list_of_changes() {
    let key = |key: &str| Column::Key(key.into());
    let named = RowSpec { price: key("price"), quantity: key("qty"), ..RowSpec::default() };
    let mut kraken =
        message("book", Role::BookDiff, Some("data"), "@.symbol", vec![equals("channel", "book")]);
    kraken.levels = Some(LevelsSpec {
        bids: vec!["@.bids".into()],
        asks: vec!["@.asks".into()],
        row: named,
        ..LevelsSpec::default()
    });
    let sides = [("bid", "Buy"), ("offer", "Sell")].map(|(text, side)| (text.into(), side.into()));
    let mut coinbase =
        message("level2", Role::BookDiff, Some("events"), "@.product_id", vec![equals("channel", "l2_data")]);
    coinbase.venue_time = Some(TimeSpec::NewestLevel);
    coinbase.levels = Some(LevelsSpec {
        changes: Some("@.updates".into()),
        row: RowSpec {
            price: key("price_level"),
            quantity: key("new_quantity"),
            side: Some(key("side")),
            sides: sides.into(),
            time: Some((key("event_time"), TimeUnit::Rfc3339)),
        },
        ..LevelsSpec::default()
    });
    let mut decoder = decoder_of(codec(vec![kraken, coinbase]));
    let frame = r#"{"channel":"book","data":[{"symbol":"BTC-USD","bids":[{"price":45283.5,"qty":0.1},{"qty":1.00,"price":45283},{"x":[],"price":1e-1,"qty":0}],"asks":[],"checksum":1}]}"#;
    let bids = vec![(452_835, 10), (452_830, 100), (1, 0)];
    assert_eq!(book(&mut decoder, frame), Ok(("BTC-USD", bids, vec![], None)));
    let update = |side| {
        format!(
            r#"{{"side":"{side}","event_time":"1970-01-01T00:00:01.5Z","price_level":"10","new_quantity":"2"}}"#
        )
    };
    let frame = |rows: &[String]| {
        format!(
            r#"{{"channel":"l2_data","events":[{{"product_id":"BTC-USD","updates":[{}]}}]}}"#,
            rows.join(",")
        )
    };
    let good = [update("bid"), update("offer")];
    let level = vec![(10, 2)];
    assert_eq!(book(&mut decoder, &frame(&good)), Ok(("BTC-USD", level.clone(), level, Some(1_500_000_000))));
    assert_eq!(book(&mut decoder, &frame(&[update("ask")])), Err("bad_side"));
    assert_eq!(book(&mut decoder, &frame(&[r#"["bid","1","2"]"#.into()])), Err("bad_level"));
    assert_eq!(book(&mut decoder, &frame(&[r#"{"side":"bid","price_level":"1"}"#.into()])), Err("bad_level"));
}

#[test]
fn texts_are_matched_by_their_beginning_and_split() {
    let mut spec = trade(
        "trades",
        Some("data"),
        "",
        vec![Match::Prefix("topic".into(), "publicTrade.".into())],
        ["@.i", "@.p", "@.v"],
    );
    spec.symbol = Some(TextSpec { path: "topic".into(), part: Some(('.', -1)) });
    let mut decoder = decoder_of(codec(vec![spec]));
    let frame = r#"{"topic":"publicTrade.x.BTC-USDT","data":[{"i":"a","p":"1","v":"2"}]}"#;
    for frame in [frame.to_owned(), frame.replace("BTC", "\\u0042TC")] {
        assert_eq!(short(&mut decoder, &frame), ["BTC-USDT a 1"]);
    }
    assert!(short(&mut decoder, &frame.replace("publicT", "t"))[0].starts_with("Unmatched"));
}

#[test]
fn a_time_in_another_unit_is_named() {
    use TimeUnit::{DecimalSeconds, Micros, Millis, Nanos, Rfc3339, Seconds};
    let at = |text: &str, unit| {
        let mut spec = okx();
        spec.messages[0].venue_time = Some(TimeSpec::Path("@.ts".into(), unit));
        let frame = OKX.replace("1723161255342", text).replace("1723161255343", text);
        match all(&mut decoder_of(spec), frame, |_, _| true).remove(0) {
            Ok(Decoded::Event { venue_time, .. }) => Ok(venue_time),
            Err(error) => Err(error.kind()),
            other => panic!("{other:?}"),
        }
    };
    let base = 1_723_161_255_000_000_000;
    for (text, unit, expected) in [
        ("1723161255342", Millis, Ok(Some(base + 342_000_000))),
        ("", Millis, Ok(None)),
        ("1723161255342000", Millis, Err("time_in_microseconds")),
        ("1723161255342000000", Millis, Err("time_in_nanoseconds")),
        ("1723161255", Millis, Err("time_in_seconds")),
        ("1723161255342", Micros, Err("time_in_milliseconds")),
        ("1723161255342", Seconds, Err("time_in_milliseconds")),
        ("1", Nanos, Ok(Some(1))),
        ("0", Millis, Ok(None)),
        ("0.0", DecimalSeconds, Ok(None)),
        ("0001-01-01T00:00:00Z", Rfc3339, Ok(None)),
        ("0001-01-02T00:00:00Z", Rfc3339, Err("bad_time")),
        ("1723161255.000000001", DecimalSeconds, Ok(Some(base + 1))),
        ("1723161255", DecimalSeconds, Ok(Some(base))),
        ("1723161255.0000000001", DecimalSeconds, Err("bad_time")),
        ("-1", DecimalSeconds, Err("bad_time")),
        ("2024-08-08T23:54:15Z", Rfc3339, Ok(Some(base))),
        ("2024-08-09T01:54:15.123456789+02:00", Rfc3339, Ok(Some(base + 123_456_789))),
        ("2024-08-08T23:54:15.1Z", Rfc3339, Ok(Some(base + 100_000_000))),
        ("2024-02-29T00:00:00Z", Rfc3339, Ok(Some(1_709_164_800_000_000_000))),
        ("2023-02-29T00:00:00Z", Rfc3339, Err("bad_time")),
        ("2024-08-08T23:54:15", Rfc3339, Err("bad_time")),
        ("2024-08-08T23:54:15.Z", Rfc3339, Err("bad_time")),
        ("2024-08-08T23:54:15.1234567890Z", Rfc3339, Err("bad_time")),
        ("", Rfc3339, Ok(None)),
    ] {
        assert_eq!(at(text, unit), expected, "{text:?} {unit:?}");
    }
    let text = Fault::TimeInMicros.expected();
    assert!(text.contains("looks like microseconds"), "{text}");
}

#[test]
fn limits_are_those_of_the_codec() {
    let mut spec = kraken();
    (spec.max_frame, spec.max_levels) = (Some(100), Some(1));
    let mut decoder = decoder_of(spec.clone());
    let one = r#"["1","2","1534614248"]"#;
    let frame = |rows: &str| format!(r#"[1,{{"a":[{rows}]}},"book-1","A-B"]"#);
    assert!(book(&mut decoder, &frame(one)).is_ok());
    assert_eq!(book(&mut decoder, &frame(&format!("{one},{one}"))), Err("too_many_levels"));
    assert_eq!(book(&mut decoder, &format!("{}{}", frame(one), " ".repeat(100))), Err("too_large"));
    (spec.max_frame, spec.max_levels) = (Some(0), Some(1 << 30));
    let faults = Codec::compile(spec).unwrap_err().faults;
    assert!(faults.len() == 2 && faults[0].starts_with("max_frame"), "{faults:?}");
}

#[test]
fn a_path_that_cannot_match_is_refused_and_an_array_on_a_path_is_named() {
    let trade = |each, id: &str| {
        let spec = trade("t", each, "s", vec![equals("c", "t")], [id, "p", "q"]);
        Codec::compile(codec(vec![spec])).map_err(|error| error.faults.join("; "))
    };
    for (each, id, text) in [
        (None, "data.0.x", "t.id: \"data.0.x\" can never match; write `[0]`"),
        (None, "@.x", "t.id: expected each= in the message"),
        (None, "data[].x", "t.id: \"data[].x\" can never match; expected each="),
        (Some("data"), "events[].x", "t.id: \"events[].x\" can never match"),
        (Some("a[].b[].c"), "x", "t.each: expected at most two arrays"),
        (Some("a[-1]"), "x", "t.each: expected keys, positions from the start and `[]`"),
        (None, "a[x]", "t.id: expected a position"),
        (None, "a[-9]", "expected a text or number, the last 8 at most"),
        (None, "a[-1].b", "expected a text or number, the last 8 at most"),
        (None, "a..b", "t.id: expected 1 to 8 keys"),
    ] {
        let error = trade(each, id).expect_err(id);
        assert!(error.contains(text), "{id}: {error}");
    }
    assert!(trade(Some("events[].trades"), "events[].x").is_ok());
    // A fault of `each` is the only one of the paths that it would resolve; their texts are checked all the same.
    for (id, faults) in [("@.x", 1), ("@", 1), ("a[].b[].c[].x", 1), ("@..x", 2), ("@.x[y]", 2)] {
        let error = trade(Some("a[].b[].c"), id).expect_err(id);
        assert_eq!(error.split("; ").count(), faults, "{id}: {error}");
    }
    let mut decoder = Decoder::new(trade(None, "data.i").unwrap(), ProviderId::intern("codec-tests"));
    let error = one(&mut decoder, r#"{"c":"t","s":"A-B","p":1,"q":1,"data":[{"i":1}]}"#).unwrap_err();
    assert_eq!((error.kind(), error.found().first()), ("array_on_path", Some(&b'[')));
    assert!(error.to_string().contains("`[n]`"), "{error}");
}

proptest! {
    /// Each element of a frame is decoded as if it were alone, whatever surrounds it.
    #[test]
    fn prop_elements_are_read_as_if_alone(
        rows in prop::collection::vec((1u32..1_000_000, 0u8..9, any::<bool>()), 0..20),
        around in any::<bool>(),
    ) {
        let mut decoder = decoder_of(okx());
        let row = |(price, scale, bad): &(u32, u8, bool)| {
            let price = Decimal::new(i128::from(*price), *scale).unwrap();
            (format!(r#"{{"x":[[{{"y":"]}}"}}]],"tradeId":"{price}","px":"{price}","sz":"{}"}}"#, if *bad { "x" } else { "1" }), price)
        };
        let texts: Vec<_> = rows.iter().map(|r| row(r).0).collect();
        let (arg, data) = (r#""arg":{"channel":"trades","instId":"BTC-USDT"}"#, texts.join(","));
        let frame = if around { format!(r#"{{{arg},"data":[{data}]}}"#) } else { format!(r#"{{"data":[{data}],{arg}}}"#) };
        let expected: Vec<_> = rows.iter().enumerate().map(|(i, r)| {
            let price = row(r).1;
            if r.2 { format!("bad_number Some({i})") } else { format!("BTC-USDT {price} {price}") }
        }).collect();
        prop_assert_eq!(short(&mut decoder, &frame), expected);
        for cut in 0..frame.len() {
            let outcomes = all(&mut decoder, &frame[..cut], |_, _| true);
            prop_assert_eq!(outcomes.last().unwrap().as_ref().unwrap_err().kind(), "truncated");
        }
    }
}
