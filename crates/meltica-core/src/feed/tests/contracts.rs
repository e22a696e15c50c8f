//! Instruments of the stream, and quantities that the venue counts in contracts.

use super::*;
use crate::codec::{
    ChecksumRule, ChecksumSpec, Convert, Digits, FieldSpec, Layout, LevelsSpec, Role, Sign, SnapshotMode,
    SymbolRule, TimeUnit,
};
use crate::instrument::Instrument;

fn names(pairs: &[(&str, &str)]) -> Convert {
    Convert::Enum(pairs.iter().map(|(text, name)| ((*text).into(), (*name).into())).collect())
}

fn field(name: &str, path: &str) -> FieldSpec {
    FieldSpec {
        name: name.into(),
        path: path.into(),
        convert: match name {
            "contract_currency" => Convert::Text,
            "status" => names(&[("live", "Trading"), ("suspend", "Halted")]),
            "id" => Convert::Id,
            "interval" => names(&[("candle1m", "1m")]),
            "open_time" => Convert::Time(TimeUnit::Seconds),
            _ => Convert::Decimal(Sign::Positive),
        },
        required: false,
    }
}

/// Returns a feed of a venue whose derivatives are in contracts, with instruments in the stream.
fn plane() -> Plane {
    let message = |name: &str, role, fields: &[(&str, &str)]| MessageSpec {
        name: name.into(),
        role,
        matches: vec![Match::Equals("ch".into(), name.into())],
        symbol: Some("s".into()),
        fields: fields.iter().map(|(name, path)| field(name, path)).collect(),
        ..MessageSpec::default()
    };
    let rule = ChecksumRule {
        levels: 25,
        layout: Layout::Interleaved,
        separator: ":".into(),
        digits: Digits::Shortest,
    };
    let instrument = [
        ("price_increment", "tick"),
        ("quantity_increment", "lot"),
        ("min_quantity", "min"),
        ("contract_value", "val"),
        ("contract_multiplier", "mult"),
        ("contract_currency", "ccy"),
        ("status", "state"),
    ];
    let candle =
        [("open", "p"), ("high", "p"), ("low", "p"), ("close", "p"), ("volume", "q"), ("open_time", "t")];
    let mut spec = binance_spec();
    (spec.name, spec.envelope) = ("okx".into(), None);
    let dashed = SymbolRule { separator: Some('-'), ..SymbolRule::default() };
    let symbols = [("", SymbolRule { contracts: true, ..dashed.clone() }), ("base", dashed)];
    spec.symbols =
        symbols.map(|(name, rule)| (if name.is_empty() { "swap" } else { name }.into(), rule)).into();
    spec.messages = vec![
        message("instruments", Role::Event(Kind::InstrumentUpdate), &instrument),
        message("trades", Role::Event(Kind::Trade), &[("id", "i"), ("price", "p"), ("quantity", "q")]),
        message(
            "tickers",
            Role::Event(Kind::Ticker),
            &[("bid", "b"), ("bid_quantity", "B"), ("ask", "a"), ("ask_quantity", "A"), ("volume_24h", "v")],
        ),
        message("candle1m", Role::Event(Kind::KlineSummary), &[&candle[..], &[("interval", "ch")]].concat()),
        MessageSpec {
            snapshot: Some(SnapshotMode::Replaces),
            levels: Some(LevelsSpec {
                bids: vec!["b".into()],
                asks: vec!["a".into()],
                checksum: Some(ChecksumSpec { path: "c".into(), rule, zero_is_none: false }),
                ..LevelsSpec::default()
            }),
            ..message("books", Role::BookSnapshot, &[])
        },
    ];
    let mut plane = Plane::new();
    let publisher = Publisher::new(&plane.dispatcher, ProviderId::intern("feed-tests"));
    plane.feed = Feed::new(publisher, Some(Codec::compile(spec).unwrap()));
    plane.feed.set_category(9, 1);
    plane
}

fn frame(of: &str, symbol: &str, values: &str) -> String {
    format!(r#"{{"ch":"{of}","s":"{symbol}",{values}}}"#)
}

fn listed(symbol: &str, value: &str, multiplier: &str, currency: &str) -> String {
    let values = r#""tick":"0.10","lot":"1","min":"2","state":"live""#;
    let contract = format!(r#""val":"{value}","mult":"{multiplier}","ccy":"{currency}""#);
    frame("instruments", symbol, &format!("{values},{contract}"))
}

fn instrument(plane: &mut Plane, frame: &str) -> Instrument {
    let items = plane.run(frame.as_bytes());
    let [Payload::Instrument(instrument)] = &items.iter().map(|item| &item.payload).collect::<Vec<_>>()[..]
    else {
        panic!("{items:?} {:?}", plane.errors())
    };
    (**instrument).clone()
}

/// Feeds a frame of each kind with quantities of 3, and returns the quantities of the events.
fn quantities(plane: &mut Plane, connection: u32, symbol: &str, id: u32) -> Vec<String> {
    let frames = [
        frame("trades", symbol, &format!(r#""i":{id},"p":"10","q":"3""#)),
        frame("tickers", symbol, r#""b":"9","B":"3","a":"10","A":"3","v":"3""#),
        frame("candle1m", symbol, r#""p":"10","q":"3","t":1700000040"#),
        frame("books", symbol, r#""b":[["9","3"]],"a":[["10","3"]]"#),
    ];
    let mut found = Vec::new();
    for frame in frames {
        let outcome = plane.feed.frame_from(Source::Stream, connection, frame.as_bytes(), 0).unwrap();
        assert_eq!(outcome.decoded + outcome.bad, 1);
        for item in plane.read(outcome.events) {
            found.push(match &item.payload {
                Payload::Trade(trade) => format!("trade {}", trade.quantity),
                Payload::Ticker(t) => {
                    assert!(t.bid_quantity == t.ask_quantity && t.ask_quantity == t.volume_24h);
                    format!("ticker {}", t.volume_24h.unwrap())
                }
                Payload::Kline(candle) => format!("candle {}", candle.volume),
                Payload::Book(book) => {
                    assert_eq!(book.bids[0].quantity, book.asks[0].quantity);
                    let mantissa = i128::from(book.bids[0].quantity);
                    format!("book {}", crate::decimal::Decimal::new(mantissa, book.quantity_scale).unwrap())
                }
                other => panic!("{other:?}"),
            });
        }
    }
    found
}

#[test]
fn an_instrument_of_the_stream_has_the_form_of_its_symbol() {
    let plane = &mut plane();
    let spot = r#""tick":"0.10","lot":"0.00000100","min":"0.01","val":"","mult":"","ccy":"","state":"live""#;
    let pair = instrument(plane, &frame("instruments", "BTC-USDT", spot));
    pair.validate().unwrap();
    let of = (pair.base.as_str(), pair.quote.as_str(), pair.venue.as_str(), pair.kind.name(), pair.halted);
    assert_eq!(of, ("BTC", "USDT", "OKX", "spot", false));
    assert_eq!((pair.price_precision, pair.quantity_precision), (Some(1), Some(6)));
    let swap = instrument(plane, &listed("BTC-USDT-SWAP", "0.01", "1", "BTC"));
    assert_eq!((swap.kind.name(), swap.contract_value), ("perp", Some("0.01".parse().unwrap())));
    assert_eq!(swap.min_quantity, Some("0.02".parse().unwrap()), "in base, as all quantities");
    assert_eq!((swap.quantity_increment, swap.quantity_precision), (Some("0.01".parse().unwrap()), Some(2)));
    let future = instrument(plane, &listed("BTC-USDT-250328", "1", "1", "BTC"));
    assert_eq!((future.kind.name(), future.expiry.as_deref()), ("futures", Some("2025-03-28")));
    for state in ["suspend", "something new"] {
        let halted = frame("instruments", "BTC-USDT", &spot.replace("live", state));
        assert!(instrument(plane, &halted).halted, "{state}");
    }
    assert_eq!(plane.feed.stats.unknown_enums.get(), 1);
    assert!(
        plane.run(listed("BTC-USDT-SWAP", "1", "1", "").as_bytes()).is_empty(),
        "a value without currency"
    );
    assert_eq!(plane.errors(), BTreeMap::from([("bad_instrument", 1)]));
}

#[test]
fn quantities_in_contracts_leave_in_base() {
    let plane = &mut plane();
    instrument(plane, &listed("BTC-USDT-SWAP", "0.01", "2.50", "BTC"));
    instrument(plane, &listed("DOGE-USDT-SWAP", "1000", "1", "DOGE"));
    let of = |quantity: &str| ["trade", "ticker", "candle", "book"].map(|kind| format!("{kind} {quantity}"));
    assert_eq!(quantities(plane, 0, "BTC-USDT-SWAP", 1), of("0.075"));
    assert_eq!(quantities(plane, 0, "DOGE-USDT-SWAP", 1), of("3000"));
    assert_eq!(quantities(plane, 0, "BTC-USDT", 1), of("3"), "a pair is in base");
    assert_eq!(quantities(plane, 9, "ETH-USDT-SWAP", 1), of("3"), "the other category is in base");
    assert_eq!(plane.errors(), BTreeMap::new());
    let value = listed("BTC-USDT-SWAP", "0.1", "1", "BTC");
    assert_eq!(plane.run(value.as_bytes()).len(), 2, "market data of the old size is stale");
    let changed = ["trade 0.3", "ticker 0.3", "book 0.3"].map(String::from);
    let found = quantities(plane, 0, "BTC-USDT-SWAP", 2);
    assert_eq!(
        found.iter().filter(|text| !text.starts_with("candle")).collect::<Vec<_>>(),
        changed.iter().collect::<Vec<_>>()
    );
}

#[test]
fn contracts_of_unknown_size_are_refused_and_counted() {
    let plane = &mut plane();
    assert!(quantities(plane, 0, "BTC-USDT-SWAP", 1).is_empty());
    assert_eq!(plane.errors(), BTreeMap::from([("unknown_contract_size", 4)]));
    assert_eq!(
        plane.feed.stale_books(),
        BTreeMap::from([("BTC-USDT-SWAP", false)]),
        "no book of it was published"
    );
    let without = r#""tick":"0.1","lot":"1","state":"live""#;
    instrument(plane, &frame("instruments", "BTC-USDT-SWAP", without));
    assert!(quantities(plane, 0, "BTC-USDT-SWAP", 2).is_empty());
    assert_eq!(plane.errors(), BTreeMap::from([("unknown_contract_size", 8)]));
    // A value in quote is not an exact quantity of base.
    let inverse = instrument(plane, &listed("BTC-USD-SWAP", "100", "1", "USD"));
    assert_eq!((inverse.quantity_increment, inverse.min_quantity), (None, None));
    assert!(quantities(plane, 0, "BTC-USD-SWAP", 1).is_empty());
    assert_eq!(plane.errors(), BTreeMap::from([("inverse_contract", 4), ("unknown_contract_size", 8)]));
    instrument(plane, &listed("BTC-USDT-SWAP", "0.01", "1", "BTC"));
    let found = quantities(plane, 0, "BTC-USDT-SWAP", 3);
    assert_eq!(found, ["trade 0.03", "ticker 0.03", "candle 0.03", "book 0.03"]);
    assert_eq!(plane.feed.stale_books(), BTreeMap::from([("BTC-USD-SWAP", false)]));
}

#[test]
fn an_instrument_that_the_adapter_publishes_has_the_size_too() {
    let plane = &mut plane();
    let mut swap = instrument(&mut self::plane(), &listed("BTC-USDT-SWAP", "1", "1", "BTC"));
    swap.contract_value = Some("0.001".parse().unwrap());
    let symbol = SymbolId::intern("BTC-USDT-SWAP");
    let origin = Origin { kind: Kind::InstrumentUpdate, symbol, venue_time: None, received_time: 0 };
    assert!(plane.feed.publish(origin, Payload::Instrument(Box::new(swap))).unwrap());
    plane.read(1);
    assert_eq!(quantities(plane, 0, "BTC-USDT-SWAP", 1)[0], "trade 0.003");
}

#[test]
fn quantities_that_do_not_fit_are_refused() {
    let plane = &mut plane();
    instrument(plane, &listed("X-USDT-SWAP", "1e15", "3", "X"));
    let book = frame("books", "X-USDT-SWAP", r#""b":[["9","4000"]],"a":[["10","1"]]"#);
    let items = plane.run(book.as_bytes());
    assert!(
        matches!(&items[..], [item] if matches!(item.payload, Payload::MarketStale(StaleReason::Overflow))),
        "{items:?}"
    );
    drop(items);
    let huge = format!(r#""i":1,"p":"1","q":"1{}""#, "1".repeat(30));
    assert!(plane.run(frame("trades", "X-USDT-SWAP", &huge).as_bytes()).is_empty());
    assert_eq!(plane.errors(), BTreeMap::from([("overflow", 1)]));
}

#[test]
fn checksums_cover_the_digits_of_contracts() {
    let plane = &mut plane();
    instrument(plane, &listed("BTC-USDT-SWAP", "0.01", "1", "BTC"));
    let checksum = crc32fast::hash(b"9:3:10:4");
    let book = format!(r#""b":[["9.0","3"]],"a":[["10.0","4"]],"c":{checksum}"#);
    assert_eq!(plane.run(frame("books", "BTC-USDT-SWAP", &book).as_bytes()).len(), 1);
    assert_eq!(plane.feed.stats.checksums_verified.get(), 1);
}

#[test]
fn a_book_that_replaces_one_of_another_connection_is_in_base() {
    let plane = &mut plane();
    instrument(plane, &listed("BTC-USDT-SWAP", "0.01", "1", "BTC"));
    let book = |price| frame("books", "BTC-USDT-SWAP", &format!(r#""b":[["{price}","3"]],"a":[["10","3"]]"#));
    // The third message cannot be decoded, so the book of connection 0 is published in place of that of 1.
    for (connection, frame) in [(0, book("9")), (1, book("9")), (1, book("nine"))] {
        let outcome = plane.feed.frame_from(Source::Stream, connection, frame.as_bytes(), 0).unwrap();
        let items = plane.read(outcome.events);
        let [Payload::Book(book)] = &items.iter().map(|item| &item.payload).collect::<Vec<_>>()[..] else {
            panic!("{items:?}")
        };
        assert_eq!((book.bids[0].quantity, book.quantity_scale), (3, 2));
    }
    assert_eq!(plane.feed.stats.takeovers.get(), 2);
}

#[test]
fn market_data_in_contracts_of_another_size_is_stale_at_once() {
    let reasons = |items: Vec<Item>| -> Vec<&str> {
        let stale = |item: &Item| match &item.payload {
            Payload::MarketStale(reason) => reason.name(),
            Payload::Instrument(_) => "listed",
            other => panic!("{other:?}"),
        };
        items.iter().map(stale).collect()
    };
    let book = frame("books", "BTC-USDT-SWAP", r#""b":[["9","3"]],"a":[["10","3"]]"#);
    let size = listed("BTC-USDT-SWAP", "0.01", "1", "BTC");
    let lists = [
        listed("BTC-USDT-SWAP", "0.1", "1", "BTC"),
        listed("BTC-USDT-SWAP", "100", "1", "USD"),
        frame("instruments", "BTC-USDT-SWAP", r#""tick":"0.1","lot":"1","state":"suspend""#),
    ];
    for list in lists {
        let plane = &mut plane();
        instrument(plane, &size);
        for connection in [0, 1] {
            let outcome = plane.feed.frame_from(Source::Stream, connection, book.as_bytes(), 0).unwrap();
            plane.read(outcome.events);
        }
        assert_eq!(reasons(plane.run(size.as_bytes())), ["listed"], "the same size");
        assert_eq!(reasons(plane.run(list.as_bytes())), ["contract_size", "listed"]);
        assert_eq!(plane.feed.unsynced(), [SymbolId::intern("BTC-USDT-SWAP")], "on no connection");
        let events = plane.feed.restart_connection(1, 0).unwrap();
        let items = plane.read(events);
        assert!(items.iter().all(|item| !matches!(item.payload, Payload::Book(_))), "{items:?}");
        drop(items);
        assert_eq!(reasons(plane.run(size.as_bytes())).last(), Some(&"listed"));
        assert_eq!(quantities(plane, 0, "BTC-USDT-SWAP", 7)[3], "book 0.03");
    }
}

#[test]
fn a_list_of_the_adapter_ends_contracts_of_another_size_too() {
    let plane = &mut plane();
    let swap = instrument(plane, &listed("BTC-USDT-SWAP", "0.01", "1", "BTC"));
    quantities(plane, 0, "BTC-USDT-SWAP", 1);
    let symbol = SymbolId::intern("BTC-USDT-SWAP");
    let origin = Origin { kind: Kind::InstrumentUpdate, symbol, venue_time: None, received_time: 5 };
    let list = |plane: &mut Plane, value: &str| {
        let swap = Instrument { contract_value: Some(value.parse().unwrap()), ..swap.clone() };
        assert!(plane.feed.publish(origin, Payload::Instrument(Box::new(swap))).unwrap());
    };
    list(plane, "0.010");
    plane.read(1);
    list(plane, "0.02");
    let items = plane.read(2);
    assert!(matches!(items[0].payload, Payload::MarketStale(StaleReason::ContractSize)), "{items:?}");
    drop(items);
    assert_eq!(plane.feed.unsynced(), [symbol]);
}
