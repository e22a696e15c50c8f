//! Paths that several messages use, and those of the envelope.

use super::*;

#[test]
fn a_condition_holds_for_a_part_of_the_stream_of_the_envelope() {
    let mut spec = binance_spec();
    let stream = |index| TextSpec { path: "stream".into(), part: Some(('@', index)) };
    let depth = spec.messages.iter().find(|message| message.name == "depth").unwrap().clone();
    let mut window = MessageSpec { name: "window".into(), snapshot: Some(SnapshotMode::Window), ..depth };
    window.matches.push(Match::OneOf(stream(1), vec!["depth5".into(), "depth20".into()]));
    spec.messages.insert(0, window.clone());
    let mut decoder = decoder_of(spec.clone());
    let mut name = |frame: &str| match one(&mut decoder, frame) {
        Ok(Decoded::BookSnapshot { message, symbol, .. }) => (message, symbol.map(name)),
        other => panic!("{other:?}"),
    };
    let frame = |stream: &str, swap| {
        let (stream, data) = (format!(r#""stream":"{stream}""#), format!(r#""data":{SNAPSHOT}"#));
        if swap { format!("{{{data},{stream}}}") } else { format!("{{{stream},{data}}}") }
    };
    for swap in [false, true] {
        for stream in ["btcusdt@depth20", "btcusdt@depth5@100ms", r"btcusdt\u0040depth5"] {
            assert_eq!(name(&frame(stream, swap)), (0, Some("BTC-USDT")), "{stream}");
        }
        for stream in ["btcusdt@depth", "btcusdt@depth@100ms", "btcusdt@depth10", "btcusdt"] {
            assert_eq!(name(&frame(stream, swap)), (7, Some("BTC-USDT")), "{stream}");
        }
    }
    assert_eq!(name(SNAPSHOT), (7, None));
    // The stream is a path of any part of a message, and only of one in an envelope.
    window.symbol = Some(stream(0));
    spec.messages[0] = window.clone();
    let mut decoder = decoder_of(spec.clone());
    let decoded = one(&mut decoder, frame("ethusdt@depth5", true)).unwrap();
    assert!(
        matches!(decoded, Decoded::BookSnapshot { symbol: Some(symbol), .. } if symbol.name() == "ETH-USDT")
    );
    spec.messages[0].matches.push(Match::Present("stream.x".into()));
    let error = Codec::compile(spec).unwrap_err().to_string();
    assert!(error.contains("envelope: expected a key that no message uses, saw \"stream\""), "{error}");
}

/// OKX's best bid and ask, the books that have the same fields, and Kraken's two forms of an array.
fn overlapping() -> Decoder {
    let decimal = || Convert::Decimal(Sign::ZeroIsAbsent);
    let field = |name: &str, path: &str| FieldSpec {
        name: name.into(),
        path: path.into(),
        convert: decimal(),
        required: false,
    };
    let message = |name: &str, role, each: Option<&str>| MessageSpec {
        name: name.into(),
        role,
        matches: vec![Match::Equals("ch".into(), name.into())],
        each: each.map(Into::into),
        symbol: Some("s".into()),
        ..MessageSpec::default()
    };
    let levels = |bids: &str, asks: &str| {
        Some(LevelsSpec { bids: vec![bids.into()], asks: vec![asks.into()], ..LevelsSpec::default() })
    };
    let ticker = Role::Event(Kind::Ticker);
    let best = ["bids[0][0]", "bids[0][1]", "asks[0][0]", "asks[-1][1]"];
    let mut messages = vec![
        message("bbo", ticker, Some("data")),
        message("books", Role::BookDiff, Some("data")),
        message("first", ticker, None),
        message("list", Role::BookDiff, None),
        message("each", ticker, Some("data")),
    ];
    messages[0].fields = best[..3]
        .iter()
        .zip(["bid", "bid_quantity", "ask"])
        .map(|(path, name)| field(name, &format!("@.{path}")))
        .collect();
    messages[1].levels = levels("@.bids", "@.asks");
    messages[2].fields = vec![field("last", "data[0][0]"), field("ask", "data[-1]")];
    messages[3].levels = levels("data", "asks");
    messages[4].fields = vec![field("last", "@[1]")];
    let symbols = vec![(String::new(), SymbolRule { separator: Some('-'), ..SymbolRule::default() })];
    decoder_of(CodecSpec { name: "venue".into(), symbols, messages, ..CodecSpec::default() })
}

/// Returns the numbers of each message: last, bid, bid quantity and ask, or those of levels, or the error.
fn numbers(frame: &str) -> Vec<String> {
    let text =
        |number: &Option<crate::decimal::Decimal>| number.as_ref().map_or("-".into(), ToString::to_string);
    all(&mut overlapping(), frame, |_, _| true)
        .iter()
        .map(|outcome| match outcome {
            Ok(Decoded::Event { payload: Payload::Ticker(ticker), .. }) => {
                [&ticker.last, &ticker.bid, &ticker.bid_quantity, &ticker.ask].map(text).join(" ")
            }
            Ok(Decoded::BookDiff { levels, .. }) => format!("{}+{}", levels.bids.len(), levels.asks.len()),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.kind().to_owned(),
        })
        .collect()
}

#[test]
fn messages_read_one_array_in_different_ways() {
    let frame = |ch: &str, data: &str| {
        let (ch, data) = (format!(r#""ch":"{ch}","s":"A-B""#), format!(r#""data":{data}"#));
        let [one, other] = [format!("{{{ch},{data}}}"), format!("{{{data},{ch}}}")].map(|f| numbers(&f));
        assert_eq!(one, other);
        one
    };
    let row = |price: u32| format!(r#"["{price}","2","0","1"]"#);
    let book = |bids: &str, asks: &str| format!(r#"[{{"bids":[{bids}],"asks":[{asks}]}}]"#);
    let many = (1..9).map(row).collect::<Vec<_>>().join(" , ");
    assert_eq!(frame("bbo", &book(&row(10), &row(11))), ["- 10 2 11"]);
    assert_eq!(frame("bbo", &book(&many, "")), ["- 1 2 -"]);
    assert_eq!(frame("bbo", &book("", "")), ["no_field"]);
    assert_eq!(frame("books", &book(&many, &row(11))), ["8+1"]);
    assert_eq!(frame("books", &book("", "")), ["0+0"]);
    // An array that is not of levels is a fault of the message that declares levels, and of no other.
    let other = r#"[{"bids":[["1"],{"x":[]}],"asks":[]}]"#;
    assert_eq!(frame("books", other), ["syntax"]);
    assert_eq!(frame("bbo", other), ["- 1 - -"]);
    // Levels, elements that are messages, and positions in one array.
    let data = format!("[{many}, 7]");
    assert_eq!(frame("first", &data), ["1 - - 7"]);
    assert_eq!(frame("list", &format!("[{many}]")), ["8+0"]);
    assert_eq!(frame("list", &data), ["bad_level"]);
    assert_eq!(frame("each", &format!("[{},{}]", row(1), row(3))), ["2 - - -", "2 - - -"]);
    // Faults of the text are found by each of them.
    for ch in ["bbo", "books", "first", "each"] {
        let whole =
            format!(r#"{{"ch":"{ch}","s":"A-B","data":[{{"bids":[["1","2"]],"asks":[["1","2"]]}}]}}"#);
        assert_eq!(numbers(&whole.replace("]]", "] x]")), ["syntax"], "{ch}");
        for end in 1..whole.len() {
            assert_eq!(numbers(&whole[..end]).last().unwrap(), "truncated", "{ch} {end}");
        }
    }
}

#[test]
fn a_message_that_is_an_array_may_be_in_an_envelope() {
    let mut spec = binance_spec();
    let ticker = spec.messages.iter().find(|message| message.name == "24hrTicker").unwrap().clone();
    spec.messages.insert(
        0,
        MessageSpec {
            name: "array".into(),
            each: Some("[]".into()),
            matches: vec![Match::Equals("@.e".into(), "24hrTicker".into())],
            symbol: Some("@.s".into()),
            venue_time: None,
            fields: vec![FieldSpec { path: "@.c".into(), ..ticker.fields[4].clone() }],
            ..ticker
        },
    );
    let mut decoder = decoder_of(spec);
    let array = format!("[{TICKER},{TICKER}]");
    for frame in [
        array.clone(),
        format!(r#"{{"stream":"!ticker@arr","data":{array}}}"#),
        format!(r#"{{"data":{array},"stream":"!ticker@arr"}}"#),
    ] {
        let outcomes = all(&mut decoder, &frame, |_, _| true);
        let are_events =
            outcomes.iter().all(|outcome| matches!(outcome, Ok(Decoded::Event { message: 0, .. })));
        assert!(outcomes.len() == 2 && are_events, "{frame}: {outcomes:?}");
    }
    // Keys after the payload are not of a message.
    let beside = format!(r#"{{"data":[{{}}],{}"#, &TRADE[1..]);
    let outcome = one(&mut decoder, beside);
    assert!(matches!(outcome, Ok(Decoded::Unmatched)), "{outcome:?}");
    let twice = format!(r#"{{"data":{array},"data":{array}}}"#);
    let error = all(&mut decoder, twice, |_, _| true).pop().unwrap().unwrap_err();
    assert_eq!(error.kind(), "duplicate_key");
    assert!(matches!(super::decode(wrap("[]")), Ok(Decoded::Unmatched)));
}
