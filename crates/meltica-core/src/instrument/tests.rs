#![allow(
    clippy::unwrap_used,
    clippy::unnecessary_wraps,
    reason = "a test may panic, and fields are optional"
)]

mod symbols;

use proptest::prelude::*;

use super::*;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn some(text: &str) -> Option<Decimal> {
    Some(decimal(text))
}

/// Returns a valid instrument with the symbol and without optional values.
pub(crate) fn listed(symbol: &str) -> Instrument {
    let parsed = parse_symbol(symbol).unwrap();
    Instrument {
        symbol: symbol.into(),
        kind: parsed.kind,
        base: parsed.base.into(),
        quote: parsed.quote.into(),
        venue: "BINANCE".into(),
        expiry: parsed.expiry.map(|day| day.to_string()),
        contract_value: None,
        contract_currency: None,
        strike: parsed.strike,
        option_type: parsed.option_type.or(parsed.strike.map(|_| OptionType::Call)),
        price_increment: None,
        quantity_increment: None,
        min_quantity: None,
        max_quantity: None,
        min_notional: None,
        max_notional: None,
        price_precision: None,
        quantity_precision: None,
        notional_precision: None,
        halted: false,
    }
}

const SPOT: &str = "BTC-USDT";
const PERP: &str = "BTC-USDT-PERP";
const FUTURES: &str = "BTC-USDT-20251226";
const OPTIONS: &str = "BTC-USDT-20251226-60000.5-C";
const UNMARKED: &str = "BTC-USDT-20251226-60000.5";

#[test]
fn symbols_of_the_grammar_are_parsed() {
    use InstrumentType::{Futures, Options, Perp, Spot};
    use OptionType::{Call, Put};
    for (text, kind, base, quote, expiry, strike, option_type) in [
        ("BTC-USDT", Spot, "BTC", "USDT", None, None, None),
        ("1INCH-USDT", Spot, "1INCH", "USDT", None, None, None),
        ("1000000MOG-FDUSD12345", Spot, "1000000MOG", "FDUSD12345", None, None, None),
        ("BTC-USDT-PERP", Perp, "BTC", "USDT", None, None, None),
        ("BTC-USDT-SWAP", Perp, "BTC", "USDT", None, None, None),
        ("T-U", Spot, "T", "U", None, None, None),
        ("币安人生-USDT", Spot, "币安人生", "USDT", None, None, None),
        ("ABCDEFGHIJKLMNOPQRST-É", Spot, "ABCDEFGHIJKLMNOPQRST", "É", None, None, None),
        ("BTC-USD-220527", Futures, "BTC", "USD", Day::new(2022, 5, 27), None, None),
        ("BTC-USD-220527-30000-C", Options, "BTC", "USD", Day::new(2022, 5, 27), some("30000"), Some(Call)),
        ("BTC-USDT-20240229", Futures, "BTC", "USDT", Day::new(2024, 2, 29), None, None),
        ("BTC-USDT-20251226-60000", Options, "BTC", "USDT", Day::new(2025, 12, 26), some("60000"), None),
        ("BTC-USDT-20251226-0.5-C", Options, "BTC", "USDT", Day::new(2025, 12, 26), some("0.5"), Some(Call)),
        (
            "BTC-USDT-20251226-0.5-CALL",
            Options,
            "BTC",
            "USDT",
            Day::new(2025, 12, 26),
            some("0.5"),
            Some(Call),
        ),
        (
            "BTC-USDT-20251226-60000-P",
            Options,
            "BTC",
            "USDT",
            Day::new(2025, 12, 26),
            some("60000"),
            Some(Put),
        ),
        (
            "BTC-USDT-20251226-60000-PUT",
            Options,
            "BTC",
            "USDT",
            Day::new(2025, 12, 26),
            some("60000"),
            Some(Put),
        ),
    ] {
        let expected = ParsedSymbol { kind, base, quote, expiry, strike, option_type };
        assert_eq!(parse_symbol(text).unwrap(), expected, "{text}");
        assert_eq!(base_and_quote(text), Some((base, quote)));
        assert_eq!(canonical_symbol(text).unwrap(), text);
    }
}

#[test]
fn route_types_are_upper_case_parts_with_digits() {
    for text in ["TRADE", "ORDERBOOK.SNAPSHOT", "KLINE.1M", "L2"] {
        assert!(validate_route_type(text).is_ok(), "{text:?}");
    }
    let refused =
        ["", ".", "TRADE.", ".TRADE", "A..B", "trade", "Trade", " TRADE", "TRADE ", "TRADE-X", "TRADE_X"];
    for text in refused.into_iter().chain(["TRADE/X", "TRADÉ", "KLINE.\u{661}"]) {
        assert!(validate_route_type(text).is_err(), "{text:?}");
    }
}

#[test]
fn instruments_that_follow_the_rules_are_accepted() {
    for symbol in [SPOT, PERP, FUTURES, OPTIONS, UNMARKED] {
        listed(symbol).validate().unwrap();
        let mut full = listed(symbol);
        full.price_increment = some("0.01");
        full.quantity_increment = some("0.00001000");
        full.min_quantity = some("0.00001");
        full.max_quantity = some("0.00001000");
        full.min_notional = some("5");
        full.max_notional = some("50000");
        full.halted = true;
        full.price_precision = Some(0);
        full.quantity_precision = Some(18);
        full.notional_precision = Some(8);
        full.venue = "OKX_2".into();
        if symbol != SPOT {
            full.contract_value = some("0.001");
            full.contract_currency = Some("BTC".into());
        }
        full.validate().unwrap();
    }
    let mut put = listed(UNMARKED);
    put.option_type = Some(OptionType::Put);
    put.strike = some("60000.500");
    put.validate().unwrap();
}

type Change = fn(&mut Instrument);

#[test]
fn each_broken_rule_is_named() {
    let cases: [(&str, Change, &[&str]); 44] = [
        (SPOT, |i| i.symbol = "BTCUSDT".into(), &["symbol"]),
        (SPOT, |i| i.symbol = "BTC-US!T".into(), &["symbol"]),
        (SPOT, |i| i.kind = InstrumentType::Perp, &["symbol"]),
        (PERP, |i| i.kind = InstrumentType::Spot, &["symbol"]),
        (FUTURES, |i| i.kind = InstrumentType::Options, &["symbol", "strike", "option_type"]),
        (SPOT, |i| i.base = "ETH".into(), &["base"]),
        (SPOT, |i| i.quote = "USDC".into(), &["quote"]),
        (SPOT, |i| i.base = "btc".into(), &["base", "base"]),
        (SPOT, |i| i.quote = String::new(), &["quote", "quote"]),
        (SPOT, |i| i.base = "TOOLONGTOBEACURRENCYX".into(), &["base", "base"]),
        (SPOT, |i| i.venue = String::new(), &["venue"]),
        (SPOT, |i| i.venue = "binance".into(), &["venue"]),
        (SPOT, |i| i.venue = "B".into(), &["venue"]),
        (SPOT, |i| i.venue = "A23456789012345678901".into(), &["venue"]),
        (SPOT, |i| i.venue = "BINANCE-US".into(), &["venue"]),
        (SPOT, |i| i.expiry = Some("2025-12-26".into()), &["expiry"]),
        (PERP, |i| i.expiry = Some("2025-12-26".into()), &["expiry"]),
        (FUTURES, |i| i.expiry = None, &["expiry"]),
        (OPTIONS, |i| i.expiry = None, &["expiry"]),
        (FUTURES, |i| i.expiry = Some("2025-12-27".into()), &["expiry"]),
        (FUTURES, |i| i.expiry = Some("20251226".into()), &["expiry"]),
        (FUTURES, |i| i.expiry = Some("2025-02-29".into()), &["expiry"]),
        (FUTURES, |i| i.expiry = Some("202--12-26".into()), &["expiry"]),
        (SPOT, |i| i.contract_value = some("1"), &["contract_value"]),
        (SPOT, |i| i.contract_currency = Some("BTC".into()), &["contract_currency"]),
        (PERP, |i| i.contract_value = some("1"), &["contract_currency"]),
        (PERP, |i| i.contract_currency = Some("BTC".into()), &["contract_value"]),
        (
            PERP,
            |i| (i.contract_value, i.contract_currency) = (some("0.0"), Some("btc".into())),
            &["contract_value", "contract_currency"],
        ),
        (OPTIONS, |i| i.strike = None, &["strike"]),
        (OPTIONS, |i| i.strike = some("60000.5000000000001"), &["strike"]),
        (OPTIONS, |i| i.strike = some("-60000.5"), &["strike", "strike"]),
        (OPTIONS, |i| i.option_type = None, &["option_type"]),
        (OPTIONS, |i| i.option_type = Some(OptionType::Put), &["option_type"]),
        (SPOT, |i| i.option_type = Some(OptionType::Call), &["option_type"]),
        (FUTURES, |i| i.strike = some("1"), &["strike"]),
        (SPOT, |i| i.price_increment = some("-0.01"), &["price_increment"]),
        (SPOT, |i| i.quantity_increment = some("0"), &["quantity_increment"]),
        (SPOT, |i| i.min_quantity = some("-1"), &["min_quantity"]),
        (SPOT, |i| i.max_quantity = some("0.000"), &["max_quantity"]),
        (SPOT, |i| i.min_notional = some("0"), &["min_notional"]),
        (SPOT, |i| i.max_notional = some("0"), &["max_notional"]),
        (SPOT, |i| (i.min_quantity, i.max_quantity) = (some("1.1"), some("1.09")), &["max_quantity"]),
        (
            SPOT,
            |i| (i.price_precision, i.notional_precision) = (Some(19), Some(255)),
            &["price_precision", "notional_precision"],
        ),
        (SPOT, |i| i.quantity_precision = Some(19), &["quantity_precision"]),
    ];
    for (number, (symbol, change, fields)) in cases.into_iter().enumerate() {
        let mut instrument = listed(symbol);
        change(&mut instrument);
        let before = instrument.clone();
        let errors = instrument.validate().unwrap_err();
        let broken: Vec<_> = errors.0.iter().map(|error| error.field).collect();
        assert_eq!(broken, fields, "case {number}: {errors}");
        assert_eq!(instrument, before);
    }
}

#[test]
fn all_broken_rules_are_reported_in_order() {
    let mut instrument = listed(OPTIONS);
    instrument.kind = InstrumentType::Spot;
    instrument.base = "eth".into();
    instrument.quote = "USDC".into();
    instrument.venue = "v".into();
    instrument.contract_value = some("1");
    instrument.price_increment = some("0");
    instrument.price_precision = Some(40);
    assert_eq!(
        instrument.validate().unwrap_err().to_string(),
        "symbol: expected the symbol of spot, not of options, saw \"BTC-USDT-20251226-60000.5-C\"; \
         base: expected 1 to 20 letters or digits, saw \"eth\"; \
         base: expected BTC, as in the symbol, saw \"eth\"; \
         quote: expected USDT, as in the symbol, saw \"USDC\"; \
         venue: expected 2 to 20 of A-Z, 0-9 and _, saw \"v\"; \
         expiry: expected nothing for spot, saw \"2025-12-26\"; \
         contract_value: expected nothing for spot, saw \"1\"; \
         strike: expected nothing for spot, saw \"60000.5\"; \
         option_type: expected nothing for spot, saw \"call\"; \
         price_increment: expected a value above zero, saw \"0\"; \
         price_precision: expected 0 to 18, saw \"40\""
    );
    let mut option = listed(UNMARKED);
    (option.strike, option.option_type, option.expiry) = (None, None, None);
    assert_eq!(
        option.validate().unwrap_err().to_string(),
        "expiry: expected a date of the calendar as YYYY-MM-DD, saw nothing; \
         strike: expected a value above zero, saw nothing; option_type: expected call or put, saw nothing"
    );
}

#[test]
fn names_are_parsed_in_any_case() {
    for kind in InstrumentType::ALL {
        assert_eq!(kind.name().to_uppercase().parse(), Ok(kind));
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    for kind in [OptionType::Call, OptionType::Put] {
        assert_eq!(kind.name().to_uppercase().parse(), Ok(kind));
    }
    assert_eq!(
        "swap".parse::<InstrumentType>().unwrap_err().to_string(),
        "type: expected spot, perp, futures or options, saw \"swap\""
    );
    assert_eq!("C".parse::<OptionType>().unwrap_err().field, "option_type");
}

proptest! {
    #[test]
    fn prop_a_symbol_is_parsed_into_its_parts(
        base in "[A-Z0-9]{2,10}",
        quote in "[A-Z0-9]{2,10}",
        // Days since 1970-01-01, converted to a date below by counting.
        days in 0..60_000_u32,
        strike in "[1-9][0-9]{0,7}(\\.[0-9]{1,6})?",
        marker in prop_oneof![Just(""), Just("-C"), Just("-P"), Just("-CALL"), Just("-PUT")],
    ) {
        let (mut left, mut year) = (days, 1970);
        let leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        while left >= 365 + u32::from(leap(year)) {
            left -= 365 + u32::from(leap(year));
            year += 1;
        }
        let lengths = [31, 28 + u32::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 0;
        while left >= lengths[month] {
            left -= lengths[month];
            month += 1;
        }
        let day = Day { year: year as u16, month: month as u8 + 1, day: left as u8 + 1 };

        let date = format!("{year:04}{:02}{:02}", month + 1, left + 1);
        let text = format!("{base}-{quote}-{date}-{strike}{marker}");
        let parsed = parse_symbol(&text).unwrap();
        prop_assert_eq!((parsed.base, parsed.quote), (base.as_str(), quote.as_str()));
        prop_assert_eq!(parsed.expiry, Some(day));
        prop_assert_eq!(parsed.strike.unwrap().to_string(), strike);
        prop_assert_eq!(parsed.option_type.map(OptionType::name), match marker {
            "" => None,
            "-C" | "-CALL" => Some("call"),
            _ => Some("put"),
        });
        prop_assert_eq!(Day::from_iso(&day.to_string()), Some(day));
        listed(&text).validate().unwrap();

        let slashed = format!("{base}/{quote}");
        prop_assert_eq!(canonical_symbol(&slashed).unwrap(), format!("{base}-{quote}"));
    }

    #[test]
    fn prop_what_is_read_is_of_the_alphabet(text in "[A-Z0-9a-z./:_ !-]{0,30}|\\PC{0,12}") {
        if let Ok(canonical) = canonical_symbol(&text) {
            prop_assert!(is_symbol(&canonical));
            let ascii = canonical.chars().filter(char::is_ascii);
            prop_assert!(ascii.clone().all(|c| matches!(c, 'A'..='Z' | '0'..='9' | '-' | '.')));
            let beyond = |text: &str| text.chars().filter(|c| !c.is_ascii()).collect::<String>();
            prop_assert_eq!(beyond(&canonical), beyond(&text), "kept as written");
            prop_assert_eq!(canonical_symbol(&canonical).unwrap(), canonical.clone());
            prop_assert!(base_and_quote(&canonical).is_some());
        }
        let _ = validate_route_type(&text);
    }

    #[test]
    fn prop_near_symbols_never_panic(text in "[A-Z]{1,3}-[A-Z]{1,3}(-[0-9A-ZÄ.]{0,9}){0,4}") {
        if let Ok(parsed) = parse_symbol(&text) {
            let segments = text.split('-').count();
            prop_assert_eq!(parsed.kind == InstrumentType::Spot, segments == 2);
            prop_assert_eq!(parsed.kind == InstrumentType::Options, segments > 3);
        }
    }

    #[test]
    fn prop_route_types_are_what_their_rule_says(text in "[A-Z0-9a.]{0,8}") {
        let good = !text.contains('a') && !text.split('.').any(str::is_empty);
        prop_assert_eq!(validate_route_type(&text).is_ok(), good);
    }
}
