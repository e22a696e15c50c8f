//! Checksums of books: a CRC-32 over the digits of the best levels, in the layout of the venue.

use super::BookAssembler;
use crate::codec::{ChecksumRule, Digits, Layout, POWERS};
use crate::decimal::Decimal;
use crate::event::PriceLevel;

/// The digits after the point of the prices and quantities of an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scales {
    /// Those of prices.
    pub price: u8,
    /// Those of quantities.
    pub quantity: u8,
}

/// The result of comparing a book with the venue's checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// The book has the checksum.
    Same,
    /// The book does not have the checksum.
    Different,
    /// The scales do not have all digits of the book.
    Unknown,
}

impl Scales {
    /// Returns every pair of scales that 64 bits have room for, those of few digits first.
    pub fn all() -> impl Iterator<Item = Self> {
        let scales = 0..POWERS.len() as u8;
        scales.clone().flat_map(move |price| scales.clone().map(move |quantity| Self { price, quantity }))
    }
}

/// Computes checksums, with scratch space that is kept.
#[derive(Debug, Default)]
pub struct Checker {
    text: Text,
}

impl Checker {
    /// Compares a book with the checksum of its venue. Digits that are shortest, and those of an empty book, do not depend
    /// on the `scales`.
    pub fn verify(
        &mut self,
        book: &BookAssembler,
        rule: &ChecksumRule,
        scales: Scales,
        expected: u32,
    ) -> Verified {
        match self.write(book, rule, scales) {
            None => Verified::Unknown,
            Some(()) if crc32fast::hash(self.text.written()) == expected => Verified::Same,
            Some(()) => Verified::Different,
        }
    }

    /// Writes the text of the best levels. `None` if the scales do not have all of its digits.
    fn write(&mut self, book: &BookAssembler, rule: &ChecksumRule, scales: Scales) -> Option<()> {
        let (price, quantity) = match rule.digits {
            Digits::Shortest => (Print::Shortest(book.price_scale), Print::Shortest(book.quantity_scale)),
            Digits::Mantissa => (
                Print::mantissa(book.price_scale, scales.price),
                Print::mantissa(book.quantity_scale, scales.quantity),
            ),
        };
        let levels = rule.levels.min(book.bids.len().max(book.asks.len()));
        let separator = rule.separator.as_bytes();
        let text = &mut self.text;
        text.clear(levels * 4 * (MOST_DIGITS + separator.len()));
        let mut level = |level: PriceLevel| {
            text.separate(separator);
            text.print(level.price, price)?;
            text.separate(separator);
            text.print(level.quantity, quantity)
        };
        let (mut bids, mut asks) = (book.bids.best_first(levels), book.asks.best_first(levels));
        match rule.layout {
            Layout::AsksBids => asks.chain(bids).try_for_each(level),
            Layout::Interleaved => (0..levels)
                .try_for_each(|_| [bids.next(), asks.next()].into_iter().flatten().try_for_each(&mut level)),
        }
    }
}

/// How a number is printed.
#[derive(Debug, Clone, Copy)]
enum Print {
    /// Without a point, and with so many zeros at the end.
    Padded(usize),
    /// Without a point, divided by this power of ten.
    Divided(u64),
    /// On a scale, with a point and without zeros at the end.
    Shortest(u8),
}

impl Print {
    /// Returns how a number is printed on the scale `to`.
    fn mantissa(from: u8, to: u8) -> Self {
        match to.checked_sub(from) {
            Some(more) => Self::Padded(more.into()),
            None => Self::Divided(POWERS.get(usize::from(from - to)).map_or(u64::MAX, |power| *power as u64)),
        }
    }
}

/// Most bytes of a printed number: 20 digits, a point, zeros on either side, and the room of a word.
const MOST_DIGITS: usize = 20 + 1 + 2 * Decimal::MAX_SCALE as usize + 8;

/// ASCII text of which the first `len` bytes are written.
#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    len: usize,
}

impl Text {
    /// Removes the text and makes room for another one.
    fn clear(&mut self, room: usize) {
        self.len = 0;
        if self.bytes.len() < room {
            self.bytes.resize(room, 0);
        }
    }

    fn written(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    #[inline]
    fn separate(&mut self, separator: &[u8]) {
        if self.len > 0 && !separator.is_empty() {
            self.bytes[self.len..][..separator.len()].copy_from_slice(separator);
            self.len += separator.len();
        }
    }

    /// Prints a number without its sign and without leading zeros. `None` if digits would be lost.
    #[inline]
    fn print(&mut self, number: i64, print: Print) -> Option<()> {
        let number = number.unsigned_abs();
        match print {
            Print::Padded(zeros) => {
                self.integer(number);
                if zeros > 0 && number > 0 {
                    self.bytes[self.len..][..zeros].fill(b'0');
                    self.len += zeros;
                }
            }
            Print::Divided(power) if number.is_multiple_of(power) => self.integer(number / power),
            Print::Divided(_) => return None,
            Print::Shortest(scale) => self.shortest(number, scale),
        }
        Some(())
    }

    /// Writes up to eight bytes of a word, without the first `skip`.
    #[inline]
    fn word(&mut self, word: u64, skip: usize) {
        self.bytes[self.len..][..8].copy_from_slice(&(word >> (8 * skip)).to_le_bytes());
        self.len += 8 - skip;
    }

    #[inline]
    fn integer(&mut self, number: u64) {
        if number < EIGHT {
            return self.below_eight(number);
        }
        let (high, low) = (number / EIGHT, number % EIGHT);
        if high < EIGHT {
            self.below_eight(high);
        } else {
            self.below_eight(high / EIGHT);
            self.word(ascii(digits(high % EIGHT)), 0);
        }
        self.word(ascii(digits(low)), 0);
    }

    /// Writes a number of at most eight digits.
    #[inline]
    fn below_eight(&mut self, number: u64) {
        let digits = digits(number);
        // The last digit is written also if it is a zero.
        let zeros = (digits | (1 << 56)).trailing_zeros() as usize / 8;
        self.word(ascii(digits), zeros);
    }

    fn shortest(&mut self, mut number: u64, scale: u8) {
        let mut scale = usize::from(scale);
        while scale > 0 && number.is_multiple_of(10) {
            (number, scale) = (number / 10, scale - 1);
        }
        let start = self.len;
        self.integer(number);
        if scale == 0 {
            return;
        }
        let missing = (scale + 1).saturating_sub(self.len - start);
        self.bytes.copy_within(start..self.len, start + missing);
        self.bytes[start..][..missing].fill(b'0');
        self.len += missing + 1;
        let point = self.len - scale - 1;
        self.bytes.copy_within(point..self.len - 1, point + 1);
        self.bytes[point] = b'.';
    }
}

/// The first number of more than eight digits.
const EIGHT: u64 = 100_000_000;

/// Returns the eight digits of a number, one in each byte, the first one in the lowest.
#[inline]
const fn digits(number: u64) -> u64 {
    // Each step splits all parts at once: two of four digits, four of two, eight of one.
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let high = ((fours * 10_486) >> 20) & 0x7F_0000_007F;
    let twos = high | ((fours - 100 * high) << 16);
    let tens = ((twos * 103) >> 10) & 0x000F_000F_000F_000F;
    tens | ((twos - 10 * tens) << 8)
}

const fn ascii(digits: u64) -> u64 {
    digits | 0x3030_3030_3030_3030
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: i64, print: Print) -> Option<String> {
        let mut text = Text::default();
        text.clear(2 * MOST_DIGITS);
        text.print(number, print)?;
        Some(String::from_utf8(text.written().to_vec()).expect("ASCII"))
    }

    #[test]
    fn numbers_are_printed_as_by_the_standard_library() {
        let powers = POWERS.iter().flat_map(|power| [power - 1, *power, power + 1, power / 7 * 3]);
        for number in powers.chain([0, 7, 99_999_999, i64::MAX]) {
            assert_eq!(text(number, Print::Padded(0)), Some(number.to_string()));
            let padded = if number == 0 { "0".into() } else { format!("{number}{}", "0".repeat(18)) };
            assert_eq!(text(number, Print::Padded(18)), Some(padded), "also beyond 64 bits");
            for scale in 0..=18 {
                let shortest = Decimal::new(number.into(), scale).expect("it fits").normalize().to_string();
                assert_eq!(text(number, Print::Shortest(scale)), Some(shortest), "{number} {scale}");
            }
        }
    }

    #[test]
    fn digits_are_not_lost() {
        assert_eq!(text(1_500, Print::mantissa(3, 1)), Some("15".into()));
        assert_eq!(text(1_500, Print::mantissa(3, 0)), None);
        assert_eq!(text(0, Print::mantissa(18, 0)), Some("0".into()));
    }
}
