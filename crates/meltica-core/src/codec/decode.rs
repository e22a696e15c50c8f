//! The decoder: one pass over a frame, then the conversion of its message.

use super::BookIds;
use super::error::{Context, DecodeError, Fail, Fault};
use super::field_map::FieldMap;
use super::levels::Levels;
use super::plan::Group;
use super::read::Reader;
use super::scan::Scan;
use super::spec::Role;
use super::symbols::SymbolCache;
use super::{Codec, number, scan};
use crate::event::{Kind, Nanos, Payload, VenueId};
use crate::names::{ProviderId, SymbolId};
use std::sync::Arc;

/// A message of a frame.
#[derive(Debug)]
pub enum Decoded<'a> {
    /// A complete event.
    Event {
        /// Index in [`Codec::messages`].
        message: u16,
        /// The kind.
        kind: Kind,
        /// The symbol.
        symbol: SymbolId,
        /// The venue's time.
        venue_time: Option<Nanos>,
        /// The id that identifies repetitions.
        id: Option<VenueId>,
        /// The declared fields of a ticker that keeps the others, or of an instrument, that the message has: bits in the order
        /// of [`field_names`](super::field_names).
        met: u16,
        /// The trade, ticker, candle or extension, for the sink to take.
        payload: &'a mut Payload,
    },
    /// Changed levels of a book.
    BookDiff {
        /// Index in [`Codec::messages`].
        message: u16,
        /// The symbol.
        symbol: SymbolId,
        /// The venue's time.
        venue_time: Option<Nanos>,
        /// The update ids.
        ids: BookIds,
        /// The checksum of the book after the diff.
        checksum: Option<u32>,
        /// The changed levels.
        levels: &'a Levels,
    },
    /// All levels of a book.
    BookSnapshot {
        /// Index in [`Codec::messages`].
        message: u16,
        /// The symbol; `None` if the message has none.
        symbol: Option<SymbolId>,
        /// The venue's time.
        venue_time: Option<Nanos>,
        /// The update ids.
        ids: BookIds,
        /// The checksum of the book.
        checksum: Option<u32>,
        /// All levels.
        levels: &'a Levels,
    },
    /// Market data that the sink did not want.
    Unwanted {
        /// The kind.
        kind: Kind,
        /// The symbol.
        symbol: SymbolId,
    },
    /// A message declared as [`Role::Control`](super::Role::Control).
    Control {
        /// Index in [`Codec::messages`].
        message: u16,
    },
    /// Well-formed JSON that matches none of the declared messages.
    Unmatched,
}

/// Receives the messages of a frame, in their order.
pub trait Sink {
    /// Returns whether to decode a message. It is called once the kind and symbol are known, with
    /// [`Kind::BookSnapshot`] for book messages, but not for a snapshot without a symbol, which is always decoded.
    fn wanted(&mut self, kind: Kind, symbol: SymbolId) -> bool;

    /// Returns whether to decode an extension of this name, which is called instead of [`Self::wanted`].
    fn wanted_extension(&mut self, _name: &str) -> bool {
        true
    }

    /// Receives the number of the frame on its connection, before the messages of the frame. Returns whether to read them.
    fn connection_sequence(&mut self, _number: u64) -> bool {
        true
    }

    /// Receives the levels per side that the venue confirms for the book of a symbol on this connection.
    fn depth(&mut self, _symbol: SymbolId, _levels: u32) {}

    /// Receives a message, or the error of one that was refused.
    fn message(&mut self, message: Result<Decoded<'_>, DecodeError>);
}

impl<W, M> Sink for (W, M)
where
    W: FnMut(Kind, SymbolId) -> bool,
    M: FnMut(Result<Decoded<'_>, DecodeError>),
{
    fn wanted(&mut self, kind: Kind, symbol: SymbolId) -> bool {
        (self.0)(kind, symbol)
    }

    fn message(&mut self, message: Result<Decoded<'_>, DecodeError>) {
        (self.1)(message);
    }
}

impl Decoded<'_> {
    /// Returns the venue's time of the message, if it has one.
    pub fn venue_time(&self) -> Option<Nanos> {
        match self {
            Self::Event { venue_time, .. }
            | Self::BookDiff { venue_time, .. }
            | Self::BookSnapshot { venue_time, .. } => *venue_time,
            _ => None,
        }
    }
}

/// Decodes the frames of one connection, with scratch space that is kept between frames.
#[derive(Debug)]
pub struct Decoder {
    codec: Arc<Codec>,
    state: State,
}

/// What a decoder writes while it reads its codec.
#[derive(Debug)]
struct State {
    fields: FieldMap,
    cache: SymbolCache,
    unknown_enums: u64,
    /// Written and read in place, as moving a payload costs as much as converting a number.
    payload: Payload,
}

impl Decoder {
    /// Returns a decoder of the codec's messages, whose symbols are `provider`'s.
    pub fn new(codec: Arc<Codec>, provider: ProviderId) -> Self {
        let cache = SymbolCache::new(provider, codec.symbols.len());
        let mut fields = FieldMap::default();
        fields.levels.limit = codec.max_levels;
        let state = State { fields, cache, unknown_enums: 0, payload: Payload::Empty };
        Self { codec, state }
    }

    /// Returns the codec.
    pub fn codec(&self) -> &Arc<Codec> {
        &self.codec
    }

    /// Returns the scratch space of levels.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn levels(&self) -> &Levels {
        &self.state.fields.levels
    }

    /// Returns the number of undeclared enum values so far.
    pub fn unknown_enums(&self) -> u64 {
        self.state.unknown_enums
    }

    /// Sets the category of the frames from now on, an index of [`Codec::categories`]. It decides what a symbol means.
    pub fn set_category(&mut self, category: usize) {
        self.state.cache.set_category(category);
    }

    /// Adds symbols of the venue's instrument list, each the venue's text and the canonical symbol, to a category. They take
    /// precedence over its rule.
    ///
    /// # Errors
    /// The first canonical symbol that is not one.
    pub fn list_symbols(
        &mut self,
        category: usize,
        symbols: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), String> {
        self.state.cache.list(category.min(self.codec.symbols.len() - 1), symbols)
    }

    /// Returns the symbol that all messages so far have named, if it is the only one.
    pub fn only_symbol(&self) -> Option<SymbolId> {
        self.state.cache.only()
    }

    /// Decodes a frame and passes its messages to `sink`. A refused message does not affect later ones, unless the JSON
    /// is broken: nothing is read after that.
    #[inline]
    pub fn decode(&mut self, frame: &[u8], sink: &mut impl Sink) {
        let Self { codec, state } = self;
        if let Err(fail) = state.read(codec, frame, sink) {
            state.refuse(codec, frame, fail, sink);
        }
    }
}

impl State {
    #[cold]
    fn refuse(&mut self, codec: &Codec, frame: &[u8], fail: Fail, sink: &mut impl Sink) {
        if let Some((_, message)) = codec.texts.iter().find(|(text, _)| text.as_bytes() == frame) {
            return sink.message(Ok(Decoded::Control { message: *message }));
        }
        let mut error = DecodeError::from(fail);
        if error.fault == Fault::MissingField
            && let Some(at) = self.array_on_path(codec, frame)
        {
            (error.fault, error.offset) = (Fault::ArrayOnPath, at);
        }
        error.complete(self.fields.context, frame);
        sink.message(Err(error));
    }

    /// Returns the start of an array that ends the path of the missing value.
    fn array_on_path(&self, codec: &Codec, frame: &[u8]) -> Option<u32> {
        let mut slot = *codec.parents.get(usize::from(self.fields.context.slot))?;
        // The array around an element does not end the path.
        let is_element = |slot: u8| codec.tables.eaches.iter().any(|each| each.element.slot == slot);
        while slot != 0 && !is_element(slot) {
            if let Some(at) = self.fields.array_at(frame, slot) {
                return Some(at as u32);
            }
            slot = codec.parents[usize::from(slot)];
        }
        None
    }

    #[inline(never)]
    fn read(&mut self, codec: &Codec, frame: &[u8], sink: &mut impl Sink) -> Scan<()> {
        let scanned = self.fields.scan(codec, frame);
        if scanned.is_err() && self.fields.unread.is_empty() {
            return scanned;
        }
        if let Some(slot) = codec.sequence
            && let Some(span) = self.fields.span(slot)
            && let Some(number) = number::integer(&frame[span.start as usize..span.end as usize])
            && !sink.connection_sequence(number)
        {
            return Ok(());
        }
        if scanned.is_err() {
            self.keep_applicable(codec, frame);
        }
        let is_read = scanned.is_ok() && self.group(codec, frame, &codec.whole, sink);
        let are_read = self.arrays(codec, frame, 0, sink)?;
        if scanned.is_err() {
            // Elements before the end of a broken frame were read; the rest may be any message.
            self.fields.context = Context::NONE;
        }
        scanned?;
        if !is_read && !are_read {
            sink.message(Ok(Decoded::Unmatched));
        }
        Ok(())
    }

    /// Reads the messages of the frame or element that was scanned last. Returns whether there is any.
    #[inline]
    fn group(&mut self, codec: &Codec, frame: &[u8], group: &Group, sink: &mut impl Sink) -> bool {
        let holds =
            |state: &Self, index: &&u16| state.fields.matches(frame, &codec.messages[usize::from(**index)]);
        let mut also = group.also.iter();
        let first = group.first.iter().find(|index| holds(self, index));
        let mut next = first.or_else(|| also.find(|index| holds(self, index)));
        let is_read = next.is_some();
        while let Some(index) = next {
            if let Err(fail) = self.message(codec, frame, *index, sink) {
                self.refuse(codec, frame, fail, sink);
            }
            self.fields.context.symbol = None;
            next = also.find(|index| holds(self, index));
        }
        is_read
    }

    #[inline(always)]
    fn message(&mut self, codec: &Codec, frame: &[u8], index: u16, sink: &mut impl Sink) -> Scan<()> {
        let Self { fields, cache, unknown_enums, payload } = self;
        fields.context.message = Some(index);
        Reader { frame, fields, unknown_enums, payload }.message(codec, index, cache, sink)
    }

    /// Reads the elements of the noted arrays, from the one at index `from` on, and checks those that no message is in.
    /// Returns whether a message may be in one.
    #[inline]
    fn arrays<S: Sink>(&mut self, codec: &Codec, frame: &[u8], from: usize, sink: &mut S) -> Scan<bool> {
        let (mut next, mut are_read) = (from, false);
        while let Some(&(start, each)) = self.fields.unread.get(next) {
            next += 1;
            if self.applicable(codec, frame, each).next().is_some() {
                are_read = true;
                self.walk(codec, frame, start as usize, each, sink)?;
            } else {
                scan::skip(frame, start as usize)?;
            }
        }
        self.fields.unread.truncate(from);
        Ok(are_read)
    }

    /// Returns the messages of an array, and of those in its elements, whose conditions outside of the elements hold.
    fn applicable<'a>(
        &'a self,
        codec: &'a Codec,
        frame: &'a [u8],
        each: u8,
    ) -> impl Iterator<Item = u16> + 'a {
        let eaches = &codec.tables.eaches;
        let each = &eaches[usize::from(each)];
        let inner = each.inner.iter().flat_map(|inner| eaches[usize::from(*inner)].group.all());
        each.group
            .all()
            .chain(inner)
            .filter(move |index| self.fields.matches_around(frame, &codec.messages[usize::from(*index)]))
    }

    /// Leaves out the arrays of a broken frame that no message is in.
    #[cold]
    fn keep_applicable(&mut self, codec: &Codec, frame: &[u8]) {
        let mut unread = std::mem::take(&mut self.fields.unread);
        unread.retain(|(_, each)| self.applicable(codec, frame, *each).next().is_some());
        self.fields.unread = unread;
    }

    /// Scans each element of an array, and reads its messages and then those of the arrays in it.
    #[inline(never)]
    fn walk<S: Sink>(
        &mut self,
        codec: &Codec,
        frame: &[u8],
        start: usize,
        each: u8,
        sink: &mut S,
    ) -> Scan<()> {
        let mut index = 0;
        let read = scan::elements(frame, start, |at| {
            self.fields.context = Context { element: Some(index), ..Context::NONE };
            index += 1;
            let noted = self.fields.unread.len();
            let end = self.fields.element(codec, frame, at, each)?;
            let is_read = self.group(codec, frame, &codec.tables.eaches[usize::from(each)].group, sink);
            let are_read = self.arrays(codec, frame, noted, sink)?;
            if !is_read && !are_read {
                sink.message(Ok(Decoded::Unmatched));
            }
            Ok(end)
        });
        read.map(drop).inspect_err(|_| self.blame(codec, frame, each))
    }

    /// Names the message that the text of a broken array would have been, if all that it may be have the same role, and
    /// no symbol, since the rest of the array may be of others.
    #[cold]
    fn blame(&mut self, codec: &Codec, frame: &[u8], each: u8) {
        let of = |index: u16| {
            let info = &codec.infos[usize::from(index)];
            (info.role, info.snapshot.filter(|_| info.role == Role::BookSnapshot))
        };
        let message = {
            let mut messages = self.applicable(codec, frame, each);
            let first = messages.next();
            first.filter(|first| messages.all(|other| of(other) == of(*first)))
        };
        let element = self.fields.context.element;
        self.fields.context = Context { message, element, ..Context::NONE };
    }
}
