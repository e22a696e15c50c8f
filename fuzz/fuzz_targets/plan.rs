//! Compiles any declaration and decodes any bytes with the result.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use meltica_core::codec::{
    ChecksumRule, ChecksumSpec, Codec, CodecSpec, Column, Convert, DecodeError, Decoded, Decoder, Depth,
    Digits, EnvelopeSpec, FieldSpec, IdMode, Layout, LevelsSpec, Match, MessageSpec, Role, RowSpec,
    SequenceSpec, Sign, SnapshotMode, SymbolRule, TextSpec, TimeSpec, TimeUnit,
};
use meltica_core::event::Kind;
use meltica_core::names::ProviderId;
use std::sync::Arc;

type Result<T> = arbitrary::Result<T>;

/// Keys that are equal, nested, or have equal words in the compiler's tables.
const KEYS: [&str; 19] = [
    "a",
    "b",
    "p",
    "q",
    "s",
    "t",
    "k",
    "k.o",
    "k.o.x",
    "data.px",
    "a_key_of_many_bytes",
    "a_key_of_more_bytes",
    "..",
    "",
    "@.p",
    "@[0]",
    "@[-1]",
    "[1].b",
    "k[].s",
];
const NAMES: [&str; 9] = ["id", "side", "price", "quantity", "last", "bid", "open", "interval", "closed"];

fn path(u: &mut Unstructured) -> Result<String> {
    if u.ratio(1, 12)? { String::arbitrary(u) } else { Ok((*u.choose(&KEYS)?).to_owned()) }
}

fn optional<T>(u: &mut Unstructured, make: impl FnOnce(&mut Unstructured) -> Result<T>) -> Result<Option<T>> {
    if u.arbitrary()? { make(u).map(Some) } else { Ok(None) }
}

fn many<T>(
    u: &mut Unstructured,
    most: usize,
    make: impl Fn(&mut Unstructured) -> Result<T>,
) -> Result<Vec<T>> {
    let n = u.int_in_range(0..=most)?;
    (0..n).map(|_| make(u)).collect()
}

fn unit(u: &mut Unstructured) -> Result<TimeUnit> {
    u.choose(&[
        TimeUnit::Seconds,
        TimeUnit::Millis,
        TimeUnit::Micros,
        TimeUnit::Nanos,
        TimeUnit::DecimalSeconds,
        TimeUnit::Rfc3339,
    ])
    .copied()
}

fn convert(u: &mut Unstructured) -> Result<Convert> {
    Ok(match u.int_in_range(0..=5)? {
        0 => Convert::Decimal(*u.choose(&[
            Sign::Positive,
            Sign::NonNegative,
            Sign::ZeroIsAbsent,
            Sign::Any,
        ])?),
        1 => Convert::Enum(many(u, 3, |u| {
            Ok((String::arbitrary(u)?, (*u.choose(&["Buy", "Sell", "x"])?).to_owned()))
        })?),
        2 => Convert::Id,
        3 => Convert::Time(unit(u)?),
        4 => Convert::Text,
        _ => Convert::Bool,
    })
}

fn field(u: &mut Unstructured) -> Result<FieldSpec> {
    let name = (*u.choose(&NAMES)?).to_owned();
    Ok(FieldSpec { name, path: path(u)?, convert: convert(u)?, required: u.arbitrary()? })
}

fn text(u: &mut Unstructured) -> Result<TextSpec> {
    let part = optional(u, |u| Ok((char::arbitrary(u)?, i32::arbitrary(u)?)))?;
    Ok(TextSpec { path: path(u)?, part })
}

fn condition(u: &mut Unstructured) -> Result<Match> {
    Ok(match u.int_in_range(0..=5)? {
        0 => Match::Equals(text(u)?, String::arbitrary(u)?),
        1 => Match::Present(path(u)?),
        2 => Match::Prefix(text(u)?, String::arbitrary(u)?),
        3 => Match::OneOf(text(u)?, many(u, 2, |u| u.arbitrary())?),
        4 => Match::Absent(path(u)?),
        _ => Match::Whole(String::arbitrary(u)?),
    })
}

fn column(u: &mut Unstructured) -> Result<Column> {
    Ok(if u.arbitrary()? { Column::At(u.arbitrary()?) } else { Column::Key(path(u)?) })
}

fn row(u: &mut Unstructured) -> Result<RowSpec> {
    if u.arbitrary()? {
        return Ok(RowSpec::default());
    }
    Ok(RowSpec {
        price: column(u)?,
        quantity: column(u)?,
        side: optional(u, column)?,
        sides: many(u, 2, |u| Ok((String::arbitrary(u)?, "Buy".to_owned())))?,
        time: optional(u, |u| Ok((column(u)?, unit(u)?)))?,
    })
}

fn sequence(u: &mut Unstructured) -> Result<SequenceSpec> {
    Ok(match u.int_in_range(0..=2)? {
        0 => SequenceSpec::Range {
            first: optional(u, path)?,
            last: optional(u, path)?,
            prev: optional(u, path)?,
        },
        1 => SequenceSpec::Chain { last: path(u)?, prev: optional(u, path)? },
        _ => SequenceSpec::Unnumbered,
    })
}

fn checksum(u: &mut Unstructured) -> Result<ChecksumSpec> {
    let rule = ChecksumRule {
        levels: u.int_in_range(0..=25)?,
        layout: *u.choose(&[Layout::AsksBids, Layout::Interleaved])?,
        separator: String::new(),
        digits: *u.choose(&[Digits::Mantissa, Digits::Shortest])?,
    };
    Ok(ChecksumSpec { path: path(u)?, rule, zero_is_none: u.arbitrary()? })
}

fn message(u: &mut Unstructured) -> Result<MessageSpec> {
    let roles = [
        Role::Event(Kind::Trade),
        Role::Event(Kind::Ticker),
        Role::Event(Kind::KlineSummary),
        Role::Event(Kind::Extension),
        Role::Event(Kind::BookGap),
        Role::BookDiff,
        Role::BookSnapshot,
        Role::Event(Kind::InstrumentUpdate),
        Role::Control,
    ];
    Ok(MessageSpec {
        name: (*u.choose(&["one", "two", "three", "four"])?).to_owned(),
        role: *u.choose(&roles)?,
        matches: many(u, 3, condition)?,
        each: optional(u, |u| Ok((*u.choose(&["a", "data", "k[].o", "[]", "[1]", "data[1]"])?).to_owned()))?,
        symbol: optional(u, text)?,
        keep: u.arbitrary()?,
        also: u.arbitrary()?,
        depth: u.arbitrary::<bool>()?.then(|| path(u)).transpose()?,
        venue_time: optional(u, |u| {
            Ok(if u.arbitrary()? { TimeSpec::NewestLevel } else { TimeSpec::Path(path(u)?, unit(u)?) })
        })?,
        id: optional(u, |u| Ok((path(u)?, *u.choose(&[IdMode::Monotonic, IdMode::Opaque])?)))?,
        fields: many(u, 8, field)?,
        extension: optional(u, |u| u.arbitrary())?,
        snapshot: optional(u, |u| {
            Ok(*u.choose(&[
                SnapshotMode::Joins,
                SnapshotMode::Replaces,
                SnapshotMode::Window,
                SnapshotMode::History,
            ])?)
        })?,
        levels: optional(u, |u| {
            Ok(LevelsSpec {
                bids: many(u, 2, path)?,
                asks: many(u, 2, path)?,
                changes: optional(u, path)?,
                row: row(u)?,
                sequence: sequence(u)?,
                checksum: optional(u, checksum)?,
                depth: optional(u, |u| {
                    Ok(if u.arbitrary()? {
                        Depth::Snapshot(u.arbitrary()?)
                    } else {
                        Depth::Levels(u.arbitrary()?)
                    })
                })?,
            })
        })?,
    })
}

#[derive(Debug)]
struct Spec(CodecSpec);

impl<'a> Arbitrary<'a> for Spec {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let quote = |u: &mut Unstructured| Ok((*u.choose(&["USDT", "USD", "btc", "u$"])?).to_owned());
        let explicit = |u: &mut Unstructured| Ok((String::arbitrary(u)?, "A-B".to_owned()));
        Ok(Self(CodecSpec {
            name: "any".into(),
            symbols: vec![(
                String::new(),
                SymbolRule {
                    quotes: many(u, 3, quote)?,
                    separator: u.arbitrary()?,
                    explicit: many(u, 2, explicit)?,
                    ..SymbolRule::default()
                },
            )],
            envelope: optional(u, |u| {
                Ok(EnvelopeSpec { payload: path(u)?, stream: path(u)?, symbol_separator: u.arbitrary()? })
            })?,
            messages: many(u, 4, message)?,
            connection_sequence: optional(u, path)?,
            ..CodecSpec::default()
        }))
    }
}

fuzz_target!(|input: (Spec, bool, Vec<Vec<u8>>)| {
    let (Spec(spec), wanted, frames) = input;
    match Codec::compile(spec) {
        Ok(codec) => {
            let mut decoder = Decoder::new(codec, ProviderId::intern("fuzz"));
            for frame in frames {
                let codec = Arc::clone(decoder.codec());
                let check = |decoded: std::result::Result<Decoded<'_>, DecodeError>| {
                    if let Err(error) = decoded {
                        assert!(!codec.describe(&error).is_empty());
                    }
                };
                decoder.decode(&frame, &mut (|_, _| wanted, check));
            }
        }
        Err(error) => assert!(!error.faults.is_empty()),
    }
});
