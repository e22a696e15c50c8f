//! Exact decimals.
//!
//! A [`Decimal`] is what a venue wrote, digit for digit: it keeps its trailing zeros for printing and forgets them for
//! comparing. No operation rounds unless its name says so; a result that does not fit is `None`, never a nearby number.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::num::NonZeroU8;
use std::str::FromStr;

mod parse;

/// An exact decimal number: a 128-bit mantissa and a scale, 24 bytes; `Option<Decimal>` is 24 bytes too.
///
/// Equality, order and hash go by value: `100.10` equals `100.1`, and there is one zero.
#[derive(Clone, Copy)]
pub struct Decimal {
    hi: i64,
    lo: u64,
    scale_plus_one: NonZeroU8,
}

const _: () = assert!(size_of::<Decimal>() == 24 && size_of::<Option<Decimal>>() == 24);

/// Why a text is not a [`Decimal`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// There is no text.
    #[error("expected a decimal number, seen an empty text")]
    Empty,
    /// The text is longer than any number that fits.
    #[error("expected a decimal number of at most {max} bytes, seen {len} bytes", max = Decimal::MAX_TEXT)]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The text is not `[sign] digits [. digits] [e [sign] digits]` in ASCII.
    #[error("expected a decimal number such as -12.50 or 1e-8, seen \"{seen}\"")]
    NotANumber {
        /// Its beginning, escaped.
        seen: String,
    },
    /// The number has too many digits after the point.
    #[error("expected at most {max} digits after the point, seen \"{seen}\"", max = Decimal::MAX_SCALE)]
    TooManyPlaces {
        /// The text.
        seen: String,
    },
    /// The number has too many digits in all.
    #[error("expected at most {max} digits, seen \"{seen}\"", max = Decimal::MAX_DIGITS)]
    TooLarge {
        /// The text.
        seen: String,
    },
}

const POW10: [i128; Decimal::MAX_DIGITS as usize + 1] = {
    let mut powers = [1; Decimal::MAX_DIGITS as usize + 1];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// The powers of ten that a float holds exactly.
const EXACT_F64_POW10: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Room for 39 digits, a point and a leading zero.
const PLAIN_LEN: usize = 48;

impl Decimal {
    /// Most digits after the point.
    pub const MAX_SCALE: u8 = 28;

    /// Most digits in a mantissa.
    pub const MAX_DIGITS: u8 = 38;

    /// Most bytes in a text that is parsed.
    pub const MAX_TEXT: usize = 64;

    /// Zero, without digits after the point.
    pub const ZERO: Self = Self::from_i64(0);

    /// Returns `mantissa * 10^-scale`, or `None` when the mantissa has more than [`Self::MAX_DIGITS`] digits or the
    /// scale is over [`Self::MAX_SCALE`].
    #[inline]
    pub const fn new(mantissa: i128, scale: u8) -> Option<Self> {
        const END: i128 = POW10[Decimal::MAX_DIGITS as usize];
        if scale > Self::MAX_SCALE || mantissa <= -END || mantissa >= END {
            return None;
        }
        let Some(scale_plus_one) = NonZeroU8::new(scale + 1) else { return None };
        Some(Self { hi: (mantissa >> 64) as i64, lo: mantissa as u64, scale_plus_one })
    }

    /// Returns the integer whose `scale` last digits stand after the point.
    #[inline]
    pub const fn mantissa(self) -> i128 {
        ((self.hi as i128) << 64) | self.lo as i128
    }

    /// Returns the number of digits after the point.
    #[inline]
    pub const fn scale(self) -> u8 {
        self.scale_plus_one.get() - 1
    }

    /// Returns the whole number `value`.
    #[inline]
    pub const fn from_i64(value: i64) -> Self {
        Self { hi: value >> 63, lo: value as u64, scale_plus_one: NonZeroU8::MIN }
    }

    /// Returns the number whose text is `text`: an optional sign, digits, and optionally a point with digits on both
    /// its sides, all in ASCII.
    ///
    /// The scale is the number of digits written after the point. An exponent (`1e-8`, `1.5E+3`) is accepted when the
    /// value fits, and then the scale is the one that the same number has in plain notation. The sign of zero is lost.
    ///
    /// # Errors
    /// Any [`DecimalError`]; the work done is bounded whatever the length of the text.
    #[inline]
    pub fn parse(text: &[u8]) -> Result<Self, DecimalError> {
        parse::parse_16(text).map_or_else(|| parse::parse_any(text), Ok)
    }

    /// Returns a number of at most 18 digits.
    #[inline]
    const fn from_magnitude(negative: bool, magnitude: u64, scale: u8) -> Option<Self> {
        let mantissa = if negative { -(magnitude as i64) } else { magnitude as i64 };
        let Some(scale_plus_one) = NonZeroU8::new(scale + 1) else { return None };
        Some(Self { hi: mantissa >> 63, lo: mantissa as u64, scale_plus_one })
    }

    /// Returns whether the number is zero.
    #[inline]
    pub const fn is_zero(self) -> bool {
        self.hi == 0 && self.lo == 0
    }

    /// Returns whether the number is below zero.
    #[inline]
    pub const fn is_negative(self) -> bool {
        self.hi < 0
    }

    /// Returns the distance from zero. Every mantissa has an opposite: none is as long as `i128::MIN`.
    #[must_use]
    #[inline]
    pub const fn abs(self) -> Self {
        let mantissa = self.mantissa().abs();
        Self { hi: (mantissa >> 64) as i64, lo: mantissa as u64, scale_plus_one: self.scale_plus_one }
    }

    /// Returns the same value without zeros at the end of its digits after the point.
    #[must_use]
    pub fn normalize(self) -> Self {
        let (mut mantissa, mut scale) = (self.mantissa(), self.scale());
        if mantissa == 0 {
            return Self::ZERO;
        }
        if let Ok(mut small) = i64::try_from(mantissa) {
            while scale > 0 && small % 10 == 0 {
                small /= 10;
                scale -= 1;
            }
            mantissa = small as i128;
        } else {
            while scale > 0 && mantissa % 10 == 0 {
                mantissa /= 10;
                scale -= 1;
            }
        }
        Self::new(mantissa, scale).unwrap_or(self)
    }

    /// Returns the same value with exactly `scale` digits after the point, or `None` when digits would be lost or the
    /// mantissa would pass [`Self::MAX_DIGITS`].
    pub fn rescale(self, scale: u8) -> Option<Self> {
        let (mantissa, from) = (self.mantissa(), self.scale());
        match scale.cmp(&from) {
            Ordering::Equal => Some(self),
            Ordering::Greater => {
                Self::new(mantissa.checked_mul(*POW10.get((scale - from) as usize)?)?, scale)
            }
            Ordering::Less => {
                let power = POW10[(from - scale) as usize];
                if mantissa % power == 0 { Self::new(mantissa / power, scale) } else { None }
            }
        }
    }

    /// Returns the sum, or `None` when it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.combine(other, i128::checked_add)
    }

    /// Returns the difference, or `None` when it does not fit.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.combine(other, i128::checked_sub)
    }

    /// Returns the product, or `None` when it does not fit.
    ///
    /// Its scale is the sum of both scales, or less where only zeros at the end make that too long.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        self.product(other).or_else(|| self.normalize().product(other.normalize()))
    }

    /// Returns the multiple of `increment` that is nearest to the number from above when `up`, else from below, with
    /// the increment's scale (without its zeros at the end where only they make the result too long).
    ///
    /// Above and below are towards plus and minus infinity. `None` when the increment is not positive or the result
    /// does not fit.
    pub fn round_to_increment(self, increment: Self, up: bool) -> Option<Self> {
        if increment.is_negative() || increment.is_zero() {
            return None;
        }
        self.multiple_of(increment, up).or_else(|| self.multiple_of(increment.normalize(), up))
    }

    /// Returns the nearest float, ties to even: what Python's `float(Decimal(text))` gives.
    pub fn to_f64(self) -> f64 {
        let (mantissa, scale) = (self.mantissa(), self.scale() as usize);
        if mantissa.unsigned_abs() <= 1 << 53
            && let Some(power) = EXACT_F64_POW10.get(scale)
        {
            // Both operands are exact, so the one division rounds once.
            return mantissa as i64 as f64 / power;
        }
        let mut buffer = [0; PLAIN_LEN];
        let magnitude: f64 = self.plain(&mut buffer).parse().expect("plain digits are a float");
        if self.is_negative() { -magnitude } else { magnitude }
    }

    /// Returns the number with the fewest digits that reads back as `value`, or `None` when `value` is not finite or
    /// that number does not fit.
    pub fn from_f64_shortest(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let mut buffer = [0; 32];
        let mut free = &mut buffer[..];
        write!(free, "{value:e}").ok()?;
        let used = 32 - free.len();
        Self::parse(&buffer[..used]).ok()
    }

    fn combine(self, other: Self, op: fn(i128, i128) -> Option<i128>) -> Option<Self> {
        let aligned = |a: Self, b: Self| {
            let scale = a.scale().max(b.scale());
            Self::new(op(a.rescale(scale)?.mantissa(), b.rescale(scale)?.mantissa())?, scale)
        };
        aligned(self, other).or_else(|| aligned(self.normalize(), other.normalize()))
    }

    fn product(self, other: Self) -> Option<Self> {
        let mut mantissa = self.mantissa().checked_mul(other.mantissa())?;
        let mut scale = self.scale() + other.scale();
        while scale > Self::MAX_SCALE && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Self::new(mantissa, scale)
    }

    fn multiple_of(self, increment: Self, up: bool) -> Option<Self> {
        let (scale, step) = (increment.scale(), increment.mantissa());
        let units = match self.scale().checked_sub(scale) {
            // Rounding to the unit of the increment first changes nothing: the increment is a whole number of units.
            Some(excess) => {
                let power = POW10[excess as usize];
                self.mantissa().div_euclid(power) + i128::from(up && self.mantissa() % power != 0)
            }
            None => self.rescale(scale)?.mantissa(),
        };
        let below = units.div_euclid(step).checked_mul(step)?;
        Self::new(if up && below != units { below.checked_add(step)? } else { below }, scale)
    }

    /// Writes the digits and the point, without a sign.
    fn plain(self, buffer: &mut [u8; PLAIN_LEN]) -> &str {
        let scale = self.scale();
        let mut rest = self.mantissa().unsigned_abs();
        let (mut at, mut places) = (PLAIN_LEN, 0);
        while rest != 0 || places <= scale {
            if places == scale && scale > 0 {
                at -= 1;
                buffer[at] = b'.';
            }
            let digit;
            (digit, rest) = match u64::try_from(rest) {
                Ok(small) => ((small % 10) as u8, (small / 10) as u128),
                Err(_) => ((rest % 10) as u8, rest / 10),
            };
            at -= 1;
            buffer[at] = b'0' + digit;
            places += 1;
        }
        std::str::from_utf8(&buffer[at..]).unwrap_or_default()
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        Self::parse(text.as_bytes())
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Self::from_i64(value)
    }
}

impl fmt::Display for Decimal {
    /// Writes plain notation with every digit of the scale, never an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad_integral(!self.is_negative(), "", self.plain(&mut [0; PLAIN_LEN]))
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Decimal {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        if self.scale_plus_one <= other.scale_plus_one {
            compare_scaled(self.mantissa(), other.scale() - self.scale(), other.mantissa())
        } else {
            compare_scaled(other.mantissa(), self.scale() - other.scale(), self.mantissa()).reverse()
        }
    }
}

/// Compares `a * 10^power` with `b`.
#[inline]
fn compare_scaled(a: i128, power: u8, b: i128) -> Ordering {
    match (power, a.checked_mul(POW10[power as usize])) {
        (0, _) => a.cmp(&b),
        (_, Some(scaled)) => scaled.cmp(&b),
        // Past every `i128`, on the side of its sign.
        (_, None) => a.cmp(&0),
    }
}

impl Hash for Decimal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { hi, lo, scale_plus_one } = self.normalize();
        (hi, lo, scale_plus_one).hash(state);
    }
}

#[cfg(test)]
mod tests;
