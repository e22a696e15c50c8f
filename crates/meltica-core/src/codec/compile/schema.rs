//! The fields that each role of a message can declare.

use crate::codec::spec::{Convert, Role};
use crate::event::Kind;

/// The fields of a kind: name, kind of conversion, whether the event requires the field.
pub(super) type Schema = &'static [(&'static str, &'static str, bool)];

const TRADE: Schema =
    &[("id", "id", true), ("side", "enum", false), ("price", "decimal", true), ("quantity", "decimal", true)];
const TICKER: Schema = &[
    ("last", "decimal", false),
    ("bid", "decimal", false),
    ("bid_quantity", "decimal", false),
    ("ask", "decimal", false),
    ("ask_quantity", "decimal", false),
    ("volume_24h", "decimal", false),
];
const KLINE: Schema = &[
    ("open", "decimal", true),
    ("close", "decimal", true),
    ("high", "decimal", true),
    ("low", "decimal", true),
    ("volume", "decimal", true),
    ("open_time", "time", true),
    ("close_time", "time", true),
    ("interval", "text", false),
    ("closed", "bool", false),
];

/// Returns the fields of a role, or `None` for a kind that is not decoded from frames.
pub(super) fn schema(role: Role) -> Option<Schema> {
    match role {
        Role::Event(Kind::Trade) => Some(TRADE),
        Role::Event(Kind::Ticker) => Some(TICKER),
        Role::Event(Kind::KlineSummary) => Some(KLINE),
        Role::Event(_) => None,
        Role::BookDiff | Role::BookSnapshot | Role::Control => Some(&[]),
    }
}

impl Convert {
    /// Returns the name of the kind of conversion.
    pub(super) fn kind_name(&self) -> &'static str {
        match self {
            Self::Decimal(_) => "decimal",
            Self::Enum(_) => "enum",
            Self::Id => "id",
            Self::Time(_) => "time",
            Self::Text => "text",
            Self::Bool => "bool",
        }
    }
}
