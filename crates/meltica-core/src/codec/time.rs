//! The conversion of times.

use super::error::Fault;
use super::spec::TimeUnit;
use super::{interval, number};
use crate::decimal::Decimal;
use crate::event::Nanos;

/// The times that a venue of today can mean: of the years 2000 to 2100.
const PLAUSIBLE: std::ops::Range<u64> = 946_684_800_000_000_000..4_102_444_800_000_000_000;
/// A date that venues write in RFC 3339 for a missing time.
pub(super) const NONE: &[u8] = b"0001-01-01T00:00:00";
const UNITS: [(u64, Fault); 4] = [
    (1_000_000_000, Fault::TimeInSeconds),
    (1_000_000, Fault::TimeInMillis),
    (1_000, Fault::TimeInMicros),
    (1, Fault::TimeInNanos),
];

/// Returns the time of a whole number. A number that only another unit explains is refused, and the unit named.
#[inline]
pub(super) fn whole(number: u64, unit: TimeUnit) -> Result<Nanos, Fault> {
    let nanos = number.checked_mul(unit.nanos());
    match nanos {
        Some(nanos) if PLAUSIBLE.contains(&nanos) => Ok(nanos as Nanos),
        _ => implausible(number, nanos),
    }
}

#[cold]
fn implausible(number: u64, nanos: Option<u64>) -> Result<Nanos, Fault> {
    let fits = |unit: u64| number.checked_mul(unit).is_some_and(|nanos| PLAUSIBLE.contains(&nanos));
    match UNITS.iter().find(|(unit, _)| fits(*unit)) {
        Some((_, fault)) => Err(*fault),
        None => nanos.and_then(|nanos| Nanos::try_from(nanos).ok()).ok_or(Fault::BadTime),
    }
}

/// Returns the time of a text in any form.
pub(super) fn parse(text: &[u8], unit: TimeUnit) -> Result<Nanos, Fault> {
    match unit {
        TimeUnit::Rfc3339 => rfc3339(text).ok_or(Fault::BadTime),
        TimeUnit::DecimalSeconds => decimal_seconds(text),
        _ => whole(number::integer(text).ok_or(Fault::BadTime)?, unit),
    }
}

fn decimal_seconds(text: &[u8]) -> Result<Nanos, Fault> {
    let seconds = Decimal::parse(text).ok().filter(|seconds| !seconds.is_negative()).ok_or(Fault::BadTime)?;
    let nanos = seconds.rescale(9).and_then(|nanos| u64::try_from(nanos.mantissa()).ok());
    match nanos {
        Some(nanos) if PLAUSIBLE.contains(&nanos) => Ok(nanos as Nanos),
        _ => match number::integer(text) {
            Some(number) => implausible(number, nanos),
            None => nanos.and_then(|nanos| Nanos::try_from(nanos).ok()).ok_or(Fault::BadTime),
        },
    }
}

/// Reads `2023-10-06T17:35:55.440295Z`, with zero to nine decimals and any offset.
fn rfc3339(text: &[u8]) -> Option<Nanos> {
    let two = |at: usize| match text.get(at..at + 2)? {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some(i64::from(a - b'0') * 10 + i64::from(b - b'0')),
        _ => None,
    };
    let is = |at: usize, accepted: &[u8]| text.get(at).filter(|byte| accepted.contains(byte)).map(|_| ());
    let (year, month, day) = (two(0)? * 100 + two(2)?, two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    [(4, &b"-"[..]), (7, b"-"), (10, b"Tt "), (13, b":"), (16, b":")]
        .into_iter()
        .try_for_each(|(at, accepted)| is(at, accepted))?;
    let is_date = (1..=12).contains(&month) && (1..=interval::days(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if text.get(at) == Some(&b'.') {
        let digits = text[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        let value =
            text[at + 1..=at + digits].iter().fold(0, |value, byte| value * 10 + i64::from(byte - b'0'));
        nanos = value * number::POWERS[9 - digits];
        at += 1 + digits;
    }
    let offset = match text.get(at)? {
        b'Z' | b'z' if text.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if text.len() == at + 6 && text[at + 3] == b':' => {
            let (hours, minutes) = (two(at + 1)?, two(at + 4)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -60 } else { 60 }
        }
        _ => return None,
    };
    // Days since 1970-01-01, with years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (m * 153 + 2) / 5 + day - 719_469;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second - offset;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}
