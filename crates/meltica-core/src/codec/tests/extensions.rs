//! Extensions, whose fields are declared freely.

use super::*;

fn field(name: &str, path: &str, convert: Convert) -> FieldSpec {
    FieldSpec { name: name.into(), path: path.into(), convert, required: false }
}

/// The mark price and the funding rate of a venue, alone and in arrays.
fn spec() -> CodecSpec {
    let mark = MessageSpec {
        name: "mark".into(),
        role: Role::Event(Kind::Extension),
        matches: vec![Match::Equals("e".into(), "mark".into())],
        symbol: Some("s".into()),
        venue_time: Some(TimeSpec::Path("E".into(), TimeUnit::Millis)),
        id: Some(("u".into(), IdMode::Opaque)),
        fields: vec![
            field("mark_price", "p", Convert::Decimal(Sign::Positive)),
            field("funding_rate", "r", Convert::Decimal(Sign::Any)),
            field("next", "T", Convert::Time(TimeUnit::Millis)),
            field("state", "st", Convert::Enum(vec![("l".into(), "live".into())])),
            field("live", "x", Convert::Bool),
            field("note", "n", Convert::Text),
            field("index", "u", Convert::Id),
        ],
        ..MessageSpec::default()
    };
    let all = MessageSpec {
        name: "all".into(),
        extension: Some("mark".into()),
        matches: vec![Match::Equals("@.e".into(), "mark".into())],
        each: Some("[]".into()),
        symbol: Some("@.s".into()),
        venue_time: None,
        id: None,
        fields: vec![FieldSpec {
            required: true,
            ..field("mark_price", "@.p", Convert::Decimal(Sign::ZeroIsAbsent))
        }],
        ..mark.clone()
    };
    let symbols = vec![(String::new(), SymbolRule { separator: Some('-'), ..SymbolRule::default() })];
    CodecSpec { name: "venue".into(), symbols, messages: vec![mark, all], ..CodecSpec::default() }
}

/// Returns the name and the JSON of each message, or the error.
fn read(frame: &str) -> Vec<Result<(String, String), &'static str>> {
    all(&mut decoder_of(spec()), frame, |_, _| false)
        .into_iter()
        .map(|outcome| match outcome {
            Ok(Decoded::Event { kind: Kind::Extension, payload: Payload::Extension(e), symbol, .. }) => {
                assert_eq!(symbol.name(), "A-B");
                assert_eq!(e.origin(), 0);
                Ok((e.name().to_owned(), e.json().to_owned()))
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.kind()),
        })
        .collect()
}

#[test]
fn an_extension_has_the_declared_fields() {
    let mark = |fields: &str| read(&format!(r#"{{"e":"mark","s":"a-b",{fields}}}"#)).remove(0);
    let json = |fields: &str| mark(fields).unwrap().1;
    let whole = r#""E":1700000000000,"p":"61837.10","r":-3e-4,"T":"1700006400000","st":"l","x":true,"n":"\"\u0001\\é","u":"007""#;
    assert_eq!(mark(whole), Ok(("mark".into(), r#"{"symbol":"A-B","mark_price":"61837.10","funding_rate":"-0.0003","next":1700006400000000000,"state":"live","live":true,"note":"\"\u0001\\é","index":"007"}"#.into())));
    let absent = |key: &str| format!(r#"{key}":null"#);
    let without = json(r#""u":7,"p":"","T":0,"r":null,"st":"gone","n":"","x":"""#);
    for key in ["mark_price", "funding_rate", "next", "state", "live", "note"] {
        assert!(without.contains(&absent(key)), "{key}: {without}");
    }
    assert!(without.ends_with(r#""index":"7"}"#), "{without}");
    for (fields, fault) in [
        (r#""u":1,"p":"-1""#, "bad_number"),
        (r#""u":1,"T":"x""#, "bad_time"),
        (r#""u":1,"T":1700006400"#, "time_in_seconds"),
        (r#""u":1,"x":2"#, "bad_bool"),
        (r#""u":1,"n":{}"#, "bad_text"),
        (r#""p":"1""#, "missing_field"),
        (r#""u":1,"E":"x""#, "bad_time"),
    ] {
        assert_eq!(mark(fields), Err(fault), "{fields}");
    }
    let array = r#"[{"e":"mark","s":"A-B","p":"1"},{"e":"mark","s":"A-B","p":"0"},{"e":"mark","p":"1"}]"#;
    let one = ("mark".to_owned(), r#"{"symbol":"A-B","mark_price":"1"}"#.to_owned());
    assert_eq!(read(array), [Ok(one), Err("missing_field"), Err("missing_field")]);
    // Text may be longer than that of an event, but not without end.
    let note = |len: usize| mark(&format!(r#""u":1,"n":"{}""#, "x".repeat(len)));
    assert!(note(100_000).is_ok());
    assert_eq!(note(102_400), Err("too_large"));
}

#[test]
fn the_fields_of_an_extension_are_checked() {
    let mut spec = spec();
    spec.messages[0].extension = Some("x".repeat(257));
    spec.messages[0].fields.push(field("symbol", "s", Convert::Text));
    spec.messages[0].fields.push(field("next", "t", Convert::Text));
    spec.messages[0].fields.push(field("names", "t", Convert::Enum(vec![])));
    spec.messages[1].fields.clear();
    spec.messages.push(MessageSpec {
        name: "ticker".into(),
        role: Role::Event(Kind::Ticker),
        matches: vec![Match::Present("x".into())],
        symbol: Some("s".into()),
        extension: Some("x".into()),
        ..MessageSpec::default()
    });
    let faults = Codec::compile(spec).unwrap_err().faults;
    let places = ["mark.extension", "mark.symbol", "mark.next", "mark.names", "all", "ticker.extension"];
    for place in places {
        assert!(faults.iter().any(|fault| fault.starts_with(&format!("{place}:"))), "{place}: {faults:?}");
    }
    assert_eq!(faults.len(), places.len(), "{faults:?}");
}
