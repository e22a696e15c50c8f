//! Damaged and random frames, which may fail but must not panic.

use super::{decode, fault, number as parts};
use crate::codec::fixtures::{ALL, TRADE, wrap};
use crate::codec::{number, scan};
use proptest::prelude::*;

#[test]
fn a_cut_frame_is_always_an_error() {
    for frame in ALL.into_iter().flat_map(|frame| [frame.to_owned(), wrap(frame), format!("{frame} ")]) {
        let whole = frame.trim_end().len();
        assert!(decode(&frame).is_ok(), "{frame}");
        for cut in 0..whole {
            let error = decode(&frame[..cut]).expect_err(&frame[..cut]);
            assert_eq!(error.kind(), "truncated", "{:?}", &frame[..cut]);
        }
    }
}

/// Returns the end of a string by a byte at a time.
fn end_of(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            0..0x20 => return None,
            _ => at += 1,
        }
    }
}

#[test]
fn each_byte_ends_text_or_does_not() {
    for (first, second) in (0..=255u8).flat_map(|first| (0..=255).map(move |second| (first, second))) {
        for at in [0, 3, 6] {
            let mut text = *b"aaaaaaaan\"\"\"";
            (text[at], text[at + 1]) = (first, second);
            let escapes = !matches!(second, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't');
            if first == b'\\' && escapes || second == b'\\' && first != b'\\' {
                continue;
            }
            let found = scan::string(&text, 0).ok().map(|(end, _)| end);
            assert_eq!(found, end_of(&text), "{text:?}");
        }
    }
}

#[test]
fn keys_that_look_like_declared_ones_are_others() {
    let whole = decode(TRADE);
    let others = [
        "", r#"\""#, r"\\", " ", "!", "e ", " e", "ee", "\u{7f}", "\u{ff}", "eeeeeee", "eeeeeeee", r"\u0000",
    ];
    for key in others {
        for space in ["", " "] {
            let frame = TRADE.replacen('{', &format!(r#"{{"{key}"{space}:"kline","#), 1);
            assert_eq!(format!("{:?}", decode(&frame)), format!("{whole:?}"), "{frame}");
        }
    }
    let mut frame = TRADE.replacen('{', r#"{"~~~~~~~~":1,"#, 1).into_bytes();
    frame.iter_mut().filter(|byte| **byte == b'~').for_each(|byte| *byte = 0xFF);
    assert_eq!(format!("{:?}", decode(&frame)), format!("{whole:?}"));
    for key in ["e", r"\u0065"] {
        let frame = TRADE.replacen('{', &format!(r#"{{"{key}" :"kline","#), 1);
        assert_eq!(fault(frame), "duplicate_key");
    }
    for key in ["\t", "\"", r"\", r"\x"] {
        assert_eq!(fault(TRADE.replacen('{', &format!(r#"{{"{key}":1,"#), 1)), "syntax", "{key}");
    }
}

#[test]
fn integers_of_every_length_are_exact() {
    for value in
        (0..20).flat_map(|i| [10u64.pow(i), 10u64.pow(i) - 1, 9 * (10u64.pow(i) / 9)]).chain([u64::MAX])
    {
        assert_eq!(number::integer(value.to_string().as_bytes()), Some(value));
    }
    for text in [
        "",
        "01",
        "1.0",
        "\t23456789",
        "-1",
        "+1",
        "18446744073709551616",
        "123456789x",
        "x23456789",
        "1234567890123456:",
    ] {
        assert_eq!(number::integer(text.as_bytes()), None, "{text}");
    }
}

proptest! {
    #[test]
    fn prop_flipped_bytes_never_panic(which in 0..ALL.len() * 2, flips in prop::collection::vec((any::<u16>(), any::<u8>()), 1..4)) {
        let frame = ALL[which / 2];
        let mut frame = if which % 2 == 0 { frame.to_owned() } else { wrap(frame) }.into_bytes();
        for (at, byte) in flips {
            let at = usize::from(at) % frame.len();
            frame[at] = byte;
        }
        let _ = decode(&frame);
    }

    #[test]
    fn prop_any_bytes_never_panic(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&frame);
    }

    #[test]
    fn prop_json_like_bytes_never_panic(frame in r#"[\[\]{}:,"\\ue0-9.btnxsa -]{0,60}"#) {
        let _ = decode(&frame);
    }

    #[test]
    fn prop_numbers_equal_the_reference_parser(text in r"-?[0-9]{1,12}(\.[0-9]{1,12})?") {
        let frame = format!("{text}\"      ");
        let expected = crate::decimal::Decimal::parse(text.as_bytes()).ok().map(parts);
        prop_assert_eq!(number::decimal(frame.as_bytes(), 0, text.len()).map(parts), expected);
    }
}
