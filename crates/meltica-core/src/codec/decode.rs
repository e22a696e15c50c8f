//! The decoder: one pass over a frame, then one message out of what was met.

use super::error::{DecodeError, Fail, Fault};
use super::field_map::FieldMap;
use super::levels::Levels;
use super::read::Reader;
use super::symbols::SymbolCache;
use super::{Codec, MAX_FRAME};
use crate::event::{Kind, Nanos, Payload, VenueId};
use crate::names::SymbolId;
use std::sync::Arc;

/// What a frame was.
#[derive(Debug)]
pub enum Decoded {
    /// An event by itself, its payload in [`Decoder::payload`].
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
    /// A message declared as [`Role::Control`](super::Role::Control).
    Control {
        /// Index in [`Codec::messages`].
        message: u16,
    },
    /// Well-formed JSON that matches none of the declared messages.
    Unmatched,
}

/// Decodes the frames of one socket; keeps scratch between frames.
#[derive(Debug)]
pub struct Decoder {
    codec: Arc<Codec>,
    /// The message of the last frame.
    message: Option<u16>,
    fields: FieldMap,
    cache: SymbolCache,
    unknown_enums: u64,
    /// Written and read in place: a payload is large, and each move of it costs as much as reading a number.
    payload: Payload,
}

impl Decoder {
    /// Returns a decoder for the codec's messages.
    pub fn new(codec: Arc<Codec>) -> Self {
        Self {
            codec,
            message: None,
            fields: FieldMap::default(),
            cache: SymbolCache::default(),
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

    /// Returns the payload of the last event, a trade, ticker or candle, to be taken out.
    #[inline]
    pub fn payload(&mut self) -> &mut Payload {
        &mut self.payload
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
        // The outcome is large: it is written once, where it is returned, and an error is completed in place.
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
