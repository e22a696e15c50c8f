use super::super::*;

/// Texts outside of the grammar of symbols.
const NOT_SYMBOLS: [&str; 67] = [
    "ABCDEFGHIJKLMNOPQRSTU-USDT",
    "币币币币币币币币币币币币币币币币币币币币币-USDT",
    "BTC-ABCDEFGHIJKLMNOPQRSTU",
    "e\u{301}-USDT",
    "BTC\u{3164}-USDT",
    "BTC\u{200B}-USDT",
    "BTC-USDT-PERP-SWAP",
    "BTC-USDT-260230",
    "BTC-USDT-2602",
    "BTC-USDT-20251226-0000000000000000000001",
    "BTC-USDT-SPOT",
    "BTC-USDT-27NOV26",
    "",
    "-",
    "BTC",
    "BTCUSDT",
    "BTC-",
    "-USDT",
    "BTC--USDT",
    "btc-usdt",
    "Btc-USDT",
    "BTC-usdt",
    " BTC-USDT",
    "BTC-USDT ",
    "B!C-USDT",
    "BTC-US_T",
    "BTC-US.T",
    "BTC_USDT",
    "BTC:USDT",
    "BTC-USDT\u{661}",
    "BTC-USDT-",
    "BTC-USDT-perp",
    "BTC-USDT-PERP-",
    "BTC-USDT-PERP-1",
    "BTC-USDT-PERPS",
    "BTC-USDT-20250229",
    "BTC-USDT-21000229",
    "BTC-USDT-20251301",
    "BTC-USDT-20250001",
    "BTC-USDT-20250100",
    "BTC-USDT-20250431",
    "BTC-USDT-00000101",
    "BTC-USDT-2025122",
    "BTC-USDT-202512266",
    "BTC-USDT-2025122A",
    "BTC-USDT-+2025122",
    "BTC-USDT-2025122\u{661}",
    "BTC-USDT-20251226-",
    "BTC-USDT-20251226-C",
    "BTC-USDT-20251226-0",
    "BTC-USDT-20251226-0.00",
    "BTC-USDT-20251226-NAN",
    "BTC-USDT-20251226-INF",
    "BTC-USDT-20251226-1/3",
    "BTC-USDT-20251226-6E4",
    "BTC-USDT-20251226-+60000",
    "BTC-USDT-20251226--60000",
    "BTC-USDT-20251226-60000.",
    "BTC-USDT-20251226-.5",
    "BTC-USDT-20251226-6_0",
    "BTC-USDT-20251226-60000-",
    "BTC-USDT-20251226-60000-X",
    "BTC-USDT-20251226-60000-c",
    "BTC-USDT-20251226-60000-C-",
    "BTC-USDT-20251226-60000-C-1",
    "BTC/USDT",
    "BTC-USDT-20251226-100000000000000000000000000000000000000",
];

#[test]
fn other_symbols_are_refused() {
    for text in NOT_SYMBOLS {
        assert_eq!(parse_symbol(text).unwrap_err().field, "symbol", "{text}");
    }
    assert_eq!(
        parse_symbol("BTC-USDT-SPOT").unwrap_err().to_string(),
        "symbol: expected BASE-QUOTE, BASE-QUOTE-PERP, BASE-QUOTE-DATE or \
         BASE-QUOTE-DATE-STRIKE[-C|-P|-CALL|-PUT], the third part PERP or SWAP alone, or a date, YYYYMMDD or \
         YYMMDD, saw \"BTC-USDT-SPOT\""
    );
    assert!(parse_symbol(&"\n".repeat(1 << 20)).unwrap_err().found.len() < 100);
}

#[test]
fn ccxt_symbols_are_converted() {
    for (text, canonical) in [
        ("BTC/USDT", Some("BTC-USDT")),
        ("1INCH/USDT", Some("1INCH-USDT")),
        ("BTC/USDT:USDT", Some("BTC-USDT-PERP")),
        ("BTC/USDT:USDT-241227", Some("BTC-USDT-20241227")),
        ("BTC/USDT:USDT-241227-60000-C", Some("BTC-USDT-20241227-60000-C")),
        ("BTC/USDT:USDT-241227-0.5-P", Some("BTC-USDT-20241227-0.5-P")),
        ("btc/usdt", Some("BTC-USDT")),
        ("btc-usdt", Some("BTC-USDT")),
        ("币安人生/usdt", Some("币安人生-USDT")),
        ("é/usdt", Some("é-USDT")),
        ("BTC/USDT-PERP", Some("BTC-USDT-PERP")),
        ("BTC-USDT/USDT", Some("BTC-USDT-USDT")),
        ("BTC/USDT/USDT", Some("BTC-USDT-USDT")),
        ("B/USDT", Some("B-USDT")),
        ("BTC-USD-220527", Some("BTC-USD-220527")),
        ("BTC-USD-27NOV26", Some("BTC-USD-27NOV26")),
        ("BTC/USDT:USDT-1227", None),
        ("BTC/USD:BTC", None),
        ("BTC/USDT:", None),
        ("BTC/USDT:USDT-", None),
        ("BTC/USDT:USDT-20241227", None),
        ("BTC/USDT:USDT-240230", None),
        ("BTC/USDT:USDT-241227-60000", None),
        ("BTC/USDT:USDT-241227-60000-X", None),
        ("BTC/USDT:USDT:USDT", None),
        ("BTC//USDT", None),
        ("/USDT", None),
        ("BTC/", None),
        ("BTC USDT", None),
    ] {
        let converted = canonical_symbol(text);
        assert_eq!(converted.as_deref().ok(), canonical, "{text}");
        if let Err(error) = converted {
            assert_eq!((error.field, error.found), ("symbol", format!("\"{text}\"")));
        }
    }
}
