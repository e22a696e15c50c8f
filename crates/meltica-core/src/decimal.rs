//! Exact decimals.
//!
//! A [`Decimal`] keeps every digit of a venue's text: trailing zeros are printed, and ignored in comparisons. Only an
//! operation whose name says so rounds. A result that does not fit is `None`.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::num::NonZeroU8;
use std::str::FromStr;

mod parse;

/// An exact decimal number: a 128-bit mantissa and a scale, 24 bytes; `Option<Decimal>` is 24 bytes too.
///
/// Equality, order and hash depend on the value: `100.10` equals `100.1`, and zero has no sign.
#[derive(Clone, Copy)]
pub struct Decimal {
    hi: i64,
    lo: u64,
    scale_plus_one: NonZeroU8,
}

const _: () = assert!(size_of::<Decimal>() == 24 && size_of::<Option<Decimal>>() == 24);

/// The error of a text that is not a [`Decimal`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// The text is empty.
    #[error("expected a decimal number, saw an empty text")]
    Empty,
    /// The text is longer than any number that fits.
    #[error("expected a decimal number of at most {max} bytes, saw {len} bytes", max = Decimal::MAX_TEXT)]
    TooLong {
        /// The length in bytes.
        len: usize,
    },
    /// The text is not `[sign] digits [. digits] [e [sign] digits]` in ASCII.
    #[error("expected a decimal number such as -12.50 or 1e-8, saw \"{found}\"")]
    NotANumber {
        /// The beginning of the text, escaped.
        found: String,
    },
    /// The number has too many digits after the point.
    #[error("expected at most {max} digits after the point, saw \"{found}\"", max = Decimal::MAX_SCALE)]
    TooManyPlaces {
        /// The text.
        found: String,
    },
    /// The number has too many digits.
    #[error("expected at most {max} digits, saw \"{found}\"", max = Decimal::MAX_DIGITS)]
    TooLarge {
        /// The text.
        found: String,
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

/// The powers of ten that a float represents exactly.
const EXACT_F64_POW10: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// The length of a buffer for 39 digits, a point and a leading zero.
const PLAIN_LEN: usize = 48;

impl Decimal {
    /// Maximum number of digits after the point.
    pub const MAX_SCALE: u8 = 28;

    /// Maximum number of digits of a mantissa.
    pub const MAX_DIGITS: u8 = 38;

    /// Maximum length of a parsed text in bytes.
    pub const MAX_TEXT: usize = 64;

    /// Zero, without digits after the point.
    pub const ZERO: Self = Self::from_i64(0);

    /// Returns `mantissa * 10^-scale`, or `None` if the mantissa has more than [`Self::MAX_DIGITS`] digits or the
    /// scale exceeds [`Self::MAX_SCALE`].
    #[inline]
    pub const fn new(mantissa: i128, scale: u8) -> Option<Self> {
        const END: i128 = POW10[Decimal::MAX_DIGITS as usize];
        if scale > Self::MAX_SCALE || mantissa <= -END || mantissa >= END {
            return None;
        }
        let Some(scale_plus_one) = NonZeroU8::new(scale + 1) else { return None };
        Some(Self { hi: (mantissa >> 64) as i64, lo: mantissa as u64, scale_plus_one })
    }

    /// Returns the integer whose last `scale` digits are those after the point.
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

    /// Parses a number: an optional sign, digits, and optionally a point with digits on both sides, all in ASCII.
    ///
    /// The scale is the number of digits after the point. An exponent (`1e-8`, `1.5E+3`) is accepted if the value fits;
    /// the scale is then that of the plain notation. The sign of zero is ignored.
    ///
    /// # Errors
    /// Any [`DecimalError`]. The cost is bounded for texts of any length.
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

    /// Returns the absolute value. It always fits, as the digits of a mantissa are limited.
    #[must_use]
    #[inline]
    pub const fn abs(self) -> Self {
        let mantissa = self.mantissa().abs();
        Self { hi: (mantissa >> 64) as i64, lo: mantissa as u64, scale_plus_one: self.scale_plus_one }
    }

    /// Returns the same value without trailing zeros after the point.
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

    /// Returns the same value with exactly `scale` digits after the point, or `None` if digits would be lost or the
    /// mantissa would exceed [`Self::MAX_DIGITS`].
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

    /// Returns the sum, or `None` if it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.combine(other, i128::checked_add)
    }

    /// Returns the difference, or `None` if it does not fit.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.combine(other, i128::checked_sub)
    }

    /// Returns the product, or `None` if it does not fit.
    ///
    /// The scale is the sum of both scales, or less if trailing zeros alone exceed the limits.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        self.product(other).or_else(|| self.normalize().product(other.normalize()))
    }

    /// Returns the nearest multiple of `increment` that is not below the number if `up`, otherwise not above. The scale
    /// is that of the increment, without its trailing zeros if they alone make the result too long.
    ///
    /// Negative numbers are rounded towards plus infinity if `up`, otherwise towards minus infinity. Returns `None` if
    /// the increment is not positive or the result does not fit.
    pub fn round_to_increment(self, increment: Self, up: bool) -> Option<Self> {
        if increment.is_negative() || increment.is_zero() {
            return None;
        }
        self.multiple_of(increment, up).or_else(|| self.multiple_of(increment.normalize(), up))
    }

    /// Returns the nearest float, ties to even, as Python's `float(Decimal(text))` does.
    pub fn to_f64(self) -> f64 {
        let (mantissa, scale) = (self.mantissa(), self.scale() as usize);
        if mantissa.unsigned_abs() <= 1 << 53
            && let Some(power) = EXACT_F64_POW10.get(scale)
        {
            // Both operands are exact, so the result is rounded once.
            return mantissa as i64 as f64 / power;
        }
        let mut buffer = [0; PLAIN_LEN];
        let magnitude: f64 = self.plain(&mut buffer).parse().expect("Invariant: plain digits are a float");
        if self.is_negative() { -magnitude } else { magnitude }
    }

    /// Returns the number with the fewest digits that converts to `value`, or `None` if `value` is not finite or the
    /// number does not fit.
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
            // The increment is a whole number of units, so rounding to the unit first does not change the result.
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
    /// Writes plain notation with all digits of the scale, without an exponent.
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
        // The product exceeds every `i128`, so its sign decides.
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
