//! The decoder: one pass over a frame, then the conversion of its message.

use super::error::{DecodeError, Fail, Fault};
use super::field_map::FieldMap;
use super::levels::Levels;
use super::read::Reader;
use super::symbols::SymbolCache;
use super::{Codec, MAX_FRAME};
use crate::event::{Kind, Nanos, Payload, VenueId};
use crate::names::{ProviderId, SymbolId};
use std::sync::Arc;

/// The message of a frame.
#[derive(Debug)]
pub enum Decoded {
    /// A complete event, whose payload is in [`Decoder::payload`].
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
    },
    /// Changed levels, in [`Decoder::levels`].
    BookDiff {
        /// The symbol.
        symbol: SymbolId,
        /// The venue's time.
        venue_time: Option<Nanos>,
        /// The first update id; the one after `prev` if the venue sends none.
        first: u64,
        /// Last update id.
        last: u64,
        /// The last update id of the previous message, if the venue sends it.
        prev: Option<u64>,
        /// The checksum of the book after the diff.
        checksum: Option<u32>,
    },
    /// All levels, in [`Decoder::levels`].
    BookSnapshot {
        /// The symbol; `None` if the message has none.
        symbol: Option<SymbolId>,
        /// The venue's time.
        venue_time: Option<Nanos>,
        /// The last update id; 0 if the venue sends none.
        last: u64,
        /// Checksum of the book.
        checksum: Option<u32>,
    },
    /// Market data that the caller did not want.
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

/// Decodes the frames of one connection, with scratch space that is kept between frames.
#[derive(Debug)]
pub struct Decoder {
    codec: Arc<Codec>,
    /// The message of the last frame.
    message: Option<u16>,
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
        Self {
            codec,
            message: None,
            fields: FieldMap::default(),
            cache,
            unknown_enums: 0,
            payload: Payload::Empty,
        }
    }

    /// Returns the codec.
    pub fn codec(&self) -> &Arc<Codec> {
        &self.codec
    }

    /// Returns the levels of the last book message.
    #[inline]
    pub fn levels(&self) -> &Levels {
        &self.fields.levels
    }

    /// Returns the payload of the last event (a trade, ticker or candle), for the caller to take.
    #[inline]
    pub fn payload(&mut self) -> &mut Payload {
        &mut self.payload
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

    /// Decodes a frame. `wanted` is called once the kind and symbol are decoded, with [`Kind::BookSnapshot`] for book
    /// messages. It is not called for a snapshot without a symbol, which is always decoded.
    ///
    /// # Errors
    /// [`DecodeError`] if the frame is not one well-formed message. The decoder remains usable.
    pub fn decode(
        &mut self,
        frame: &[u8],
        wanted: impl FnMut(Kind, SymbolId) -> bool,
    ) -> Result<Decoded, DecodeError> {
        // The outcome is large, so it is written once, where it is returned, and an error is completed in place.
        let mut outcome = self.read(frame, wanted);
        if let Err(error) = &mut outcome {
            error.complete(self.message, self.fields.slot, frame);
        }
        outcome
    }

    #[inline(never)]
    fn read(
        &mut self,
        frame: &[u8],
        wanted: impl FnMut(Kind, SymbolId) -> bool,
    ) -> Result<Decoded, DecodeError> {
        let Self { codec, message, fields, cache, unknown_enums, payload } = self;
        (*message, fields.slot) = (None, DecodeError::NO_SLOT);
        if frame.len() > MAX_FRAME {
            return Err(Fail { at: 0, fault: Fault::TooLarge }.into());
        }
        fields.scan(codec, frame)?;
        let Some(index) = codec.messages.iter().position(|message| fields.matches(frame, message)) else {
            return Ok(Decoded::Unmatched);
        };
        *message = Some(index as u16);
        Reader { frame, fields, unknown_enums, payload }.message(codec, index, cache, wanted)
    }
}
