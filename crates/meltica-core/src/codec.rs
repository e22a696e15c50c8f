//! Codecs: a declaration of where a venue's fields are, compiled into a decoder that reads each frame once.
//!
//! [`Codec::compile`] checks a [`CodecSpec`] and builds its key tables. A [`Decoder`] processes a frame in these steps:
//! 1. It scans the frame: it records values at declared paths as spans, reads arrays of levels, and skips the rest.
//! 2. It identifies the message by its conditions, whose values may come late in the frame.
//! 3. It looks up the symbol, and the caller reports whether the message is routed.
//! 4. Only then it converts numbers.
//!
//! # Rules
//! - Unknown fields are ignored, whatever their value. `null` equals absence.
//! - A repeated declared key is an error. So are declared keys both before the payload of an envelope and in it. Keys
//!   after the payload are ignored. A payload that is not an object is ignored.
//! - Text other than white space after the message is an error. So is a frame that ends early, even if all required
//!   fields precede the end.
//! - Numbers are read with or without quotes, exactly. Ids use all 64 bits.
//! - A decoder allocates only bounded scratch space: for frames of [`MAX_FRAME`] and
//!   [`MAX_LEVELS`] levels per list, or the limits that the declaration states.

mod blocks;
mod compile;
mod decode;
mod error;
mod field_map;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod ids;
mod interval;
mod levels;
mod number;
mod plan;
mod read;
mod scan;
mod spec;
mod symbols;
#[cfg(test)]
mod tests;
mod time;

pub use compile::field_names;
pub use decode::{Decoded, Decoder, Sink};
pub use error::{DecodeError, Fault};
pub use ids::{BookIds, SnapshotMode};
pub use levels::{Levels, MAX_LEVELS};
pub use spec::{
    ChecksumRule, ChecksumSpec, CodecSpec, Column, Convert, Depth, Digits, EnvelopeSpec, FieldSpec, IdMode,
    Layout, LevelsSpec, Match, MessageSpec, Role, RowSpec, SequenceSpec, Sign, SpecError, SymbolRule,
    TextSpec, TimeSpec, TimeUnit,
};

pub(crate) use levels::Part;
pub(crate) use number::POWERS;

use crate::event::Kind;
use std::sync::Arc;

/// Maximum size of a frame in bytes, if the declaration states none.
pub const MAX_FRAME: usize = 4 << 20;

/// The declared properties of a message.
#[derive(Debug, Clone)]
pub struct MessageInfo {
    /// The name.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The kind of ids that identify repetitions; `None` if they are not identified.
    pub id_mode: Option<IdMode>,
    /// The index of the message whose ids it repeats: its own, except for a snapshot of trades.
    pub window: u16,
    /// What a snapshot does with the book, the kept values or the trades of its connection; `None` for other messages.
    pub snapshot: Option<SnapshotMode>,
    /// Whether values that a ticker does not have are kept.
    pub keep: bool,
    /// Whether the start of the next candle closes one, as the venue does not say that it is closed.
    pub closed_by_next: bool,
    /// The checksum of a book message.
    pub checksum: Option<ChecksumRule>,
    /// The name of the event, if it is an extension.
    pub extension: Option<String>,
    /// The window of levels that the venue sends; `None` for all levels.
    pub depth: Option<Depth>,
}

/// A compiled declaration, shared by the decoders of a venue's connections.
#[derive(Debug)]
pub struct Codec {
    name: String,
    /// The venue of the instruments.
    venue: String,
    infos: Vec<MessageInfo>,
    messages: Vec<plan::Message>,
    /// The messages that are not elements.
    whole: plan::Group,
    tables: compile::Tables,
    rows: Vec<plan::RowPlan>,
    /// The slot of the stream's name, and the separator that ends the symbol in it.
    stream: Option<(plan::Slot, Option<char>)>,
    /// By category.
    symbols: Vec<symbols::Symbols>,
    /// The slot of the number of a connection's frames.
    sequence: Option<plan::Slot>,
    /// Whether the events of a kind depend on earlier ones.
    stateful: [bool; Kind::COUNT],
    max_frame: usize,
    max_levels: usize,
    /// The frames that are not JSON but control messages, with the index of the message.
    texts: Vec<(String, u16)>,
    /// The paths by slot.
    paths: Vec<String>,
    /// The slot that the path of each slot passes through last.
    parents: Vec<plan::Slot>,
}

impl Codec {
    /// Checks a declaration and compiles it.
    ///
    /// # Errors
    /// [`SpecError`] with all faults of the declaration.
    pub fn compile(spec: CodecSpec) -> Result<Arc<Self>, SpecError> {
        compile::compile(spec).map(Arc::new)
    }

    /// Returns the name of the codec.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the maximum size of a frame in bytes.
    pub fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// Returns the messages by the index in [`Decoded::Event`] and [`DecodeError`].
    pub fn messages(&self) -> &[MessageInfo] {
        &self.infos
    }

    /// Returns whether events of the kind depend on earlier ones, so that all of them have to be decoded.
    pub fn is_stateful(&self, kind: Kind) -> bool {
        self.stateful[kind as usize]
    }

    /// Returns the index of a category of connections, or `None` if the codec does not have it.
    pub fn category(&self, name: &str) -> Option<usize> {
        self.symbols.iter().position(|rule| rule.category == name)
    }

    /// Returns the index of the category with which the name of a connection begins, as `linear` and `linear-2` do.
    pub fn category_of(&self, connection: &str) -> Option<usize> {
        self.categories().position(|category| {
            let rest = connection.strip_prefix(category).filter(|_| !category.is_empty());
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphabetic() || c == '_'))
        })
    }

    /// Returns the names of the categories; a single empty one if they are not distinguished.
    pub fn categories(&self) -> impl Iterator<Item = &str> {
        self.symbols.iter().map(|rule| &*rule.category)
    }

    /// Returns whether quantities of derivatives are contracts in a category.
    pub fn counts_contracts(&self, category: usize) -> bool {
        self.symbols.get(category).is_some_and(|rule| rule.contracts)
    }

    /// Returns the canonical symbol of the venue's text in a category, or `None` if its rule does not match.
    pub fn canonical(&self, category: usize, text: &str) -> Option<String> {
        self.symbols.get(category)?.canonical(text.as_bytes())
    }

    /// Describes an error in one line, with the names of the message and the path.
    pub fn describe(&self, error: &DecodeError) -> String {
        let message = error.message.and_then(|index| self.infos.get(usize::from(index)));
        let message = message.map_or("", |info| &info.name);
        match self.paths.get(usize::from(error.slot)) {
            Some(path) => format!("{} {message} {path:?}: {error}", self.name),
            None if message.is_empty() => format!("{}: {error}", self.name),
            None => format!("{} {message}: {error}", self.name),
        }
    }
}
