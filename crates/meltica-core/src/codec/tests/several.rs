//! Several messages in a frame: of different arrays, of one object, and of the frame beside its arrays.

use super::language::{codec, equals, field, message, short, trade};
use super::*;

fn price(name: &str, path: &str) -> FieldSpec {
    field(name, path, Convert::Decimal(Sign::Positive))
}

fn ticker(name: &str, each: Option<&str>, symbol: &str, path: &str, matches: Vec<Match>) -> MessageSpec {
    MessageSpec {
        fields: vec![price("last", path)],
        ..message(name, Role::Event(Kind::Ticker), each, symbol, matches)
    }
}

fn present(path: &str) -> Vec<Match> {
    vec![Match::Present(path.into())]
}

/// Trades, tickers and a ticker of the frame, in arrays beside each other and in each other.
fn mixed() -> CodecSpec {
    codec(vec![
        trade("trades", Some("trades"), "@.s", present("ch"), ["@.i", "@.p", "@.q"]),
        ticker("tickers", Some("tickers"), "@.s", "@.l", present("ch")),
        ticker("whole", None, "s", "l", present("l")),
        ticker("events", Some("events"), "@.s", "@.l", present("@.l")),
        trade("inner", Some("events[].trades"), "events[].s", present("@.i"), ["@.i", "@.p", "@.q"]),
        ticker("rows", Some("events[].rows"), "events[].s", "@[0]", vec![equals("events[].kind", "rows")]),
        trade("other", Some("other"), "@.s", vec![equals("ch", "other")], ["@.i", "@.p", "@.q"]),
    ])
}

fn one_trade(id: u32) -> String {
    format!(r#"{{"s":"A-B","i":{id},"p":{id},"q":1}}"#)
}

fn read(frame: &str) -> Vec<String> {
    short(&mut decoder_of(mixed()), frame)
}

#[test]
fn elements_of_all_arrays_of_a_frame_are_read() {
    let trades = format!(r#""trades":[{},{}]"#, one_trade(1), one_trade(2));
    let tickers = r#""tickers":[{"s":"A-B","l":7},{"s":"C-D","l":8}]"#;
    let (one, two) = (["A-B 1 1", "A-B 2 2"], [r#"A-B Some("7")"#, r#"C-D Some("8")"#]);
    // In order of the frame.
    assert_eq!(read(&format!(r#"{{"ch":"x",{trades},{tickers}}}"#)), [one, two].concat());
    assert_eq!(read(&format!(r#"{{{tickers},{trades},"ch":"x"}}"#)), [two, one].concat());
    // The message of the frame itself comes before those of its arrays.
    let whole = format!(r#"{{"ch":"x",{trades},"s":"E-F","l":9}}"#);
    assert_eq!(read(&whole), ["E-F Some(\"9\")", one[0], one[1]]);
    // An array whose conditions do not hold is not read, but checked.
    let other = format!(r#"{{"ch":"x","other":[{}],{tickers}}}"#, one_trade(1));
    assert_eq!(read(&other), two);
    assert_eq!(read(&other.replace(r#""q":1}]"#, r#""q":1]]"#)), ["syntax None"]);
    assert_eq!(read(&format!("{{{trades}}}")), ["Unmatched"]);
    // A faulty element does not keep the elements of another array from being read.
    let bad = format!(r#"{{"ch":"x",{},{tickers}}}"#, trades.replace(r#""p":2"#, r#""p":-2"#));
    assert_eq!(read(&bad), [one[0], "bad_number Some(1)", two[0], two[1]]);
    // Elements before the end of a broken frame are read, also of two arrays.
    let cut = format!(r#"{{"ch":"x",{tickers},{trades}"#);
    assert_eq!(read(&cut), [&two[..], &one[..], &["truncated None"]].concat());
}

#[test]
fn arrays_in_an_element_are_read_beside_the_element_and_each_other() {
    let trades = format!(r#""trades":[{},{{"x":1}}]"#, one_trade(3));
    let rows = r#""rows":[[4],[5]]"#;
    let event = format!(r#"{{"s":"A-B","l":1,"kind":"rows",{rows},{trades}}}"#);
    let expected = [r#"A-B Some("1")"#, r#"A-B Some("4")"#, r#"A-B Some("5")"#, "A-B 3 3", "Unmatched"];
    assert_eq!(read(&format!(r#"{{"events":[{event}]}}"#)), expected);
    assert_eq!(read(&format!(r#"{{"events":[{event},{event}]}}"#)), [expected, expected].concat());
    assert_eq!(
        read(r#"{"events":[{"s":"A-B"},{"s":"A-B","l":2,"trades":[]}]}"#),
        ["Unmatched", expected[0]].map(|text| text.replace('1', "2"))
    );
}

#[test]
fn one_object_holds_several_messages() {
    let mark = |name: &str, path: &str| MessageSpec {
        also: true,
        fields: vec![price("value", path)],
        ..message(name, Role::Event(Kind::Extension), None, "s", present(path))
    };
    let each = |spec: MessageSpec| MessageSpec {
        name: format!("each {}", spec.name),
        each: Some("data".into()),
        symbol: Some("@.s".into()),
        ..spec
    };
    let of = |ch: &str| vec![equals("ch", ch)];
    let spec = codec(vec![
        mark("mark", "mark"),
        ticker("ticker", None, "s", "l", of("t")),
        ticker("never", None, "s", "l", of("t")),
        mark("funding", "rate"),
        each(ticker("ticker", None, "s", "@.l", of("e"))),
        each(mark("mark", "@.mark")),
    ]);
    let mut decoder = decoder_of(spec);
    let mut names = |frame: &str| -> Vec<String> {
        let codec = Arc::clone(decoder.codec());
        let name = |message: u16| codec.messages()[usize::from(message)].name.clone();
        let outcomes = all(&mut decoder, frame, |_, _| true);
        let of = |outcome: &Result<Decoded<'_>, DecodeError>| match outcome {
            Ok(Decoded::Event { message, symbol, .. }) => format!("{} {}", name(*message), symbol.name()),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!(
                "{} {:?} {}",
                name(error.message.unwrap()),
                error.symbol.map(super::name),
                error.kind()
            ),
        };
        outcomes.iter().map(of).collect()
    };
    let whole = r#"{"ch":"t","s":"A-B","l":1,"mark":2,"rate":3}"#;
    assert_eq!(names(whole), ["ticker A-B", "mark A-B", "funding A-B"]);
    assert_eq!(names(r#"{"ch":"t","s":"A-B","l":1}"#), ["ticker A-B"]);
    assert_eq!(names(r#"{"s":"A-B","rate":3}"#), ["funding A-B"]);
    assert_eq!(names(r#"{"s":"A-B"}"#), ["Unmatched"]);
    // One that is refused does not keep the others from being read.
    let faults = ["ticker Some(\"A-B\") bad_number", "mark A-B", "funding A-B"];
    assert_eq!(names(&whole.replace(r#""l":1"#, r#""l":"x""#)), faults);
    assert_eq!(
        names(&whole.replace("2,", "\"x\",")),
        ["ticker A-B", "mark Some(\"A-B\") bad_number", "funding A-B"]
    );
    let elements = r#"{"ch":"e","data":[{"s":"A-B","l":1,"mark":2},{"s":"C-D","mark":3},{"s":"E-F","l":4}]}"#;
    let expected = [
        "each ticker A-B",
        "each mark A-B",
        "each ticker Some(\"C-D\") no_field",
        "each mark C-D",
        "each ticker E-F",
    ];
    assert_eq!(names(elements), expected);
}

#[test]
fn a_broken_array_names_its_message_only_if_it_is_sure() {
    let fault = |frame: &str| {
        let error = all(&mut decoder_of(mixed()), frame, |_, _| true).pop().unwrap().unwrap_err();
        (error.kind(), error.message, error.symbol, error.element)
    };
    let trades = format!(r#"{{"ch":"x","trades":[{} 7]}}"#, one_trade(1));
    assert_eq!(fault(&trades), ("syntax", Some(0), None, Some(0)), "the rest may be of other symbols");
    let events = r#"{"events":[{"s":"A-B","l":1,"kind":"rows","rows":[[1] 7]}]}"#;
    assert_eq!(
        fault(events),
        ("syntax", None, None, Some(0)),
        "events, trades and rows have different roles"
    );
}

#[test]
fn an_array_at_a_position_holds_messages() {
    let kraken = |each: &str| {
        let mut spec =
            trade("trades", Some(each), "[-1]", vec![equals("[-2]", "trade")], ["@[2]", "@[0]", "@[1]"]);
        spec.fields.remove(0);
        spec.venue_time = Some(TimeSpec::Path("@[2]".into(), TimeUnit::DecimalSeconds));
        spec
    };
    let mut spec = codec(vec![kraken("[1]"), kraken("[2]")]);
    spec.messages[1].name = "later".into();
    spec.messages[1].matches = vec![equals("[-2]", "later")];
    let mut decoder = decoder_of(spec);
    let rows = r#"[["5541.20000","0.15850568","1534614057.321597","s","l",""],["6060.00000","0.02455000","1534614057.324998","b","l",""]]"#;
    let mut prices = |frame: String| -> Vec<String> {
        let of = |outcome: Result<Decoded<'_>, DecodeError>| match outcome {
            Ok(Decoded::Event { symbol, venue_time: Some(_), payload: Payload::Trade(trade), .. }) => {
                format!("{} {}", symbol.name(), trade.price)
            }
            Ok(other) => format!("{other:?}"),
            Err(error) => error.kind().to_owned(),
        };
        all(&mut decoder, frame, |_, _| true).into_iter().map(of).collect()
    };
    let expected = ["XBT-USD 5541.20000", "XBT-USD 6060.00000"];
    assert_eq!(prices(format!(r#"[0,{rows},"trade","XBT-USD"]"#)), expected);
    assert_eq!(prices(format!(r#"[0,1,{rows},"later","XBT-USD"]"#)), expected);
    assert_eq!(prices(r#"[0,{},"trade","XBT-USD"]"#.into()), ["Unmatched"]);
    assert_eq!(prices(format!(r#"[0,{rows},"spread","XBT-USD"]"#)), ["Unmatched"]);
    // A position of an object, in an element of another array.
    let inner =
        trade("inner", Some("data[].rows[1]"), "data[].s", present("data[].s"), ["@.i", "@.p", "@.q"]);
    let mut decoder = decoder_of(codec(vec![inner]));
    let frame = format!(r#"{{"data":[{{"s":"A-B","rows":[0,[{},{}]]}}]}}"#, one_trade(1), one_trade(2));
    assert_eq!(short(&mut decoder, &frame), ["A-B 1 1", "A-B 2 2"]);
}

#[test]
fn a_path_in_an_element_begins_with_a_dot_or_a_position() {
    let spec = codec(vec![ticker("t", Some("data"), "@.s", "@lp", present("ch"))]);
    let error = Codec::compile(spec).unwrap_err().to_string();
    assert!(error.contains(r#"t.last: expected `.` or `[` after `@`, saw "@lp"; write "@.lp""#), "{error}");
}
