#![allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a test may panic, and floats are compared exactly"
)]

use proptest::prelude::*;

use super::{NINES, decimal, hash, parts};
use crate::decimal::*;

/// Returns text of the documented grammar, often near the limits, with its digits, places and exponent.
fn number() -> impl Strategy<Value = (bool, String, String, Option<i32>)> {
    ("[0-9]{1,22}", "[0-9]{0,22}", any::<bool>(), proptest::option::of(-40..40_i32))
        .prop_map(|(whole, fraction, negative, exponent)| (negative, whole, fraction, exponent))
}

/// Returns any decimal: short and long mantissas, often the longest, and all scales.
fn any_decimal() -> impl Strategy<Value = Decimal> {
    let mantissa = prop_oneof![
        8 => (-NINES..=NINES, 0..127_u32).prop_map(|(mantissa, shift)| mantissa >> shift),
        1 => (0..1000_i128).prop_map(|below| NINES - below),
        1 => (0..1000_i128).prop_map(|above| above - NINES),
    ];
    (mantissa, 0..=Decimal::MAX_SCALE).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale).unwrap())
}

proptest! {
    #[test]
    fn prop_parse_equals_a_model_on_text((negative, whole, fraction, exponent) in number()) {
        let mut text = format!("{}{whole}", if negative { "-" } else { "" });
        if !fraction.is_empty() {
            text = format!("{text}.{fraction}");
        }
        if let Some(exponent) = exponent {
            text = format!("{text}e{exponent}");
        }
        // The model moves the point in the text: it pads with zeros, cuts, and strips insignificant zeros.
        let shift = exponent.unwrap_or(0);
        let digits = format!("{}{whole}{fraction}{}", "0".repeat(80), "0".repeat(80));
        let point = (80 + whole.len()).strict_add_signed(shift as isize);
        let (before, after) = (digits[..point].trim_start_matches('0'), digits[point..].trim_end_matches('0'));
        let value_fits = before.len() + after.len() <= 38 && after.len() <= 28;
        match text.parse::<Decimal>() {
            Ok(parsed) => {
                let plain = parsed.normalize().abs().to_string();
                let (parsed_before, parsed_after) = plain.split_once('.').unwrap_or((&plain, ""));
                prop_assert_eq!((parsed_before.trim_start_matches('0'), parsed_after), (before, after), "{}", text);
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
    fn prop_display_is_parsed_back(mantissa in -NINES..=NINES, shift in 0..127_u32, scale in 0..=Decimal::MAX_SCALE) {
        let value = Decimal::new(mantissa >> shift, scale).unwrap();
        prop_assert_eq!(parts(decimal(&value.to_string())), parts(value));
    }

    #[test]
    fn prop_any_bytes_are_parsed_or_refused(text in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Decimal::parse(&text);
    }

    #[test]
    fn prop_text_close_to_a_number_is_parsed_by_the_grammar(text in "[-+]?[0-9.eE/:_ ]{0,24}") {
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
        // Both texts have the same width, so their order is that of the magnitudes.
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
    fn prop_equal_values_have_equal_hashes(mantissa in -1000_i128..1000, zeros in 0..20_u8, scale in 0..=8_u8) {
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
    fn prop_the_shortest_decimal_converts_back(value in prop_oneof![
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
    fn prop_new_accepts_bounded_mantissas_and_scales(mantissa: i128, shift in 0..128_u32, scale: u8) {
        let mantissa = mantissa >> shift;
        let fits = mantissa.unsigned_abs() < 10_u128.pow(38) && scale <= 28;
        prop_assert_eq!(Decimal::new(mantissa, scale).map(parts), fits.then_some((mantissa, scale)));
    }

    #[test]
    fn prop_signs_are_symmetric(a in any_decimal()) {
        let opposite = Decimal::ZERO.checked_sub(a).unwrap();
        prop_assert_eq!(opposite.mantissa(), -a.mantissa());
        prop_assert_eq!((parts(a.abs()), parts(opposite.abs())), (parts(if a.is_negative() { opposite } else { a }), parts(a.abs())));
        prop_assert_eq!(opposite.cmp(&Decimal::ZERO), Decimal::ZERO.cmp(&a));
        prop_assert_eq!(opposite.to_f64(), -a.to_f64() + 0.0);
        prop_assert_eq!(a.checked_add(opposite).map(Decimal::is_zero), Some(true));
    }

    #[test]
    fn prop_rescale_keeps_the_value_or_returns_none(a in any_decimal(), scale in 0..=30_u8) {
        match a.rescale(scale) {
            Some(b) => prop_assert_eq!((b.scale(), b, hash(b), b.to_f64()), (scale, a, hash(a), a.to_f64())),
            None if scale > Decimal::MAX_SCALE => {}
            // Digits would be lost at one of the ends.
            None if scale < a.scale() => prop_assert!(a.mantissa() % POW10[usize::from(a.scale() - scale)] != 0),
            None => prop_assert!(a.to_string().bytes().filter(u8::is_ascii_digit).count() + usize::from(scale - a.scale()) > 38),
        }
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
