//! The conversion of a venue's symbols to canonical ones.

use super::error::Fault;
use super::scan::load;
use crate::names::{MAX_NAMES, NotAdded, ProviderId, SymbolId};
use std::collections::HashMap;

/// The compiled [`super::SymbolRule`].
#[derive(Debug, Default)]
pub(super) struct Symbols {
    /// The quote currencies, longest first.
    pub quotes: Vec<String>,
    pub separator: Option<char>,
    pub explicit: HashMap<String, String>,
}

/// Returns whether `text` is a currency: 2 to 10 of A-Z and 0-9.
pub(super) fn is_currency(text: &str) -> bool {
    (2..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

impl Symbols {
    /// Returns the canonical symbol of the venue's text.
    pub fn canonical(&self, text: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(text).ok()?.to_ascii_uppercase();
        if let Some(symbol) = self.explicit.get(&text) {
            return Some(symbol.clone());
        }
        let (base, quote) = match self.separator.and_then(|separator| text.split_once(separator)) {
            Some(pair) => pair,
            None => self.quotes.iter().find_map(|quote| Some((text.strip_suffix(&**quote)?, &**quote)))?,
        };
        (is_currency(base) && is_currency(quote)).then(|| format!("{base}-{quote}"))
    }
}

/// The symbols of a decoder's frames by the venue's text. Each frame costs one lookup.
#[derive(Debug)]
pub(super) struct SymbolCache {
    /// The provider whose symbols these are.
    provider: ProviderId,
    ids: HashMap<u128, SymbolId, foldhash::fast::RandomState>,
    first: Option<SymbolId>,
    has_others: bool,
}

impl SymbolCache {
    pub fn new(provider: ProviderId) -> Self {
        Self { provider, ids: HashMap::default(), first: None, has_others: false }
    }

    /// Returns the symbol of all texts so far, if it is the only one.
    pub fn only(&self) -> Option<SymbolId> {
        self.first.filter(|_| !self.has_others)
    }

    /// Returns the symbol of `frame[start..end]`, which is text without escapes.
    #[inline]
    pub fn get(
        &mut self,
        symbols: &Symbols,
        frame: &[u8],
        start: usize,
        end: usize,
    ) -> Result<SymbolId, Fault> {
        let text = frame.get(start..end).unwrap_or_default();
        // The text has no NUL bytes, so up to sixteen bytes fit into one number without ambiguity.
        let key = match (text.len(), text.first_chunk(), text.last_chunk(), load(frame, start)) {
            (len @ 1..8, _, _, Some(word)) => u128::from(word & ((1 << (8 * len)) - 1)),
            (len @ 8..=16, Some(first), Some(last), _) => {
                let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
                u128::from(first) | u128::from(last) << (8 * (len - 8))
            }
            _ => return self.resolve(symbols, text),
        };
        if let Some(&symbol) = self.ids.get(&key) {
            return Ok(symbol);
        }
        let symbol = self.resolve(symbols, text)?;
        // The limit bounds the spellings of a symbol in upper and lower case.
        if self.ids.len() < MAX_NAMES {
            self.ids.insert(key, symbol);
        }
        Ok(symbol)
    }

    /// Returns the symbol of a text of any length.
    #[cold]
    pub fn resolve(&mut self, symbols: &Symbols, text: &[u8]) -> Result<SymbolId, Fault> {
        let symbol = symbols.canonical(text).ok_or(Fault::UnknownSymbol)?;
        let symbol = self.provider.symbol(&symbol).map_err(|error| match error {
            NotAdded::TooMany { .. } => Fault::TooManySymbols,
            // Only a declared symbol can be as long.
            NotAdded::TooLong { .. } => Fault::UnknownSymbol,
        })?;
        self.has_others |= *self.first.get_or_insert(symbol) != symbol;
        Ok(symbol)
    }
}
