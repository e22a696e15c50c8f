//! The JSON scanner: it finds the ends of strings, numbers and values, eight bytes at a time.
//!
//! Every function takes the frame and a position and returns a position. None of them recurses or allocates.

use super::error::{Fail, Fault};
use std::borrow::Cow;

pub(super) type Scan<T = usize> = Result<T, Fail>;

/// Maximum depth of nested values in a skipped value.
pub(super) const MAX_DEPTH: u32 = 64;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Returns the eight bytes at `at`.
#[inline(always)]
pub(super) fn load(frame: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*frame.get(at..)?.first_chunk()?))
}

/// Returns a mask whose lowest set bit is in the first byte equal to `byte`. Higher bits may be wrong.
#[inline(always)]
const fn equal(word: u64, byte: u8) -> u64 {
    let x = word ^ (LOW * byte as u64);
    x.wrapping_sub(LOW) & !x & HIGH
}

/// Returns a mask as [`equal`] does, for the bytes that end plain text: quotes, backslashes and control characters.
#[inline(always)]
pub(super) const fn special(word: u64) -> u64 {
    // With this bit flipped, the quote is the one byte that follows the control characters.
    let x = word ^ (LOW * 2);
    (x.wrapping_sub(LOW * 0x21) & !x & HIGH) | equal(word, b'\\')
}

/// Returns the values of the digits, and a mask as [`equal`] does for the bytes that are not digits.
#[inline(always)]
pub(super) const fn digits(word: u64) -> (u64, u64) {
    let x = word ^ ZEROS;
    (x, (x.wrapping_add(0x7676_7676_7676_7676) | x) & HIGH)
}

/// Returns the number of eight digit values, the most significant in the lowest byte.
#[inline(always)]
pub(super) const fn eight(values: u64) -> u64 {
    const PAIRS: u64 = 0x0000_00FF_0000_00FF;
    let x = values.wrapping_mul(10).wrapping_add(values >> 8);
    let high = (x & PAIRS).wrapping_mul(0x000F_4240_0000_0064);
    let low = ((x >> 16) & PAIRS).wrapping_mul(0x0000_2710_0000_0001);
    high.wrapping_add(low) >> 32
}

/// Returns the byte at `at`.
#[inline(always)]
pub(super) fn byte(frame: &[u8], at: usize) -> Scan<u8> {
    match frame.get(at) {
        Some(&byte) => Ok(byte),
        None => Fail::new(Fault::Truncated, at),
    }
}

/// Returns the position of the first byte from `at` that is not white space.
#[inline(always)]
pub(super) fn blank(frame: &[u8], at: usize) -> usize {
    match frame.get(at) {
        Some(&byte) if byte > b' ' => at,
        _ => blanks(frame, at),
    }
}

/// Returns the position of the first byte from `at` that is not white space, and the byte.
#[inline(always)]
pub(super) fn token(frame: &[u8], at: usize) -> Scan<(usize, u8)> {
    match frame.get(at) {
        Some(&byte) if byte > b' ' => Ok((at, byte)),
        _ => token_after_blanks(frame, at),
    }
}

#[cold]
fn token_after_blanks(frame: &[u8], at: usize) -> Scan<(usize, u8)> {
    let at = blanks(frame, at);
    Ok((at, byte(frame, at)?))
}

#[cold]
fn blanks(frame: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = frame.get(at) {
        at += 1;
    }
    at
}

/// Returns the position of the closing quote of the string whose first byte is at `at`, and whether it has escapes.
#[inline]
pub(super) fn string(frame: &[u8], mut at: usize) -> Scan<(usize, bool)> {
    let mut escaped = false;
    loop {
        if let Some(word) = load(frame, at) {
            let stop = special(word);
            if stop == 0 {
                at += 8;
                continue;
            }
            at += stop.trailing_zeros() as usize / 8;
        }
        match byte(frame, at)? {
            b'"' => return Ok((at, escaped)),
            b'\\' => {
                escaped = true;
                at = escape(frame, at + 1)?;
            }
            0..0x20 => return Fail::new(Fault::Syntax, at),
            _ => at += 1,
        }
    }
}

#[cold]
fn escape(frame: &[u8], at: usize) -> Scan {
    match byte(frame, at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 1),
        b'u' => {
            for i in at + 1..at + 5 {
                if !byte(frame, i)?.is_ascii_hexdigit() {
                    return Fail::new(Fault::Syntax, i);
                }
            }
            Ok(at + 5)
        }
        _ => Fail::new(Fault::Syntax, at),
    }
}

/// Returns the bytes of a scanned string with its escapes resolved, or `None` for an unpaired surrogate.
pub(super) fn unescape(text: &[u8], escaped: bool) -> Option<Cow<'_, [u8]>> {
    if !escaped {
        return Some(Cow::Borrowed(text));
    }
    let unit = |at: usize| {
        let hex = std::str::from_utf8(text.get(at..at + 4)?).ok()?;
        u16::from_str_radix(hex, 16).ok()
    };
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let code = *text.get(at)?;
        at += 1;
        out.push(match code {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let high = unit(at)?;
                at += 4;
                let low = (0xD800..0xDC00).contains(&high) && text.get(at..at + 2) == Some(b"\\u");
                let pair = [high, if low { unit(at + 2)? } else { 0 }];
                at += if low { 6 } else { 0 };
                let char = char::decode_utf16(pair).next()?.ok()?;
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            plain => plain,
        });
    }
    Some(Cow::Owned(out))
}

/// Returns the end of the digits at `at`.
#[inline(always)]
fn digit_run(frame: &[u8], mut at: usize) -> usize {
    while let Some(word) = load(frame, at) {
        let stop = digits(word).1;
        if stop != 0 {
            return at + stop.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while frame.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

/// Returns the end of the number at `at`.
#[inline(always)]
pub(super) fn number(frame: &[u8], at: usize) -> Scan {
    if let Some(b'1'..=b'9') = frame.get(at) {
        let end = digit_run(frame, at + 1);
        if !matches!(frame.get(end), Some(b'.' | b'e' | b'E')) {
            return Ok(end);
        }
    }
    any_number(frame, at)
}

#[inline(never)]
fn any_number(frame: &[u8], start: usize) -> Scan {
    let first = start + usize::from(frame.get(start) == Some(&b'-'));
    let mut at = digit_run(frame, first);
    if at == first || (frame.get(first) == Some(&b'0') && at > first + 1) {
        return Fail::unexpected(frame, at);
    }
    if let Some(b'.' | b'e' | b'E') = frame.get(at) {
        if frame.get(at) == Some(&b'.') {
            let fraction = at + 1;
            at = digit_run(frame, fraction);
            if at == fraction {
                return Fail::unexpected(frame, at);
            }
        }
        if let Some(b'e' | b'E') = frame.get(at) {
            let exponent = at + 1 + usize::from(matches!(frame.get(at + 1), Some(b'+' | b'-')));
            at = digit_run(frame, exponent);
            if at == exponent {
                return Fail::unexpected(frame, at);
            }
        }
    }
    Ok(at)
}

/// Returns the end of the literal (`true`, `false` or `null`) at `at`.
#[inline]
pub(super) fn literal(frame: &[u8], at: usize) -> Scan {
    match frame.get(at..at + 4) {
        Some(b"true" | b"null") => Ok(at + 4),
        Some(b"fals") if frame.get(at + 4) == Some(&b'e') => Ok(at + 5),
        _ => bad_literal(frame, at),
    }
}

#[cold]
fn bad_literal(frame: &[u8], at: usize) -> Scan {
    let word: &[u8] = match byte(frame, at)? {
        b't' => b"true",
        b'f' => b"false",
        b'n' => b"null",
        _ => return Fail::new(Fault::Syntax, at),
    };
    let same = frame[at..].iter().zip(word).take_while(|(found, expected)| found == expected).count();
    Fail::unexpected(frame, at + same)
}

fn scalar(frame: &[u8], at: usize) -> Scan {
    match byte(frame, at)? {
        b'"' => Ok(string(frame, at + 1)?.0 + 1),
        b'-' | b'0'..=b'9' => number(frame, at),
        _ => literal(frame, at),
    }
}

/// Returns the start of the value of the key at `at`.
fn key(frame: &[u8], at: usize) -> Scan {
    if byte(frame, at)? != b'"' {
        return Fail::new(Fault::Syntax, at);
    }
    let colon = blank(frame, string(frame, at + 1)?.0 + 1);
    match byte(frame, colon)? {
        b':' => Ok(blank(frame, colon + 1)),
        _ => Fail::new(Fault::Syntax, colon),
    }
}

/// Returns the word of a key of at most seven plain bytes and the position after its colon.
#[inline(always)]
pub(super) fn short_key(frame: &[u8], start: usize) -> Option<(u64, usize)> {
    let word = load(frame, start)?;
    // Most keys are one byte long, which a branch detects before the arithmetic.
    let byte = word as u8;
    if word >> 8 & 0xFFFF == u64::from(u16::from_le_bytes(*b"\":")) && byte > b'"' && byte != b'\\' {
        return Some((word & 0xFF, start + 3));
    }
    let stop = special(word);
    // The lowest set bit is the top bit of the first special byte; the bytes below it are the key.
    let len = stop.trailing_zeros() as usize / 8;
    if stop == 0 || frame.get(start + len..start + len + 2)? != b"\":" {
        return None;
    }
    Some((word & ((1u64 << (8 * len)) - 1), start + len + 2))
}

/// Returns the end of the value at `at`, of any type.
pub(super) fn skip(frame: &[u8], mut at: usize) -> Scan {
    // One bit per open value, the innermost in the lowest bit: 1 for an object, 0 for an array.
    let (mut open, mut depth) = (0u64, 0u32);
    let close = |open: u64| if open & 1 == 1 { b'}' } else { b']' };
    loop {
        match byte(frame, at)? {
            first @ (b'{' | b'[') => {
                if depth == MAX_DEPTH {
                    return Fail::new(Fault::TooDeep, at);
                }
                open = open << 1 | u64::from(first == b'{');
                depth += 1;
                at = blank(frame, at + 1);
                if byte(frame, at)? != close(open) {
                    at = if open & 1 == 1 { key(frame, at)? } else { at };
                    continue;
                }
                (at, open, depth) = (at + 1, open >> 1, depth - 1);
            }
            _ => at = scalar(frame, at)?,
        }
        while depth > 0 {
            at = blank(frame, at);
            match byte(frame, at)? {
                b',' => {
                    at = blank(frame, at + 1);
                    at = if open & 1 == 1 { key(frame, at)? } else { at };
                    break;
                }
                b if b == close(open) => (at, open, depth) = (at + 1, open >> 1, depth - 1),
                _ => return Fail::new(Fault::Syntax, at),
            }
        }
        if depth == 0 {
            return Ok(at);
        }
    }
}

/// Calls `element` with the start of each element of the array at `at`, which returns its end. Returns the end of the
/// array.
pub(super) fn elements(frame: &[u8], at: usize, element: impl FnMut(usize) -> Scan) -> Scan {
    first_elements(frame, at, usize::MAX, element)
}

/// Calls `element` with the start of each of the first `most` elements of the array at `at`, at least of one. Returns the
/// end of the array, or the start of the first element that is left out.
#[inline]
pub(super) fn first_elements(
    frame: &[u8],
    at: usize,
    most: usize,
    mut element: impl FnMut(usize) -> Scan,
) -> Scan {
    let mut at = blank(frame, at + 1);
    if byte(frame, at)? == b']' {
        return Ok(at + 1);
    }
    let mut count = 0;
    loop {
        at = blank(frame, element(at)?);
        count += 1;
        match byte(frame, at)? {
            b',' => at = blank(frame, at + 1),
            b']' => return Ok(at + 1),
            _ => return Fail::new(Fault::Syntax, at),
        }
        if count == most {
            return Ok(at);
        }
    }
}
