//! Filters: conditions on the fields of an event, compiled when they are declared.

use crate::decimal::Decimal;
use crate::event::{Kind, OrderState, Payload, ShortText, Side, StaleReason, Trade};

/// The value of a field.
enum Field<'a> {
    Absent,
    Number(Decimal),
    Text(&'a str),
    Flag(bool),
}

impl From<Option<Decimal>> for Field<'_> {
    fn from(value: Option<Decimal>) -> Self {
        value.map_or(Field::Absent, Field::Number)
    }
}

type Accessor = for<'a> fn(&'a Payload, &'a mut String) -> Field<'a>;

/// The type of a field, by which a condition that no event can meet is refused when it is declared.
#[derive(Clone, Copy)]
enum FieldType {
    Number,
    Text,
    Flag,
    /// One of these names.
    Names(&'static [&'static str]),
}

impl std::fmt::Display for FieldType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number => f.write_str("a number"),
            Self::Text => f.write_str("text"),
            Self::Flag => f.write_str("true or false"),
            Self::Names(names) => f.write_str(&names.join(" or ")),
        }
    }
}

const SIDES: &[&str] = &[Side::Buy.name(), Side::Sell.name()];
const STATES: &[&str] = &{
    let (mut names, mut i) = ([""; OrderState::ALL.len()], 0);
    while i < names.len() {
        names[i] = OrderState::ALL[i].name();
        i += 1;
    }
    names
};

const REASONS: &[&str] = &{
    let (mut names, mut i) = ([""; StaleReason::ALL.len()], 0);
    while i < names.len() {
        names[i] = StaleReason::ALL[i].name();
        i += 1;
    }
    names
};

macro_rules! accessor {
    ($variant:ident($p:ident) => $value:expr) => {
        |payload, _| match payload {
            Payload::$variant($p) => $value,
            _ => Field::Absent,
        }
    };
}

/// Returns the fields of a kind that can be filtered on.
fn fields(kind: Kind) -> &'static [(&'static str, FieldType, Accessor)] {
    use FieldType::{Flag, Names, Number, Text};
    match kind {
        Kind::Trade => &[
            (
                "side",
                Names(SIDES),
                accessor!(Trade(t) => t.side.map_or(Field::Absent, |s| Field::Text(Side::name(s)))),
            ),
            ("price", Number, accessor!(Trade(t) => Field::Number(t.price))),
            ("quantity", Number, accessor!(Trade(t) => Field::Number(t.quantity))),
            ("trade_id", Text, |payload, text| match payload {
                Payload::Trade(Trade { id: Some(id), .. }) => {
                    *text = id.to_string();
                    Field::Text(text)
                }
                _ => Field::Absent,
            }),
            ("late", Flag, accessor!(Trade(t) => Field::Flag(t.late))),
        ],
        Kind::Ticker => &[
            ("last", Number, accessor!(Ticker(t) => t.last.into())),
            ("bid", Number, accessor!(Ticker(t) => t.bid.into())),
            ("bid_quantity", Number, accessor!(Ticker(t) => t.bid_quantity.into())),
            ("ask", Number, accessor!(Ticker(t) => t.ask.into())),
            ("ask_quantity", Number, accessor!(Ticker(t) => t.ask_quantity.into())),
            ("volume_24h", Number, accessor!(Ticker(t) => t.volume_24h.into())),
        ],
        Kind::KlineSummary => &[
            ("interval", Text, |payload, _| match payload {
                Payload::Kline(k) => {
                    k.interval.as_ref().map_or(Field::Absent, |t: &ShortText| Field::Text(t.as_str()))
                }
                _ => Field::Absent,
            }),
            ("closed", Flag, accessor!(Kline(k) => k.closed.map_or(Field::Absent, Field::Flag))),
            ("open", Number, accessor!(Kline(k) => Field::Number(k.open))),
            ("close", Number, accessor!(Kline(k) => Field::Number(k.close))),
            ("high", Number, accessor!(Kline(k) => Field::Number(k.high))),
            ("low", Number, accessor!(Kline(k) => Field::Number(k.low))),
            ("volume", Number, accessor!(Kline(k) => Field::Number(k.volume))),
        ],
        Kind::ExecReport => &[
            ("state", Names(STATES), accessor!(Exec(r) => Field::Text(r.state.name()))),
            ("side", Names(SIDES), accessor!(Exec(r) => Field::Text(r.side.name()))),
            ("order_type", Text, accessor!(Exec(r) => Field::Text(&r.order_type))),
        ],
        Kind::BalanceUpdate => &[
            ("total", Number, accessor!(Balance(b) => Field::Number(b.total))),
            ("available", Number, accessor!(Balance(b) => Field::Number(b.available))),
        ],
        Kind::RiskControl => &[
            ("status", Text, accessor!(Risk(r) => Field::Text(&r.status))),
            ("breach_type", Text, accessor!(Risk(r) => Field::Text(&r.breach_type))),
            ("strategy_id", Text, accessor!(Risk(r) => Field::Text(&r.strategy_id))),
        ],
        Kind::InstrumentUpdate => &[
            ("venue", Text, accessor!(Instrument(i) => Field::Text(&i.venue))),
            ("base", Text, accessor!(Instrument(i) => Field::Text(&i.base))),
            ("quote", Text, accessor!(Instrument(i) => Field::Text(&i.quote))),
        ],
        Kind::Extension => &[("name", Text, accessor!(Extension(e) => Field::Text(e.name())))],
        Kind::MarketStale => {
            &[("reason", Names(REASONS), accessor!(MarketStale(reason) => Field::Text(reason.name())))]
        }
        Kind::BookSnapshot | Kind::BookGap => &[],
    }
}

/// A value of a condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// Compared with numbers by value and with text by its characters.
    Text(String),
    /// Compared with flags.
    Flag(bool),
}

impl std::fmt::Display for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Eq,
    Neq,
    In,
    Prefix,
}

impl Op {
    const ALL: [(&str, Self); 4] =
        [("eq", Self::Eq), ("neq", Self::Neq), ("in", Self::In), ("prefix", Self::Prefix)];
}

/// The error of a filter that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The kind does not have the field.
    #[error("filter not compiled: {kind} has no field `{found}`; {remedy}")]
    Field {
        /// The name of the kind.
        kind: &'static str,
        /// The requested field.
        found: String,
        /// The fields of the kind, or that it has none.
        remedy: String,
    },
    /// The operator is unknown.
    #[error("filter not compiled: expected the operator eq, neq, in or prefix, saw `{0}`")]
    Op(String),
    /// The operator takes a different number of values.
    #[error("filter not compiled: expected {expected} for the operator `{op}`, saw {found}")]
    Arity {
        /// The operator.
        op: String,
        /// The expected number of values.
        expected: &'static str,
        /// The number of values.
        found: usize,
    },
    /// `prefix` is applied to a field that is not text.
    #[error("filter not compiled: expected text for the operator `prefix`, and `{field}` is {field_type}")]
    Prefix {
        /// The field.
        field: String,
        /// The type of the field.
        field_type: String,
    },
    /// The field cannot have the value.
    #[error("filter not compiled: expected {field_type} to compare `{field}` with, saw `{found}`")]
    Value {
        /// The field.
        field: String,
        /// The type of the field.
        field_type: String,
        /// The value.
        found: String,
    },
}

/// The values of a condition.
#[derive(Debug, Clone)]
enum Values {
    /// In ascending order.
    Numbers(Box<[Decimal]>),
    /// In ascending order.
    Texts(Box<[String]>),
    Flags(Box<[bool]>),
    Prefix(String),
}

/// One compiled condition.
///
/// # Cost
/// Conditions are evaluated on the thread of the feed, so a condition costs a search among at most
/// [`Filter::MAX_VALUES`] sorted values.
#[derive(Clone)]
pub struct Filter {
    access: Accessor,
    is_negated: bool,
    values: Values,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("is_negated", &self.is_negated)
            .field("values", &self.values)
            .finish_non_exhaustive()
    }
}

impl Filter {
    /// The operators.
    pub const OPERATORS: [&'static str; 4] = [Op::ALL[0].0, Op::ALL[1].0, Op::ALL[2].0, Op::ALL[3].0];

    /// The greatest number of values of one condition.
    pub const MAX_VALUES: usize = 1_000;

    /// The greatest number of conditions on the events of one kind.
    pub const MAX_CONDITIONS: usize = 16;

    /// Returns the names of the fields of a kind that can be filtered on.
    pub fn fields(kind: Kind) -> impl Iterator<Item = &'static str> {
        fields(kind).iter().map(|(name, ..)| *name)
    }

    /// Compiles `field op operands` for events of `kind`.
    ///
    /// # Errors
    /// [`FilterError`] if the field or the operator is unknown, the operator takes a different number of operands, or
    /// the field cannot have one of them.
    pub fn compile(kind: Kind, field: &str, op: &str, operands: Vec<Operand>) -> Result<Self, FilterError> {
        let Some(&(_, field_type, access)) = fields(kind).iter().find(|(name, ..)| *name == field) else {
            let available = Self::fields(kind).collect::<Vec<_>>().join(", ");
            let remedy = if available.is_empty() {
                "remove the filter, as the kind has no fields to filter on".into()
            } else {
                format!("use one of: {available}")
            };
            return Err(FilterError::Field { kind: kind.name(), found: field.into(), remedy });
        };
        let op_name = op;
        let Some(&(_, op)) = Op::ALL.iter().find(|(name, _)| *name == op_name) else {
            return Err(FilterError::Op(op.into()));
        };
        let arity = |expected| FilterError::Arity { op: op_name.into(), expected, found: operands.len() };
        match op {
            Op::In if operands.is_empty() => return Err(arity("one value or more")),
            Op::In if operands.len() > Self::MAX_VALUES => return Err(arity("at most 1000 values")),
            Op::Eq | Op::Neq | Op::Prefix if operands.len() != 1 => return Err(arity("one value")),
            _ => {}
        }
        if op == Op::Prefix && matches!(field_type, FieldType::Number | FieldType::Flag) {
            return Err(FilterError::Prefix { field: field.into(), field_type: field_type.to_string() });
        }
        let value_error = |operand: &Operand| FilterError::Value {
            field: field.into(),
            field_type: field_type.to_string(),
            found: operand.to_string(),
        };
        let (mut numbers, mut texts, mut flags) = (Vec::new(), Vec::new(), Vec::new());
        for operand in operands {
            match (operand, field_type) {
                (Operand::Flag(flag), FieldType::Flag) => flags.push(flag),
                (Operand::Text(text), FieldType::Text) => texts.push(text),
                (Operand::Text(text), FieldType::Names(names)) if is_name(&text, op, names) => {
                    texts.push(text);
                }
                (Operand::Text(text), FieldType::Number) => match Decimal::parse(text.as_bytes()) {
                    Ok(number) => numbers.push(number),
                    Err(_) => return Err(value_error(&Operand::Text(text))),
                },
                (operand, _) => return Err(value_error(&operand)),
            }
        }
        numbers.sort_unstable();
        texts.sort_unstable();
        let values = match field_type {
            FieldType::Number => Values::Numbers(numbers.into()),
            FieldType::Flag => Values::Flags(flags.into()),
            FieldType::Text | FieldType::Names(_) if op == Op::Prefix => Values::Prefix(texts.swap_remove(0)),
            FieldType::Text | FieldType::Names(_) => Values::Texts(texts.into()),
        };
        Ok(Self { access, is_negated: op == Op::Neq, values })
    }

    /// Returns whether the payload meets the condition. An absent field meets no condition, not even `neq`.
    pub fn matches(&self, payload: &Payload) -> bool {
        let mut text = String::new();
        let is_among = match ((self.access)(payload, &mut text), &self.values) {
            (Field::Number(number), Values::Numbers(values)) => values.binary_search(&number).is_ok(),
            (Field::Text(text), Values::Texts(values)) => {
                values.binary_search_by(|value| value.as_str().cmp(text)).is_ok()
            }
            (Field::Text(text), Values::Prefix(prefix)) => text.starts_with(prefix),
            (Field::Flag(flag), Values::Flags(values)) => values.contains(&flag),
            _ => return false,
        };
        is_among != self.is_negated
    }
}

/// Returns whether a field with these names can meet a condition with the value `text`.
fn is_name(text: &str, op: Op, names: &[&str]) -> bool {
    names.iter().any(|name| if op == Op::Prefix { name.starts_with(text) } else { *name == text })
}

#[cfg(test)]
mod tests;
