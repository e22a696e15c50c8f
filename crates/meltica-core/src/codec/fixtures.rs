//! Declarations of venues and one frame of each message, for tests and fuzzing. Not part of the product.

mod venues;

pub use venues::{VENUES, Venue};

use super::{
    CodecSpec, Convert, EnvelopeSpec, FieldSpec, IdMode, LevelsSpec, Match, MessageSpec, Role, SequenceSpec,
    Sign, SnapshotMode, SymbolRule, TimeSpec, TimeUnit,
};
use crate::event::Kind;

fn field(name: &str, path: &str, convert: Convert) -> FieldSpec {
    FieldSpec { name: name.into(), path: path.into(), convert, required: false }
}

fn equals(path: &str, value: &str) -> Vec<Match> {
    vec![Match::Equals(path.into(), value.into())]
}

fn present(paths: &[&str]) -> Vec<Match> {
    paths.iter().map(|path| Match::Present((*path).into())).collect()
}

fn message(name: &str, role: Role, matches: Vec<Match>) -> MessageSpec {
    let (symbol, venue_time) = (Some("s".into()), Some(TimeSpec::Path("E".into(), TimeUnit::Millis)));
    MessageSpec { name: name.into(), role, matches, symbol, venue_time, ..MessageSpec::default() }
}

fn trade(name: &str, id: &str) -> MessageSpec {
    let number = || Convert::Decimal(Sign::Positive);
    let sides = [("true", "Sell"), ("false", "Buy")].map(|(text, side)| (text.into(), side.into()));
    MessageSpec {
        venue_time: Some(TimeSpec::Path("T".into(), TimeUnit::Millis)),
        id: Some((id.into(), IdMode::Monotonic)),
        fields: vec![
            field("id", id, Convert::Id),
            field("side", "m", Convert::Enum(sides.into())),
            field("price", "p", number()),
            field("quantity", "q", number()),
        ],
        ..message(name, Role::Event(Kind::Trade), equals("e", name))
    }
}

fn best_fields(paths: [&str; 4]) -> Vec<FieldSpec> {
    let names = ["bid", "bid_quantity", "ask", "ask_quantity"];
    let convert = || Convert::Decimal(Sign::ZeroIsAbsent);
    names.iter().zip(paths).map(|(name, path)| field(name, path, convert())).collect()
}

fn best() -> Vec<FieldSpec> {
    best_fields(["b", "B", "a", "A"])
}

fn day_ticker() -> MessageSpec {
    let mut ticker = message("24hrTicker", Role::Event(Kind::Ticker), equals("e", "24hrTicker"));
    ticker.fields = best();
    ticker.fields.push(field("last", "c", Convert::Decimal(Sign::Positive)));
    ticker.fields.push(field("volume_24h", "v", Convert::Decimal(Sign::NonNegative)));
    ticker
}

fn book_ticker() -> MessageSpec {
    let mut ticker =
        message("bookTicker", Role::Event(Kind::Ticker), present(&["u", "s", "b", "B", "a", "A"]));
    ticker.matches.push(Match::Absent("e".into()));
    ticker.venue_time = None;
    ticker.id = Some(("u".into(), IdMode::Monotonic));
    ticker.fields = best();
    ticker
}

fn kline() -> MessageSpec {
    let number = || Convert::Decimal(Sign::Positive);
    let mut kline = message("kline", Role::Event(Kind::KlineSummary), equals("e", "kline"));
    kline.fields = vec![
        field("open", "k.o", number()),
        field("close", "k.c", number()),
        field("high", "k.h", number()),
        field("low", "k.l", number()),
        field("volume", "k.v", Convert::Decimal(Sign::NonNegative)),
        field("open_time", "k.t", Convert::Time(TimeUnit::Millis)),
        field("close_time", "k.T", Convert::Time(TimeUnit::Millis)),
        field("interval", "k.i", Convert::Text),
        field("closed", "k.x", Convert::Bool),
    ];
    kline
}

fn range(first: Option<&str>, last: &str) -> SequenceSpec {
    SequenceSpec::Range { first: first.map(Into::into), last: Some(last.into()), prev: None }
}

fn depth_update() -> MessageSpec {
    let mut diff = message("depthUpdate", Role::BookDiff, equals("e", "depthUpdate"));
    diff.levels = Some(LevelsSpec {
        bids: vec!["b".into()],
        asks: vec!["a".into()],
        sequence: range(Some("U"), "u"),
        ..LevelsSpec::default()
    });
    diff
}

fn depth() -> MessageSpec {
    let mut snapshot = message("depth", Role::BookSnapshot, present(&["lastUpdateId", "bids", "asks"]));
    (snapshot.symbol, snapshot.venue_time) = (None, None);
    snapshot.snapshot = Some(SnapshotMode::Joins);
    snapshot.levels = Some(LevelsSpec {
        bids: vec!["bids".into()],
        asks: vec!["asks".into()],
        sequence: range(None, "lastUpdateId"),
        ..LevelsSpec::default()
    });
    snapshot
}

/// Returns the declaration of Binance's spot market data.
pub fn binance_spec() -> CodecSpec {
    CodecSpec {
        name: "binance".into(),
        symbols: vec![(
            String::new(),
            SymbolRule {
                quotes: ["USD", "USDT", "BTC", "USDC", "FDUSD", "ETH"].map(String::from).into(),
                explicit: vec![("TUSDT".into(), "T-USDT".into())],
                ..SymbolRule::default()
            },
        )],
        envelope: Some(EnvelopeSpec {
            payload: "data".into(),
            stream: "stream".into(),
            symbol_separator: Some('@'),
        }),
        messages: vec![
            book_ticker(),
            trade("trade", "t"),
            trade("aggTrade", "a"),
            depth_update(),
            day_ticker(),
            kline(),
            depth(),
        ],
        ..CodecSpec::default()
    }
}

/// A trade.
pub const TRADE: &str = r#"{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}"#;
/// An aggregate trade, of another symbol, with the greatest id.
pub const AGG: &str = r#"{"e":"aggTrade","E":1723161255343,"s":"ETHBTC","a":18446744073709551615,"p":"0.0123","q":7,"f":1,"l":2,"T":1723161255342,"m":false,"M":true}"#;
/// The best bid and ask.
pub const BOOK_TICKER: &str = r#"{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}"#;
/// A 24-hour ticker.
pub const TICKER: &str = r#"{"e":"24hrTicker","E":1723161255343,"s":"BTCUSDT","p":"-12.5","P":"-0.2","w":"1","x":"2","c":"61837.64","Q":"0.1","b":"61837.63","B":"3.78","a":"61837.64","A":"0.00000000","o":"1","h":"2","l":"0.5","v":"12345.678","q":"9","O":1,"C":2,"F":0,"L":18150,"n":18151}"#;
/// A candle.
pub const KLINE: &str = r#"{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000,"T":1672515839999,"s":"BNBBTC","i":"1m","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015","v":"1000","n":100,"x":false,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}"#;
/// Changed levels of a book.
pub const DIFF: &str = r#"{"e":"depthUpdate","E":1723161255308,"s":"BTCUSDT","U":50093239203,"u":50093239207,"b":[["55653.87000000","0.00000000"]],"a":[["61838.04000000","0.32332000"],["61844.30000000","0.40163000"]]}"#;
/// A book snapshot that does not name its symbol.
pub const SNAPSHOT: &str = r#"{"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"]],"asks":[["61837.64000000","0.61700000"]]}"#;

/// One frame of each message.
pub const ALL: [&str; 7] = [TRADE, AGG, BOOK_TICKER, TICKER, KLINE, DIFF, SNAPSHOT];

/// Puts a frame into its envelope, as combined streams do.
pub fn wrap(frame: &str) -> String {
    format!(r#"{{"stream":"btcusdt@x","data":{frame}}}"#)
}
