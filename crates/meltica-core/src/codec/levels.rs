//! The price levels of a message, read directly from the frame.

use super::error::{Fail, Fault};
use super::number::{fixed, places, rescale, slow};
use super::scan::{self, Scan, blank, byte};
use crate::event::PriceLevel;

/// Maximum number of levels per side of a message.
pub const MAX_LEVELS: usize = 10_000;

/// The levels of a book message: mantissas on a common price scale and a common quantity scale.
///
/// A scale is the largest one in the text of the message. If a number does not fit into 64 bits on that scale, it is
/// the smallest one on which all numbers are exact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels {
    /// Bids in the order of the venue.
    pub bids: Vec<PriceLevel>,
    /// Asks in the order of the venue.
    pub asks: Vec<PriceLevel>,
    /// Digits after the point of each price mantissa.
    pub price_scale: u8,
    /// Digits after the point of each quantity mantissa.
    pub quantity_scale: u8,
    /// Whether the price scale and the quantity scale were reduced to the digits in use.
    reduced: [bool; 2],
}

/// One of the two numbers of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Price = 0,
    Quantity = 1,
}

impl Part {
    #[inline]
    pub fn of(self, level: &mut PriceLevel) -> &mut i64 {
        match self {
            Self::Price => &mut level.price,
            Self::Quantity => &mut level.quantity,
        }
    }

    /// Returns the smallest scale on which this part of all levels is exact.
    pub fn places(self, sides: &mut [&mut [PriceLevel]], scale: u8) -> u8 {
        places(sides.iter_mut().flat_map(|side| side.iter_mut()).map(|level| *self.of(level)), scale)
    }

    /// Converts this part of all levels to another scale. Returns false, without a change, if a number does not fit.
    pub fn rescale(self, sides: &mut [&mut [PriceLevel]], from: u8, to: u8) -> bool {
        let fits = |level: &mut PriceLevel| rescale(*self.of(level), from, to).is_some();
        if !sides.iter_mut().flat_map(|side| side.iter_mut()).all(fits) {
            return false;
        }
        for level in sides.iter_mut().flat_map(|side| side.iter_mut()) {
            let value = self.of(level);
            *value = rescale(*value, from, to).unwrap_or(*value);
        }
        true
    }
}

impl Levels {
    pub(super) fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
        self.reduced = [false; 2];
    }

    fn side(&mut self, asks: bool) -> &mut Vec<PriceLevel> {
        if asks { &mut self.asks } else { &mut self.bids }
    }

    /// Reads the array whose `[` is at `at` into a side and returns the position of its end.
    pub(super) fn read(&mut self, frame: &[u8], at: usize, asks: bool) -> Scan {
        let mut out = std::mem::take(self.side(asks));
        let end = self.fill(frame, blank(frame, at + 1), &mut out);
        *self.side(asks) = out;
        end
    }

    fn fill(&mut self, frame: &[u8], mut at: usize, out: &mut Vec<PriceLevel>) -> Scan {
        if byte(frame, at)? == b']' {
            return Ok(at + 1);
        }
        loop {
            at = match plain(frame, at) {
                Some((level, price_scale, quantity_scale, end))
                    if price_scale == self.price_scale
                        && quantity_scale == self.quantity_scale
                        && level.price != 0
                        && out.len() < MAX_LEVELS =>
                {
                    out.push(level);
                    end
                }
                _ => self.any(frame, at, out)?,
            };
            match frame.get(at) {
                Some(b',') => at += 1,
                Some(b']') => return Ok(at + 1),
                _ => {
                    at = blank(frame, at);
                    match byte(frame, at)? {
                        b',' => at = blank(frame, at + 1),
                        b']' => return Ok(at + 1),
                        _ => return Fail::new(Fault::Syntax, at),
                    }
                }
            }
        }
    }

    /// Reads the level at `at` in any notation and returns the position of its end.
    #[cold]
    fn any(&mut self, frame: &[u8], start: usize, out: &mut Vec<PriceLevel>) -> Scan {
        let start = blank(frame, start);
        if byte(frame, start)? != b'[' {
            return Fail::new(Fault::Syntax, start);
        }
        if out.len() >= MAX_LEVELS {
            return Fail::new(Fault::TooManyLevels, start);
        }
        let mut level = PriceLevel::default();
        let mut at = start + 1;
        for part in [Part::Price, Part::Quantity] {
            at = blank(frame, at);
            let (number, scale, end) = number(frame, at)?;
            if number < i128::from(part == Part::Price) {
                return Fail::new(Fault::BadNumber, at);
            }
            match self.fit(out, part, number, scale) {
                Some(value) => *part.of(&mut level) = value,
                None => return Fail::new(Fault::Overflow, at),
            }
            at = blank(frame, end);
            if part == Part::Price {
                if byte(frame, at)? != b',' {
                    return Fail::new(Fault::Syntax, at);
                }
                at += 1;
            }
        }
        out.push(level);
        // Further elements, such as the number of orders, are skipped.
        while byte(frame, at)? == b',' {
            at = blank(frame, scan::skip(frame, blank(frame, at + 1))?);
        }
        if frame[at] != b']' {
            return Fail::new(Fault::Syntax, at);
        }
        Ok(at + 1)
    }

    /// Converts a number to the scale of the message, or the message to the scale of the number.
    fn fit(&mut self, out: &mut [PriceLevel], part: Part, mut number: i128, mut scale: u8) -> Option<i64> {
        let reduced = &mut self.reduced[part as usize];
        let common = if part == Part::Price { &mut self.price_scale } else { &mut self.quantity_scale };
        let first = out.is_empty() && self.bids.is_empty() && self.asks.is_empty();
        let oversized = i64::try_from(number).is_err();
        while oversized && scale > 0 && number % 10 == 0 {
            (number, scale) = (number / 10, scale - 1);
        }
        let number = i64::try_from(number).ok()?;
        if first {
            (*common, *reduced) = (scale, oversized);
            return Some(number);
        }
        let mut sides = [out, &mut self.bids, &mut self.asks];
        if scale <= *common || *reduced {
            if let Some(number) = rescale(number, scale, *common) {
                return Some(number);
            }
        } else if part.rescale(&mut sides, *common, scale) {
            *common = scale;
            return Some(number);
        }
        let needed = part.places(&mut sides, *common).max(places(std::iter::once(number), scale));
        if !part.rescale(&mut sides, *common, needed) {
            return None;
        }
        (*common, *reduced) = (needed, true);
        rescale(number, scale, needed)
    }
}

/// Reads `["61837.63000000","3.78826000"]`. Returns the level, its two scales and the position of its end.
#[inline(always)]
fn plain(frame: &[u8], at: usize) -> Option<(PriceLevel, u8, u8, usize)> {
    if frame.get(at..at + 2)? != b"[\"" {
        return None;
    }
    let (price, price_scale, at) = fixed(frame, at + 2)?;
    if frame.get(at..at + 3)? != b"\",\"" {
        return None;
    }
    let (quantity, quantity_scale, at) = fixed(frame, at + 3)?;
    if frame.get(at..at + 2)? != b"\"]" {
        return None;
    }
    let level = PriceLevel { price: price as i64, quantity: quantity as i64 };
    Some((level, price_scale, quantity_scale, at + 2))
}

/// Reads the number at `at`, with or without quotes. Returns its mantissa, scale and the position of its end.
fn number(frame: &[u8], at: usize) -> Scan<(i128, u8, usize)> {
    let quoted = byte(frame, at)? == b'"';
    let start = at + usize::from(quoted);
    let end = if quoted { scan::string(frame, start)?.0 } else { scan::number(frame, start)? };
    match slow(&frame[start..end]) {
        Some(number) => Ok((number.mantissa(), number.scale(), end + usize::from(quoted))),
        None => Fail::new(Fault::BadNumber, at),
    }
}
