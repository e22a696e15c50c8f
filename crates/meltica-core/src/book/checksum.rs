//! Checksums of books: a CRC-32 over the digits of the best levels, in the layout of the venue.

use super::BookAssembler;
use crate::codec::{ChecksumRule, Digits, Layout, rescale};
use crate::event::PriceLevel;

/// The digits after the point of the prices and quantities of an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// The digits are not known: the scales of the instrument are needed and are not known, or do not fit the numbers.
    Unknown,
}

/// Computes checksums, with scratch space that is kept.
#[derive(Debug, Default)]
pub struct Checker {
    sides: [Vec<PriceLevel>; 2],
    text: Vec<u8>,
}

impl Checker {
    /// Compares a book with the checksum of its venue.
    pub fn verify(
        &mut self,
        book: &BookAssembler,
        rule: &ChecksumRule,
        scales: Option<Scales>,
        expected: u32,
    ) -> Verified {
        let [bids, asks] = &mut self.sides;
        book.bids.top(rule.levels, bids);
        book.asks.top(rule.levels, asks);
        let own = Scales { price: book.price_scale, quantity: book.quantity_scale };
        self.text.clear();
        match self.write(rule, own, scales) {
            None => Verified::Unknown,
            Some(()) if crc32fast::hash(&self.text) == expected => Verified::Same,
            Some(()) => Verified::Different,
        }
    }

    /// Writes the text of the best levels, which are on the scales `own`.
    fn write(&mut self, rule: &ChecksumRule, own: Scales, scales: Option<Scales>) -> Option<()> {
        let Self { sides: [bids, asks], text } = self;
        let mut level = |level: &PriceLevel| {
            let numbers = [(level.price, own.price), (level.quantity, own.quantity)];
            let targets = scales.map(|scales| [scales.price, scales.quantity]);
            for (i, (number, scale)) in numbers.into_iter().enumerate() {
                if !text.is_empty() {
                    text.extend_from_slice(rule.separator.as_bytes());
                }
                match rule.digits {
                    Digits::Mantissa => integer(rescale(number, scale, targets?[i])?, text),
                    Digits::Shortest => shortest(number, scale, text),
                }
            }
            Some(())
        };
        match rule.layout {
            Layout::AsksBids => asks.iter().chain(bids.iter()).try_for_each(level),
            Layout::Interleaved => {
                for i in 0..bids.len().max(asks.len()) {
                    for side in [&*bids, &*asks] {
                        side.get(i).map_or(Some(()), &mut level)?;
                    }
                }
                Some(())
            }
        }
    }
}

/// Writes a number without leading zeros.
fn integer(number: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number.unsigned_abs());
    loop {
        let pair = (rest % 100) as u8;
        at -= 2;
        (digits[at], digits[at + 1]) = (b'0' + pair / 10, b'0' + pair % 10);
        rest /= 100;
        if rest == 0 {
            break;
        }
    }
    at += usize::from(digits[at] == b'0');
    out.extend_from_slice(&digits[at..]);
}

/// Writes a number with a point and without zeros at the end.
fn shortest(mut number: i64, mut scale: u8, out: &mut Vec<u8>) {
    while scale > 0 && number % 10 == 0 {
        (number, scale) = (number / 10, scale - 1);
    }
    let start = out.len();
    integer(number, out);
    let scale = usize::from(scale);
    if scale == 0 {
        return;
    }
    while out.len() - start <= scale {
        out.insert(start, b'0');
    }
    out.insert(out.len() - scale, b'.');
}
