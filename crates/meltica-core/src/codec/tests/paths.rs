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
