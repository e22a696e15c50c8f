//! The decoder: one pass over a frame, then one message out of what was met.

use super::error::{DecodeError, Fail, Fault};
use super::levels::Levels;
use super::plan::{Conversion, Entry, Field, LevelsPlan, MAX_SLOTS, Message, Slot, word};
use super::scan::{self, Scan, blank, byte};
use super::spec::{IdMode, Role, Sign, TimeUnit};
use super::symbols::SymbolCache;
use super::{Codec, MAX_FRAME, number};
use crate::decimal::Decimal;
use crate::event::{Kind, Kline, Nanos, Payload, ShortText, Side, Ticker, Trade, VenueId};
use crate::names::SymbolId;
use std::borrow::Cow;
use std::sync::Arc;

/// What a frame was.
#[derive(Debug)]
pub enum Decoded {
    /// An event by itself.
    Event {
        /// Index in [`Codec::messages`].
        message: u16,
        /// Its kind.
        kind: Kind,
        /// Of what.
        symbol: SymbolId,
        /// When the venue says it happened.
        venue_time: Option<Nanos>,
        /// The id by which repetitions are told.
        id: Option<VenueId>,
        /// Trade, ticker or candle.
        payload: Payload,
    },
    /// Changed levels, in [`Decoder::levels`].
    BookDiff {
        /// Of what.
        symbol: SymbolId,
        /// When the venue says it happened.
        venue_time: Option<Nanos>,
        /// First update id; where the venue gives none, the one after `prev`.
        first: u64,
        /// Last update id.
        last: u64,
        /// Last update id of the message before, when the venue gives it.
        prev: Option<u64>,
        /// Checksum of the book after it.
        checksum: Option<u32>,
    },
    /// All levels, in [`Decoder::levels`].
    BookSnapshot {
        /// Of what; `None` when the message does not say.
        symbol: Option<SymbolId>,
        /// When the venue says it happened.
        venue_time: Option<Nanos>,
        /// Last update id; 0 when the venue has none.
        last: u64,
        /// Checksum of the book.
        checksum: Option<u32>,
    },
    /// A message that the caller did not want.
    Unwanted {
        /// Its kind.
        kind: Kind,
        /// Of what.
        symbol: SymbolId,
    },
    /// Well-formed, but none of the declared messages: a control reply, a heartbeat.
    Ignored,
}

/// What stands at a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Sort {
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
struct Span {
    start: u32,
    end: u32,
    sort: Sort,
}

/// Decodes the frames of one socket; keeps scratch between frames.
#[derive(Debug)]
pub struct Decoder {
    codec: Arc<Codec>,
    met: Met,
    cache: SymbolCache,
    unknown_enums: u64,
}

impl Decoder {
    /// Returns a decoder for the codec's messages.
    pub fn new(codec: Arc<Codec>) -> Self {
        Self { codec, met: Met::default(), cache: SymbolCache::default(), unknown_enums: 0 }
    }

    /// Returns the codec.
    pub fn codec(&self) -> &Arc<Codec> {
        &self.codec
    }

    /// Returns the levels of the last book message.
    #[inline]
    pub fn levels(&self) -> &Levels {
        &self.met.levels
    }

    /// Returns how many enum values were unknown so far.
    pub fn unknown_enums(&self) -> u64 {
        self.unknown_enums
    }

    /// Decodes a frame. `wanted` is asked once the kind and symbol are known; book messages ask for
    /// [`Kind::BookSnapshot`], and a snapshot without a symbol is always wanted.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that is not one well-formed message; the decoder stays usable.
    pub fn decode(
        &mut self,
        frame: &[u8],
        wanted: impl FnMut(Kind, SymbolId) -> bool,
    ) -> Result<Decoded, DecodeError> {
        let Self { codec, met, cache, unknown_enums } = self;
        let error = |fail, message, slot| Err(DecodeError::new(fail, message, slot, frame));
        if frame.len() > MAX_FRAME {
            return error(Fail { at: 0, fault: Fault::TooLarge }, None, DecodeError::NO_SLOT);
        }
        if let Err(fail) = met.scan(codec, frame) {
            return error(fail, None, DecodeError::NO_SLOT);
        }
        let Some(index) = codec.messages.iter().position(|message| met.matches(frame, message)) else {
            return Ok(Decoded::Ignored);
        };
        let message = &codec.messages[index];
        let mut reader = Reader { frame, met, slot: DecodeError::NO_SLOT, unknown_enums };
        match reader.message(codec, index as u16, message, cache, wanted) {
            Ok(decoded) => Ok(decoded),
            Err(fail) => {
                let slot = reader.slot;
                error(fail, Some(index as u16), slot)
            }
        }
    }
}

/// What the pass over a frame met.
#[derive(Debug)]
struct Met {
    /// One bit per slot.
    seen: u64,
    spans: [Span; MAX_SLOTS],
    levels: Levels,
    /// Why the bids and the asks were no levels.
    fails: [Option<Fail>; 2],
}

impl Default for Met {
    fn default() -> Self {
        Self { seen: 0, spans: [Span::default(); MAX_SLOTS], levels: Levels::default(), fails: [None; 2] }
    }
}

impl Met {
    fn scan(&mut self, codec: &Codec, frame: &[u8]) -> Scan<()> {
        self.seen = 0;
        self.levels.clear();
        self.fails = [None; 2];
        let at = blank(frame, 0);
        let at = match byte(frame, at)? {
            b'{' => self.object(codec, frame, at + 1, codec.top)?,
            _ => scan::skip(frame, at)?,
        };
        let at = blank(frame, at);
        if at == frame.len() { Ok(()) } else { Fail::new(Fault::TrailingBytes, at) }
    }

    /// Reads the members of an object from after its `{` and returns where it ends. Nests no deeper than paths are long.
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
                    if entry.payload {
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

    /// Notes the value of a declared key and returns where it ends.
    #[inline]
    fn value(&mut self, codec: &Codec, frame: &[u8], at: usize, key: usize, entry: &Entry) -> Scan {
        let bit = 1 << (entry.slot & 63);
        if self.seen & bit != 0 {
            return Fail::new(Fault::DuplicateKey, key);
        }
        let (start, end, next, sort) = match byte(frame, at)? {
            b'"' => {
                let (end, escaped) = scan::string(frame, at + 1)?;
                (at + 1, end, end + 1, if escaped { Sort::Escaped } else { Sort::Text })
            }
            b'0'..=b'9' | b'-' => {
                let end = scan::number(frame, at)?;
                (at, end, end, Sort::Bare)
            }
            b'[' => {
                let (end, sort) = match entry.side {
                    Some(asks) => self.side(frame, at, asks)?,
                    None => (scan::skip(frame, at)?, Sort::Nested),
                };
                (at, end, end, sort)
            }
            b'{' => {
                let end = if entry.payload {
                    // A message beside its envelope could be mistaken for the one inside.
                    if codec.stream.is_some_and(|(stream, _)| self.seen & !(1 << stream) != 0) {
                        return Fail::new(Fault::DuplicateKey, key);
                    }
                    self.seen |= bit;
                    self.object(codec, frame, at + 1, entry.child)?
                } else if entry.child != 0 {
                    self.object(codec, frame, at + 1, entry.child)?
                } else {
                    scan::skip(frame, at)?
                };
                (at, end, end, Sort::Nested)
            }
            first => {
                let end = scan::literal(frame, at)?;
                (at, end, end, if first == b'n' { Sort::Null } else { Sort::Bare })
            }
        };
        self.seen |= bit;
        self.spans[usize::from(entry.slot & 63)] = Span { start: start as u32, end: end as u32, sort };
        Ok(next)
    }

    /// Reads a side of a book. An array that is none counts only if the message turns out to be a book.
    fn side(&mut self, frame: &[u8], at: usize, asks: bool) -> Scan<(usize, Sort)> {
        let out = if asks { &self.levels.asks } else { &self.levels.bids };
        let read = if out.is_empty() && self.fails[usize::from(asks)].is_none() {
            self.levels.read(frame, at, asks)
        } else {
            Fail::new(Fault::DuplicateKey, at)
        };
        match read {
            Ok(end) => Ok((end, Sort::Levels)),
            Err(fail) => {
                self.fails[usize::from(asks)] = Some(fail);
                Ok((scan::skip(frame, at)?, Sort::Nested))
            }
        }
    }

    fn matches(&self, frame: &[u8], message: &Message) -> bool {
        self.seen & message.present == message.present
            && self.seen & message.absent == 0
            && message.equals.iter().all(|(slot, expected)| {
                self.text(frame, *slot).is_some_and(|text| text.as_deref() == Some(expected))
            })
    }

    /// Returns the span of a value that is there and not null.
    #[inline]
    fn span(&self, slot: Slot) -> Option<Span> {
        let span = self.spans[usize::from(slot & 63)];
        (self.seen >> (slot & 63) & 1 == 1 && span.sort != Sort::Null).then_some(span)
    }

    /// Returns the text of a value, or `Some(None)` when it is no scalar or no text.
    #[inline]
    fn text<'a>(&self, frame: &'a [u8], slot: Slot) -> Option<Option<Cow<'a, [u8]>>> {
        let span = self.span(slot)?;
        let text = frame.get(span.start as usize..span.end as usize)?;
        Some(match span.sort {
            Sort::Text | Sort::Bare => Some(Cow::Borrowed(text)),
            Sort::Escaped => scan::unescape(text, true),
            Sort::Null | Sort::Nested | Sort::Levels => None,
        })
    }
}

/// Returns the word of a key of at most seven plain bytes and where its closing quote is.
#[inline(always)]
fn key(frame: &[u8], start: usize) -> Option<(u64, usize)> {
    let word = scan::load(frame, start)?;
    let stop = scan::special(word);
    // The lowest set bit stands at the top of the first special byte; all below it is the key.
    let len = stop.trailing_zeros() as usize / 8;
    if stop == 0 || frame[start + len] != b'"' {
        return None;
    }
    Some((word & ((1u64 << (8 * len)) - 1), start + len))
}

/// Converts what was met into a message.
struct Reader<'a> {
    frame: &'a [u8],
    met: &'a mut Met,
    /// The slot at work, for the error.
    slot: Slot,
    unknown_enums: &'a mut u64,
}

impl<'a> Reader<'a> {
    fn message(
        &mut self,
        codec: &Codec,
        index: u16,
        message: &Message,
        cache: &mut SymbolCache,
        mut wanted: impl FnMut(Kind, SymbolId) -> bool,
    ) -> Scan<Decoded> {
        let symbol = self.symbol(codec, message, cache)?;
        let kind = match message.role {
            Role::Event(kind) => kind,
            Role::BookDiff | Role::BookSnapshot => Kind::BookSnapshot,
        };
        if let Some(symbol) = symbol.filter(|symbol| !wanted(kind, *symbol)) {
            return Ok(Decoded::Unwanted { kind, symbol });
        }
        let venue_time = match message.venue_time {
            Some((slot, unit)) => self.time(slot, unit)?,
            None => None,
        };
        if let Some(plan) = &message.levels {
            return self.book(message.role, plan, symbol, venue_time);
        }
        let Some(symbol) = symbol else { return self.missing() };
        let id = match message.id {
            Some((slot, mode)) => Some(self.id(slot, mode)?),
            None => None,
        };
        let payload = self.payload(kind, &message.fields)?;
        Ok(Decoded::Event { message: index, kind, symbol, venue_time, id, payload })
    }

    #[cold]
    fn missing<T>(&self) -> Scan<T> {
        Fail::new(Fault::MissingField, self.frame.len())
    }

    #[cold]
    fn bad<T>(&self, fault: Fault) -> Scan<T> {
        let at = self.met.span(self.slot).map_or(self.frame.len(), |span| span.start as usize);
        Fail::new(fault, at)
    }

    /// Returns the text of a scalar, `None` when it is absent.
    #[inline]
    fn text(&mut self, slot: Slot, fault: Fault) -> Scan<Option<Cow<'a, [u8]>>> {
        self.slot = slot;
        match self.met.text(self.frame, slot) {
            Some(None) => self.bad(fault),
            text => Ok(text.flatten()),
        }
    }

    fn symbol(
        &mut self,
        codec: &Codec,
        message: &Message,
        cache: &mut SymbolCache,
    ) -> Scan<Option<SymbolId>> {
        let mut text = match message.symbol {
            Some(slot) => self.text(slot, Fault::BadText)?,
            None => None,
        };
        if let (None, Some((slot, Some(separator)))) = (&text, codec.stream)
            && let Some(stream) = self.text(slot, Fault::BadText)?
        {
            let Ok(stream) = str::from_utf8(&stream) else { return self.bad(Fault::BadText) };
            let symbol = stream.split_once(separator).map_or(stream, |(symbol, _)| symbol);
            text = Some(Cow::Owned(symbol.as_bytes().to_vec()));
        }
        let found = match text {
            Some(Cow::Borrowed(text)) => cache.get(&codec.symbols, text),
            Some(Cow::Owned(text)) => SymbolCache::resolve(&codec.symbols, &text),
            None if message.role == Role::BookSnapshot => return Ok(None),
            None => return self.missing(),
        };
        match found {
            Ok(symbol) => Ok(Some(symbol)),
            Err(fault) => self.bad(fault),
        }
    }

    /// Returns a whole number, `None` when it is absent.
    #[inline]
    fn integer(&mut self, slot: Slot, fault: Fault) -> Scan<Option<u64>> {
        let Some(text) = self.text(slot, fault)? else { return Ok(None) };
        match number::integer(&text) {
            Some(number) => Ok(Some(number)),
            None => self.bad(fault),
        }
    }

    #[inline]
    fn time(&mut self, slot: Slot, unit: TimeUnit) -> Scan<Option<Nanos>> {
        let Some(time) = self.integer(slot, Fault::BadTime)? else { return Ok(None) };
        match time.checked_mul(unit.nanos()).and_then(|nanos| Nanos::try_from(nanos).ok()) {
            Some(nanos) => Ok(Some(nanos)),
            None => self.bad(Fault::BadTime),
        }
    }

    #[inline]
    fn id(&mut self, slot: Slot, mode: IdMode) -> Scan<VenueId> {
        let Some(text) = self.text(slot, Fault::BadId)? else { return self.missing() };
        if let Some(number) = number::integer(&text) {
            return Ok(VenueId::Number(number));
        }
        match str::from_utf8(&text).ok().and_then(ShortText::new) {
            Some(text) if mode == IdMode::Opaque && !text.as_str().is_empty() => Ok(VenueId::Text(text)),
            _ => self.bad(Fault::BadId),
        }
    }

    fn book(
        &mut self,
        role: Role,
        plan: &LevelsPlan,
        symbol: Option<SymbolId>,
        venue_time: Option<Nanos>,
    ) -> Scan<Decoded> {
        for (slot, asks) in [(plan.bids, false), (plan.asks, true)] {
            self.slot = slot;
            match (self.met.span(slot), self.met.fails[usize::from(asks)]) {
                (None, _) => return self.missing(),
                (_, Some(fail)) => return Err(fail),
                (Some(span), None) if span.sort != Sort::Levels => return self.bad(Fault::Syntax),
                _ => {}
            }
        }
        let mut ids = [None; 3];
        for (id, slot) in ids.iter_mut().zip([plan.first, plan.last, plan.prev]) {
            if let Some(slot) = slot {
                *id = Some(match self.integer(slot, Fault::BadId)? {
                    Some(id) => id,
                    None => return self.missing(),
                });
            }
        }
        let checksum = match plan.checksum {
            Some(slot) => self.checksum(slot)?,
            None => None,
        };
        let [first, last, prev] = ids;
        let last = last.unwrap_or_default();
        Ok(match (role, symbol) {
            (Role::BookDiff, Some(symbol)) => {
                let first = first.or(prev.and_then(|prev| prev.checked_add(1))).unwrap_or(last);
                Decoded::BookDiff { symbol, venue_time, first, last, prev, checksum }
            }
            _ => Decoded::BookSnapshot { symbol, venue_time, last, checksum },
        })
    }

    fn checksum(&mut self, slot: Slot) -> Scan<Option<u32>> {
        let Some(text) = self.text(slot, Fault::BadNumber)? else { return Ok(None) };
        let text = str::from_utf8(&text).unwrap_or_default();
        match text.parse::<u32>().or_else(|_| text.parse::<i32>().map(i32::cast_unsigned)) {
            Ok(checksum) => Ok(Some(checksum)),
            Err(_) => self.bad(Fault::BadNumber),
        }
    }

    fn payload(&mut self, kind: Kind, fields: &[Option<Field>]) -> Scan<Payload> {
        // The compiler of declarations filled the schema's order, so the patterns hold.
        match (kind, fields) {
            (Kind::Trade, [id, side, price, quantity]) => Ok(Payload::Trade(Trade {
                id: match id {
                    Some(field) => self.id(field.slot, IdMode::Opaque)?,
                    None => return self.missing(),
                },
                side: self.side(side.as_ref())?,
                price: self.needed(price.as_ref())?,
                quantity: self.needed(quantity.as_ref())?,
            })),
            (Kind::Ticker, [last, bid, bid_quantity, ask, ask_quantity, volume]) => {
                Ok(Payload::Ticker(Ticker {
                    last: self.decimal(last.as_ref())?,
                    bid: self.decimal(bid.as_ref())?,
                    bid_quantity: self.decimal(bid_quantity.as_ref())?,
                    ask: self.decimal(ask.as_ref())?,
                    ask_quantity: self.decimal(ask_quantity.as_ref())?,
                    volume_24h: self.decimal(volume.as_ref())?,
                }))
            }
            (Kind::KlineSummary, [open, close, high, low, volume, from, to, interval, closed]) => {
                Ok(Payload::Kline(Kline {
                    open: self.needed(open.as_ref())?,
                    close: self.needed(close.as_ref())?,
                    high: self.needed(high.as_ref())?,
                    low: self.needed(low.as_ref())?,
                    volume: self.needed(volume.as_ref())?,
                    open_time: self.needed_time(from.as_ref())?,
                    close_time: self.needed_time(to.as_ref())?,
                    interval: self.short(interval.as_ref())?,
                    closed: self.bool(closed.as_ref())?,
                }))
            }
            _ => self.missing(),
        }
    }

    /// Returns the text of a field, `None` when it is absent and may be.
    #[inline]
    fn field(&mut self, field: Option<&Field>, fault: Fault) -> Scan<Option<Cow<'a, [u8]>>> {
        let Some(field) = field else { return Ok(None) };
        match self.text(field.slot, fault)? {
            None if field.required => self.missing(),
            text => Ok(text),
        }
    }

    #[inline]
    fn decimal(&mut self, field: Option<&Field>) -> Scan<Option<Decimal>> {
        let Some(field) = field else { return Ok(None) };
        self.slot = field.slot;
        let Some(span) = self.met.span(field.slot) else {
            return if field.required { self.missing() } else { Ok(None) };
        };
        if !matches!(span.sort, Sort::Text | Sort::Bare) {
            return self.bad(Fault::BadNumber);
        }
        let Conversion::Decimal(sign) = field.convert else { return self.bad(Fault::BadNumber) };
        let Some(number) = number::decimal(self.frame, span.start as usize, span.end as usize) else {
            return self.bad(Fault::BadNumber);
        };
        match (number.mantissa().signum(), sign) {
            (1, _) | (0, Sign::NonNegative) | (_, Sign::Any) => Ok(Some(number)),
            (0, Sign::ZeroIsAbsent) if field.required => self.missing(),
            (0, Sign::ZeroIsAbsent) => Ok(None),
            _ => self.bad(Fault::BadNumber),
        }
    }

    #[inline]
    fn needed(&mut self, field: Option<&Field>) -> Scan<Decimal> {
        match self.decimal(field)? {
            Some(number) => Ok(number),
            None => self.missing(),
        }
    }

    fn needed_time(&mut self, field: Option<&Field>) -> Scan<Nanos> {
        let Some(Field { slot, convert: Conversion::Time(unit), .. }) = field else { return self.missing() };
        match self.time(*slot, *unit)? {
            Some(time) => Ok(time),
            None => self.missing(),
        }
    }

    #[inline]
    fn side(&mut self, field: Option<&Field>) -> Scan<Option<Side>> {
        let Some(text) = self.field(field, Fault::BadEnum)? else { return Ok(None) };
        let Some(Field { required, convert: Conversion::Side(names), .. }) = field else {
            return self.bad(Fault::BadEnum);
        };
        let side = names.iter().find(|(name, _)| **name == *text).map(|(_, side)| *side);
        if side.is_none() {
            *self.unknown_enums += 1;
            if *required {
                return self.bad(Fault::BadEnum);
            }
        }
        Ok(side)
    }

    fn short(&mut self, field: Option<&Field>) -> Scan<Option<ShortText>> {
        let Some(text) = self.field(field, Fault::BadText)? else { return Ok(None) };
        match str::from_utf8(&text).ok().and_then(ShortText::new) {
            Some(text) => Ok(Some(text)),
            None => self.bad(Fault::BadText),
        }
    }

    fn bool(&mut self, field: Option<&Field>) -> Scan<Option<bool>> {
        match self.field(field, Fault::BadBool)?.as_deref() {
            None => Ok(None),
            Some(b"true") => Ok(Some(true)),
            Some(b"false") => Ok(Some(false)),
            Some(_) => self.bad(Fault::BadBool),
        }
    }
}
