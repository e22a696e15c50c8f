//! Checksums of the venue: a book that does not have its checksum is stale until a snapshot.

use super::*;
use crate::codec::{ChecksumRule, ChecksumSpec, Digits, Layout, LevelsSpec, SequenceSpec};
use crate::instrument::Instrument;
use crate::instrument::tests::listed;

fn crc32(text: &str) -> u32 {
    !text.bytes().fold(!0, |crc: u32, byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

/// Returns a feed of diffs with a checksum in `c`, whose book has the bid 1 and the ask 2; `change` changes the levels.
fn plane_with(change: impl Fn(&mut LevelsSpec)) -> Plane {
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
        change(levels);
    }
    plane.feed.decoder = Some(Decoder::new(Codec::compile(spec).unwrap(), plane.feed.publisher.provider()));
    assert_eq!(request(&mut plane, 100, "1:1:2:1"), ["100"]);
    plane
}

fn plane() -> Plane {
    plane_with(|_| ())
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

/// Returns a snapshot with a bid of the given notation and the ask 2 of 1.
fn bid(price: &str, quantity: &str, id: u64, text: &str) -> String {
    let bid = format!(r#"["{price}","{quantity}"]"#);
    format!(r#"{{"lastUpdateId":{id},"bids":[{bid}],"asks":[["2","1"]],"c":{}}}"#, crc32(text))
}

/// Feeds such a snapshot, on a new connection.
fn whole(plane: &mut Plane, [price, quantity]: [&str; 2], text: &str) -> Vec<String> {
    requested(plane, &bid(price, quantity, 1, text))
}

/// Returns the checksums of a feed: verified, unverified, failed.
fn outcomes(plane: &Plane) -> [u64; 3] {
    let stats = &plane.feed.stats;
    [&stats.checksums_verified, &stats.checksums_unverified, &stats.checksums_failed]
        .map(crate::stats::Counter::get)
}

/// Lists the digits of the instrument.
fn list(plane: &mut Plane, price: u8, quantity: u8) {
    let symbol = SymbolId::intern("BTC-USDT");
    let instrument = Instrument {
        venue: "FEED-TESTS".into(),
        price_precision: Some(price),
        quantity_precision: Some(quantity),
        ..listed("BTC-USDT")
    };
    let origin = Origin { kind: Kind::InstrumentUpdate, symbol, venue_time: None, received_time: 0 };
    assert!(plane.feed.publish(origin, Payload::Instrument(Box::new(instrument))).unwrap());
    plane.read(1);
}

#[test]
fn scales_are_those_that_give_a_checksum() {
    let mut plane = on_scales();
    // The venue has 2 and 3 digits; the message shows fewer, as if its zeros had been dropped.
    assert_eq!(whole(&mut plane, ["1.5", "7"], "20010001507000"), ["1"]);
    assert_eq!(change_of(&mut plane, 2, ["1.25", "0.125"], "200100015070001251 25"), ["checksum"]);
    assert_eq!(whole(&mut plane, ["1.5", "7"], "20010001507000"), ["1"]);
    assert_eq!(change_of(&mut plane, 2, ["1.25", "0.125"], "20010001507000125125"), ["2"]);
    assert_eq!((outcomes(&plane), plane.feed.checksum_faults()), ([3, 0, 1], BTreeMap::new()));
    assert_eq!(plane.feed.unverified(), BTreeMap::new());
}

#[test]
fn checksums_that_no_scale_gives_are_unverified_twice_and_then_wrong() {
    let mut plane = on_scales();
    assert_eq!(whole(&mut plane, ["1.5", "7"], "wrong"), ["1"], "another layout may be declared");
    assert_eq!(change_of(&mut plane, 2, ["1.25", "0.125"], "wrong"), ["2"]);
    assert_eq!(plane.feed.unverified(), [(SymbolId::intern("BTC-USDT"), (2, false))].into());
    assert_eq!(change_of(&mut plane, 3, ["1.25", "2"], "wrong"), ["checksum"]);
    for n in 0..3 {
        assert_eq!(plane.feed.stats.checksum_faults.get(), 0, "{n}");
        assert_eq!(again(&mut plane, &bid("1.5", "7", 100 + n, "wrong")), ["checksum"]);
    }
    assert_eq!((outcomes(&plane), plane.feed.stats.checksum_faults.get()), ([0, 2, 4], 1));
    assert_eq!(plane.feed.checksum_faults(), BTreeMap::from([("BTC-USDT", "snapshots")]));
}

#[test]
fn digits_that_the_listed_scale_does_not_have_show_that_the_list_is_wrong() {
    for listed in [(0, 3), (2, 0), (0, 0)] {
        let mut plane = on_scales();
        list(&mut plane, listed.0, listed.1);
        assert_eq!(whole(&mut plane, ["1.25", "0.125"], "2001000125125"), ["1"]);
        let faults = |plane: &Plane| (plane.feed.stats.scale_faults.get(), plane.feed.checksum_faults());
        let named = || (1, BTreeMap::from([("BTC-USDT", "decimals")]));
        assert_eq!((outcomes(&plane), faults(&plane)), ([1, 0, 0], named()), "{listed:?}");
        list(&mut plane, listed.0, listed.1);
        assert_eq!(change_of(&mut plane, 2, ["1.1", "1"], "20010001251251101000"), ["2"], "as proved");
        assert_eq!(change_of(&mut plane, 3, ["1.1", "2"], "wrong"), ["checksum"]);
        assert_eq!((outcomes(&plane), faults(&plane)), ([2, 0, 1], named()));
        list(&mut plane, 2, 3);
        assert_eq!(faults(&plane), (1, BTreeMap::new()), "the list was corrected");
    }
}

#[test]
fn a_checksum_that_is_wrong_on_all_scales_fails_although_the_listed_one_does_not_have_the_digits() {
    let mut plane = on_scales();
    list(&mut plane, 1, 8);
    assert_eq!(whole(&mut plane, ["1.5", "7"], "2010000000015700000000"), ["1"]);
    assert_eq!(change_of(&mut plane, 2, ["1.25", "7"], "of a book with one more level"), ["checksum"]);
    assert_eq!(outcomes(&plane), [1, 0, 1]);
}

#[test]
fn numbers_that_do_not_fit_the_listed_scale_are_verified() {
    let mut plane = on_scales();
    list(&mut plane, 2, 8);
    let text = format!("200100000000150{}00000000", "92233720368547");
    assert_eq!(whole(&mut plane, ["1.5", "92233720368547"], &text), ["1"]);
    assert_eq!(outcomes(&plane), [1, 0, 0]);
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
    assert_eq!(whole(&mut plane, ["1.5", "7"], "wrong"), ["1"], "no scale is known");
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
        let expected = (n >= 3).then_some(("BTC-USDT", "snapshots"));
        assert_eq!(faults(&plane), (expected.into_iter().collect(), u64::from(n >= 3)), "{n}");
        assert_eq!(snapshot(&mut plane, 200 + n, 7), ["checksum"]);
    }
    assert_eq!(snapshot(&mut plane, 300, crc32("1:1:2:1")), ["300"]);
    assert_eq!(faults(&plane), (BTreeMap::new(), 1));
}

#[test]
fn a_message_that_confirms_the_book_has_its_checksum() {
    let mut plane = plane_with(|levels| {
        if let SequenceSpec::Range { last: Some(last), first, .. } = &levels.sequence {
            levels.sequence = SequenceSpec::Chain { last: last.clone(), prev: first.clone() };
        }
    });
    assert_eq!(request(&mut plane, 100, "1:1:2:1"), ["100"]);
    let heartbeat = |checksum| {
        format!(r#"{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":100,"u":100,"b":[],"a":[],"c":{checksum}}}"#)
    };
    assert!(plane.run(heartbeat(crc32("1:1:2:1")).as_bytes()).is_empty());
    assert!(plane.run(heartbeat(0).as_bytes()).is_empty(), "none was sent");
    assert_eq!((outcomes(&plane), plane.feed.stats.heartbeats.get()), ([3, 0, 0], 2));
    assert_eq!(texts(plane.run(heartbeat(7).as_bytes())), ["checksum"]);
    assert!(plane.run(heartbeat(7).as_bytes()).is_empty(), "it waits for a snapshot");
    assert_eq!(outcomes(&plane), [3, 0, 1]);
}
