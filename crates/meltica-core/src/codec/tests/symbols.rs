use super::*;
use crate::instrument::canonical_symbol;
use proptest::prelude::*;

fn rule(quotes: &[&str]) -> SymbolRule {
    SymbolRule { quotes: quotes.iter().map(|&quote| quote.into()).collect(), ..SymbolRule::default() }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(text, canonical)| (text.into(), canonical.into())).collect()
}

fn codec_of(rules: &[(&str, SymbolRule)]) -> Arc<Codec> {
    let mut spec = binance_spec();
    spec.symbols = rules.iter().map(|(category, rule)| ((*category).into(), rule.clone())).collect();
    Codec::compile(spec).unwrap()
}

fn check(codec: &Codec, category: usize, cases: &[(&str, Option<&str>)]) {
    for (text, symbol) in cases {
        assert_eq!(codec.canonical(category, text).as_deref(), *symbol, "{text}");
    }
}

#[test]
fn symbols_are_split_by_the_longest_quote() {
    let codec = Codec::compile(binance_spec()).unwrap();
    let cases = [
        ("BTCUSDT", Some("BTC-USDT")),
        ("ethfdusd", Some("ETH-FDUSD")),
        ("TUSDT", Some("T-USDT")),
        ("WUSDT", Some("W-USDT")),
        ("4USDT", Some("4-USDT")),
        ("币安人生USDT", Some("币安人生-USDT")),
        ("éusdt", Some("é-USDT")),
        ("e\u{301}USDT", None),
        ("ABCDEFGHIJKLMNOPQRSTUSDT", Some("ABCDEFGHIJKLMNOPQRST-USDT")),
        ("ABCDEFGHIJKLMNOPQRSTUUSDT", None),
        ("USDT", None),
        ("BTCXYZ", None),
        ("B-CUSDT", None),
        ("BTC USDT", None),
        (" BTCUSDT", None),
        ("BTCUSDT\0", None),
        ("", None),
    ];
    check(&codec, 0, &cases);
}

#[test]
fn a_separator_joins_two_to_six_parts_and_aliases_rename_currencies() {
    let slashed = SymbolRule {
        separator: Some('/'),
        aliases: pairs(&[("xbt", "BTC"), ("XDG", "DOGE")]),
        ..rule(&["USD"])
    };
    let cases = [
        ("xbt/usd", Some("BTC-USD")),
        ("ETH/XBT", Some("ETH-BTC")),
        ("XDG/XBT", Some("DOGE-BTC")),
        ("XBTUSD", Some("BTC-USD")),
        ("XBTX/USD", Some("XBTX-USD")),
        ("A/B/C/D/E/F", Some("A-B-C-D-E-F")),
        ("A/B/XBT", Some("A-B-XBT")),
        ("A/B/C/D/E/F/G", None),
        ("A//B", None),
        ("/B", None),
        ("A-B/C", None),
    ];
    check(&codec_of(&[("", slashed)]), 0, &cases);
    let dashed = SymbolRule { separator: Some('-'), ..SymbolRule::default() };
    let cases = ["T-USDT", "BTC-USDT-SWAP", "BTC-USD-220527", "BTC-USD-220527-30000.5-C"];
    let cases: Vec<_> = cases.iter().map(|&text| (text, Some(text))).collect();
    check(&codec_of(&[("", dashed)]), 0, &cases);
}

/// Returns the symbol of a trade with the text of a symbol.
fn symbol_of(decoder: &mut Decoder, text: &str) -> Option<&'static str> {
    let frame = TRADE.replace("BTCUSDT", text);
    match one(decoder, &frame) {
        Ok(Decoded::Event { symbol, .. }) => Some(name(symbol)),
        _ => None,
    }
}

#[test]
fn a_rule_may_refuse_all_but_pairs() {
    let dashed = SymbolRule { separator: Some('-'), pairs_only: true, ..SymbolRule::default() };
    let codec = codec_of(&[("", dashed)]);
    check(&codec, 0, &[("BTC-USDT", Some("BTC-USDT")), ("BTC-USDT-SWAP", None), ("BTC-USD-220527", None)]);
    let mut decoder = Decoder::new(codec, ProviderId::intern("pairs"));
    let listed = pairs(&[("SWAP1", "BTC-USDT-SWAP"), ("SPOT1", "BTC-USDT")]);
    decoder.list_symbols(0, listed).unwrap();
    assert_eq!(symbol_of(&mut decoder, "SWAP1"), None);
    assert_eq!(symbol_of(&mut decoder, "SPOT1"), Some("BTC-USDT"));
}

#[test]
fn one_text_is_two_instruments_in_two_categories() {
    let quotes = rule(&["USDT", "USDC", "BTC"]);
    let linear = SymbolRule {
        contract: Some("PERP".into()),
        suffixes: pairs(&[("perp", "USDC-PERP"), ("USDT_PERP", "USDT-SWAP")]),
        explicit: pairs(&[("BTC-27NOV26", "BTC-USDC-261127")]),
        ..quotes.clone()
    };
    let codec = codec_of(&[("spot", quotes), ("linear", linear)]);
    assert_eq!(codec.categories().collect::<Vec<_>>(), ["spot", "linear"]);
    assert_eq!((codec.category("linear"), codec.category("option")), (Some(1), None));
    check(&codec, 0, &[("BTCUSDT", Some("BTC-USDT")), ("BTCPERP", None), ("PERPUSDT", Some("PERP-USDT"))]);
    let cases = [
        ("BTCUSDT", Some("BTC-USDT-PERP")),
        ("btcperp", Some("BTC-USDC-PERP")),
        ("PERPUSDT", Some("PERP-USDT-PERP")),
        ("ETHBTCPERP", Some("ETHBTC-USDC-PERP")),
        ("PERP", None),
        ("XUSDT_PERP", Some("X-USDT-SWAP")),
        ("btc-27nov26", Some("BTC-USDC-261127")),
    ];
    check(&codec, 1, &cases);

    let mut decoder = Decoder::new(Arc::clone(&codec), ProviderId::intern("categories"));
    let mut symbol_of = |category: usize, text: &str| {
        decoder.set_category(category);
        let frame = TRADE.replace("BTCUSDT", text);
        match one(&mut decoder, &frame) {
            Ok(Decoded::Event { symbol, .. }) => Some(name(symbol).to_owned()),
            _ => None,
        }
    };
    for _ in 0..2 {
        assert_eq!(symbol_of(0, "BTCUSDT").as_deref(), Some("BTC-USDT"));
        assert_eq!(symbol_of(1, "BTCUSDT").as_deref(), Some("BTC-USDT-PERP"));
    }
}

#[test]
fn the_instrument_list_takes_precedence_also_for_texts_that_were_decoded() {
    let codec = codec_of(&[("spot", rule(&["USDT"])), ("linear", rule(&["USDT"]))]);
    let mut decoder = Decoder::new(codec, ProviderId::intern("listed"));
    let long = "BTCUSDT_250328_OF_A_VENUE";
    for _ in 0..2 {
        assert_eq!(symbol_of(&mut decoder, "XUSDT"), Some("X-USDT"));
        assert_eq!(symbol_of(&mut decoder, long), None);
    }
    decoder.list_symbols(1, pairs(&[("XUSDT", "Y-USDT")])).unwrap();
    assert_eq!(symbol_of(&mut decoder, "XUSDT"), Some("X-USDT"), "of another category");
    let listed = pairs(&[("xUSDT", "X-USDT-PERP"), (long, "BTC-USDT-250328")]);
    decoder.list_symbols(0, listed).unwrap();
    for _ in 0..2 {
        assert_eq!(symbol_of(&mut decoder, "XUSDT"), Some("X-USDT-PERP"));
        assert_eq!(symbol_of(&mut decoder, long), Some("BTC-USDT-250328"));
        assert_eq!(symbol_of(&mut decoder, "YUSDT"), Some("Y-USDT"));
    }
    assert_eq!(decoder.list_symbols(0, pairs(&[("X", "X")])), Err("X".to_owned()));
}

#[test]
fn faults_of_a_rule_name_its_part() {
    let bad = SymbolRule {
        separator: None,
        quotes: vec!["us$".into()],
        explicit: pairs(&[("X", "X"), ("A", "A-B"), ("a", "A-B")]),
        aliases: pairs(&[("X-Y", "B")]),
        suffixes: pairs(&[("", "PERP"), ("P", "-PERP")]),
        contract: Some("A-".into()),
        pairs_only: false,
        contracts: false,
    };
    let mut spec = binance_spec();
    spec.symbols =
        vec![("spot".into(), bad), ("spot".into(), SymbolRule::default()), (String::new(), rule(&["A"]))];
    let faults = Codec::compile(spec.clone()).unwrap_err().faults;
    let places: Vec<_> = faults.iter().map(|fault| fault.split(": ").next().unwrap()).collect();
    let spot = ["quotes", "aliases", "suffixes", "suffixes", "contract", "explicit", "explicit"];
    let mut expected: Vec<_> = spot.iter().map(|part| format!("symbols.spot.{part}")).collect();
    expected.extend(["symbols", "symbols.spot", "symbols"].map(String::from));
    assert_eq!(places, expected, "{faults:#?}");
    spec.symbols.clear();
    assert_eq!(Codec::compile(spec).unwrap_err().faults, ["symbols: expected a rule"]);
}

proptest! {
    /// A text with dashes is the same symbol for a codec and for a user, or for neither.
    #[test]
    fn prop_a_separator_reads_what_the_grammar_reads(text in "[A-Za-z0-9é币\u{301}\u{3164}İß.:_ -]{0,24}|[^/]{0,8}") {
        prop_assume!(!text.contains([':', '/']));
        let codec = codec_of(&[("", SymbolRule { separator: Some('-'), ..SymbolRule::default() })]);
        let symbol = canonical_symbol(&text).ok().map(std::borrow::Cow::into_owned);
        prop_assert_eq!(codec.canonical(0, &text), symbol);
    }
}
