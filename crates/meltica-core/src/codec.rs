//! Venue frames to events: a declaration of where the fields are, compiled into a one-pass decoder.
//!
//! [`Codec::compile`] checks a [`CodecSpec`] and builds its key tables; a [`Decoder`] scans each frame once. Values at
//! declared paths are noted as spans, level arrays are read where they stand, everything else is skipped; then the
//! message is told by its conditions (they may come late in the frame), its symbol is looked up, the caller says
//! whether anyone wants it, and only then are numbers converted.
//!
//! # Rules
//! - Unknown fields are ignored, whatever they hold; `null` is the same as absent.
//! - A declared key that stands twice is an error, never a guess. So is a message that stands before its envelope's
//!   payload as well as in it; what stands after the payload is ignored. A payload that is no object is no payload.
//! - Anything after the message but white space is an error, and so is a frame that ends early, even when all needed
//!   fields were seen.
//! - Numbers may stand with or without quotes and are exact; ids use all 64 bits.
//! - A decoder allocates no more than its bounded scratch: 4 MiB of frame, [`MAX_LEVELS`] levels a side.

mod compile;
mod decode;
mod error;
mod field_map;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod levels;
mod number;
mod plan;
mod read;
mod scan;
mod spec;
mod symbols;
#[cfg(test)]
mod tests;

pub use decode::{Decoded, Decoder};
pub use error::{DecodeError, Fault};
pub use levels::{Levels, MAX_LEVELS};
pub use spec::{
    CodecSpec, Convert, EnvelopeSpec, FieldSpec, IdMode, LevelsSpec, Match, MessageSpec, Role, Sign,
    SpecError, SymbolRule, TimeUnit,
};

pub(crate) use levels::Part;

use std::sync::Arc;

/// Most bytes of a frame.
pub const MAX_FRAME: usize = 4 << 20;

/// What the declaration says of a message, for whoever handles it.
#[derive(Debug, Clone)]
pub struct MessageInfo {
    /// Its name.
    pub name: String,
    /// What it becomes.
    pub role: Role,
    /// How repetitions are told; `None` when they are not.
    pub id_mode: Option<IdMode>,
}

/// A compiled declaration, shared by the decoders of a venue's sockets.
#[derive(Debug)]
pub struct Codec {
    name: String,
    infos: Vec<MessageInfo>,
    messages: Vec<plan::Message>,
    nodes: Vec<plan::Node>,
    /// The node of the top object, and of the rest of it once the envelope's payload was met.
    top: u8,
    wrapped: u8,
    /// Slot of the stream's name, and what ends the symbol in it.
    stream: Option<(plan::Slot, Option<char>)>,
    symbols: symbols::Symbols,
    /// By slot.
    paths: Vec<String>,
}

impl Codec {
    /// Checks a declaration and compiles it.
    ///
    /// # Errors
    /// [`SpecError`] with all faults at once.
    pub fn compile(spec: CodecSpec) -> Result<Arc<Self>, SpecError> {
        compile::compile(spec).map(Arc::new)
    }

    /// Returns the codec's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the messages, by the index that [`Decoded::Event`] and [`DecodeError`] carry.
    pub fn messages(&self) -> &[MessageInfo] {
        &self.infos
    }

    /// Returns the canonical symbol of the venue's text, or `None` when the rule does not split it.
    pub fn canonical(&self, text: &str) -> Option<String> {
        self.symbols.canonical(text.as_bytes())
    }

    /// Returns a line about an error, with the names of message and path.
    pub fn describe(&self, error: &DecodeError) -> String {
        let message = error.message.and_then(|index| self.infos.get(usize::from(index)));
        let message = message.map_or("", |info| &info.name);
        match self.paths.get(usize::from(error.slot)) {
            Some(path) => format!("{} {message} {path:?}: {error}", self.name),
            None => format!("{} {message}: {error}", self.name),
        }
    }
}
