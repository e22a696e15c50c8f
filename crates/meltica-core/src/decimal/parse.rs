//! Parsing of decimals: a fast path for the usual texts of venues, and a slow path for all others and for errors.

use super::{Decimal, DecimalError, POW10};

/// Reads up to 16 bytes of digits with at most one point between them. Returns `None` for any other text, which
/// [`parse_any`] reads.
///
/// Processes eight bytes at once; the lowest byte of a word is the first character. The text is placed at the end of
/// two words, `high` and `low`, which are filled with leading zero digits.
#[inline]
pub(super) fn parse_16(text: &[u8]) -> Option<Decimal> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const ZEROS: u64 = ONES * b'0' as u64;
    // The top bit of the first byte that is a point. Higher bits may be set as well.
    let points = |word: u64| (word ^ (ONES * (b'.' ^ b'0') as u64)).wrapping_sub(ONES) & !word & (ONES << 7);
    // Replaces the bytes up to the point by those of `shifted`.
    let close = |word: u64, shifted: u64, points: u64| word ^ ((word ^ shifted) & (points ^ (points - 1)));

    let n = text.len();
    let (mut high, mut low);
    if let (9.., Some(first), Some(last)) = (n, text.first_chunk(), text.last_chunk()) {
        if n > 16 {
            return None;
        }
        high = (u64::from_le_bytes(*first) ^ ZEROS) << (8 * (16 - n));
        low = u64::from_le_bytes(*last) ^ ZEROS;
    } else {
        let word = if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
            u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << (8 * (n - 4))
        } else if n > 0 {
            text[0] as u64 | (text[n / 2] as u64) << (8 * (n / 2)) | (text[n - 1] as u64) << (8 * (n - 1))
        } else {
            return None;
        };
        high = 0;
        low = (word ^ ZEROS) << (8 * (8 - n));
    }
    let mut places = 0;
    let (in_low, in_high) = (points(low), points(high));
    if in_low | in_high != 0 {
        if in_low != 0 {
            places = 7 - in_low.trailing_zeros() / 8;
            low = close(low, low << 8 | high >> 56, in_low);
            high <<= 8;
        } else {
            places = 15 - in_high.trailing_zeros() / 8;
            high = close(high, high << 8, in_high);
        }
        if places == 0 || places as usize == n - 1 {
            return None;
        }
    }
    // The top bit of a byte above nine is set, or is set by this addition.
    let over_nine = high.wrapping_add(ONES * 0x76) | low.wrapping_add(ONES * 0x76) | high | low;
    if over_nine & (ONES << 7) != 0 {
        return None;
    }
    let value = eight_digits(high) * 100_000_000 + eight_digits(low);
    Decimal::from_magnitude(false, value, places as u8)
}

/// Returns the value of eight bytes of 0-9, the first digit in the lowest byte.
#[inline]
const fn eight_digits(bytes: u64) -> u64 {
    const LANES: u64 = 0x0000_00ff_0000_00ff;
    let pairs = bytes.wrapping_mul(10).wrapping_add(bytes >> 8);
    let high = (pairs & LANES).wrapping_mul((1_000_000 << 32) + 100);
    let low = ((pairs >> 16) & LANES).wrapping_mul((10_000 << 32) + 1);
    high.wrapping_add(low) >> 32
}

/// Reads up to 18 digits with at most one point between them.
fn parse_18(negative: bool, body: &[u8]) -> Option<Decimal> {
    if body.len() > 19 {
        return None;
    }
    let (mut value, mut digits, mut point) = (0, 0, None);
    for &byte in body {
        match (byte, point) {
            (b'0'..=b'9', _) => {
                value = value * 10 + (byte - b'0') as u64;
                digits += 1;
            }
            (b'.', None) => point = Some(digits),
            _ => return None,
        }
    }
    let places = digits - point.unwrap_or(digits);
    let between = point.is_none_or(|before| before > 0 && places > 0);
    if between && (1..=18).contains(&digits) {
        Decimal::from_magnitude(negative, value, places)
    } else {
        None
    }
}

/// Reads any text.
#[inline(never)]
pub(super) fn parse_any(text: &[u8]) -> Result<Decimal, DecimalError> {
    let negative = text.first() == Some(&b'-');
    let body = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if let Some(short) = parse_18(negative, body) {
        return Ok(short);
    }
    if text.is_empty() {
        return Err(DecimalError::Empty);
    }
    if text.len() > Decimal::MAX_TEXT {
        return Err(DecimalError::TooLong { len: text.len() });
    }
    let Some((digits, places, exponent)) = split(body) else {
        return Err(DecimalError::NotANumber { found: excerpt(text) });
    };
    let too_many_places = || Err(DecimalError::TooManyPlaces { found: excerpt(text) });
    let too_large = || Err(DecimalError::TooLarge { found: excerpt(text) });

    let written = places as i64 - exponent.unwrap_or(0);
    let mut scale = written.clamp(0, Decimal::MAX_SCALE as i64);
    if exponent.is_none() && written > scale {
        return too_many_places();
    }
    // The value is `significand * 10^(zeros - written)`.
    let (mut significand, mut length, mut zeros) = (0_i128, 0_i64, 0_i64);
    for digit in digits.map(|byte| byte - b'0') {
        if digit == 0 {
            zeros += i64::from(length > 0);
            continue;
        }
        length += zeros + 1;
        if length > Decimal::MAX_DIGITS as i64 {
            return too_large();
        }
        significand = significand * POW10[zeros as usize + 1] + digit as i128;
        zeros = 0;
    }
    if significand != 0 {
        let mut power = zeros - written + scale;
        if power < 0 {
            return too_many_places();
        }
        let mut excess = length + power - Decimal::MAX_DIGITS as i64;
        if exponent.is_some() && excess > 0 {
            let dropped = excess.min(scale).min(power);
            (scale, power, excess) = (scale - dropped, power - dropped, excess - dropped);
        }
        if excess > 0 {
            return too_large();
        }
        significand *= POW10[power as usize];
    }
    Decimal::new(if negative { -significand } else { significand }, scale as u8)
        .map_or_else(too_many_places, Ok)
}

/// Splits `digits[.digits][e[sign]digits]` into its digits, the number of them after the point, and the exponent.
fn split(body: &[u8]) -> Option<(impl Iterator<Item = u8>, usize, Option<i64>)> {
    let is_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let (number, exponent) = match body.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        None => (body, None),
        Some(at) => {
            let (sign, digits) = match &body[at + 1..] {
                [b'-', digits @ ..] => (-1, digits),
                [b'+', digits @ ..] | digits => (1, digits),
            };
            if !is_digits(digits) {
                return None;
            }
            let magnitude =
                digits.iter().fold(0, |value: i64, byte| (value * 10 + (byte - b'0') as i64).min(1_000_000));
            (&body[..at], Some(sign * magnitude))
        }
    };
    let (whole, fraction): (_, &[u8]) = match number.iter().position(|&byte| byte == b'.') {
        None => (number, &[]),
        Some(at) if is_digits(&number[at + 1..]) => (&number[..at], &number[at + 1..]),
        Some(_) => return None,
    };
    is_digits(whole).then(|| (whole.iter().chain(fraction).copied(), fraction.len(), exponent))
}

/// Returns the beginning of `text`, escaped for a message.
fn excerpt(text: &[u8]) -> String {
    const MOST: usize = 40;
    let dots = if text.len() > MOST { ".." } else { "" };
    format!("{}{dots}", text[..text.len().min(MOST)].escape_ascii())
}
