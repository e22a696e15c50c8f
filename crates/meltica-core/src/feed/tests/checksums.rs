//! Checksums of the venue: a book that does not have its checksum is stale until a snapshot.

use super::*;
use crate::codec::{ChecksumRule, ChecksumSpec, Digits, Layout};

fn crc32(text: &str) -> u32 {
    !text.bytes().fold(!0, |crc: u32, byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

/// Returns a feed of diffs with a checksum in `c`, whose book has the bid 1 and the ask 2.
fn plane() -> Plane {
    let mut plane = Plane::new();
    let mut spec = binance_spec();
    for levels in spec.messages.iter_mut().filter_map(|message| message.levels.as_mut()) {
        let rule = ChecksumRule {
            levels: 10,
            layout: Layout::Interleaved,
            separator: ":".into(),
            digits: Digits::Shortest,
        };
        levels.checksum = Some(ChecksumSpec { path: "c".into(), rule, zero_is_none: true });
    }
    plane.feed.decoder = Some(Decoder::new(Codec::compile(spec).unwrap(), plane.feed.publisher.provider()));
    assert_eq!(request(&mut plane, 100, "1:1:2:1"), ["100"]);
    plane
}

/// Returns a feed whose checksums cover digits on the instrument's scales, with no book.
fn on_scales() -> Plane {
    let mut spec = binance_spec();
    for levels in spec.messages.iter_mut().filter_map(|message| message.levels.as_mut()) {
        let rule = ChecksumRule {
            levels: 10,
            layout: Layout::AsksBids,
            separator: String::new(),
            digits: Digits::Mantissa,
        };
        levels.checksum = Some(ChecksumSpec { path: "c".into(), rule, zero_is_none: false });
    }
    let mut plane = Plane::new();
    plane.feed.decoder = Some(Decoder::new(Codec::compile(spec).unwrap(), plane.feed.publisher.provider()));
    plane
}

/// Feeds a snapshot with a bid of the given notation and the ask 2 of 1.
fn whole(plane: &mut Plane, [price, quantity]: [&str; 2], text: &str) -> Vec<String> {
    let bid = format!(r#"["{price}","{quantity}"]"#);
    let frame = format!(r#"{{"lastUpdateId":1,"bids":[{bid}],"asks":[["2","1"]],"c":{}}}"#, crc32(text));
    requested(plane, &frame)
}

/// Returns the checksums of a feed: verified, unverified, failed.
fn outcomes(plane: &Plane) -> [u64; 3] {
    let stats = &plane.feed.stats;
    [&stats.checksums_verified, &stats.checksums_unverified, &stats.checksums_failed]
        .map(crate::stats::Counter::get)
}

#[test]
fn scales_are_those_of_messages_whose_checksum_they_give() {
    let mut plane = on_scales();
    let symbol = SymbolId::intern("BTC-USDT");
    // The venue has 2 and 3 digits; the message shows fewer, as if its zeros had been dropped.
    assert_eq!(whole(&mut plane, ["1.5", "7"], "20010001507000"), ["1"], "never failed");
    assert_eq!(outcomes(&plane), [0, 1, 0]);
    assert_eq!(plane.feed.unverified(), [(symbol, (1, false))].into());
    assert_eq!(change_of(&mut plane, 2, ["1.25", "0.125"], "wrong"), ["2"]);
    // With the digits of both messages, the checksum of the third one is that of the book.
    assert_eq!(change_of(&mut plane, 3, ["1.1", "1"], "200100015070001251251101000"), ["3"]);
    assert_eq!(outcomes(&plane), [1, 2, 0]);
    // From then on the scales are known: a different checksum is a failure.
    assert_eq!(change_of(&mut plane, 4, ["1.1", "2"], "wrong"), ["checksum"]);
    assert_eq!(whole(&mut plane, ["1.5", "7"], "20010001507000"), ["1"]);
    assert_eq!(outcomes(&plane), [2, 2, 1]);
    assert_eq!(plane.feed.unverified(), [(symbol, (2, true))].into());
}

#[test]
fn scales_that_the_venue_changes_are_proved_again_by_a_snapshot() {
    let mut plane = on_scales();
    assert_eq!(whole(&mut plane, ["1.500", "7.0"], "200010150070"), ["1"]);
    assert_eq!(whole(&mut plane, ["1.50", "7.0"], "2001015070"), ["1"], "fewer digits");
    assert_eq!(whole(&mut plane, ["1.5000", "7.0"], "20000101500070"), ["1"], "more digits");
    assert_eq!(whole(&mut plane, ["1.50", "7.0"], "wrong"), ["checksum"]);
    assert_eq!(outcomes(&plane), [3, 0, 1]);
}

#[test]
fn a_book_without_levels_shows_no_scales() {
    let mut plane = on_scales();
    let empty = r#"{"lastUpdateId":1,"bids":[],"asks":[],"c":0}"#;
    assert_eq!(requested(&mut plane, empty), ["1"]);
    assert_eq!(whole(&mut plane, ["1.5", "7"], "wrong"), ["1"], "the scales are not known");
    assert_eq!(outcomes(&plane), [1, 1, 0]);
}

fn texts(items: Vec<Item>) -> Vec<String> {
    let text = |item: Item| match &item.payload {
        Payload::Book(book) => book.last_update_id.to_string(),
        Payload::MarketStale(reason) => reason.name().into(),
        other => panic!("{other:?}"),
    };
    items.into_iter().map(text).collect()
}

fn request(plane: &mut Plane, last: u64, text: &str) -> Vec<String> {
    let checksum = crc32(text);
    let frame = format!(r#"{{"lastUpdateId":{last},"bids":[["1","1"]],"asks":[["2","1"]],"c":{checksum}}}"#);
    requested(plane, &frame)
}

fn requested(plane: &mut Plane, frame: &str) -> Vec<String> {
    plane.feed.restart(0).unwrap();
    again(plane, frame)
}

/// Feeds a snapshot on the same connection.
fn again(plane: &mut Plane, frame: &str) -> Vec<String> {
    while plane.reader.has_work() {
        plane.reader.read(plane.dispatcher.watermark(), 64, &mut Vec::new());
    }
    plane.last = plane.dispatcher.watermark();
    let source = Source::Request(SymbolId::intern("BTC-USDT"));
    let events = plane.feed.frame_from(source, 0, frame.as_bytes(), 0).unwrap().events;
    texts(plane.read(events))
}

fn change_of(plane: &mut Plane, id: u64, [price, quantity]: [&str; 2], text: &str) -> Vec<String> {
    let (bid, checksum) = (format!(r#"["{price}","{quantity}"]"#), crc32(text));
    let frame = format!(
        r#"{{"e":"depthUpdate","E":{id},"s":"BTCUSDT","U":{id},"u":{id},"b":[{bid}],"a":[],"c":{checksum}}}"#
    );
    texts(plane.run(frame.as_bytes()))
}

fn update(id: u64, checksum: u32) -> String {
    format!(
        r#"{{"e":"depthUpdate","E":{id},"s":"BTCUSDT","U":{id},"u":{id},"b":[["1.50","{id}"]],"a":[],"c":{checksum}}}"#
    )
}

fn change(plane: &mut Plane, id: u64, checksum: u32) -> Vec<String> {
    texts(plane.run(update(id, checksum).as_bytes()))
}

#[test]
fn a_book_without_its_checksum_is_stale_until_a_snapshot() {
    let mut plane = plane();
    let right = crc32("1.5:101:2:1:1:1");
    let frame = plane.run(update(101, right).as_bytes());
    assert!(matches!(&frame[0].payload, Payload::Book(book) if book.checksum == Some(right)), "{frame:?}");
    drop(frame);
    assert_eq!(change(&mut plane, 102, 0), ["102"], "none was sent");
    assert_eq!(change(&mut plane, 103, 7), ["checksum"]);
    assert_eq!(plane.feed.unsynced(), [SymbolId::intern("BTC-USDT")]);
    assert!(change(&mut plane, 104, 7).is_empty(), "it waits for a snapshot");
    assert_eq!(request(&mut plane, 104, "1:1:2:1"), ["104"]);
    let stats = &plane.feed.stats;
    assert_eq!((stats.checksums_verified.get(), stats.checksums_failed.get()), (3, 1));
}

#[test]
fn the_verification_can_be_switched_off_and_on_while_the_feed_runs() {
    let mut plane = plane();
    let switch = Arc::clone(plane.feed.checksum_switch());
    for _ in 0..3 {
        assert_eq!(request(&mut plane, 200, "wrong"), ["checksum"]);
    }
    switch.store(false, Ordering::Relaxed);
    assert_eq!(request(&mut plane, 200, "wrong"), ["200"]);
    assert_eq!(change(&mut plane, 201, 7), ["201"], "neither is that of a change verified");
    assert_eq!(outcomes(&plane), [1, 2, 3]);
    assert_eq!(plane.feed.unverified(), [(SymbolId::intern("BTC-USDT"), (2, true))].into());
    switch.store(true, Ordering::Relaxed);
    assert_eq!(change(&mut plane, 202, 7), ["checksum"]);
    assert_eq!(outcomes(&plane), [1, 2, 4]);
}

#[test]
fn three_snapshots_in_a_row_that_fail_are_a_fault_of_their_symbol() {
    let mut plane = plane();
    assert_eq!(change(&mut plane, 101, 7), ["checksum"]);
    let snapshot = |plane: &mut Plane, last: u64, checksum: u32| {
        let levels = r#""bids":[["1","1"]],"asks":[["2","1"]]"#;
        again(plane, &format!(r#"{{"lastUpdateId":{last},{levels},"c":{checksum}}}"#))
    };
    let faults = |plane: &Plane| (plane.feed.checksum_faults(), plane.feed.stats.checksum_faults.get());
    for n in 0..4 {
        let expected = if n < 3 { vec![] } else { vec![SymbolId::intern("BTC-USDT")] };
        assert_eq!(faults(&plane), (expected, u64::from(n >= 3)), "{n}");
        assert_eq!(snapshot(&mut plane, 200 + n, 7), ["checksum"]);
    }
    assert_eq!(snapshot(&mut plane, 300, crc32("1:1:2:1")), ["300"]);
    assert_eq!(faults(&plane), (vec![], 1));
}
