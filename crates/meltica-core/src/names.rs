//! Names of providers, symbols and currencies, interned once to small integers.
//!
//! A name is kept for the life of the process. Three sources add names:
//! - the frames and instrument lists of a provider, which are not trusted: each provider has an allowance of
//!   [`MAX_NAMES`] symbols and one of as many currencies, so no provider can use up another's;
//! - the routes of instances, whose symbols have an allowance of the same size per provider, so that no scope can use up
//!   that of the frames;
//! - the configuration, which names the providers.
//!
//! A lookup never adds a name, and neither does an extension event, which carries its name as text.

use std::collections::HashMap;
use std::sync::{OnceLock, PoisonError, RwLock};

/// Maximum number of new symbols, of new currencies, and of new symbols of routes, per provider.
pub const MAX_NAMES: usize = 1 << 16;

/// The longest symbol or currency, in bytes.
pub const MAX_BYTES: usize = 256;

/// Why a name was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    /// The allowance of the provider is used up.
    #[error(
        "name not added: the provider {provider:?} has already added {count} of at most {MAX_NAMES} {what}; use fewer \
         names and restart the gateway"
    )]
    TooMany {
        /// The provider.
        provider: ProviderId,
        /// The names that it has added.
        count: u32,
        /// `symbols`, `currencies` or `symbols of routes`.
        what: &'static str,
    },
    /// The name is longer than [`MAX_BYTES`].
    #[error(
        "name not added: expected at most {MAX_BYTES} bytes, the provider {provider:?} has one of {bytes}; correct it"
    )]
    TooLong {
        /// The provider.
        provider: ProviderId,
        /// The length of the name.
        bytes: usize,
    },
}

struct Table {
    ids: HashMap<&'static str, u32>,
    names: Vec<&'static str>,
}

impl Default for Table {
    fn default() -> Self {
        Self { ids: HashMap::from([("", 0)]), names: vec![""] }
    }
}

impl Table {
    fn add(&mut self, name: &str) -> u32 {
        let id = self.names.len() as u32;
        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        self.names.push(name);
        self.ids.insert(name, id);
        id
    }
}

fn find(table: &RwLock<Table>, name: &str) -> Option<u32> {
    table.read().unwrap_or_else(PoisonError::into_inner).ids.get(name).copied()
}

/// Returns the id of `name`; a new name is added if `admit` allows it.
fn intern<E>(table: &RwLock<Table>, name: &str, admit: impl FnOnce() -> Result<(), E>) -> Result<u32, E> {
    if let Some(id) = find(table, name) {
        return Ok(id);
    }
    let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(&id) = table.ids.get(name) {
        return Ok(id);
    }
    admit()?;
    Ok(table.add(name))
}

macro_rules! name_id {
    ($(#[$doc:meta])* $id:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $id(u32);

        impl $id {
            /// The id of the empty name.
            pub const EMPTY: Self = Self(0);

            fn table() -> &'static RwLock<Table> {
                static TABLE: OnceLock<RwLock<Table>> = OnceLock::new();
                TABLE.get_or_init(RwLock::default)
            }

            /// Returns the id of `name` if it has one.
            pub fn find(name: &str) -> Option<Self> {
                find(Self::table(), name).map(Self)
            }

            /// Returns the id of `name`, a name of the configuration. A new name gets an id.
            pub fn intern(name: &str) -> Self {
                match intern(Self::table(), name, || Ok::<_, std::convert::Infallible>(())) {
                    Ok(id) => Self(id),
                }
            }

            /// Returns the name.
            pub fn name(self) -> &'static str {
                Self::table().read().unwrap_or_else(PoisonError::into_inner).names[self.0 as usize]
            }

            /// Returns the number of names, the empty one included.
            pub fn count() -> usize {
                Self::table().read().unwrap_or_else(PoisonError::into_inner).names.len()
            }

            /// Returns the id as a dense index, from 0.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl std::fmt::Debug for $id {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

name_id! {
    /// A provider: a named, configured instance of an adapter.
    ProviderId
}
name_id! {
    /// A canonical symbol (`BTC-USDT`), a currency (balances), or the name of an extension that a route selects.
    SymbolId
}

/// The sources of names with an allowance per provider.
const SOURCES: [&str; 3] = ["symbols", "currencies", "symbols of routes"];

/// The number of names that a provider has added, by source.
type Added = [u32; SOURCES.len()];

impl ProviderId {
    /// Returns the id of a symbol of this provider's frames, events or instrument list. A new symbol is added.
    ///
    /// # Errors
    /// [`NotAdded`] if the symbol is too long, or new and the provider has added [`MAX_NAMES`] symbols.
    pub fn symbol(self, name: &str) -> Result<SymbolId, NotAdded> {
        self.add(name, 0)
    }

    /// Returns the id of a currency of this provider's balances. A new currency is added.
    ///
    /// # Errors
    /// [`NotAdded`] if the currency is too long, or new and the provider has added [`MAX_NAMES`] currencies.
    pub fn currency(self, name: &str) -> Result<SymbolId, NotAdded> {
        self.add(name, 1)
    }

    /// Returns the id of a symbol, or the name of an extension, of a route to this provider. A new one is added.
    ///
    /// # Errors
    /// [`NotAdded`] if the name is too long, or new and routes to the provider have added [`MAX_NAMES`] names.
    pub fn routed(self, name: &str) -> Result<SymbolId, NotAdded> {
        self.add(name, 2)
    }

    fn add(self, name: &str, source: usize) -> Result<SymbolId, NotAdded> {
        static ADDED: RwLock<Vec<Added>> = RwLock::new(Vec::new());
        if name.len() > MAX_BYTES {
            return Err(NotAdded::TooLong { provider: self, bytes: name.len() });
        }
        let admit = || {
            let mut added = ADDED.write().unwrap_or_else(PoisonError::into_inner);
            if added.len() <= self.index() {
                added.resize(self.index() + 1, Added::default());
            }
            let count = &mut added[self.index()][source];
            if *count as usize >= MAX_NAMES {
                return Err(NotAdded::TooMany { provider: self, count: *count, what: SOURCES[source] });
            }
            *count += 1;
            Ok(())
        };
        intern(SymbolId::table(), name, admit).map(SymbolId)
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_id() {
        let a = SymbolId::intern("NAMES-TEST");
        assert_eq!(a, SymbolId::intern("NAMES-TEST"));
        assert_eq!(ProviderId::intern("names-a").symbol("NAMES-TEST"), Ok(a));
        assert_eq!(SymbolId::find("NAMES-TEST"), Some(a));
        assert_eq!(a.name(), "NAMES-TEST");
        assert_ne!(a, SymbolId::intern("NAMES-OTHER"));
        assert_eq!((SymbolId::find(""), SymbolId::EMPTY.name()), (Some(SymbolId::EMPTY), ""));
    }

    #[test]
    fn a_lookup_adds_no_name() {
        assert_eq!(SymbolId::find("NAMES-NEVER"), None);
        assert_eq!(SymbolId::find("NAMES-NEVER"), None);
        assert_eq!(ProviderId::find("names-never"), None);
    }

    #[test]
    fn a_provider_fills_only_its_own_allowance() {
        let (hostile, other) = (ProviderId::intern("names-hostile"), ProviderId::intern("names-victim"));
        for i in 0..MAX_NAMES {
            hostile.symbol(&format!("NAMES-{i}")).unwrap();
        }
        let refused = hostile.symbol("NAMES-ONE-MORE").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "name not added: the provider names-hostile has already added 65536 of at most 65536 symbols; use fewer names \
             and restart the gateway"
        );
        assert_eq!(SymbolId::find("NAMES-ONE-MORE"), None, "a refused name has no id");
        assert!(hostile.symbol("NAMES-7").is_ok(), "a symbol that has an id costs nothing");
        assert!(hostile.currency("NAMES-COIN").is_ok(), "currencies have an allowance of their own");
        assert!(hostile.routed("NAMES-OF-A-ROUTE").is_ok(), "so have the symbols of routes");
        assert!(other.symbol("NAMES-ONE-MORE").is_ok());
        assert!(hostile.symbol("NAMES-ONE-MORE").is_ok());
        assert_eq!(SymbolId::intern("NAMES-OF-SETTINGS").name(), "NAMES-OF-SETTINGS");
    }

    #[test]
    fn a_long_name_is_not_kept() {
        let provider = ProviderId::intern("names-long");
        let (longest, longer) = ("L".repeat(MAX_BYTES), "L".repeat(MAX_BYTES + 1));
        for add in [ProviderId::symbol, ProviderId::currency, ProviderId::routed] {
            assert!(add(provider, &longest).is_ok());
            let refused = add(provider, &longer).unwrap_err().to_string();
            let text = "name not added: expected at most 256 bytes, the provider names-long has one of 257; correct it";
            assert_eq!(refused, text);
            assert_eq!(SymbolId::find(&longer), None);
        }
    }

    #[test]
    fn the_routes_to_a_provider_have_an_allowance() {
        let provider = ProviderId::intern("names-routes");
        for i in 0..MAX_NAMES {
            provider.routed(&format!("ROUTES-{i}")).unwrap();
        }
        let refused = provider.routed("ROUTES-ONE-MORE").unwrap_err();
        let text = "the provider names-routes has already added 65536 of at most 65536 symbols of routes";
        assert!(refused.to_string().contains(text), "{refused}");
        assert!(provider.routed("ROUTES-7").is_ok(), "a name that has an id costs nothing");
        assert!(provider.symbol("ROUTES-OF-A-FRAME").is_ok(), "frames have an allowance of their own");
        assert!(ProviderId::intern("names-other-routes").routed("ROUTES-ONE-MORE").is_ok());
    }
}
