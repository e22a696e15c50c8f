//! Applies diffs and snapshots of varying scales to a book and compares it with a sorted map of exact numbers.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use meltica_core::book::{BookAssembler, DiffOutcome, SnapshotOutcome};
use meltica_core::codec::fixtures::binance_spec;
use meltica_core::codec::{BookIds, Codec, DecodeError, Decoded, Decoder, SnapshotMode};
use meltica_core::decimal::Decimal;
use meltica_core::event::{Book, PriceLevel};
use meltica_core::names::ProviderId;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

static CODEC: LazyLock<Arc<Codec>> =
    LazyLock::new(|| Codec::compile(binance_spec()).expect("the fixture compiles"));

#[derive(Debug, Arbitrary)]
struct Number {
    mantissa: u16,
    /// The number of zeros to add before the point.
    power: u8,
    scale: u8,
}

#[derive(Debug, Arbitrary)]
struct Message {
    snapshot: bool,
    /// The number of ids skipped between the book and this message, usually zero.
    skipped: u8,
    ids: u8,
    bids: Vec<(Number, Number)>,
    asks: Vec<(Number, Number)>,
}

impl Number {
    fn text(&self, least: u16) -> String {
        let (whole, zeros) = (self.mantissa.max(least), usize::from(self.power % 12));
        let number = format!("{whole}{}", "0".repeat(zeros));
        let scale = usize::from(self.scale % 12);
        let padded = format!("{number:0>width$}", width = scale + 1);
        let (before, after) = padded.split_at(padded.len() - scale);
        if after.is_empty() { before.to_owned() } else { format!("{before}.{after}") }
    }
}

type Side = BTreeMap<Decimal, Decimal>;

fn apply(side: &mut Side, levels: &[(String, String)]) {
    for (price, quantity) in levels {
        let read = |text: &String| text.parse::<Decimal>().expect("plain digits");
        side.insert(read(price), read(quantity));
    }
    side.retain(|_, quantity| !quantity.is_zero());
}

fn json(levels: &[(String, String)]) -> String {
    let mut out = String::from("[");
    for (i, (price, quantity)) in levels.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(out, r#"{comma}["{price}","{quantity}"]"#);
    }
    out + "]"
}

fn decimals(levels: &[PriceLevel], book: &Book) -> Vec<(Decimal, Decimal)> {
    let decimal = |mantissa: i64, scale| Decimal::new(i128::from(mantissa), scale).expect("a small scale");
    let level =
        |l: &PriceLevel| (decimal(l.price, book.price_scale), decimal(l.quantity, book.quantity_scale));
    levels.iter().map(level).collect()
}

fuzz_target!(|messages: Vec<Message>| {
    let mut decoder = Decoder::new(Arc::clone(&CODEC), ProviderId::intern("fuzz"));
    let (mut book, mut bids, mut asks) = (BookAssembler::default(), Side::new(), Side::new());
    let (mut synced, mut last) = (false, 0u64);
    for message in messages.iter().take(64) {
        let texts = |levels: &[(Number, Number)]| {
            levels.iter().map(|(price, quantity)| (price.text(1), quantity.text(0))).collect::<Vec<_>>()
        };
        let (b, a) = (texts(&message.bids), texts(&message.asks));
        let first = last + 1 + u64::from(message.skipped % 8 == 7);
        let end = first + u64::from(message.ids);
        let frame = if message.snapshot {
            format!(r#"{{"lastUpdateId":{end},"bids":{},"asks":{}}}"#, json(&b), json(&a))
        } else {
            let (b, a) = (json(&b), json(&a));
            format!(r#"{{"e":"depthUpdate","s":"BTCUSDT","U":{first},"u":{end},"b":{b},"a":{a}}}"#)
        };
        let mut good = None;
        let apply_message = |decoded: Result<Decoded<'_>, DecodeError>| match decoded {
            Err(error) => assert_eq!(error.kind(), "overflow", "{frame}"),
            Ok(Decoded::BookDiff { ids: ids @ BookIds::Range { .. }, levels, .. }) => {
                let outcome = book.diff(ids, None, levels);
                match outcome {
                    DiffOutcome::Gap { .. } => assert_eq!(message.skipped % 8, 7),
                    DiffOutcome::Buffered | DiffOutcome::BufferFull { .. } => assert!(!synced),
                    DiffOutcome::Applied | DiffOutcome::Crossed | DiffOutcome::Overflow => assert!(synced),
                    other => panic!("the ids grow and the snapshots are not crossed: {other:?}"),
                }
                good = Some(outcome == DiffOutcome::Applied);
            }
            Ok(Decoded::BookSnapshot { ids: BookIds::Range { last, .. }, levels, .. }) => {
                // Buffered diffs are older than this snapshot.
                let outcome = book.snapshot(
                    BookIds::Range { first: last, last, prev: None },
                    SnapshotMode::Joins,
                    levels,
                    |_, _| panic!("buffered diffs are older"),
                );
                bids.clear();
                asks.clear();
                good = Some(outcome == SnapshotOutcome::Synced { applied: 0 });
            }
            other => panic!("{other:?}"),
        };
        decoder.decode(frame.as_bytes(), &mut (|_, _| true, apply_message));
        let Some(good) = good else { continue };
        (last, synced) = (end, book.is_good());
        assert_eq!(good, synced);
        if !good {
            continue;
        }
        apply(&mut bids, &b);
        apply(&mut asks, &a);
        let mut out = Book::default();
        book.copy_top(usize::MAX, &mut out);
        assert!(
            decimals(&out.bids, &out).into_iter().eq(bids.iter().rev().map(|(p, q)| (*p, *q))),
            "{frame}"
        );
        assert!(decimals(&out.asks, &out).into_iter().eq(asks.iter().map(|(p, q)| (*p, *q))), "{frame}");
        assert_eq!((out.bid_count as usize, out.ask_count as usize), (bids.len(), asks.len()));
    }
});
