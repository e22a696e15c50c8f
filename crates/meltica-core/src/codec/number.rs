//! Conversion of numbers: eight digits at a time for plain text, [`Decimal::parse`] for any other.

use super::scan::{digits, eight, load};
use crate::decimal::Decimal;

/// Powers of ten that fit 64 bits.
pub(crate) const POWERS: [i64; 19] = {
    let (mut powers, mut i) = ([1; 19], 1);
    while i < 19 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// Reads one to eight digits, and optionally a point and one to eight more. Returns the mantissa, the scale and the
/// position of the end.
///
/// `None` does not mean that the text is not a number. The text after the number is not checked, so the caller compares
/// the end with the expected one.
#[inline(always)]
pub(super) fn fixed(frame: &[u8], at: usize) -> Option<(u64, u8, usize)> {
    let (values, stop) = digits(load(frame, at)?);
    let whole = (stop.trailing_zeros() / 8) as usize;
    if whole == 0 {
        return None;
    }
    let integer = eight(values << (64 - 8 * whole));
    let at = at + whole;
    if *frame.get(at)? != b'.' {
        return Some((integer, 0, at));
    }
    let (values, stop) = digits(load(frame, at + 1)?);
    let places = (stop.trailing_zeros() / 8) as usize;
    if places == 0 {
        return None;
    }
    let fraction = eight(values << (64 - 8 * places));
    Some((integer * POWERS[places] as u64 + fraction, places as u8, at + 1 + places))
}

/// Reads the decimal that is exactly `frame[start..end]`.
#[inline(always)]
pub(super) fn decimal(frame: &[u8], start: usize, end: usize) -> Option<Decimal> {
    match fixed(frame, start) {
        Some((mantissa, scale, stop)) if stop == end => Decimal::new(i128::from(mantissa), scale),
        _ => slow(frame.get(start..end)?),
    }
}

#[cold]
pub(super) fn slow(text: &[u8]) -> Option<Decimal> {
    Decimal::parse(text).ok()
}

/// Reads a whole number of 64 bits: digits only, without leading zeros.
#[inline(always)]
pub(super) fn integer(text: &[u8]) -> Option<u64> {
    if text.len() > 1 && text[0] == b'0' {
        return None;
    }
    if let (9..=16, Some(first), Some(last)) = (text.len(), text.first_chunk(), text.last_chunk()) {
        let (high, high_stop) =
            digits(u64::from_le_bytes(*first) << (8 * (16 - text.len())) | pad(text.len()));
        let (low, low_stop) = digits(u64::from_le_bytes(*last));
        return (high_stop | low_stop == 0).then(|| eight(high) * 100_000_000 + eight(low));
    }
    let mut value = 0u64;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    (!text.is_empty()).then_some(value)
}

/// Returns zero digits for the bytes that a word of `len - 8` digits does not use.
#[inline(always)]
const fn pad(len: usize) -> u64 {
    // Sixteen digits use all bytes; shifting in two steps keeps each shift below 64.
    0x3030_3030_3030_3030 >> (8 * (len - 9)) >> 8
}

/// Returns `value` on another scale, or `None` if it is not exact on that scale or does not fit.
#[inline]
pub(crate) fn rescale(value: i64, from: u8, to: u8) -> Option<i64> {
    if value == 0 || from == to {
        return Some(value);
    }
    let power = *POWERS.get(usize::from(from.abs_diff(to)))?;
    if from < to { value.checked_mul(power) } else { (value % power == 0).then_some(value / power) }
}

/// Returns the smallest scale on which all values are exact.
pub(crate) fn places(values: impl Iterator<Item = i64>, scale: u8) -> u8 {
    let mut places = 0;
    for value in values {
        while places < scale && rescale(value, scale, places).is_none() {
            places += 1;
        }
    }
    places
}
