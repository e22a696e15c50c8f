//! Control messages, and the depth of a book that they confirm.

use super::{Reader, number};
use crate::codec::symbols::SymbolCache;
use crate::codec::{Codec, Decoded, Sink};

impl Reader<'_> {
    /// Passes a control message on, after the depth that it confirms, if one is declared and it is not a refusal.
    pub(super) fn control(
        &mut self,
        codec: &Codec,
        index: u16,
        cache: &mut SymbolCache,
        sink: &mut impl Sink,
    ) {
        let message = &codec.messages[usize::from(index)];
        if let Some(slot) = message.depth {
            let span = self.fields.span(slot);
            let text = span.and_then(|at| self.frame.get(at.start as usize..at.end as usize));
            let levels = text.and_then(number::integer).and_then(|levels| u32::try_from(levels).ok());
            if let (Some(levels @ 1..), Ok(Some(symbol))) = (levels, self.symbol(codec, message, cache)) {
                sink.depth(symbol, levels);
            }
        }
        sink.message(Ok(Decoded::Control { message: index }));
    }
}
