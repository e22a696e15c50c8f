//! The values of tickers of which the venue sends only what changed.
//!
//! They belong to a connection and a symbol, and are forgotten when the connection is lost or a message that may have
//! changed them could not be decoded: then a value is absent until the venue sends it again.

use crate::event::Ticker;
use crate::names::SymbolId;
use std::collections::HashMap;

/// The last values of each connection and symbol.
#[derive(Default)]
pub(super) struct KeptTickers(HashMap<(u32, SymbolId), Ticker, foldhash::fast::RandomState>);

impl KeptTickers {
    /// Keeps the values that a message has, and completes it with those kept before unless it `replaces` them. A value
    /// that is declared as absent, such as 0, is absent from then on. `met` has a bit for each value of the message.
    pub fn complete(
        &mut self,
        (connection, symbol): (u32, SymbolId),
        ticker: &mut Ticker,
        met: u16,
        replaces: bool,
    ) {
        let kept = self.0.entry((connection, symbol)).or_default();
        if replaces {
            *kept = Ticker::default();
        }
        for (bit, (new, kept)) in ticker.values_mut().into_iter().zip(kept.values_mut()).enumerate() {
            if met >> bit & 1 == 1 {
                *kept = *new;
            } else {
                *new = *kept;
            }
        }
    }

    /// Forgets the values of a connection, or of all: of one symbol, or of all.
    pub fn forget(&mut self, connection: Option<u32>, symbol: Option<SymbolId>) {
        self.0.retain(|(of, about), _| {
            connection.is_some_and(|connection| connection != *of)
                || symbol.is_some_and(|symbol| symbol != *about)
        });
    }
}
