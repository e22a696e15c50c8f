//! The pass over a frame, which records the values at the declared paths.

use super::error::{Context, Fail, Fault};
use super::levels::Levels;
use super::plan::{
    Array, Bits, Entry, LevelArray, List, MAX_SLOTS, Message, Node, Place, Positions, Slot, TextMatch,
};
use super::scan::{self, Scan, blank, byte, short_key, token};
use super::{Codec, blocks};
use std::borrow::Cow;

/// The kind of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum TokenKind {
    #[default]
    Null,
    Text,
    /// Text with escapes.
    Escaped,
    /// Number or literal.
    Bare,
    /// Array or object.
    Nested,
    Levels,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    pub start: u32,
    pub end: u32,
    pub token: TokenKind,
}

/// The values of a frame by slot.
#[derive(Debug)]
pub(super) struct FieldMap {
    /// The slots with a value.
    filled: Bits,
    /// The arrays whose elements were not read: the start of each, and the index of its [`Each`](super::plan::Each).
    pub unread: Vec<(u32, u8)>,
    /// What is being read, for errors.
    pub context: Context,
    spans: [Span; MAX_SLOTS],
    pub levels: Levels,
    /// The faults of lists that are not levels.
    pub fails: [Option<Fail>; 3],
}

impl Default for FieldMap {
    fn default() -> Self {
        Self {
            filled: Bits::default(),
            unread: Vec::new(),
            context: Context::NONE,
            spans: [Span::default(); MAX_SLOTS],
            levels: Levels::default(),
            fails: [None; 3],
        }
    }
}

impl FieldMap {
    pub fn scan(&mut self, codec: &Codec, frame: &[u8]) -> Scan<()> {
        self.filled = Bits::default();
        self.context = Context::NONE;
        self.unread.clear();
        self.clear_levels();
        if frame.len() > codec.max_frame {
            return Fail::new(Fault::TooLarge, 0);
        }
        let at = blank(frame, 0);
        let at = match byte(frame, at)? {
            b'{' => self.object(codec, frame, at + 1, codec.tables.top.child)?,
            _ => self.item(codec, frame, at, codec.tables.top)?,
        };
        let at = blank(frame, at);
        if at == frame.len() { Ok(()) } else { Fail::new(Fault::TrailingBytes, at) }
    }

    fn clear_levels(&mut self) {
        self.levels.clear();
        self.fails = [None; 3];
    }

    /// Reads the element at `at` of an array whose elements are messages, and returns the position of its end.
    pub fn element(&mut self, codec: &Codec, frame: &[u8], at: usize, each: u8) -> Scan {
        let each = &codec.tables.eaches[usize::from(each)];
        self.filled.remove(each.below);
        self.clear_levels();
        self.item(codec, frame, at, each.element)
    }

    /// Reads the members of an object, from after its `{`, and returns the position of its end. The recursion is at
    /// most as deep as the longest path.
    fn object(&mut self, codec: &Codec, frame: &[u8], at: usize, node: u8) -> Scan {
        let nodes = &codec.tables.nodes;
        let mut node = &nodes[usize::from(node)];
        let (mut at, mut first) = token(frame, at)?;
        if first == b'}' {
            return Ok(at + 1);
        }
        loop {
            if first != b'"' {
                return Fail::new(Fault::Syntax, at);
            }
            let start = at + 1;
            let (entry, value) = match short_key(frame, start) {
                Some((word, value)) => (node.find_short(word), value),
                None => any_key(frame, start, node)?,
            };
            (at, first) = token(frame, value)?;
            let end = match entry {
                Some(entry) if entry.payload => {
                    if first == b'{' || first == b'[' && codec.tables.top.array != Array::Skip {
                        node = &nodes[usize::from(codec.tables.wrapped)];
                    }
                    self.payload(codec, frame, at, first, start, entry.place)?
                }
                Some(entry) => self.value(codec, frame, at, first, start, entry.place)?,
                None => match first {
                    b'"' => scan::string(frame, at + 1)?.0 + 1,
                    b'0'..=b'9' => scan::number(frame, at)?,
                    b't' | b'f' | b'n' => scan::literal(frame, at)?,
                    _ => scan::skip(frame, at)?,
                },
            };
            (at, first) = token(frame, end)?;
            match first {
                b',' => (at, first) = token(frame, at + 1)?,
                b'}' => return Ok(at + 1),
                _ => return Fail::new(Fault::Syntax, at),
            }
        }
    }

    /// Records the payload of an envelope, as [`Self::value`] does.
    #[inline(never)]
    fn payload(
        &mut self,
        codec: &Codec,
        frame: &[u8],
        at: usize,
        first: u8,
        key: usize,
        place: Place,
    ) -> Scan {
        if first != b'{' {
            return self.value(codec, frame, at, first, key, place);
        }
        // Declared keys beside the payload could be mistaken for keys inside it.
        let mut others = self.filled;
        codec.stream.iter().for_each(|(stream, _)| others.clear(*stream));
        if others != Bits::default() {
            return Fail::new(Fault::DuplicateKey, key);
        }
        self.filled.insert(place.slot);
        let end = self.object(codec, frame, at + 1, place.child)?;
        self.set(place.slot, at, end, TokenKind::Nested);
        Ok(end)
    }

    /// Records a value that is not of an object, as [`Self::value`] does.
    #[inline(never)]
    fn item(&mut self, codec: &Codec, frame: &[u8], at: usize, place: Place) -> Scan {
        self.value(codec, frame, at, byte(frame, at)?, at, place)
    }

    /// Records the value at a declared place and returns the position of its end.
    #[inline(always)]
    fn value(&mut self, codec: &Codec, frame: &[u8], at: usize, first: u8, key: usize, place: Place) -> Scan {
        if self.filled.has(place.slot) {
            return Fail::new(Fault::DuplicateKey, key);
        }
        let (start, end, next, token) = match first {
            b'"' => {
                let (end, escaped) = scan::string(frame, at + 1)?;
                (at + 1, end, end + 1, if escaped { TokenKind::Escaped } else { TokenKind::Text })
            }
            b'0'..=b'9' | b'-' => {
                let end = scan::number(frame, at)?;
                (at, end, end, TokenKind::Bare)
            }
            b'[' => {
                let (end, token) = match place.array {
                    Array::Levels(levels) => self.list(codec, frame, at, levels)?,
                    Array::Skip => (scan::skip(frame, at)?, TokenKind::Nested),
                    Array::Positions(_) | Array::Each(_) | Array::Several(_) => {
                        self.array(codec, frame, at, place)?
                    }
                };
                (at, end, end, token)
            }
            b'{' => {
                let end = if place.child != 0 {
                    self.object(codec, frame, at + 1, place.child)?
                } else {
                    scan::skip(frame, at)?
                };
                (at, end, end, TokenKind::Nested)
            }
            _ => {
                let end = scan::literal(frame, at)?;
                (at, end, end, if first == b'n' { TokenKind::Null } else { TokenKind::Bare })
            }
        };
        self.set(place.slot, start, end, token);
        Ok(next)
    }

    #[inline(always)]
    fn set(&mut self, slot: Slot, start: usize, end: usize, token: TokenKind) {
        self.filled.insert(slot);
        self.spans[usize::from(slot & 127)] = Span { start: start as u32, end: end as u32, token };
    }

    /// Reads an array of declared positions, or notes one whose elements are messages.
    #[inline(never)]
    fn array(&mut self, codec: &Codec, frame: &[u8], at: usize, place: Place) -> Scan<(usize, TokenKind)> {
        match place.array {
            Array::Skip => Ok((scan::skip(frame, at)?, TokenKind::Nested)),
            Array::Levels(levels) => self.list(codec, frame, at, levels),
            Array::Positions(index) => {
                let plan = &codec.tables.positions[usize::from(index)];
                Ok((self.positions(codec, frame, at, plan, usize::MAX)?, TokenKind::Nested))
            }
            Array::Each(index) => {
                self.unread.push((at as u32, index));
                // It is noted even if it does not end, as its first elements can be read.
                self.set(place.slot, at, frame.len(), TokenKind::Nested);
                Ok((blocks::close(frame, at)?, TokenKind::Nested))
            }
            Array::Several(index) => {
                let several = &codec.tables.several[usize::from(index)];
                if let Some(index) = several.positions {
                    let plan = &codec.tables.positions[usize::from(index)];
                    // What follows reads the array to its end.
                    let most = if plan.back.is_empty() { plan.forward.len() } else { usize::MAX };
                    self.positions(codec, frame, at, plan, most)?;
                }
                let mut read = (at, TokenKind::Nested);
                for array in &several.whole {
                    read = self.array(codec, frame, at, Place { array: *array, ..place })?;
                }
                Ok(read)
            }
        }
    }

    /// Reads the declared positions among the first `most` elements of an array, and returns the position after them.
    fn positions(&mut self, codec: &Codec, frame: &[u8], at: usize, plan: &Positions, most: usize) -> Scan {
        let mut starts = [0; 8];
        let mut count = 0;
        let end = scan::first_elements(frame, at, most, |at| {
            starts[count & 7] = at;
            let place = plan.forward.get(count).copied().flatten();
            count += 1;
            match place {
                Some(place) => self.item(codec, frame, at, place),
                None => scan::skip(frame, at),
            }
        })?;
        for (back, slot) in &plan.back {
            if let Some(at) = count.checked_sub(*back) {
                let place = Place { slot: *slot, ..Place::default() };
                self.item(codec, frame, starts[at & 7], place)?;
            }
        }
        Ok(end)
    }

    /// Reads a list of levels. A fault is recorded, and reported only if the message is a book.
    fn list(
        &mut self,
        codec: &Codec,
        frame: &[u8],
        at: usize,
        array: LevelArray,
    ) -> Scan<(usize, TokenKind)> {
        let Levels { bids, asks, .. } = &self.levels;
        let empty = match array.list {
            List::Bids => bids.is_empty(),
            List::Asks => asks.is_empty(),
            List::Changes => bids.is_empty() && asks.is_empty(),
        };
        let fail = &mut self.fails[array.list as usize];
        let read = if empty && fail.is_none() {
            self.levels.read(frame, at, array.list, &codec.rows[usize::from(array.row)], array.row == 0)
        } else {
            Fail::new(Fault::DuplicateKey, at)
        };
        match read {
            Ok(end) => Ok((end, TokenKind::Levels)),
            Err(found) => {
                *fail = Some(found);
                Ok((scan::skip(frame, at)?, TokenKind::Nested))
            }
        }
    }

    /// Returns whether the conditions of a message hold.
    #[inline(always)]
    pub fn matches(&self, frame: &[u8], message: &Message) -> bool {
        self.filled.contains(message.present)
            && !self.filled.intersects(message.absent)
            && message.texts.iter().all(|(slot, expected)| self.is(frame, *slot, expected))
    }

    /// Returns whether the conditions hold that do not concern the elements of an array.
    pub fn matches_around(&self, frame: &[u8], message: &Message) -> bool {
        self.filled.contains(message.outer)
            && !self.filled.intersects(message.absent)
            && message.texts[..message.outer_texts]
                .iter()
                .all(|(slot, expected)| self.is(frame, *slot, expected))
    }

    /// Returns the start of the array at a slot, or `None` if another value or none is there.
    pub fn array_at(&self, frame: &[u8], slot: Slot) -> Option<usize> {
        let start = self.span(slot)?.start as usize;
        (frame.get(start) == Some(&b'[')).then_some(start)
    }

    /// Returns whether the text of a value is as expected.
    #[inline(always)]
    pub fn is(&self, frame: &[u8], slot: Slot, expected: &TextMatch) -> bool {
        let Some(Span { start, end, token }) = self.span(slot) else { return false };
        match (token, expected) {
            (TokenKind::Text | TokenKind::Bare, TextMatch::Equals(expected)) => {
                frame.get(start as usize..end as usize) == Some(expected)
            }
            _ => self.is_any(frame, slot, expected),
        }
    }

    #[inline(never)]
    fn is_any(&self, frame: &[u8], slot: Slot, expected: &TextMatch) -> bool {
        self.text(frame, slot).flatten().is_some_and(|text| expected.holds(&text))
    }

    /// Returns the span of a value, or `None` if it is absent or null.
    #[inline(always)]
    pub fn span(&self, slot: Slot) -> Option<Span> {
        let span = self.spans[usize::from(slot & 127)];
        (self.filled.has(slot) && span.token != TokenKind::Null).then_some(span)
    }

    /// Returns the text of a value; `None` if it is absent, and `Some(None)` if it is not a scalar or not valid text.
    #[inline]
    pub fn text<'a>(&self, frame: &'a [u8], slot: Slot) -> Option<Option<Cow<'a, [u8]>>> {
        let span = self.span(slot)?;
        let text = frame.get(span.start as usize..span.end as usize)?;
        Some(match span.token {
            TokenKind::Text | TokenKind::Bare => Some(Cow::Borrowed(text)),
            TokenKind::Escaped => scan::unescape(text, true),
            TokenKind::Null | TokenKind::Nested | TokenKind::Levels => None,
        })
    }
}

/// Returns the entry of any key and the position after its colon.
#[inline(never)]
fn any_key<'a>(frame: &[u8], start: usize, node: &'a Node) -> Scan<(Option<&'a Entry>, usize)> {
    let (end, escaped) = scan::string(frame, start)?;
    let text = scan::unescape(&frame[start..end], escaped);
    let entry = text.and_then(|text| node.find(&text));
    match token(frame, end + 1)? {
        (colon, b':') => Ok((entry, colon + 1)),
        (at, _) => Fail::new(Fault::Syntax, at),
    }
}
