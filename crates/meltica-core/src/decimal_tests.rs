#![allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a test may panic, and floats are compared exactly"
)]

use std::collections::hash_map::DefaultHasher;

use proptest::prelude::*;

use super::*;

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn hash(value: Decimal) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn parts(value: Decimal) -> (i128, u8) {
    (value.mantissa(), value.scale())
}

const NINES: i128 = POW10[38] - 1;

#[test]
fn plain_text_keeps_its_digits() {
    for (text, mantissa, scale) in [
        ("0", 0, 0),
        ("-0", 0, 0),
        ("-0.00", 0, 2),
        ("7", 7, 0),
        ("+7", 7, 0),
        ("-7", -7, 0),
        ("007.50", 750, 2),
        ("100.10", 10010, 2),
        ("12", 12, 0),
        ("1.2", 12, 1),
        ("123.4", 1234, 1),
        ("1234567", 1_234_567, 0),
        ("12345.67", 1_234_567, 2),
        ("61837.63000000", 6_183_763_000_000, 8),
        ("1234567890123456", 1_234_567_890_123_456, 0),
        ("12345678901234.56", 1_234_567_890_123_456, 2),
        ("-9223372036854775808", i64::MIN as i128, 0),
        ("0.0000000000000000000000000001", 1, 28),
        ("9999999999.9999999999999999999999999999", NINES, 28),
        ("-99999999999999999999999999999999999999", -NINES, 0),
        ("0000000000000000000000000000000000000000000000000000000001.5", 15, 1),
    ] {
        assert_eq!(parts(decimal(text)), (mantissa, scale), "{text}");
    }
}

#[test]
fn an_exponent_is_accepted_when_the_value_fits() {
    for (text, plain) in [
        ("1e-8", "0.00000001"),
        ("1.5E+3", "1500"),
        ("1.5e3", "1500"),
        ("-2.50e1", "-25.0"),
        ("2.50e-1", "0.250"),
        ("1e-28", "0.0000000000000000000000000001"),
        ("10e-29", "0.0000000000000000000000000001"),
        ("1e37", "10000000000000000000000000000000000000"),
        ("1e0000000000001", "10"),
        ("100000000000000000000000000000000000000000e-5", "1000000000000000000000000000000000000.0"),
        ("0e400", "0"),
        ("0e-400", "0.0000000000000000000000000000"),
    ] {
        assert_eq!(decimal(text).to_string(), plain, "{text}");
    }
}

#[test]
fn refused_text_says_why() {
    let long = "1".repeat(1 << 20);
    for text in [
        ".",
        "-",
        "+",
        "--1",
        "+-1",
        "-+1",
        ".5",
        "5.",
        "-.5",
        "-5.",
        "1.2.3",
        "1..2",
        "1/3",
        "NaN",
        "nan",
        "sNaN",
        "inf",
        "-inf",
        "Infinity",
        "1_000",
        "1,000",
        " 1",
        "1 ",
        "1\n",
        "\u{661}",
        "\u{ff11}",
        "0x10",
        "e",
        "e5",
        "1e",
        "1e+",
        "1e-",
        "1e5e5",
        "1e5.0",
        "1.e5",
        ".1e5",
        "1e--5",
        "\0",
        "1\0",
        "12345678/",
        "1:3456789012",
        "1/3456789012",
        "12345678:",
        "1234567890123456:",
        "12345.67.",
        "1$",
        "true",
        "null",
        "1-",
        "1-2",
    ] {
        let error = Decimal::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, DecimalError::NotANumber { .. }), "{text:?}: {error}");
    }
    assert_eq!(Decimal::parse(b""), Err(DecimalError::Empty));
    for text in [
        "1e400",
        "1e38",
        "-1e38",
        "1e999999999999999999999",
        "100000000000000000000000000000000000000",
        "10000000000.0000000000000000000000000000",
    ] {
        let error = Decimal::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, DecimalError::TooLarge { .. }), "{text:?}: {error}");
    }
    for text in ["1e-29", "1.5e-28", "1e-400", "1e-999999999999999999999", "0.00000000000000000000000000000"]
    {
        let error = Decimal::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, DecimalError::TooManyPlaces { .. }), "{text:?}: {error}");
    }
    assert_eq!(Decimal::parse(long.as_bytes()), Err(DecimalError::TooLong { len: 1 << 20 }));

    let said = |text: &[u8]| Decimal::parse(text).unwrap_err().to_string();
    assert_eq!(said(b"1\xff\""), r#"expected a decimal number such as -12.50 or 1e-8, seen "1\xff\"""#);
    assert_eq!(said(b"1e400"), "expected at most 38 digits, seen \"1e400\"");
    assert_eq!(said(b"1e-29"), "expected at most 28 digits after the point, seen \"1e-29\"");
    assert_eq!(said(long.as_bytes()), "expected a decimal number of at most 64 bytes, seen 1048576 bytes");
    assert!(said(&[b'x'; 60]).ends_with("x..\""));
}

#[test]
fn the_value_decides_equality_order_and_hash() {
    let ascending = [
        Decimal::new(i128::MIN, 0).unwrap(),
        Decimal::new(i128::MIN, 28).unwrap(),
        decimal("-100.11"),
        decimal("-100.1"),
        decimal("-0.0000000000000000000000000001"),
        Decimal::ZERO,
        decimal("0.0000000000000000000000000001"),
        decimal("100.1"),
        decimal("100.11"),
        decimal("9999999999.9999999999999999999999999999"),
        Decimal::new(i128::MAX, 28).unwrap(),
        decimal("99999999999999999999999999999999999999"),
        Decimal::new(i128::MAX, 0).unwrap(),
    ];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            assert_eq!(a.cmp(b), i.cmp(&j), "{a} {b}");
        }
    }
    for (a, b) in [("100.10", "100.1"), ("-0", "0"), ("0.000", "0"), ("5", "5.0000000000000000000000000000")]
    {
        assert_eq!(decimal(a), decimal(b));
        assert_eq!(hash(decimal(a)), hash(decimal(b)));
    }
}

#[test]
fn display_is_plain_and_pads() {
    assert_eq!(Decimal::new(i128::MIN, 28).unwrap().to_string(), "-17014118346.0469231731687303715884105728");
    assert_eq!(format!("{:?}", decimal("-0.05")), "-0.05");
    assert_eq!(
        format!("[{:>8}] [{:+}] [{:08}]", decimal("1.50"), decimal("1.50"), decimal("-1.50")),
        "[    1.50] [+1.50] [-0001.50]"
    );
}

#[test]
fn rescale_is_exact_or_nothing() {
    assert_eq!(decimal("100.10").normalize().to_string(), "100.1");
    assert_eq!(decimal("100").normalize().to_string(), "100");
    assert_eq!(decimal("-0.00").normalize().to_string(), "0");
    assert_eq!(decimal("1000000000.0000000000000000000000000000").normalize().to_string(), "1000000000");
    assert_eq!(decimal("1.5").rescale(3).unwrap().to_string(), "1.500");
    assert_eq!(decimal("1.500").rescale(1).unwrap().to_string(), "1.5");
    assert!(decimal("1.500").rescale(0).is_none());
    assert!(decimal("1").rescale(29).is_none());
    assert!(decimal("1").rescale(255).is_none());
    assert!(decimal("1e10").rescale(28).is_none());
}

#[test]
fn arithmetic_is_exact_or_nothing() {
    let add = |a, b| decimal(a).checked_add(decimal(b)).map(|sum| sum.to_string());
    let sub = |a, b| decimal(a).checked_sub(decimal(b)).map(|difference| difference.to_string());
    let mul = |a, b| decimal(a).checked_mul(decimal(b)).map(|product| product.to_string());
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(add("0.1", "0.20"), some("0.30"));
    assert_eq!(sub("0.1", "0.20"), some("-0.10"));
    assert_eq!(add("1e37", "1.00"), some("10000000000000000000000000000000000001"));
    assert_eq!(add("1e37", "1e-28"), None);
    assert_eq!(add("99999999999999999999999999999999999999", "1"), None);
    assert_eq!(sub("-99999999999999999999999999999999999999", "1"), None);
    assert_eq!(mul("-1.10", "2.0"), some("-2.200"));
    assert_eq!(mul("0.00000000000000000002", "0.0000000050"), some("0.0000000000000000000000000001"));
    assert_eq!(mul("0.00000000000000000002", "0.000000001"), None);
    assert_eq!(mul("1e20", "1e18"), None);
    assert_eq!(mul("10000000000.0000000000", "10000000000.0000000000"), some("100000000000000000000"));
    let lowest = Decimal::new(i128::MIN, 0).unwrap();
    assert_eq!(lowest.checked_add(lowest), None);
    assert_eq!(lowest.checked_mul(lowest), None);
    assert_eq!(parts(lowest.abs()), (i128::MAX, 0));
    assert_eq!(parts(decimal("-1.50").abs()), (150, 2));
    assert!(decimal("-0.1").is_negative() && !decimal("-0").is_negative() && decimal("-0").is_zero());
    assert_eq!(parts(Decimal::from_i64(i64::MIN)), (i64::MIN as i128, 0));
}

#[test]
fn rounding_goes_to_a_multiple_of_the_increment() {
    for (value, increment, down, up) in [
        ("123.456", "0.01", "123.45", "123.46"),
        ("-123.456", "0.01", "-123.46", "-123.45"),
        ("123.456", "0.05", "123.45", "123.50"),
        ("123.45", "0.05", "123.45", "123.45"),
        ("-0.001", "0.01", "-0.01", "0.00"),
        ("7", "0.50", "7.00", "7.00"),
        ("7", "3", "6", "9"),
        (
            "0.0000000000000000000000000001",
            "99999999999999999999999999999999999999",
            "0",
            "99999999999999999999999999999999999999",
        ),
        (
            "1e37",
            "1.0000",
            "10000000000000000000000000000000000000",
            "10000000000000000000000000000000000000",
        ),
    ] {
        let rounded = |up| decimal(value).round_to_increment(decimal(increment), up).unwrap().to_string();
        assert_eq!((rounded(false).as_str(), rounded(true).as_str()), (down, up), "{value} {increment}");
    }
    assert_eq!(decimal("1").round_to_increment(decimal("0.00"), false), None);
    assert_eq!(decimal("1").round_to_increment(decimal("-0.01"), false), None);
    assert_eq!(
        decimal("99999999999999999999999999999999999999").round_to_increment(decimal("2"), true),
        None
    );
    assert_eq!(Decimal::new(i128::MIN, 0).unwrap().round_to_increment(decimal("3"), false), None);
}

#[test]
fn floats_go_both_ways() {
    for (value, text) in [
        (0.1, Some("0.1")),
        (-0.0, Some("0")),
        (61837.63, Some("61837.63")),
        (100.0, Some("100")),
        (1e-8, Some("0.00000001")),
        (0.1 + 0.2, Some("0.30000000000000004")),
        (1e37, Some("10000000000000000000000000000000000000")),
        (1e38, None),
        (1e-29, None),
        (f64::MAX, None),
        (f64::MIN_POSITIVE, None),
        (f64::NAN, None),
        (f64::INFINITY, None),
        (f64::NEG_INFINITY, None),
    ] {
        assert_eq!(Decimal::from_f64_shortest(value).map(|d| d.to_string()).as_deref(), text, "{value:e}");
    }
    assert_eq!(
        Decimal::new(i128::MIN, 28).unwrap().to_f64().to_bits(),
        (-17_014_118_346.046_923_f64).to_bits()
    );
}

/// Text of the documented grammar, often near the limits, with the digits, places and exponent it was made of.
fn number() -> impl Strategy<Value = (bool, String, String, Option<i32>)> {
    ("[0-9]{1,22}", "[0-9]{0,22}", any::<bool>(), proptest::option::of(-40..40_i32))
        .prop_map(|(whole, fraction, negative, exponent)| (negative, whole, fraction, exponent))
}

/// Any decimal: all mantissas and scales, short ones and long ones alike.
fn any_decimal() -> impl Strategy<Value = Decimal> {
    (any::<i128>(), 0..128_u32, 0..=Decimal::MAX_SCALE)
        .prop_map(|(mantissa, shift, scale)| Decimal::new(mantissa >> shift, scale).unwrap())
}

proptest! {
    #[test]
    fn prop_parse_agrees_with_the_schoolbook((negative, whole, fraction, exponent) in number()) {
        let mut text = format!("{}{whole}", if negative { "-" } else { "" });
        if !fraction.is_empty() {
            text = format!("{text}.{fraction}");
        }
        if let Some(exponent) = exponent {
            text = format!("{text}e{exponent}");
        }
        // The model moves the point by hand: pad with zeros, cut, and strip what carries no value.
        let shift = exponent.unwrap_or(0);
        let digits = format!("{}{whole}{fraction}{}", "0".repeat(80), "0".repeat(80));
        let point = (80 + whole.len()).strict_add_signed(shift as isize);
        let (before, after) = (digits[..point].trim_start_matches('0'), digits[point..].trim_end_matches('0'));
        let value_fits = before.len() + after.len() <= 38 && after.len() <= 28;
        match text.parse::<Decimal>() {
            Ok(parsed) => {
                let plain = parsed.normalize().abs().to_string();
                let (seen_before, seen_after) = plain.split_once('.').unwrap_or((&plain, ""));
                prop_assert_eq!((seen_before.trim_start_matches('0'), seen_after), (before, after), "{}", text);
                prop_assert_eq!(parsed.is_negative(), negative && !parsed.is_zero());
                if exponent.is_none() {
                    prop_assert_eq!(parsed.scale() as usize, fraction.len());
                }
            }
            Err(_) if exponent.is_some() => prop_assert!(!value_fits, "{}", text),
            Err(_) => prop_assert!(whole.trim_start_matches('0').len() + fraction.len() > 38, "{}", text),
        }
    }

    #[test]
    fn prop_display_reads_back(mantissa in -NINES..=NINES, shift in 0..127_u32, scale in 0..=Decimal::MAX_SCALE) {
        let value = Decimal::new(mantissa >> shift, scale).unwrap();
        prop_assert_eq!(parts(decimal(&value.to_string())), parts(value));
    }

    #[test]
    fn prop_any_bytes_are_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Decimal::parse(&text);
    }

    #[test]
    fn prop_text_that_is_almost_a_number_is_read_as_its_grammar_says(text in "[-+]?[0-9.eE/:_ ]{0,24}") {
        let body = text.strip_prefix(['-', '+']).unwrap_or(&text);
        let (number, exponent) = body.split_once(['e', 'E']).unwrap_or((body, "0"));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        let grammatical = [whole, fraction, exponent]
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        let refused =
            matches!(text.parse::<Decimal>(), Err(DecimalError::NotANumber { .. } | DecimalError::Empty));
        prop_assert_eq!(grammatical, !refused);
    }

    #[test]
    fn prop_order_agrees_with_cross_multiplication(
        a in -1_000_000_i64..1_000_000, sa in 0..6_u8, b in -1_000_000_i64..1_000_000, sb in 0..6_u8,
    ) {
        let (x, y) = (Decimal::new(a as i128, sa).unwrap(), Decimal::new(b as i128, sb).unwrap());
        let exact = (a * 10_i64.pow(sb as u32)).cmp(&(b * 10_i64.pow(sa as u32)));
        prop_assert_eq!(x.cmp(&y), exact);
        prop_assert_eq!(x == y, exact == Ordering::Equal);
    }

    #[test]
    fn prop_order_agrees_with_the_digits(a in any_decimal(), b in any_decimal()) {
        // Both are written out to the same width, so the order of the texts is the order of the magnitudes.
        let wide = |value: Decimal| {
            let power = POW10[value.scale() as usize].unsigned_abs();
            let (whole, part) = (value.mantissa().unsigned_abs() / power, value.mantissa().unsigned_abs() % power);
            let part = (power + part).to_string();
            format!("{whole:040}{:0<28}", &part[1..])
        };
        let sign = |value: Decimal| value.mantissa().signum();
        let expected = sign(a).cmp(&sign(b)).then_with(|| {
            let order = wide(a).cmp(&wide(b));
            if a.is_negative() { order.reverse() } else { order }
        });
        prop_assert_eq!(a.cmp(&b), expected);
        prop_assert_eq!(b.cmp(&a), expected.reverse());
    }

    #[test]
    fn prop_equal_values_hash_alike(mantissa in -1000_i128..1000, zeros in 0..20_u8, scale in 0..=8_u8) {
        let short = Decimal::new(mantissa, scale).unwrap();
        let long = short.rescale(scale + zeros).unwrap();
        prop_assert_eq!(short, long);
        prop_assert_eq!(hash(short), hash(long));
        prop_assert_eq!(parts(short.normalize()), parts(long.normalize()));
    }

    #[test]
    fn prop_hash_agrees_with_eq(a in -50_i128..50, sa in 0..4_u8, b in -50_i128..50, sb in 0..4_u8) {
        let (x, y) = (Decimal::new(a, sa).unwrap(), Decimal::new(b, sb).unwrap());
        prop_assert_eq!(x == y, hash(x) == hash(y));
    }

    #[test]
    fn prop_to_f64_is_the_nearest_float(value in any_decimal()) {
        let text = value.to_string();
        prop_assert_eq!(value.to_f64(), text.parse::<f64>().unwrap(), "{}", text);
    }

    #[test]
    fn prop_shortest_reads_back(value in prop_oneof![
        any::<f64>(),
        -1e12..1e12_f64,
        (any::<i32>(), 0..12_i32).prop_map(|(m, s)| m as f64 / 10_f64.powi(s)),
    ]) {
        if let Some(exact) = Decimal::from_f64_shortest(value) {
            prop_assert_eq!(exact.to_f64(), value);
            prop_assert_eq!(exact, decimal(&format!("{value}")));
        } else {
            prop_assert!(!(1e-11..1e37).contains(&value.abs()));
        }
    }

    #[test]
    fn prop_arithmetic_agrees_with_integers(
        a in any::<i32>(), sa in 0..6_u8, b in any::<i32>(), sb in 0..6_u8,
    ) {
        let (x, y) = (Decimal::new(a as i128, sa).unwrap(), Decimal::new(b as i128, sb).unwrap());
        let scale = sa.max(sb);
        let at = |value: i32, from| value as i128 * 10_i128.pow((scale - from) as u32);
        prop_assert_eq!(x.checked_add(y).map(parts), Some((at(a, sa) + at(b, sb), scale)));
        prop_assert_eq!(x.checked_sub(y).map(parts), Some((at(a, sa) - at(b, sb), scale)));
        prop_assert_eq!(x.checked_mul(y).map(parts), Some((a as i128 * b as i128, sa + sb)));
    }

    #[test]
    fn prop_arithmetic_never_overflows(a in any_decimal(), b in any_decimal()) {
        if let (Some(sum), false) = (a.checked_add(b), a.is_zero() || b.is_zero()) {
            prop_assert_eq!(sum.checked_sub(b).unwrap_or(a), a);
            prop_assert_eq!(sum > a, b > Decimal::ZERO);
        }
        if let Some(product) = a.checked_mul(b) {
            prop_assert_eq!(product.mantissa().signum(), a.mantissa().signum() * b.mantissa().signum());
        }
    }

    #[test]
    fn prop_rounding_brackets_the_value(value in any_decimal(), increment in any_decimal()) {
        let rounded = |up| value.round_to_increment(increment, up);
        if increment <= Decimal::ZERO {
            prop_assert_eq!((rounded(false), rounded(true)), (None, None));
        } else if let (Some(below), Some(above)) = (rounded(false), rounded(true)) {
            prop_assert!(below <= value && value <= above);
            let gap = above.checked_sub(below).unwrap();
            let between = below < value && value < above;
            prop_assert!(gap.is_zero() && below == value || gap == increment && between);
            let at = below.rescale(increment.scale()).or_else(|| below.rescale(increment.normalize().scale()));
            let at = at.unwrap();
            let step = increment.rescale(at.scale()).unwrap();
            prop_assert_eq!(at.mantissa() % step.mantissa(), 0);
        }
    }
}
