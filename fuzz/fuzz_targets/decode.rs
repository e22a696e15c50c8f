//! Decodes one frame with the codecs of five venues and compares the results with a plain JSON parser: both must accept the
//! same JSON and return the same numbers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltica_core::codec::fixtures::{TRADE, VENUES, binance_spec};
use meltica_core::codec::{Codec, DecodeError, Decoded, Decoder, Fault};
use meltica_core::decimal::Decimal;
use meltica_core::event::{Payload, Side};
use meltica_core::names::ProviderId;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::sync::{Arc, LazyLock};

static CODEC: LazyLock<Arc<Codec>> =
    LazyLock::new(|| Codec::compile(binance_spec()).expect("the fixture compiles"));

/// The codecs of the other venues.
static OTHERS: LazyLock<[Arc<Codec>; 4]> =
    LazyLock::new(|| VENUES.map(|venue| Codec::compile((venue.spec)()).expect("the fixture compiles")));

fuzz_target!(|frame: &[u8]| {
    let is_json = serde_json::from_slice::<IgnoredAny>(frame).is_ok();
    for codec in &*OTHERS {
        let mut decoder = Decoder::new(Arc::clone(codec), ProviderId::intern("fuzz"));
        let check = |decoded: Result<Decoded<'_>, DecodeError>| match decoded {
            Ok(Decoded::Unmatched) => assert!(is_json, "accepted text that is not JSON"),
            // Elements before a fault of the frame are accepted, and texts that are declared.
            Ok(_) => {}
            Err(error) => {
                let is_syntax_fault =
                    matches!(error.fault, Fault::Syntax | Fault::Truncated | Fault::TrailingBytes);
                assert!(!(is_syntax_fault && is_json), "refused JSON: {error}");
                assert!(!codec.describe(&error).is_empty());
            }
        };
        decoder.decode(frame, &mut (|_, _| true, check));
    }
    let mut decoder = Decoder::new(Arc::clone(&CODEC), ProviderId::intern("fuzz"));
    let check = |decoded: Result<Decoded<'_>, DecodeError>| match decoded {
        Ok(decoded) => {
            assert!(is_json, "accepted text that is not JSON");
            if let Decoded::Event { payload, .. } = decoded {
                same_numbers(frame, payload);
            }
        }
        // The message is identified after the whole frame was read.
        Err(error) if error.message.is_some() => assert!(is_json, "{error}"),
        Err(error) => {
            let is_syntax_fault =
                matches!(error.fault, Fault::Syntax | Fault::Truncated | Fault::TrailingBytes);
            assert!(!(is_syntax_fault && is_json), "refused JSON: {error}");
            assert!(!CODEC.describe(&error).is_empty());
        }
    };
    decoder.decode(frame, &mut (|_, _| true, check));
    let mut usable = false;
    let after = |decoded: Result<Decoded<'_>, DecodeError>| {
        usable = matches!(decoded, Ok(Decoded::Event { .. }));
    };
    decoder.decode(TRADE.as_bytes(), &mut (|_, _| true, after));
    assert!(usable, "the decoder remains usable");
});

/// Compares the payload with the fields of the plain parser, which skips frames that are not UTF-8.
fn same_numbers(frame: &[u8], payload: &Payload) {
    let Ok(Value::Object(mut frame)) = serde_json::from_slice(frame) else { return };
    let message = match frame.remove("data") {
        Some(Value::Object(inner)) => inner,
        _ => frame,
    };
    let number = |key: &str| match message.get(key)? {
        Value::String(text) => text.parse::<Decimal>().ok(),
        Value::Number(number) => number.as_str().parse().ok(),
        _ => None,
    };
    match payload {
        Payload::Trade(trade) => {
            assert_eq!((Some(trade.price), Some(trade.quantity)), (number("p"), number("q")));
            let sells = message.get("m").map(|m| m.as_bool() == Some(true) || m.as_str() == Some("true"));
            if let Some(side) = trade.side {
                assert_eq!(Some(side == Side::Sell), sells);
            }
        }
        Payload::Ticker(ticker) => {
            let some = |key| number(key).filter(|number| !number.is_zero());
            assert_eq!((ticker.bid, ticker.ask), (some("b"), some("a")));
            assert_eq!((ticker.bid_quantity, ticker.ask_quantity), (some("B"), some("A")));
        }
        _ => {}
    }
}
