//! The price levels of a message, read directly from the frame.

use super::error::{Fail, Fault};
use super::number::{fixed, places, rescale, slow};
use super::plan::{List, PartKey, RowKeys, RowPlan, word};
use super::scan::{self, Scan, blank, byte, short_key, token};
use super::time;
use crate::event::{Nanos, PriceLevel};

/// Maximum number of levels per list of a message, if the declaration states none.
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
    /// Maximum number of levels per list.
    pub(super) limit: usize,
    /// The newest time of the levels.
    pub(super) newest: Option<Nanos>,
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
        self.newest = None;
    }

    /// Reads the list whose `[` is at `at` and returns the position of its end. The default row is price and quantity.
    pub(super) fn read(
        &mut self,
        frame: &[u8],
        at: usize,
        list: List,
        row: &RowPlan,
        is_default: bool,
    ) -> Scan {
        if !is_default {
            return self.rows(frame, at, list, row);
        }
        let asks = list == List::Asks;
        let mut out = std::mem::take(if asks { &mut self.asks } else { &mut self.bids });
        let end = self.fill(frame, blank(frame, at + 1), &mut out);
        *(if asks { &mut self.asks } else { &mut self.bids }) = out;
        end
    }

    /// Reads a list of any row.
    fn rows(&mut self, frame: &[u8], at: usize, list: List, row: &RowPlan) -> Scan {
        let mut count = 0;
        scan::elements(frame, at, |at| {
            if count >= self.limit {
                return Fail::new(Fault::TooManyLevels, at);
            }
            count += 1;
            let (cells, end) = row.cells(frame, at)?;
            let [Some(price), Some(quantity), side, time] = cells else {
                return Fail::new(Fault::BadLevel, at);
            };
            let asks = match (list, side) {
                (List::Bids, _) => false,
                (List::Asks, _) => true,
                (List::Changes, Some(cell)) => {
                    match row.sides.iter().find(|(text, _)| **text == *cell.text(frame)) {
                        Some((_, asks)) => *asks,
                        None => return Fail::new(Fault::BadSide, cell.start),
                    }
                }
                (List::Changes, None) => return Fail::new(Fault::BadLevel, at),
            };
            if let (Some(cell), Some(unit)) = (time, row.time) {
                match time::parse(cell.text(frame), unit) {
                    Ok(time) => self.newest = self.newest.max(Some(time)),
                    Err(fault) => return Fail::new(fault, cell.start),
                }
            }
            let level = PriceLevel {
                price: self.number(frame, price, Part::Price)?,
                quantity: self.number(frame, quantity, Part::Quantity)?,
            };
            (if asks { &mut self.asks } else { &mut self.bids }).push(level);
            Ok(end)
        })
    }

    /// Converts a part of a level to the scale of the message.
    #[inline(always)]
    fn number(&mut self, frame: &[u8], cell: Cell, part: Part) -> Scan<i64> {
        let (scale, least) = match part {
            Part::Price => (self.price_scale, 1),
            Part::Quantity => (self.quantity_scale, 0),
        };
        match fixed(frame, cell.start) {
            Some((number, places, end)) if end == cell.end && places == scale && number >= least => {
                Ok(number as i64)
            }
            _ => self.any_number(frame, cell, part),
        }
    }

    #[inline(never)]
    fn any_number(&mut self, frame: &[u8], cell: Cell, part: Part) -> Scan<i64> {
        let Some(number) = super::number::decimal(frame, cell.start, cell.end) else {
            return Fail::new(Fault::BadNumber, cell.start);
        };
        if number.mantissa() < i128::from(part == Part::Price) {
            return Fail::new(Fault::BadNumber, cell.start);
        }
        match self.fit(&mut [], part, number.mantissa(), number.scale()) {
            Some(value) => Ok(value),
            None => Fail::new(Fault::Overflow, cell.start),
        }
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
                        && out.len() < self.limit =>
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
            return Fail::new(Fault::BadLevel, start);
        }
        if out.len() >= self.limit {
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
    let end = if frame.get(at..at + 2)? == b"\"]" { at + 2 } else { tail(frame, at)? };
    let level = PriceLevel { price: price as i64, quantity: quantity as i64 };
    Some((level, price_scale, quantity_scale, end))
}

/// Returns the end of a level with plain texts after the quantity, from its closing quote.
#[inline(never)]
fn tail(frame: &[u8], mut at: usize) -> Option<usize> {
    while frame.get(at..at + 3)? == b"\",\"" {
        at = match scan::string(frame, at + 3) {
            Ok((end, _)) => end,
            Err(_) => return None,
        };
    }
    (frame.get(at..at + 2)? == b"\"]").then_some(at + 2)
}

/// The text of a part of a level.
#[derive(Debug, Clone, Copy)]
struct Cell {
    start: usize,
    end: usize,
}

impl Cell {
    fn text(self, frame: &[u8]) -> &[u8] {
        frame.get(self.start..self.end).unwrap_or_default()
    }
}

impl RowPlan {
    /// Returns the parts of the level at `at`, and the position of its end.
    #[inline]
    fn cells(&self, frame: &[u8], at: usize) -> Scan<([Option<Cell>; 4], usize)> {
        let mut cells = [None; 4];
        let end = match (&self.keys, byte(frame, at)?) {
            (RowKeys::Positions(parts), b'[') => {
                let mut position = 0;
                scan::elements(frame, at, |at| {
                    let part = parts.get(position).copied().flatten();
                    position += 1;
                    cell(frame, at, part.map(|part| &mut cells[usize::from(part & 3)]))
                })?
            }
            (RowKeys::Keys(keys), b'{') => {
                let (mut at, mut first) = token(frame, at + 1)?;
                loop {
                    if first != b'"' {
                        return Fail::new(Fault::Syntax, at);
                    }
                    let (part, value) = key(frame, at + 1, keys)?;
                    (at, _) = token(frame, value)?;
                    (at, first) = token(frame, cell(frame, at, part.map(|part| &mut cells[part]))?)?;
                    match first {
                        b',' => (at, first) = token(frame, at + 1)?,
                        b'}' => break at + 1,
                        _ => return Fail::new(Fault::Syntax, at),
                    }
                }
            }
            _ => return Fail::new(Fault::BadLevel, at),
        };
        Ok((cells, end))
    }
}

/// Returns the part of a level with the key at `at`, and the position after its colon.
#[inline(always)]
fn key(frame: &[u8], at: usize, keys: &[Option<PartKey>; 4]) -> Scan<(Option<usize>, usize)> {
    let find = |word, long: Option<&[u8]>| {
        keys.iter().position(|key| {
            key.as_ref().is_some_and(|key| key.word == word && long.is_none_or(|long| *key.text == *long))
        })
    };
    if let Some((word, value)) = short_key(frame, at) {
        return Ok((find(word, None), value));
    }
    let (end, _) = scan::string(frame, at)?;
    let text = &frame[at..end];
    match token(frame, end + 1)? {
        (colon, b':') => Ok((find(word(text), Some(text)), colon + 1)),
        (at, _) => Fail::new(Fault::Syntax, at),
    }
}

/// Keeps the scalar at `at`, if it is a part of the level, and returns the position of its end.
#[inline]
fn cell(frame: &[u8], at: usize, part: Option<&mut Option<Cell>>) -> Scan {
    let (cell, end) = match byte(frame, at)? {
        b'"' => {
            let (end, _) = scan::string(frame, at + 1)?;
            (Cell { start: at + 1, end }, end + 1)
        }
        b'0'..=b'9' | b'-' => {
            let end = scan::number(frame, at)?;
            (Cell { start: at, end }, end)
        }
        _ if part.is_some() => return Fail::new(Fault::BadLevel, at),
        _ => return scan::skip(frame, at),
    };
    if let Some(part) = part {
        if part.is_some() {
            return Fail::new(Fault::DuplicateKey, at);
        }
        *part = Some(cell);
    }
    Ok(end)
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
