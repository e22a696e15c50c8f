//! The fields that each role of a message can declare, and their compilation.

use super::Compiler;
use crate::codec::interval::Interval;
use crate::codec::plan::{Conversion, Field};
use crate::codec::spec::{Convert, FieldSpec, MessageSpec, Role};
use crate::event::{Kind, ShortText, Side};

/// The fields of a kind: name, kind of conversion, whether the event requires the field.
type Schema = &'static [(&'static str, &'static str, bool)];

const TRADE: Schema = &[
    ("id", "id", false),
    ("side", "enum", false),
    ("price", "decimal", true),
    ("quantity", "decimal", true),
];
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
    ("close_time", "time", false),
    ("interval", "text or enum", false),
    ("closed", "bool", false),
];
const INSTRUMENT: Schema = &[
    ("price_increment", "decimal", false),
    ("quantity_increment", "decimal", false),
    ("min_quantity", "decimal", false),
    ("max_quantity", "decimal", false),
    ("min_notional", "decimal", false),
    ("max_notional", "decimal", false),
    ("price_precision", "decimal", false),
    ("quantity_precision", "decimal", false),
    ("contract_value", "decimal", false),
    ("contract_multiplier", "decimal", false),
    ("contract_currency", "text", false),
    ("status", "enum", false),
];

/// Returns the fields of a role, or `None` for a kind that is not decoded from frames.
fn schema(role: Role) -> Option<Schema> {
    match role {
        Role::Event(Kind::Trade) => Some(TRADE),
        Role::Event(Kind::Ticker) => Some(TICKER),
        Role::Event(Kind::KlineSummary) => Some(KLINE),
        Role::Event(Kind::InstrumentUpdate) => Some(INSTRUMENT),
        Role::Event(_) => None,
        Role::BookDiff | Role::BookSnapshot | Role::Control => Some(&[]),
    }
}

/// Returns the names of the fields that a role can declare.
pub fn field_names(role: Role) -> impl Iterator<Item = &'static str> {
    schema(role).unwrap_or_default().iter().map(|(name, ..)| *name)
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

/// Returns whether the start of the next candle of an interval closes one.
pub(super) fn is_closed_by_next(message: &MessageSpec) -> bool {
    let has = |name| message.fields.iter().any(|field| field.name == name);
    message.role == Role::Event(Kind::KlineSummary) && has("interval") && !has("closed")
}

impl Compiler {
    pub(super) fn fields(&mut self, spec: &MessageSpec) -> Vec<Option<Field>> {
        if spec.role == Role::Event(Kind::Extension) {
            return self.extension_fields(spec);
        }
        if spec.extension.is_some() {
            self.fault(
                &format!("{}.extension", spec.name),
                "expected none, as the message is not an Extension",
            );
        }
        let Some(schema) = schema(spec.role) else {
            self.fault(
                &spec.name,
                format_args!(
                    "expected a Trade, Ticker, KlineSummary, InstrumentUpdate or Extension, saw {:?}",
                    spec.role
                ),
            );
            return Vec::new();
        };
        let mut fields: Vec<Option<Field>> = schema.iter().map(|_| None).collect();
        for field in &spec.fields {
            let place = format!("{}.{}", spec.name, field.name);
            let Some(at) = schema.iter().position(|(name, ..)| *name == field.name) else {
                let names: Vec<_> = schema.iter().map(|(name, ..)| *name).collect();
                self.fault(&place, format_args!("expected one of the fields {names:?}"));
                continue;
            };
            let (_, kind, required) = schema[at];
            let saw = field.convert.kind_name();
            if kind.split(" or ").all(|kind| saw != kind) {
                self.fault(&place, format_args!("expected conversion {kind}, saw {saw}"));
            }
            if fields[at].is_some() {
                self.fault(&place, "expected the field once");
            }
            let slot = self.slot(&place, &field.path);
            let convert = self.conversion(&place, field);
            fields[at] = Some(Field { slot, required: field.required || required, convert });
        }
        if spec.role == Role::Event(Kind::KlineSummary) {
            let has_interval = fields.iter().flatten().any(|f| matches!(f.convert, Conversion::Interval(_)));
            if !has_interval && spec.fields.iter().all(|field| field.name != "close_time") {
                let text = "expected the field, or an interval by names such as {\"60\": \"1h\"}";
                self.fault(&format!("{}.close_time", spec.name), text);
            }
        }
        for (field, (name, _, required)) in fields.iter().zip(schema) {
            if *required && field.is_none() {
                self.fault(&format!("{}.{name}", spec.name), "expected the field, saw none");
            }
        }
        fields
    }

    pub(super) fn conversion(&mut self, place: &str, field: &FieldSpec) -> Conversion {
        match &field.convert {
            Convert::Decimal(sign) => Conversion::Decimal(*sign),
            Convert::Id => Conversion::Id,
            Convert::Time(unit) => Conversion::Time(*unit),
            Convert::Text => Conversion::Text,
            Convert::Bool => Conversion::Bool,
            Convert::Enum(names) if field.name == "interval" => {
                let mut intervals = Vec::new();
                for (text, name) in names {
                    if let (Some(length), Some(name)) = (Interval::parse(name), ShortText::new(name)) {
                        intervals.push((text.as_bytes().into(), name, length));
                    } else {
                        let text = "expected an interval such as 1m, 4h or 1d, saw";
                        self.fault(place, format_args!("{text} {name:?}"));
                    }
                }
                Conversion::Interval(intervals)
            }
            Convert::Enum(names) if field.name == "status" => {
                let mut statuses = Vec::new();
                for (text, name) in names {
                    match name.as_str() {
                        "Trading" | "Halted" => statuses.push((text.as_bytes().into(), name == "Halted")),
                        _ => self.fault(place, format_args!("expected Trading or Halted, saw {name:?}")),
                    }
                }
                Conversion::Status(statuses)
            }
            Convert::Enum(names) => {
                let mut sides = Vec::new();
                for (text, name) in names {
                    match Side::from_name(name) {
                        Some(side) => sides.push((text.as_bytes().into(), side)),
                        None => self.fault(place, format_args!("expected Buy or Sell, saw {name:?}")),
                    }
                }
                if names.is_empty() {
                    self.fault(place, "expected at least one name");
                }
                Conversion::Side(sides)
            }
        }
    }
}
