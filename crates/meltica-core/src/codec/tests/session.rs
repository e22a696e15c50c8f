//! A recorded session, decoded and assembled, against the expected top of the book after each diff.

use super::{decoder, one};
use crate::book::{BookAssembler, DiffOutcome, SnapshotOutcome};
use crate::codec::{
    BookIds, CodecSpec, Convert, DecodeError, Decoded, FieldSpec, IdMode, Match, MessageSpec, Role,
    SequenceSpec, Sign, SnapshotMode, TimeSpec,
};
use crate::decimal::Decimal;
use crate::event::{Book, Kind, PriceLevel};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the lines of a compressed file of recorded data. Without the file, prints the reason and returns `None`.
fn recorded(name: &str) -> Option<Vec<u8>> {
    let near = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|dir| dir.join("shared"));
    let places: Vec<PathBuf> =
        std::env::var_os("MELTICA_SHARED").map(PathBuf::from).into_iter().chain(near).collect();
    let Some(file) = places.iter().map(|dir| dir.join("data/binance").join(name)).find(|file| file.is_file())
    else {
        println!("skipped: no shared/data/binance/{name} above the crate; set MELTICA_SHARED to its folder");
        return None;
    };
    match Command::new("gzip").arg("-dc").arg(&file).output() {
        Ok(output) if output.status.success() => Some(output.stdout),
        other => panic!("gzip -dc {}: {other:?}", file.display()),
    }
}

/// Splits `<receive time> <frame>` lines.
fn frames(session: &[u8]) -> impl Iterator<Item = &[u8]> {
    session.split(|b| *b == b'\n').filter_map(|line| Some(&line[line.iter().position(|b| *b == b' ')? + 1..]))
}

/// A row of expected tops: ids, best levels, numbers of levels.
#[derive(Debug, PartialEq)]
struct Row {
    ids: (u64, u64),
    bid: (Decimal, Decimal),
    ask: (Decimal, Decimal),
    counts: (u64, u64),
}

fn row(line: &str) -> Row {
    let after = |key: &str| &line[line.find(&format!("\"{key}\":")).unwrap() + key.len() + 3..];
    let whole = |key: &str| {
        let text = after(key).trim_start();
        text[..text.find(|c: char| !c.is_ascii_digit()).unwrap()].parse().unwrap()
    };
    let pair = |key: &str| {
        let mut texts = after(key).split('"');
        let mut next = || Decimal::parse(texts.nth(1).unwrap().as_bytes()).unwrap();
        (next(), next())
    };
    Row {
        ids: (whole("U"), whole("u")),
        bid: pair("bid"),
        ask: pair("ask"),
        counts: (whole("nb"), whole("na")),
    }
}

const fn snapshot_ids(last: u64) -> BookIds {
    BookIds::Range { first: last, last, prev: None }
}

fn top_row(book: &Book, first: u64) -> Row {
    let level = |level: PriceLevel| {
        let decimal = |mantissa: i64, scale| Decimal::new(i128::from(mantissa), scale).unwrap();
        (decimal(level.price, book.price_scale), decimal(level.quantity, book.quantity_scale))
    };
    Row {
        ids: (first, book.last_update_id),
        bid: level(book.bids[0]),
        ask: level(book.asks[0]),
        counts: (book.bid_count.into(), book.ask_count.into()),
    }
}

#[test]
fn every_diff_of_the_session_leaves_the_expected_top() {
    let (Some(session), Some(tops)) =
        (recorded("btcusdt_20240808.gz"), recorded("btcusdt_20240808_top.jsonl.gz"))
    else {
        return;
    };
    let mut expected = std::str::from_utf8(&tops).unwrap().lines().map(row);
    let (mut decoder, mut book, mut out) = (decoder(), BookAssembler::default(), Book::default());
    let mut counts = BTreeMap::new();
    let mut check = |book: &BookAssembler, first| {
        book.copy_top(1, &mut out);
        assert_eq!(Some(top_row(&out, first)), expected.next());
    };
    for frame in frames(&session) {
        let message = |message: Result<Decoded<'_>, DecodeError>| {
            let what = match message {
                Ok(Decoded::Event { kind, .. }) => kind.name(),
                Ok(Decoded::BookDiff { ids: ids @ BookIds::Range { first, .. }, levels, .. }) => {
                    match book.diff(ids, None, levels) {
                        DiffOutcome::Buffered => "buffered",
                        DiffOutcome::Applied => {
                            check(&book, first);
                            "applied"
                        }
                        other => panic!("{other:?}"),
                    }
                }
                Ok(Decoded::BookSnapshot { ids: BookIds::Range { last, .. }, levels, .. }) => {
                    let outcome = book.snapshot(snapshot_ids(last), SnapshotMode::Joins, levels, &mut check);
                    // The last of the three preceding diffs has updates beyond the snapshot.
                    assert_eq!(outcome, SnapshotOutcome::Synced { applied: 1 });
                    "snapshot"
                }
                other => panic!("{}: {other:?}", String::from_utf8_lossy(frame)),
            };
            *counts.entry(what).or_insert(0) += 1;
        };
        decoder.decode(frame, &mut (|_, _| true, message));
    }
    assert_eq!(expected.next(), None);
    assert_eq!((counts["buffered"], counts["applied"], counts["snapshot"]), (3, 3448, 1));
    assert_eq!((counts[Kind::Trade.name()], counts[Kind::Ticker.name()]), (9757, 28_040));
}

#[test]
fn a_lost_diff_is_a_gap_and_a_snapshot_synchronises_the_book() {
    let Some(session) = recorded("btcusdt_20240808.gz") else { return };
    let (mut decoder, mut lossy, mut whole) = (decoder(), BookAssembler::default(), BookAssembler::default());
    let (mut top, mut other, mut lost, mut gaps) = (Book::default(), Book::default(), false, 0);
    for frame in frames(&session) {
        let message = |message: Result<Decoded<'_>, DecodeError>| match message {
            Ok(Decoded::BookSnapshot { ids: BookIds::Range { last, .. }, levels, .. }) => {
                for book in [&mut whole, &mut lossy] {
                    book.snapshot(snapshot_ids(last), SnapshotMode::Joins, levels, |_, _| {});
                }
            }
            Ok(Decoded::BookDiff { ids: ids @ BookIds::Range { first, last, .. }, levels, .. }) => {
                let applied = whole.diff(ids, None, levels);
                if !lost && last % 100 == 7 && applied == DiffOutcome::Applied {
                    lost = true;
                    return;
                }
                let outcome = lossy.diff(ids, None, levels);
                whole.copy_top(usize::MAX, &mut top);
                if lost {
                    assert!(
                        matches!(outcome, DiffOutcome::Gap { received, .. } if received == first),
                        "{outcome:?}"
                    );
                    assert!(!lossy.is_good());
                    let mut levels = levels.clone();
                    (levels.bids, levels.asks) = (top.bids.clone(), top.asks.clone());
                    let outcome = lossy.snapshot(snapshot_ids(last), SnapshotMode::Joins, &levels, |_, _| {});
                    assert_eq!(outcome, SnapshotOutcome::Synced { applied: 0 });
                    (lost, gaps) = (false, gaps + 1);
                } else {
                    assert_eq!(outcome, applied);
                }
                lossy.copy_top(usize::MAX, &mut other);
                assert_eq!((&top.bids, &top.asks), (&other.bids, &other.asks));
            }
            _ => {}
        };
        decoder.decode(frame, &mut (|_, _| true, message));
    }
    assert!(gaps > 20, "{gaps}");
}

/// Returns the declaration of a different venue: bare numbers, text ids, dashes, nanoseconds, linked diffs, a checksum.
fn other_spec() -> CodecSpec {
    let field = |name: &str, path: &str, convert| FieldSpec {
        name: name.into(),
        path: path.into(),
        convert,
        required: false,
    };
    let message = |name: &str, role| MessageSpec {
        name: name.into(),
        role,
        matches: vec![Match::Equals("arg.channel".into(), name.into())],
        symbol: Some("arg.instId".into()),
        venue_time: Some(TimeSpec::Path("data.ts".into(), super::TimeUnit::Nanos)),
        ..MessageSpec::default()
    };
    let number = || Convert::Decimal(Sign::Positive);
    let mut trade = message("trades", Role::Event(Kind::Trade));
    trade.id = Some(("data.tradeId".into(), IdMode::Opaque));
    trade.fields = vec![
        field("id", "data.tradeId", Convert::Id),
        field("price", "data.px", number()),
        field("quantity", "data.sz", number()),
    ];
    let mut books = message("books", Role::BookDiff);
    books.levels = Some(super::LevelsSpec {
        bids: vec!["data.bids".into()],
        asks: vec!["data.asks".into()],
        sequence: SequenceSpec::Chain { last: "data.seqId".into(), prev: Some("data.prevSeqId".into()) },
        checksum: Some(super::ChecksumSpec {
            path: "data.checksum".into(),
            rule: super::ChecksumRule {
                levels: 25,
                layout: super::Layout::Interleaved,
                separator: ":".into(),
                digits: super::Digits::Shortest,
            },
            zero_is_none: true,
        }),
        ..super::LevelsSpec::default()
    });
    CodecSpec {
        name: "other".into(),
        symbols: vec![(
            String::new(),
            super::SymbolRule { separator: Some('-'), ..super::SymbolRule::default() },
        )],
        envelope: None,
        messages: vec![trade, books],
        ..CodecSpec::default()
    }
}

#[test]
fn a_different_venue_is_decoded() {
    let mut decoder = super::decoder_of(other_spec());
    let frame = br#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":{"tradeId":"a-7","px":42219.9,"sz":1.2E-1,"ts":"1630048897897000001"}}"#;
    let Ok(Decoded::Event { symbol, venue_time, id, payload, .. }) = one(&mut decoder, frame) else {
        panic!()
    };
    let crate::event::Payload::Trade(trade) = *payload else { panic!() };
    assert_eq!((symbol.name(), venue_time), ("BTC-USDT", Some(1_630_048_897_897_000_001)));
    assert_eq!((id.unwrap().to_string().as_str(), trade.side), ("a-7", None));
    assert_eq!(
        (trade.price, trade.quantity),
        (Decimal::parse(b"42219.9").unwrap(), Decimal::parse(b"0.12").unwrap())
    );
    let frame = br#"{"data":{"asks":[["41006.8","0.6","0","1"]],"bids":[[41006.3,0,"0","2"]],"ts":"1","checksum":-855196043,"prevSeqId":9,"seqId":12},"arg":{"instId":"BTC-USDT","channel":"books"}}"#;
    let decoded = one(&mut decoder, frame);
    let Ok(Decoded::BookDiff { ids, checksum, levels, .. }) = decoded else { panic!("{decoded:?}") };
    assert_eq!(ids, BookIds::Chain { last: 12, prev: Some(9) });
    assert_eq!(checksum, Some((-855_196_043_i32).cast_unsigned()));
    assert_eq!(levels.bids, [PriceLevel { price: 410_063, quantity: 0 }]);
}
