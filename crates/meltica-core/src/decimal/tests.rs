#![allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a test may panic, and floats are compared exactly"
)]

mod properties;

use std::collections::hash_map::DefaultHasher;

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

/// Texts that are not decimal numbers.
const NOT_NUMBERS: [&str; 50] = [
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
];

#[test]
fn a_refused_text_gives_its_reason() {
    let long = "1".repeat(1 << 20);
    for text in NOT_NUMBERS {
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

    let message = |text: &[u8]| Decimal::parse(text).unwrap_err().to_string();
    assert_eq!(message(b"1\xff\""), r#"expected a decimal number such as -12.50 or 1e-8, saw "1\xff\"""#);
    assert_eq!(message(b"1e400"), "expected at most 38 digits, saw \"1e400\"");
    assert_eq!(message(b"1e-29"), "expected at most 28 digits after the point, saw \"1e-29\"");
    assert_eq!(message(long.as_bytes()), "expected a decimal number of at most 64 bytes, saw 1048576 bytes");
    assert!(message(&[b'x'; 60]).ends_with("x..\""));
}

#[test]
fn equality_order_and_hash_depend_on_the_value() {
    let ascending = [
        Decimal::new(-NINES, 0).unwrap(),
        Decimal::new(-NINES, 28).unwrap(),
        decimal("-100.11"),
        decimal("-100.1"),
        decimal("-0.0000000000000000000000000001"),
        Decimal::ZERO,
        decimal("0.0000000000000000000000000001"),
        decimal("100.1"),
        decimal("100.11"),
        decimal("9999999999.9999999999999999999999999999"),
        decimal("9999999999999999999999999999999999999.9"),
        decimal("99999999999999999999999999999999999999"),
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
fn no_mantissa_is_longer_than_its_digits() {
    for (mantissa, scale, fits) in [
        (NINES, 28, true),
        (-NINES, 0, true),
        (NINES + 1, 0, false),
        (-NINES - 1, 28, false),
        (i128::MAX, 0, false),
        (i128::MIN, 0, false),
        (0, 29, false),
        (0, 255, false),
    ] {
        let value = Decimal::new(mantissa, scale);
        assert_eq!(value.map(parts), fits.then_some((mantissa, scale)), "{mantissa} {scale}");
    }
}

#[test]
fn display_is_plain_and_pads() {
    assert_eq!(Decimal::new(-NINES, 28).unwrap().to_string(), "-9999999999.9999999999999999999999999999");
    assert_eq!(format!("{:?}", decimal("-0.05")), "-0.05");
    assert_eq!(
        format!("[{:>8}] [{:+}] [{:08}]", decimal("1.50"), decimal("1.50"), decimal("-1.50")),
        "[    1.50] [+1.50] [-0001.50]"
    );
}

#[test]
fn rescale_is_exact_or_none() {
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
fn arithmetic_is_exact_or_none() {
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
    let lowest = Decimal::new(-NINES, 0).unwrap();
    assert_eq!(lowest.checked_add(lowest), None);
    assert_eq!(lowest.checked_sub(lowest).map(parts), Some((0, 0)));
    assert_eq!(lowest.checked_mul(lowest), None);
    assert_eq!(parts(lowest.abs()), (NINES, 0));
    assert_eq!(parts(decimal("-1.50").abs()), (150, 2));
    assert!(decimal("-0.1").is_negative() && !decimal("-0").is_negative() && decimal("-0").is_zero());
    assert_eq!(parts(Decimal::from_i64(i64::MIN)), (i64::MIN as i128, 0));
}

#[test]
fn rounding_returns_a_multiple_of_the_increment() {
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
    assert_eq!(
        decimal("-99999999999999999999999999999999999999").round_to_increment(decimal("2"), false),
        None
    );
}

#[test]
fn floats_convert_both_ways() {
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
    // Halfway between two floats, and a digit more on either side of it.
    for (text, float) in [
        ("9007199254740993", 9_007_199_254_740_992_f64),
        ("9007199254740993.0000000000000000000001", 9_007_199_254_740_994_f64),
        ("-9007199254740995", -9_007_199_254_740_996_f64),
        ("0.1000000000000000055511151231", 0.1),
        ("9999999999.9999999999999999999999999999", 1e10),
    ] {
        assert_eq!(decimal(text).to_f64(), float, "{text}");
    }
}
