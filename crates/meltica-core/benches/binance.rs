//! Four messages of Binance, declared as the adapter declares them.

use meltica_core::codec::{
    Codec, CodecSpec, Convert, EnvelopeSpec, FieldSpec, IdMode, LevelsSpec, Match, MessageSpec, Role,
    SequenceSpec, Sign, SymbolRule, TimeSpec, TimeUnit,
};
use meltica_core::event::Kind;
use std::sync::Arc;

/// Returns the compiled declaration.
pub fn codec() -> Arc<Codec> {
    let spec = CodecSpec {
        name: "binance".into(),
        symbols: vec![(String::new(), SymbolRule { quotes: vec!["USDT".into()], ..SymbolRule::default() })],
        envelope: Some(EnvelopeSpec {
            payload: "data".into(),
            stream: "stream".into(),
            symbol_separator: Some('@'),
        }),
        messages: vec![trade(), day_ticker(), book_ticker(), depth_update()],
        ..CodecSpec::default()
    };
    Codec::compile(spec).expect("Invariant: the declaration compiles")
}

fn message(name: &str, role: Role, matches: Vec<Match>) -> MessageSpec {
    MessageSpec { name: name.into(), role, matches, symbol: Some("s".into()), ..MessageSpec::default() }
}

fn is(event: &str) -> Vec<Match> {
    vec![Match::Equals("e".into(), event.into())]
}

fn field(name: &str, path: &str, convert: Convert) -> FieldSpec {
    FieldSpec { name: name.into(), path: path.into(), convert, required: false }
}

fn trade() -> MessageSpec {
    let sides = [("true", "Sell"), ("false", "Buy")].map(|(text, side)| (text.into(), side.into()));
    MessageSpec {
        venue_time: Some(TimeSpec::Path("T".into(), TimeUnit::Millis)),
        id: Some(("t".into(), IdMode::Monotonic)),
        fields: vec![
            field("id", "t", Convert::Id),
            field("side", "m", Convert::Enum(sides.into())),
            field("price", "p", Convert::Decimal(Sign::Positive)),
            field("quantity", "q", Convert::Decimal(Sign::Positive)),
        ],
        ..message("trade", Role::Event(Kind::Trade), is("trade"))
    }
}

fn best() -> Vec<FieldSpec> {
    let best = [("bid", "b"), ("bid_quantity", "B"), ("ask", "a"), ("ask_quantity", "A")];
    best.map(|(name, path)| field(name, path, Convert::Decimal(Sign::ZeroIsAbsent))).into()
}

fn day_ticker() -> MessageSpec {
    let mut fields = best();
    fields.push(field("last", "c", Convert::Decimal(Sign::ZeroIsAbsent)));
    fields.push(field("volume_24h", "v", Convert::Decimal(Sign::NonNegative)));
    MessageSpec {
        venue_time: Some(TimeSpec::Path("E".into(), TimeUnit::Millis)),
        fields,
        ..message("24hrTicker", Role::Event(Kind::Ticker), is("24hrTicker"))
    }
}

fn book_ticker() -> MessageSpec {
    let present = ["u", "B", "A"].map(|path| Match::Present(path.into()));
    MessageSpec {
        id: Some(("u".into(), IdMode::Monotonic)),
        fields: best(),
        ..message(
            "bookTicker",
            Role::Event(Kind::Ticker),
            [&[Match::Absent("e".into())], &present[..]].concat(),
        )
    }
}

fn depth_update() -> MessageSpec {
    let levels = LevelsSpec {
        bids: vec!["b".into()],
        asks: vec!["a".into()],
        sequence: SequenceSpec::Range { first: Some("U".into()), last: Some("u".into()), prev: None },
        ..LevelsSpec::default()
    };
    MessageSpec {
        venue_time: Some(TimeSpec::Path("E".into(), TimeUnit::Millis)),
        levels: Some(levels),
        ..message("depthUpdate", Role::BookDiff, is("depthUpdate"))
    }
}
