//! The frames of the fixtures' venues, and frames that are not JSON.

use super::*;
use crate::codec::fixtures::VENUES;

#[test]
fn each_frame_of_each_venue_is_read() {
    for venue in VENUES {
        let mut decoder = decoder_of((venue.spec)());
        for frame in venue.frames {
            for outcome in all(&mut decoder, frame, |_, _| true) {
                let is_read = matches!(&outcome, Ok(decoded) if !matches!(decoded, Decoded::Unmatched));
                assert!(is_read, "{}: {outcome:?}: {frame}", venue.name);
            }
        }
    }
}

fn with_texts(messages: Vec<MessageSpec>) -> CodecSpec {
    let spec = binance_spec();
    CodecSpec { messages: spec.messages.iter().cloned().chain(messages).collect(), ..spec }
}

fn whole(text: &str) -> MessageSpec {
    let matches = vec![Match::Whole(text.into())];
    MessageSpec { name: text.into(), role: Role::Control, matches, ..MessageSpec::default() }
}

#[test]
fn a_text_that_is_not_json_is_a_control_message_if_it_is_declared() {
    let mut decoder = decoder_of(with_texts(vec![whole("pong"), whole("ping pong")]));
    let index = decoder.codec().messages().len() as u16;
    for (frame, expected) in [("pong", index - 2), ("ping pong", index - 1)] {
        let [Ok(Decoded::Control { message })] = all(&mut decoder, frame, |_, _| true)[..] else {
            panic!("{frame}");
        };
        assert_eq!(message, expected);
    }
    for frame in ["pon", "pong ", "pongs", "\"pong\"", "ping", "", "12", TRADE, r#"{"x":1}"#, "[]"] {
        let outcomes = all(&mut decoder, frame, |_, _| true);
        assert!(!matches!(outcomes[..], [Ok(Decoded::Control { .. })]), "{frame}: {outcomes:?}");
    }
}

#[test]
fn such_a_text_is_the_only_condition_of_a_control_message() {
    let mut two = whole("a");
    two.matches.push(Match::Present("e".into()));
    let mut each = whole("b");
    each.each = Some("data".into());
    let mut diff = whole("c");
    diff.role = Role::Event(Kind::Ticker);
    let error = Codec::compile(with_texts(vec![two, each, diff])).unwrap_err();
    let found = error.faults.iter().filter(|fault| fault.contains("expected whole as the only condition"));
    assert_eq!(found.count(), 3, "{error}");
}

#[test]
fn an_error_without_a_message_names_the_codec_only() {
    let mut decoder = decoder();
    let [Err(error)] = all(&mut decoder, "pong", |_, _| true)[..] else { panic!() };
    let text = decoder.codec().describe(&error);
    assert_eq!(text, "binance: syntax: expected well-formed JSON at byte 0, saw `pong`");
}
