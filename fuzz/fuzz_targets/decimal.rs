//! Parses two numbers of any text: each is written back unchanged, and operations neither round nor overflow silently.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltica_core::decimal::Decimal;
use std::cmp::Ordering;

fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|byte| *byte == b' ').unwrap_or(data.len());
    let (a, b) = data.split_at(at);
    let Ok(a) = Decimal::parse(a) else { return };
    alone(a, &data[..at]);
    let Ok(b) = Decimal::parse(b.get(1..).unwrap_or_default()) else { return };
    together(a, b);
    together(b, a);
});

fn alone(a: Decimal, text: &[u8]) {
    let written = a.to_string();
    let again: Decimal = written.parse().expect("written numbers can be parsed");
    assert_eq!((again.mantissa(), again.scale()), (a.mantissa(), a.scale()));
    let float: f64 = written.parse().expect("plain digits are a float");
    assert_eq!(a.to_f64(), float);
    let text: f64 =
        std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("the text is one too");
    assert_eq!(float, text);
    assert_eq!(a.normalize(), a);
    let distance = a.abs();
    assert!(!distance.is_negative());
    assert_eq!(distance.to_string(), written.trim_start_matches('-'));
    if let Some(short) = Decimal::from_f64_shortest(float) {
        assert_eq!(short.to_f64(), float);
    }
    for scale in 0..=Decimal::MAX_SCALE {
        if let Some(same) = a.rescale(scale) {
            assert_eq!((same, same.scale()), (a, scale));
        }
    }
}

fn together(a: Decimal, b: Decimal) {
    assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
    // The sign of a difference agrees with the order, and the difference reverts the sum.
    if let Some(difference) = a.checked_sub(b) {
        assert_eq!(difference.cmp(&Decimal::ZERO), a.cmp(&b));
        if let Some(back) = difference.checked_add(b) {
            assert_eq!(back, a);
        }
    }
    if let Some(product) = a.checked_mul(b) {
        assert_eq!(Some(product), b.checked_mul(a));
        assert_eq!(product.mantissa().signum(), a.mantissa().signum() * b.mantissa().signum());
    }
    if let (Some(below), Some(above)) = (a.round_to_increment(b, false), a.round_to_increment(b, true)) {
        assert!(b.cmp(&Decimal::ZERO) == Ordering::Greater && below <= a && a <= above);
    }
}
