//! The intervals of candles.

use crate::event::Nanos;

const SECOND: Nanos = 1_000_000_000;
const DAY: Nanos = 86_400 * SECOND;

/// The length of a candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interval {
    Fixed(Nanos),
    Months(u16),
}

impl Interval {
    /// Reads a count and a unit: `1s`, `5m`, `4h`, `1d`, `1w` or `3M`, for months.
    pub fn parse(text: &str) -> Option<Self> {
        let unit = text.chars().next_back().filter(char::is_ascii)?;
        let digits = &text[..text.len() - 1];
        let count: u16 = digits.parse().ok().filter(|count| *count > 0 && !digits.starts_with(['+', '0']))?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            'M' if count <= 12 => return Some(Self::Months(count)),
            _ => return None,
        };
        Some(Self::Fixed(Nanos::from(count) * seconds * SECOND))
    }

    /// Returns the end of a candle. Months begin on their first day in the time zone of the venue.
    pub fn end(self, start: Nanos) -> Option<Nanos> {
        match self {
            Self::Fixed(length) => start.checked_add(length),
            Self::Months(count) => {
                let (mut year, mut month, day) = date(start.checked_add(DAY / 2)?.div_euclid(DAY));
                let mut length = 0;
                for _ in 0..count {
                    length += days(year, month);
                    (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                }
                if day == 1 { start.checked_add(length * DAY) } else { None }
            }
        }
    }
}

/// Returns the number of days of a month.
pub(super) const fn days(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)) as i64,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the year, month and day of a number of days since 1970-01-01.
const fn date(days: i64) -> (i64, i64, i64) {
    // Years begin in March, and eras of 400 of them repeat.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, year) = (day - (153 * month + 2) / 5 + 1, year + era * 400);
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::super::spec::TimeUnit;
    use super::super::time;
    use super::*;

    fn end(interval: &str, start: &str) -> Option<Nanos> {
        let start = time::parse(start.as_bytes(), TimeUnit::Rfc3339).ok()?;
        Interval::parse(interval)?.end(start)
    }

    #[test]
    fn a_candle_ends_an_interval_after_its_start() {
        for (interval, start, expected) in [
            ("1s", "2024-02-28T23:59:59Z", "2024-02-29T00:00:00Z"),
            ("15m", "2024-02-28T23:45:00Z", "2024-02-29T00:00:00Z"),
            ("4h", "2024-02-28T20:00:00Z", "2024-02-29T00:00:00Z"),
            ("1d", "2024-02-28T16:00:00Z", "2024-02-29T16:00:00Z"),
            ("1w", "2024-02-26T00:00:00Z", "2024-03-04T00:00:00Z"),
            ("1M", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("1M", "2023-12-31T16:00:00Z", "2024-01-31T16:00:00Z"),
            ("1M", "2024-01-31T16:00:00Z", "2024-02-29T16:00:00Z"),
            ("3M", "2023-12-01T05:00:00Z", "2024-03-01T05:00:00Z"),
            ("12M", "2100-01-01T00:00:00Z", "2101-01-01T00:00:00Z"),
        ] {
            let expected = time::parse(expected.as_bytes(), TimeUnit::Rfc3339).unwrap();
            assert_eq!(end(interval, start), Some(expected), "{interval} {start}");
        }
        assert_eq!(end("1M", "2024-02-02T00:00:00Z"), None, "no month begins then");
    }

    #[test]
    fn an_interval_is_a_count_and_a_unit() {
        for text in ["", "m", "1", "0m", "01m", "+1m", "-1m", "1x", "1 m", "13M", "70000m", "1.5h", "1\u{e9}"]
        {
            assert_eq!(Interval::parse(text), None, "{text:?}");
        }
        assert_eq!(Interval::parse("1m"), Some(Interval::Fixed(60 * SECOND)));
        assert_eq!(Interval::parse("1M"), Some(Interval::Months(1)));
    }
}
