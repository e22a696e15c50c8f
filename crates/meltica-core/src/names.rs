//! Provider and symbol names, interned once to small integers.
//!
//! A name is kept for the life of the process. The number of names is that of the instruments of the venues, not that
//! of the orders. [`MAX_NAMES`] bounds the table against hostile frames.

use std::collections::HashMap;
use std::sync::{OnceLock, PoisonError, RwLock};

/// Maximum number of distinct names per table.
pub const MAX_NAMES: usize = 1 << 16;

/// The table of names is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("name not added: the process already has {MAX_NAMES} distinct names")]
pub struct TooManyNames;

#[derive(Default)]
struct Table {
    ids: HashMap<&'static str, u32>,
    names: Vec<&'static str>,
}

fn intern(table: &RwLock<Table>, name: &str) -> Result<u32, TooManyNames> {
    if let Some(&id) = table.read().unwrap_or_else(PoisonError::into_inner).ids.get(name) {
        return Ok(id);
    }
    let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(&id) = table.ids.get(name) {
        return Ok(id);
    }
    if table.names.len() >= MAX_NAMES {
        return Err(TooManyNames);
    }
    let id = table.names.len() as u32;
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    table.names.push(name);
    table.ids.insert(name, id);
    Ok(id)
}

macro_rules! name_id {
    ($(#[$doc:meta])* $id:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $id(u32);

        impl $id {
            fn table() -> &'static RwLock<Table> {
                static TABLE: OnceLock<RwLock<Table>> = OnceLock::new();
                TABLE.get_or_init(RwLock::default)
            }

            /// Returns the id of `name`, which is interned if it is new.
            ///
            /// # Errors
            /// [`TooManyNames`] if the table is full.
            pub fn intern(name: &str) -> Result<Self, TooManyNames> {
                intern(Self::table(), name).map(Self)
            }

            /// Returns the name.
            pub fn name(self) -> &'static str {
                Self::table().read().unwrap_or_else(PoisonError::into_inner).names[self.0 as usize]
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
    /// A canonical symbol (`BTC-USDT`), a currency (balances) or an extension's name.
    SymbolId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_id() {
        let a = SymbolId::intern("NAMES-TEST").unwrap();
        assert_eq!(a, SymbolId::intern("NAMES-TEST").unwrap());
        assert_eq!(a.name(), "NAMES-TEST");
        assert_ne!(a, SymbolId::intern("NAMES-OTHER").unwrap());
    }
}
