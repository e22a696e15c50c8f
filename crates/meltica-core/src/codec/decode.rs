//! The decoder: one pass over a frame, then the conversion of its message.

use super::BookIds;
use super::Codec;
use super::error::DecodeError;
use super::field_map::FieldMap;
use super::levels::Levels;
use super::read::Reader;
use super::symbols::SymbolCache;
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
        /// The trade, ticker or candle, for the sink to take.
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
        Self { codec, fields: FieldMap::default(), cache, unknown_enums: 0, payload: Payload::Empty }
    }

    /// Returns the codec.
    pub fn codec(&self) -> &Arc<Codec> {
        &self.codec
    }

    /// Returns the scratch space of levels.
    #[cfg(test)]
    pub(crate) fn levels(&self) -> &Levels {
        &self.fields.levels
    }

    /// Returns the number of undeclared enum values so far.
    pub fn unknown_enums(&self) -> u64 {
        self.unknown_enums
    }

    /// Sets the category of the frames from now on, an index of [`Codec::categories`]. It decides what a symbol means.
    pub fn set_category(&mut self, category: usize) {
        self.cache.set_category(category);
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
        self.cache.list(category.min(self.codec.symbols.len() - 1), symbols)
    }

    /// Returns the symbol that all messages so far have named, if it is the only one.
    pub fn only_symbol(&self) -> Option<SymbolId> {
        self.cache.only()
    }

    /// Decodes a frame and passes its messages to `sink`. A refused message does not affect later frames.
    #[inline]
    pub fn decode(&mut self, frame: &[u8], sink: &mut impl Sink) {
        if let Err(mut error) = self.read(frame, sink) {
            error.complete(self.fields.context, frame);
            sink.message(Err(error));
        }
    }

    #[inline(never)]
    fn read(&mut self, frame: &[u8], sink: &mut impl Sink) -> Result<(), DecodeError> {
        let Self { codec, fields, cache, unknown_enums, payload } = self;
        fields.scan(codec, frame)?;
        let Some(index) = codec.messages.iter().position(|message| fields.matches(frame, message)) else {
            sink.message(Ok(Decoded::Unmatched));
            return Ok(());
        };
        fields.context.message = Some(index as u16);
        Reader { frame, fields, unknown_enums, payload }.message(codec, index as u16, cache, sink)
    }
}
