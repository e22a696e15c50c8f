mod damage;
mod extensions;
mod language;
mod paths;
mod session;
mod several;
mod symbols;
mod venues;

use super::fixtures::{AGG, BOOK_TICKER, DIFF, KLINE, SNAPSHOT, TICKER, TRADE, binance_spec, wrap};
use super::*;
use crate::event::{Kind, Payload, PriceLevel, Side, Ticker, VenueId};
use crate::names::{ProviderId, SymbolId};

fn decoder_of(spec: CodecSpec) -> Decoder {
    Decoder::new(Codec::compile(spec).unwrap(), ProviderId::intern("codec-tests"))
}

fn decoder() -> Decoder {
    decoder_of(binance_spec())
}

/// What became of a message. What it refers to outlives the decoder, because a test leaks it.
type Outcome = Result<Decoded<'static>, DecodeError>;

/// Returns the outcomes of the messages of a frame.
fn all(
    decoder: &mut Decoder,
    frame: impl AsRef<[u8]>,
    wanted: impl FnMut(Kind, SymbolId) -> bool,
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let keep = |message: Result<Decoded<'_>, DecodeError>| {
        outcomes.push(message.map(|decoded| match decoded {
            Decoded::Event { message, kind, symbol, venue_time, id, met, payload } => {
                let payload = Box::leak(Box::new(std::mem::take(payload)));
                Decoded::Event { message, kind, symbol, venue_time, id, met, payload }
            }
            Decoded::BookDiff { message, symbol, venue_time, ids, checksum, levels } => {
                let levels = Box::leak(Box::new(levels.clone()));
                Decoded::BookDiff { message, symbol, venue_time, ids, checksum, levels }
            }
            Decoded::BookSnapshot { message, symbol, venue_time, ids, checksum, levels } => {
                let levels = Box::leak(Box::new(levels.clone()));
                Decoded::BookSnapshot { message, symbol, venue_time, ids, checksum, levels }
            }
            Decoded::Unwanted { kind, symbol } => Decoded::Unwanted { kind, symbol },
            Decoded::Control { message } => Decoded::Control { message },
            Decoded::Unmatched => Decoded::Unmatched,
        }));
    };
    decoder.decode(frame.as_ref(), &mut (wanted, keep));
    outcomes
}

/// Returns the outcome of the only message of a frame.
fn one(decoder: &mut Decoder, frame: impl AsRef<[u8]>) -> Outcome {
    let mut outcomes = all(decoder, &frame, |_, _| true);
    assert_eq!(outcomes.len(), 1, "{}", String::from_utf8_lossy(frame.as_ref()));
    outcomes.remove(0)
}

fn decode(frame: impl AsRef<[u8]>) -> Outcome {
    one(&mut decoder(), frame)
}

fn event(frame: impl AsRef<[u8]>) -> (Decoded<'static>, Payload) {
    match decode(&frame).unwrap() {
        Decoded::Event { message, kind, symbol, venue_time, id, met, payload } => {
            let taken = std::mem::take(payload);
            (Decoded::Event { message, kind, symbol, venue_time, id, met, payload }, taken)
        }
        other => panic!("{other:?}"),
    }
}

fn fault(frame: impl AsRef<[u8]>) -> &'static str {
    match decode(&frame) {
        Err(error) => error.kind(),
        Ok(decoded) => panic!("{}: {decoded:?}", String::from_utf8_lossy(frame.as_ref())),
    }
}

/// Returns the mantissa and the scale of a number, which equality ignores.
fn number(decimal: crate::decimal::Decimal) -> (i128, u8) {
    (decimal.mantissa(), decimal.scale())
}

fn name(symbol: SymbolId) -> &'static str {
    symbol.name()
}

#[test]
fn trades_decode_bare_and_wrapped() {
    for frame in [TRADE.to_owned(), wrap(TRADE), TRADE.replace(',', " ,\n").replace(':', "\t: ")] {
        let (decoded, payload) = event(&frame);
        let (Decoded::Event { message, kind, symbol, venue_time, id, .. }, Payload::Trade(trade)) =
            (decoded, payload)
        else {
            panic!("{frame}")
        };
        assert_eq!((message, kind, name(symbol)), (1, Kind::Trade, "BTC-USDT"));
        assert_eq!((venue_time, id), (Some(1_723_161_255_342_000_000), Some(VenueId::Number(3_735_683_259))));
        assert_eq!((trade.side, trade.id), (Some(Side::Sell), Some(VenueId::Number(3_735_683_259))));
        assert_eq!(number(trade.price), (6_183_763_000_000, 8));
        assert_eq!(number(trade.quantity), (2_000_000, 8));
    }
    let (Decoded::Event { symbol, id, .. }, Payload::Trade(trade)) = event(AGG) else { panic!() };
    assert_eq!((name(symbol), id, trade.side), ("ETH-BTC", Some(VenueId::Number(u64::MAX)), Some(Side::Buy)));
    assert_eq!((number(trade.price), number(trade.quantity)), ((123, 4), (7, 0)));
}

fn ticker(frame: &str) -> Ticker {
    match event(frame) {
        (Decoded::Event { .. }, Payload::Ticker(ticker)) => ticker,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tickers_have_the_values_that_the_venue_sent() {
    let best = ticker(BOOK_TICKER);
    assert_eq!(best.bid.map(number), Some((6_183_763_000_000, 8)));
    assert_eq!(best.bid_quantity.map(number), Some((378_826_000, 8)));
    assert_eq!(best.ask.map(number), Some((6_183_764_000_000, 8)));
    assert_eq!(best.ask_quantity.map(number), Some((154_698_000, 8)));
    assert!(best.last.is_none() && best.volume_24h.is_none());
    let day = ticker(TICKER);
    assert_eq!(day.last.map(number), Some((6_183_764, 2)));
    assert_eq!(day.volume_24h.map(number), Some((12_345_678, 3)));
    assert_eq!(day.bid.map(number), Some((6_183_763, 2)));
    assert!(day.ask_quantity.is_none(), "zero means absent");
    assert_eq!(ticker(&BOOK_TICKER.replace(r#""3.78826000""#, "null")).bid_quantity, None);
    let both = ticker(&TICKER.replacen('{', r#"{"u":1,"#, 1));
    assert_eq!(both, day, "conditions on absence distinguish messages");
}

#[test]
fn candles_are_read_from_nested_keys() {
    let (Decoded::Event { symbol, venue_time, .. }, Payload::Kline(kline)) = event(KLINE) else { panic!() };
    assert_eq!((name(symbol), venue_time), ("BNB-BTC", Some(1_672_515_782_136_000_000)));
    assert_eq!((kline.open_time, kline.close_time), (1_672_515_780_000_000_000, 1_672_515_839_999_000_000));
    assert_eq!(kline.interval.map(|i| i.as_str().to_owned()), Some("1m".to_owned()));
    assert_eq!(kline.closed, Some(false));
    let numbers = [kline.open, kline.close, kline.high, kline.low, kline.volume].map(number);
    assert_eq!(numbers, [(10, 4), (20, 4), (25, 4), (15, 4), (1000, 0)]);
}

#[test]
fn books_leave_their_levels_in_the_decoder() {
    let mut decoder = decoder();
    let diff = all(&mut decoder, DIFF, |kind, _| kind == Kind::BookSnapshot).remove(0).unwrap();
    let Decoded::BookDiff { symbol, venue_time, ids, checksum: None, levels, .. } = diff else { panic!() };
    assert_eq!(name(symbol), "BTC-USDT");
    assert_eq!(ids, BookIds::Range { first: 50_093_239_203, last: 50_093_239_207, prev: None });
    assert_eq!(venue_time, Some(1_723_161_255_308_000_000));
    assert_eq!((levels.price_scale, levels.quantity_scale), (8, 8));
    assert_eq!(levels.bids, [PriceLevel { price: 5_565_387_000_000, quantity: 0 }]);
    assert_eq!(levels.asks[1], PriceLevel { price: 6_184_430_000_000, quantity: 40_163_000 });
    for (frame, symbol) in [(SNAPSHOT.to_owned(), None), (wrap(SNAPSHOT), Some("BTC-USDT"))] {
        let Decoded::BookSnapshot { symbol: of, ids: BookIds::Range { last, .. }, levels, .. } =
            one(&mut decoder, frame).unwrap()
        else {
            panic!()
        };
        assert_eq!((of.map(name), last), (symbol, 50_093_239_218));
        assert_eq!((levels.bids.len(), levels.asks.len()), (1, 1));
    }
}

/// The scales, then the prices and quantities.
type Bids = ((u8, u8), Vec<(i64, i64)>);

/// Returns the levels of a diff with these bids.
fn bids(text: &str) -> Result<Bids, &'static str> {
    let frame = format!(r#"{{"e":"depthUpdate","s":"BTCUSDT","U":1,"u":2,"b":{text},"a":[]}}"#);
    let decoded = decode(frame).map_err(|error| error.kind())?;
    let Decoded::BookDiff { levels, .. } = decoded else { panic!("{decoded:?}") };
    let bids = levels.bids.iter().map(|level| (level.price, level.quantity)).collect();
    Ok(((levels.price_scale, levels.quantity_scale), bids))
}

#[test]
fn levels_share_one_scale() {
    assert_eq!(bids(r#"[["1.50","2"],["1.2","3"]]"#), Ok(((2, 0), vec![(150, 2), (120, 3)])));
    assert_eq!(bids(r#"[["1.2","3"],["1.505","2.5"]]"#), Ok(((3, 1), vec![(1200, 30), (1505, 25)])));
    assert_eq!(bids(r#"[ [ 1.5 , 2e1, 7, {"a":[]} ] , [1e-2,3]]"#), Ok(((2, 0), vec![(150, 20), (1, 3)])));
    assert_eq!(bids("[]").map(|(_, bids)| bids), Ok(vec![]));
    assert_eq!(bids("null").map(|(_, bids)| bids), Ok(vec![]), "a side may be absent");
    // A quantity that exceeds 64 bits at eight places reduces the scale of all levels, before and after it.
    let big = r#"["2.00","123456789012.00000000"]"#;
    assert_eq!(bids(&format!("[{big}]")), Ok(((2, 0), vec![(200, 123_456_789_012)])));
    let both = format!(r#"[["1.00","0.50000000"],{big},["3.00","7.25000000"]]"#);
    let quantities = vec![(100, 50), (200, 12_345_678_901_200), (300, 725)];
    assert_eq!(bids(&both), Ok(((2, 2), quantities)));
    assert_eq!(bids(&format!(r#"[{big},["1.00","0.00000001"]]"#)), Err("overflow"));
    assert_eq!(bids(r#"[["1","99999999999999999999.1"]]"#), Err("overflow"));
}

#[test]
fn malformed_levels_are_refused() {
    for (text, kind) in [
        (r#"[["0","1"]]"#, "bad_number"),
        (r#"[["-1","1"]]"#, "bad_number"),
        (r#"[["1","-1"]]"#, "bad_number"),
        (r#"[["1","x"]]"#, "bad_number"),
        (r#"[["1",""]]"#, "bad_number"),
        (r#"[["1","1e400"]]"#, "bad_number"),
        (r#"[["1"]]"#, "syntax"),
        (r#"[[true,"1"]]"#, "syntax"),
        (r#"[["1","1"],]"#, "syntax"),
        (r#"[{"price":"1"}]"#, "bad_level"),
        (r#"[["1" "1"]]"#, "syntax"),
        ("7", "syntax"),
    ] {
        assert_eq!(bids(text), Err(kind), "{text}");
    }
    let many = |count: usize| format!("[{}]", vec![r#"["1.0","1.0"]"#; count].join(","));
    assert_eq!(bids(&many(MAX_LEVELS)).map(|(_, bids)| bids.len()), Ok(MAX_LEVELS));
    assert_eq!(bids(&many(MAX_LEVELS + 1)), Err("too_many_levels"));
}

#[test]
fn unwanted_messages_are_not_converted() {
    let frame = TRADE.replace("61837.63000000", "no number");
    assert_eq!(fault(&frame), "bad_number");
    let decoded = all(&mut decoder(), frame, |_, _| false).remove(0).unwrap();
    assert!(matches!(decoded, Decoded::Unwanted { kind: Kind::Trade, symbol } if name(symbol) == "BTC-USDT"));
}

#[test]
fn undeclared_messages_are_unmatched() {
    for frame in [
        r#"{"result":null,"id":1}"#,
        r#"{"stream":"btcusdt@x","data":null}"#,
        r#"{"e":"listStatus","b":[{"a":[1,2,{"x":"\u00e9\n"}]}],"a":[],"k":{"o":{"deep":[[]]}}}"#,
        "{}",
        "[]",
        "7",
        r#""text""#,
        " [ { } , -1.5e+3 , true ] ",
    ] {
        assert!(matches!(decode(frame), Ok(Decoded::Unmatched)), "{frame}: {:?}", decode(frame));
    }
}

#[test]
fn unknown_fields_and_escapes_are_accepted() {
    let frame =
        TRADE.replacen('{', r#"{"x":{"e":"kline","y":[1,"]}",{"z":"\"}\\"}]},"a long unknown key":[],"#, 1);
    assert!(matches!(decode(&frame), Ok(Decoded::Event { kind: Kind::Trade, .. })), "{frame}");
    let frame =
        TRADE.replace(r#""e":"trade""#, r#""\u0065":"tr\u0061de""#).replace("BTCUSDT", "\\u0042TCUSDT");
    let Ok(Decoded::Event { symbol, .. }) = decode(&frame) else { panic!("{frame}") };
    assert_eq!(name(symbol), "BTC-USDT");
    assert_eq!(fault(TRADE.replace("BTCUSDT", "BTCUSDT\\u0000")), "unknown_symbol");
    assert_eq!(fault(TRADE.replace("BTCUSDT", "\\ud800")), "bad_text");
}

#[test]
fn a_payload_that_is_not_an_object_is_ignored() {
    let whole = ticker(TICKER);
    for data in ["9218", "null", "[]", r#""text""#] {
        let frame = TICKER.replacen(r#""p":"#, &format!(r#""stream":"btcusdt@x","data":{data},"p":"#), 1);
        assert_eq!(ticker(&frame), whole, "keys after it belong to the message: {frame}");
    }
}

#[test]
fn texts_with_equal_words_are_distinguished() {
    let mut decoder = decoder();
    for (text, canonical) in
        [("USDTUSDT", "USDT-USDT"), ("USDTUSDTUSDT", "USDTUSDT-USDT"), ("ETHBTC", "ETH-BTC")]
    {
        let frame = TRADE.replace("BTCUSDT", text);
        for _ in 0..2 {
            let Ok(Decoded::Event { symbol, .. }) = one(&mut decoder, &frame) else { panic!() };
            assert_eq!(name(symbol), canonical);
        }
    }
    let mut spec = binance_spec();
    spec.messages[1].fields[2].path = "price_of_the_trade".into();
    let mut decoder = decoder_of(spec.clone());
    for (key, found) in
        [("price_of_the_trade", true), ("price_of_no_trade_", false), ("price_of+the_trade", false)]
    {
        let frame = TRADE.replace(r#""p""#, &format!("{key:?}"));
        assert_eq!(one(&mut decoder, frame).is_ok(), found, "{key}");
    }
    spec.messages[1].fields[3].path = "price_of+the_trade".into();
    let faults = Codec::compile(spec).unwrap_err().faults;
    assert!(faults.len() == 1 && faults[0].contains("expected a key less like its siblings"), "{faults:?}");
}

#[test]
fn each_fault_has_its_name() {
    let depth = |n: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    assert!(matches!(decode(depth(64)), Ok(Decoded::Unmatched)));
    for (frame, kind) in [
        (String::new(), "truncated"),
        (" ".into(), "truncated"),
        (format!("{TRADE}x"), "trailing_bytes"),
        (format!("{TRADE}{TRADE}"), "trailing_bytes"),
        (depth(65), "too_deep"),
        (" ".repeat(MAX_FRAME + 1), "too_large"),
        (TRADE.replace("true,", "true,,"), "syntax"),
        (TRADE.replace("3735683259", "03735683259"), "syntax"),
        (TRADE.replace("trade", "tra\nde"), "syntax"),
        (TRADE.replace("true", "tru"), "syntax"),
        (TRADE.replace(r#""M""#, r#""m""#), "duplicate_key"),
        (DIFF.replace(r#""a":"#, r#""b":"#), "duplicate_key"),
        (DIFF.replace(r#""b":"#, r#""bids":[["1","1"]],"b":"#), "duplicate_key"),
        (wrap(TRADE).replacen('{', r#"{"e":"trade","#, 1), "duplicate_key"),
        (wrap(TRADE).replacen(r#""data":{"#, r#""data":{"s":"A","#, 1), "duplicate_key"),
        (wrap(TRADE).replacen('{', r#"{"k":{"o":"1"},"#, 1), "duplicate_key"),
        (r#"{"x":[1}}"#.into(), "syntax"),
        (TRADE.replace(r#""p":"#, r#""pp":"#), "missing_field"),
        (TRADE.replace(r#""s":"#, r#""ss":"#), "missing_field"),
        (TRADE.replace("61837.63000000", "1/3"), "bad_number"),
        (TRADE.replace("61837.63000000", "0.00000000"), "bad_number"),
        (TRADE.replace("61837.63000000", "-61837.6"), "bad_number"),
        (TRADE.replace(r#""61837.63000000""#, "true"), "bad_number"),
        (TRADE.replace(r#""61837.63000000""#, "[]"), "bad_number"),
        (TRADE.replace("3735683259", "18446744073709551616"), "bad_id"),
        (TRADE.replace("3735683259", r#""abc""#), "bad_id"),
        (TRADE.replace("1723161255342", "1723161255342.5"), "bad_time"),
        (TRADE.replace("1723161255342", "9223372036855"), "bad_time"),
        (TRADE.replace("BTCUSDT", "BTCXYZ"), "unknown_symbol"),
        (TRADE.replace(r#""BTCUSDT""#, "{}"), "bad_text"),
        (KLINE.replace(r#""1m""#, &format!("{:?}", "m".repeat(40))), "bad_text"),
        (KLINE.replace("false", "2"), "bad_bool"),
        (KLINE.replace("1672515780000", "null"), "missing_field"),
        (SNAPSHOT.replace("50093239218", "-1"), "bad_id"),
    ] {
        assert_eq!(fault(&frame), kind, "{frame:.300}");
    }
    let text = KLINE.replace("1m", "m?").into_bytes();
    let text: Vec<u8> = text.into_iter().map(|b| if b == b'?' { 0xFF } else { b }).collect();
    assert_eq!(fault(text), "bad_text");
}

#[test]
fn an_error_names_message_path_and_text() {
    let codec = Codec::compile(binance_spec()).unwrap();
    let error = decode(TRADE.replace("61837.63000000", "1/3")).unwrap_err();
    assert_eq!(
        codec.describe(&error),
        r#"binance trade "p": bad_number: expected a decimal number of the allowed sign at byte 65, saw `1/3\",\"q\":\"0.0200`"#
    );
    let error = decode(&TRADE[..20]).unwrap_err();
    assert_eq!(
        codec.describe(&error),
        "binance: truncated: expected the rest of the message at byte 20, saw the end of the frame"
    );
    let names: std::collections::HashSet<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    assert_eq!(names.len(), Fault::ALL.len());
}

#[test]
fn unknown_enum_values_are_counted_and_absent_unless_required() {
    let frame = TRADE.replace(r#""m":true"#, r#""m":"both""#);
    let mut decoder = decoder();
    let Ok(Decoded::Event { payload: Payload::Trade(trade), .. }) = one(&mut decoder, &frame) else {
        panic!()
    };
    assert_eq!(trade.side, None);
    assert_eq!(decoder.unknown_enums(), 1);
    let mut spec = binance_spec();
    spec.messages[1].fields[1].required = true;
    let mut decoder = decoder_of(spec);
    assert_eq!(one(&mut decoder, frame).unwrap_err().kind(), "bad_enum");
    assert_eq!(decoder.unknown_enums(), 1);
}

#[test]
fn a_faulty_declaration_shows_all_its_faults() {
    let mut spec = binance_spec();
    spec.symbols[0].1.quotes.push("us$".into());
    spec.messages[1].fields.remove(2);
    spec.messages[1].fields[0].convert = Convert::Text;
    spec.messages[2].name = "trade".into();
    spec.messages[3].levels = None;
    spec.messages[4].fields[0].name = "bidd".into();
    spec.messages[5].fields[0].path = "k..o".into();
    spec.messages[6].levels.as_mut().unwrap().asks = vec!["bids".into()];
    let error = Codec::compile(spec).unwrap_err();
    let places = ["symbols.quotes", "trade.id", "trade.price", "trade", "depthUpdate", "24hrTicker.bidd"];
    for place in places.iter().chain(&["kline.open", "depth.asks"]) {
        assert!(error.faults.iter().any(|fault| fault.starts_with(&format!("{place}:"))), "{place}: {error}");
    }
    assert_eq!(error.faults.len(), 8, "{error}");
}

#[test]
fn a_control_message_has_conditions_only() {
    let control = |matches| MessageSpec { name: "ack".into(), matches, ..MessageSpec::default() };
    let mut spec = binance_spec();
    spec.messages.insert(0, control(vec![Match::Present("id".into())]));
    let mut decoder = decoder_of(spec.clone());
    let mut decode = |frame: &str| one(&mut decoder, frame).unwrap();
    assert!(matches!(decode(r#"{"result":null,"id":7}"#), Decoded::Control { message: 0 }));
    assert!(matches!(decode(TRADE), Decoded::Event { kind: Kind::Trade, .. }));
    assert!(matches!(decode(r#"{"result":null}"#), Decoded::Unmatched));

    let trade = spec.messages.iter().find(|message| message.name == "trade").unwrap();
    let diff = spec.messages.iter().find(|message| message.name == "depthUpdate").unwrap();
    spec.messages[0] =
        MessageSpec { name: "ack".into(), role: Role::Control, levels: diff.levels.clone(), ..trade.clone() };
    let faults = Codec::compile(spec).unwrap_err().faults;
    let places = ["symbol:", "venue_time:", "id:", "price:", " expected no levels"];
    assert!(places.iter().all(|place| faults.iter().any(|fault| fault.contains(place))), "{faults:?}");
}
