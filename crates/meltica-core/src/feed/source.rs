//! The sources of frames.

use crate::names::SymbolId;

/// The source of a frame. It determines the symbol of a book snapshot that names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A stream. A snapshot must name its symbol.
    Stream,
    /// The response to a request for this symbol. A snapshot must not name another one.
    Request(SymbolId),
    /// A recording. A snapshot without a symbol belongs to the only symbol of all its messages so far.
    Recording,
}

impl Source {
    /// Returns the symbol of a snapshot, given the one that it names and the only one of earlier frames.
    ///
    /// # Errors
    /// The kind and the text of the fault if the symbol is not certain.
    pub(super) fn symbol(
        self,
        named: Option<SymbolId>,
        only: Option<SymbolId>,
    ) -> Result<SymbolId, (&'static str, String)> {
        match (self, named) {
            (Self::Request(symbol), Some(named)) if named != symbol => Err((
                "wrong_symbol",
                format!("expected a snapshot of {}, saw one of {}", symbol.name(), named.name()),
            )),
            (_, Some(symbol)) | (Self::Request(symbol), None) => Ok(symbol),
            (Self::Stream, None) => {
                Err(("no_symbol", "the snapshot names no symbol; pass the requested one".into()))
            }
            (Self::Recording, None) => only.ok_or_else(|| {
                let text = "the snapshot names no symbol, and the recording has messages of none or several; \
                            record it in the envelope of a stream";
                ("no_symbol", text.into())
            }),
        }
    }
}
