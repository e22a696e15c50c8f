//! The conversion of a venue's symbols to canonical ones.

use super::error::Fault;
use super::scan::load;
use super::spec::SymbolRule;
use crate::instrument::{CURRENCY, is_currency, is_symbol};
use crate::names::{MAX_NAMES, NotAdded, ProviderId, SymbolId};
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// The compiled [`SymbolRule`] of one category.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    /// The name; empty if the codec has one rule for all connections.
    pub category: String,
    /// The quote currencies, longest first.
    quotes: Vec<String>,
    separator: Option<char>,
    explicit: HashMap<String, String>,
    aliases: HashMap<String, String>,
    /// The ends of texts and what replaces them, longest first.
    suffixes: Vec<(String, String)>,
    contract: Option<String>,
    pairs_only: bool,
    /// Whether the quantities of other symbols than pairs are contracts.
    pub contracts: bool,
}

impl Symbols {
    /// Checks and compiles a rule. `fault` takes a part of the rule and what is wrong with it.
    pub fn compile(category: &str, rule: SymbolRule, mut fault: impl FnMut(&str, String)) -> Self {
        let upper = |text: &String| text.to_ascii_uppercase();
        let mut quotes: Vec<String> = rule.quotes.iter().map(upper).collect();
        quotes.sort_by_key(|quote| std::cmp::Reverse(quote.len()));
        let mut suffixes: Vec<_> =
            rule.suffixes.iter().map(|(text, terms)| (upper(text), terms.clone())).collect();
        suffixes.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        for quote in quotes.iter().filter(|quote| !is_currency(quote)) {
            fault("quotes", format!("expected {CURRENCY}, saw {quote:?}"));
        }
        for (text, currency) in &rule.aliases {
            if !is_currency(&upper(text)) || !is_currency(currency) {
                fault("aliases", format!("expected two currencies, {CURRENCY}, saw {text:?}: {currency:?}"));
            }
        }
        for (text, terms) in &suffixes {
            let symbol = if terms.contains('-') { format!("X-{terms}") } else { format!("X-Y-{terms}") };
            if text.is_empty() || !is_symbol(&symbol) {
                let expected =
                    "expected a text, and the parts of a symbol that replace it, such as USDC-PERP";
                fault("suffixes", format!("{expected}, saw {text:?}: {terms:?}"));
            }
        }
        for contract in rule.contract.iter().filter(|contract| !is_symbol(&format!("X-Y-{contract}"))) {
            fault("contract", format!("expected the third part of a symbol, such as PERP, saw {contract:?}"));
        }
        let mut explicit = HashMap::new();
        for (text, symbol) in rule.explicit {
            if !is_symbol(&symbol) {
                let expected = format!("expected BASE-QUOTE in upper case for {text:?}");
                fault("explicit", format!("{expected}, saw {symbol:?}"));
            }
            if explicit.insert(upper(&text), symbol).is_some() {
                fault("explicit", format!("expected {text:?} once, in any case"));
            }
        }
        let aliases = rule.aliases.into_iter().map(|(text, currency)| (upper(&text), currency)).collect();
        if quotes.is_empty() && explicit.is_empty() && suffixes.is_empty() && rule.separator.is_none() {
            fault("", "expected quotes, a separator, suffixes or explicit symbols".into());
        }
        let (category, separator, contract) = (category.to_owned(), rule.separator, rule.contract);
        let (pairs_only, contracts) = (rule.pairs_only, rule.contracts);
        Self { category, quotes, separator, explicit, aliases, suffixes, contract, pairs_only, contracts }
    }

    /// Returns the canonical symbol of the venue's text.
    pub fn canonical(&self, text: &[u8]) -> Option<String> {
        self.by_rule(text).filter(|symbol| self.allows(symbol))
    }

    fn allows(&self, symbol: &str) -> bool {
        !self.pairs_only || symbol.split('-').count() == 2
    }

    fn by_rule(&self, text: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(text).ok()?.to_ascii_uppercase();
        if let Some(symbol) = self.explicit.get(&text) {
            return Some(symbol.clone());
        }
        self.with_suffix(&text).or_else(|| {
            let symbol = self.parts(&text)?;
            match &self.contract {
                Some(contract) if symbol.split('-').count() == 2 => Some(format!("{symbol}-{contract}")),
                _ => Some(symbol),
            }
        })
    }

    /// Returns the symbol of a text with a declared end: terms that begin with a quote follow a base, others a pair.
    fn with_suffix(&self, text: &str) -> Option<String> {
        let (rest, terms) =
            self.suffixes.iter().find_map(|(suffix, terms)| Some((text.strip_suffix(&**suffix)?, terms)))?;
        let before = if terms.contains('-') { self.currency(rest).to_owned() } else { self.parts(rest)? };
        Some(format!("{before}-{terms}")).filter(|symbol| is_symbol(symbol))
    }

    fn parts(&self, text: &str) -> Option<String> {
        let by = self.separator.filter(|&by| text.contains(by));
        let (base, rest) = if let Some(by) = by {
            text.split_once(by)?
        } else {
            let length = |quote: &String| Some(text.strip_suffix(&**quote)?.len());
            text.split_at(self.quotes.iter().find_map(length)?)
        };
        let (quote, terms) = by.and_then(|by| rest.split_once(by)).unwrap_or((rest, ""));
        let has_terms = quote.len() < rest.len();
        let [base, quote] = [base, quote].map(|currency| self.currency(currency));
        (is_currency(base) && is_currency(quote))
            .then(|| match by.filter(|_| has_terms) {
                Some(by) => format!("{base}-{quote}-{}", terms.replace(by, "-")),
                None => format!("{base}-{quote}"),
            })
            .filter(|symbol| is_symbol(symbol))
    }

    fn currency<'a>(&'a self, text: &'a str) -> &'a str {
        self.aliases.get(text).map_or(text, String::as_str)
    }
}

/// The symbols of one category by the venue's text.
#[derive(Debug, Default)]
struct Known {
    /// Texts of up to sixteen bytes.
    short: HashMap<u128, SymbolId, RandomState>,
    long: HashMap<Box<[u8]>, SymbolId, RandomState>,
    /// The instrument list of the venue, its texts in upper case.
    listed: HashMap<String, String>,
}

/// The symbols of a decoder's frames by the venue's text. Each frame costs one lookup.
#[derive(Debug)]
pub(super) struct SymbolCache {
    /// The provider whose symbols these are.
    provider: ProviderId,
    /// The category of the frame.
    category: usize,
    known: Vec<Known>,
    first: Option<SymbolId>,
    has_others: bool,
}

impl SymbolCache {
    pub fn new(provider: ProviderId, categories: usize) -> Self {
        let known = (0..categories).map(|_| Known::default()).collect();
        Self { provider, category: 0, known, first: None, has_others: false }
    }

    /// Returns the symbol of all texts so far, if it is the only one.
    pub fn only(&self) -> Option<SymbolId> {
        self.first.filter(|_| !self.has_others)
    }

    /// Sets the category of the frames from now on.
    pub fn set_category(&mut self, category: usize) {
        self.category = category.min(self.known.len() - 1);
    }

    /// Adds texts of the venue's instrument list, which take precedence over the rule. Returns the first whose symbol is
    /// not one.
    pub fn list(
        &mut self,
        category: usize,
        symbols: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), String> {
        let known = &mut self.known[category];
        for (text, symbol) in symbols {
            if !is_symbol(&symbol) {
                return Err(symbol);
            }
            known.listed.insert(text.to_ascii_uppercase(), symbol);
        }
        (known.short, known.long) = (HashMap::default(), HashMap::default());
        Ok(())
    }

    /// Returns the symbol of `frame[start..end]`, which is text without escapes.
    #[inline]
    pub fn get(
        &mut self,
        symbols: &[Symbols],
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
        if let Some(&symbol) = self.known[self.category].short.get(&key) {
            return Ok(symbol);
        }
        let symbol = self.convert(symbols, text)?;
        let known = &mut self.known[self.category].short;
        // The limit bounds the spellings of a symbol in upper and lower case.
        if known.len() < MAX_NAMES {
            known.insert(key, symbol);
        }
        Ok(symbol)
    }

    /// Returns the symbol of a text of any length.
    #[inline(never)]
    pub fn resolve(&mut self, symbols: &[Symbols], text: &[u8]) -> Result<SymbolId, Fault> {
        if let Some(&symbol) = self.known[self.category].long.get(text) {
            return Ok(symbol);
        }
        let symbol = self.convert(symbols, text)?;
        let known = &mut self.known[self.category].long;
        if known.len() < MAX_NAMES {
            known.insert(text.into(), symbol);
        }
        Ok(symbol)
    }

    #[cold]
    fn convert(&mut self, symbols: &[Symbols], text: &[u8]) -> Result<SymbolId, Fault> {
        let listed = &self.known[self.category].listed;
        let listed = if listed.is_empty() {
            None
        } else {
            std::str::from_utf8(text).ok().and_then(|text| listed.get(&text.to_ascii_uppercase()).cloned())
        };
        let rule = symbols.get(self.category);
        let symbol = match listed {
            Some(symbol) => Some(symbol).filter(|symbol| rule.is_none_or(|rule| rule.allows(symbol))),
            None => rule.and_then(|rule| rule.canonical(text)),
        };
        let symbol =
            self.provider.symbol(&symbol.ok_or(Fault::UnknownSymbol)?).map_err(|error| match error {
                NotAdded::TooMany { .. } => Fault::TooManySymbols,
                // A canonical symbol is never as long.
                NotAdded::TooLong { .. } => Fault::UnknownSymbol,
            })?;
        self.has_others |= *self.first.get_or_insert(symbol) != symbol;
        Ok(symbol)
    }
}
