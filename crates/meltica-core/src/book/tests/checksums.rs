//! Checksums of books, against a slow one and by hand.

use super::*;
use crate::book::checksum::{Checker, Scales, Verified};
use crate::codec::{ChecksumRule, Digits, Layout};
use crc32fast::hash as crc32;

fn slow(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

fn book() -> BookAssembler {
    let mut book = BookAssembler::default();
    let mut levels = levels(&[(452_835, 10), (452_834, 255)], &[(452_852, 100), (452_864, 1)]);
    (levels.price_scale, levels.quantity_scale) = (1, 2);
    book.snapshot(BookIds::Unnumbered, SnapshotMode::Replaces, &levels, |_, _| {});
    book
}

fn verify(rule: &ChecksumRule, scales: Option<(u8, u8)>, text: &str) -> Verified {
    let scales = scales.map(|(price, quantity)| Scales { price, quantity }).unwrap_or_default();
    Checker::default().verify(&book(), rule, scales, slow(text.as_bytes()))
}

#[test]
fn the_layouts_of_digits_are_those_of_the_venues() {
    let kraken = ChecksumRule {
        levels: 10,
        layout: Layout::AsksBids,
        separator: String::new(),
        digits: Digits::Mantissa,
    };
    let text = ["452852100000000", "4528641000000", "45283510000000", "452834255000000"].concat();
    let text = &*text;
    assert_eq!(verify(&kraken, Some((1, 8)), text), Verified::Same);
    assert_eq!(verify(&kraken, Some((1, 7)), text), Verified::Different);
    assert_eq!(verify(&kraken, Some((0, 8)), text), Verified::Unknown, "a price has a digit more");
    let okx = ChecksumRule {
        levels: 25,
        layout: Layout::Interleaved,
        separator: ":".into(),
        digits: Digits::Shortest,
    };
    let text = "45283.5:0.1:45285.2:1:45283.4:2.55:45286.4:0.01";
    assert_eq!(verify(&okx, None, text), Verified::Same);
    assert_eq!(verify(&ChecksumRule { levels: 1, ..okx }, None, "45283.5:0.1:45285.2:1"), Verified::Same);
}

proptest! {
    #[test]
    fn prop_the_fast_checksum_is_the_slow_one(data in proptest::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(crc32(&data), slow(&data));
        prop_assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
