//! The pass over a frame, which records the values at the declared paths.

use super::error::{Context, Fail, Fault};
use super::levels::Levels;
use super::plan::{Entry, MAX_SLOTS, Message, Slot, word};
use super::scan::{self, Scan, blank, byte};
use super::{Codec, MAX_FRAME};
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
    /// The slots with a value, one bit per slot.
    filled: u64,
    /// What is being read, for errors.
    pub context: Context,
    spans: [Span; MAX_SLOTS],
    pub levels: Levels,
    /// The faults of bids and asks that are not levels.
    pub fails: [Option<Fail>; 2],
}

impl Default for FieldMap {
    fn default() -> Self {
        Self {
            filled: 0,
            context: Context::NONE,
            spans: [Span::default(); MAX_SLOTS],
            levels: Levels::default(),
            fails: [None; 2],
        }
    }
}

impl FieldMap {
    pub fn scan(&mut self, codec: &Codec, frame: &[u8]) -> Scan<()> {
        self.filled = 0;
        self.context = Context::NONE;
        self.levels.clear();
        self.fails = [None; 2];
        if frame.len() > MAX_FRAME {
            return Fail::new(Fault::TooLarge, 0);
        }
        let at = blank(frame, 0);
        let at = match byte(frame, at)? {
            b'{' => self.object(codec, frame, at + 1, codec.top)?,
            _ => scan::skip(frame, at)?,
        };
        let at = blank(frame, at);
        if at == frame.len() { Ok(()) } else { Fail::new(Fault::TrailingBytes, at) }
    }

    /// Reads the members of an object, from after its `{`, and returns the position of its end. The recursion is at
    /// most as deep as the longest path.
    fn object(&mut self, codec: &Codec, frame: &[u8], at: usize, node: u8) -> Scan {
        let mut node = &codec.nodes[usize::from(node)];
        let mut at = blank(frame, at);
        if byte(frame, at)? == b'}' {
            return Ok(at + 1);
        }
        loop {
            if byte(frame, at)? != b'"' {
                return Fail::new(Fault::Syntax, at);
            }
            let start = at + 1;
            let entry;
            (entry, at) = if let Some((word, end)) = key(frame, start) {
                (node.find(word, &frame[start..end]), end + 1)
            } else {
                let (end, escaped) = scan::string(frame, start)?;
                let text = scan::unescape(&frame[start..end], escaped);
                (text.and_then(|text| node.find(word(&text), &text)), end + 1)
            };
            if frame.get(at) != Some(&b':') {
                at = blank(frame, at);
                if byte(frame, at)? != b':' {
                    return Fail::new(Fault::Syntax, at);
                }
            }
            at = blank(frame, at + 1);
            at = match entry {
                Some(entry) => {
                    let end = self.value(codec, frame, at, start, entry)?;
                    if entry.payload && frame[at] == b'{' {
                        node = &codec.nodes[usize::from(codec.wrapped)];
                    }
                    end
                }
                None => match byte(frame, at)? {
                    b'"' => scan::string(frame, at + 1)?.0 + 1,
                    b'0'..=b'9' => scan::number(frame, at)?,
                    _ => scan::skip(frame, at)?,
                },
            };
            at = blank(frame, at);
            match byte(frame, at)? {
                b',' => at = blank(frame, at + 1),
                b'}' => return Ok(at + 1),
                _ => return Fail::new(Fault::Syntax, at),
            }
        }
    }

    /// Records the value of a declared key and returns the position of its end.
    #[inline]
    fn value(&mut self, codec: &Codec, frame: &[u8], at: usize, key: usize, entry: &Entry) -> Scan {
        let bit = 1 << (entry.slot & 63);
        if self.filled & bit != 0 {
            return Fail::new(Fault::DuplicateKey, key);
        }
        let (start, end, next, token) = match byte(frame, at)? {
            b'"' => {
                let (end, escaped) = scan::string(frame, at + 1)?;
                (at + 1, end, end + 1, if escaped { TokenKind::Escaped } else { TokenKind::Text })
            }
            b'0'..=b'9' | b'-' => {
                let end = scan::number(frame, at)?;
                (at, end, end, TokenKind::Bare)
            }
            b'[' => {
                let (end, token) = match entry.side {
                    Some(asks) => self.side(frame, at, asks)?,
                    None => (scan::skip(frame, at)?, TokenKind::Nested),
                };
                (at, end, end, token)
            }
            b'{' => {
                let end = if entry.payload {
                    // Declared keys beside the payload could be mistaken for keys inside it.
                    if codec.stream.is_some_and(|(stream, _)| self.filled & !(1 << stream) != 0) {
                        return Fail::new(Fault::DuplicateKey, key);
                    }
                    self.filled |= bit;
                    self.object(codec, frame, at + 1, entry.child)?
                } else if entry.child != 0 {
                    self.object(codec, frame, at + 1, entry.child)?
                } else {
                    scan::skip(frame, at)?
                };
                (at, end, end, TokenKind::Nested)
            }
            first => {
                let end = scan::literal(frame, at)?;
                (at, end, end, if first == b'n' { TokenKind::Null } else { TokenKind::Bare })
            }
        };
        self.filled |= bit;
        self.spans[usize::from(entry.slot & 63)] = Span { start: start as u32, end: end as u32, token };
        Ok(next)
    }

    /// Reads a side of a book. A fault is recorded, and reported only if the message is a book.
    fn side(&mut self, frame: &[u8], at: usize, asks: bool) -> Scan<(usize, TokenKind)> {
        let out = if asks { &self.levels.asks } else { &self.levels.bids };
        let read = if out.is_empty() && self.fails[usize::from(asks)].is_none() {
            self.levels.read(frame, at, asks)
        } else {
            Fail::new(Fault::DuplicateKey, at)
        };
        match read {
            Ok(end) => Ok((end, TokenKind::Levels)),
            Err(fail) => {
                self.fails[usize::from(asks)] = Some(fail);
                Ok((scan::skip(frame, at)?, TokenKind::Nested))
            }
        }
    }

    #[inline]
    pub fn matches(&self, frame: &[u8], message: &Message) -> bool {
        self.filled & message.present == message.present
            && self.filled & message.absent == 0
            && message.equals.iter().all(|(slot, expected)| self.is(frame, *slot, expected))
    }

    /// Returns whether the value is the text `expected`.
    #[inline]
    pub fn is(&self, frame: &[u8], slot: Slot, expected: &[u8]) -> bool {
        let Some(Span { start, end, token }) = self.span(slot) else { return false };
        let text = frame.get(start as usize..end as usize);
        match token {
            TokenKind::Text | TokenKind::Bare => text == Some(expected),
            TokenKind::Escaped => {
                text.and_then(|text| scan::unescape(text, true)).as_deref() == Some(expected)
            }
            TokenKind::Null | TokenKind::Nested | TokenKind::Levels => false,
        }
    }

    /// Returns the span of a value, or `None` if it is absent or null.
    #[inline]
    pub fn span(&self, slot: Slot) -> Option<Span> {
        let span = self.spans[usize::from(slot & 63)];
        (self.filled >> (slot & 63) & 1 == 1 && span.token != TokenKind::Null).then_some(span)
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

/// Returns the word of a key of at most seven plain bytes and the position of its closing quote.
#[inline(always)]
fn key(frame: &[u8], start: usize) -> Option<(u64, usize)> {
    let word = scan::load(frame, start)?;
    // Most keys are one byte long, which a branch detects before the arithmetic.
    if word >> 8 & 0xFF == u64::from(b'"') && scan::special(word & 0xFF | 0x2020_2020_2020_2000) == 0 {
        return Some((word & 0xFF, start + 1));
    }
    let stop = scan::special(word);
    // The lowest set bit is the top bit of the first special byte; the bytes below it are the key.
    let len = stop.trailing_zeros() as usize / 8;
    if stop == 0 || frame[start + len] != b'"' {
        return None;
    }
    Some((word & ((1u64 << (8 * len)) - 1), start + len))
}
