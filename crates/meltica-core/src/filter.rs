//! Conditions on an event's fields, compiled when they are declared.

use crate::decimal::Decimal;
use crate::event::{Kind, Payload, ShortText, Side};

/// What a field holds.
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

macro_rules! accessor {
    ($variant:ident($p:ident) => $value:expr) => {
        |payload, _| match payload {
            Payload::$variant($p) => $value,
            _ => Field::Absent,
        }
    };
}

/// The fields that can be filtered on, per kind.
fn fields(kind: Kind) -> &'static [(&'static str, Accessor)] {
    match kind {
        Kind::Trade => &[
            ("side", accessor!(Trade(t) => t.side.map_or(Field::Absent, |s| Field::Text(Side::name(s))))),
            ("price", accessor!(Trade(t) => Field::Number(t.price))),
            ("quantity", accessor!(Trade(t) => Field::Number(t.quantity))),
            ("trade_id", |payload, text| match payload {
                Payload::Trade(t) => {
                    *text = t.id.to_string();
                    Field::Text(text)
                }
                _ => Field::Absent,
            }),
        ],
        Kind::Ticker => &[
            ("last", accessor!(Ticker(t) => t.last.into())),
            ("bid", accessor!(Ticker(t) => t.bid.into())),
            ("bid_quantity", accessor!(Ticker(t) => t.bid_quantity.into())),
            ("ask", accessor!(Ticker(t) => t.ask.into())),
            ("ask_quantity", accessor!(Ticker(t) => t.ask_quantity.into())),
            ("volume_24h", accessor!(Ticker(t) => t.volume_24h.into())),
        ],
        Kind::KlineSummary => &[
            ("interval", |payload, _| match payload {
                Payload::Kline(k) => {
                    k.interval.as_ref().map_or(Field::Absent, |t: &ShortText| Field::Text(t.as_str()))
                }
                _ => Field::Absent,
            }),
            ("closed", accessor!(Kline(k) => k.closed.map_or(Field::Absent, Field::Flag))),
            ("open", accessor!(Kline(k) => Field::Number(k.open))),
            ("close", accessor!(Kline(k) => Field::Number(k.close))),
            ("high", accessor!(Kline(k) => Field::Number(k.high))),
            ("low", accessor!(Kline(k) => Field::Number(k.low))),
            ("volume", accessor!(Kline(k) => Field::Number(k.volume))),
        ],
        Kind::ExecReport => &[
            ("state", accessor!(Exec(r) => Field::Text(r.state.name()))),
            ("side", accessor!(Exec(r) => Field::Text(r.side.name()))),
            ("order_type", accessor!(Exec(r) => Field::Text(&r.order_type))),
        ],
        Kind::BalanceUpdate => &[
            ("total", accessor!(Balance(b) => Field::Number(b.total))),
            ("available", accessor!(Balance(b) => Field::Number(b.available))),
        ],
        Kind::RiskControl => &[
            ("status", accessor!(Risk(r) => Field::Text(&r.status))),
            ("breach_type", accessor!(Risk(r) => Field::Text(&r.breach_type))),
            ("strategy_id", accessor!(Risk(r) => Field::Text(&r.strategy_id))),
        ],
        Kind::InstrumentUpdate => &[
            ("venue", accessor!(Instrument(i) => Field::Text(&i.venue))),
            ("base", accessor!(Instrument(i) => Field::Text(&i.base))),
            ("quote", accessor!(Instrument(i) => Field::Text(&i.quote))),
        ],
        Kind::Extension => &[("name", accessor!(Extension(e) => Field::Text(&e.name)))],
        Kind::BookSnapshot | Kind::Gap | Kind::Stale => &[],
    }
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// Compared by value with numbers, by its text with text.
    Text(String),
    /// For flags.
    Flag(bool),
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Eq,
    Neq,
    In,
    Prefix,
}

/// A filter that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The kind has no such field.
    #[error("{kind} has no field `{seen}` to filter on; it has: {known}")]
    Field {
        /// The kind's name.
        kind: &'static str,
        /// The field asked for.
        seen: String,
        /// The fields there are.
        known: String,
    },
    /// There is no such operator.
    #[error("filter operator `{0}` is unknown; expected eq, neq, in or prefix")]
    Op(String),
    /// The operator takes another number of values.
    #[error("filter operator `{op}` takes {expected}, {seen} were given")]
    Arity {
        /// The operator.
        op: String,
        /// What it takes.
        expected: &'static str,
        /// How many values were given.
        seen: usize,
    },
}

/// One compiled condition.
#[derive(Clone)]
pub struct Filter {
    access: Accessor,
    op: Op,
    operands: Vec<(Operand, Option<Decimal>)>,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("op", &self.op)
            .field("operands", &self.operands)
            .finish_non_exhaustive()
    }
}

impl Filter {
    /// Compiles `field op operands` for events of `kind`.
    ///
    /// # Errors
    /// [`FilterError`] when field or operator are unknown or the operator takes another number of operands.
    pub fn compile(kind: Kind, field: &str, op: &str, operands: Vec<Operand>) -> Result<Self, FilterError> {
        let Some(&(_, access)) = fields(kind).iter().find(|(name, _)| *name == field) else {
            let known = fields(kind).iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".into() } else { known };
            return Err(FilterError::Field { kind: kind.name(), seen: field.into(), known });
        };
        let op_name = op;
        let op = match op {
            "eq" => Op::Eq,
            "neq" => Op::Neq,
            "in" => Op::In,
            "prefix" => Op::Prefix,
            _ => return Err(FilterError::Op(op.into())),
        };
        let arity = |expected| FilterError::Arity { op: op_name.into(), expected, seen: operands.len() };
        match op {
            Op::In if operands.is_empty() => return Err(arity("one value or more")),
            Op::Eq | Op::Neq | Op::Prefix if operands.len() != 1 => return Err(arity("one value")),
            _ => {}
        }
        let operands = operands
            .into_iter()
            .map(|operand| {
                let number = match &operand {
                    Operand::Text(text) => Decimal::parse(text.as_bytes()).ok(),
                    Operand::Flag(_) => None,
                };
                (operand, number)
            })
            .collect();
        Ok(Self { access, op, operands })
    }

    /// Whether the payload meets the condition. An absent field meets none, not even `neq`.
    pub fn matches(&self, payload: &Payload) -> bool {
        let mut text = String::new();
        let field = (self.access)(payload, &mut text);
        let equal = |(operand, number): &(Operand, Option<Decimal>)| match (&field, operand) {
            (Field::Number(seen), Operand::Text(_)) => *number == Some(*seen),
            (Field::Text(seen), Operand::Text(text)) => seen == text,
            (Field::Flag(seen), Operand::Flag(flag)) => seen == flag,
            _ => false,
        };
        match (&field, self.op) {
            (Field::Absent, _) => false,
            (_, Op::Eq | Op::In) => self.operands.iter().any(equal),
            (_, Op::Neq) => !self.operands.iter().any(equal),
            (Field::Text(seen), Op::Prefix) => self
                .operands
                .iter()
                .any(|(o, _)| matches!(o, Operand::Text(text) if seen.starts_with(text.as_str()))),
            (_, Op::Prefix) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Trade, VenueId};

    fn trade(side: Option<Side>, price: &str) -> Payload {
        let decimal = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
        Payload::Trade(Trade { id: VenueId::Number(7), side, price: decimal(price), quantity: decimal("1") })
    }

    fn check(field: &str, op: &str, operands: &[&str], payload: &Payload) -> bool {
        let operands = operands.iter().map(|o| Operand::Text((*o).into())).collect();
        Filter::compile(Kind::Trade, field, op, operands).unwrap().matches(payload)
    }

    #[test]
    fn operators() {
        let payload = trade(Some(Side::Buy), "100.10");
        for (field, op, operands, expected) in [
            ("side", "eq", &["Buy"][..], true),
            ("side", "eq", &["Sell"], false),
            ("side", "neq", &["Sell"], true),
            ("side", "in", &["Sell", "Buy"], true),
            ("side", "prefix", &["B"], true),
            ("price", "eq", &["100.1"], true),
            ("price", "neq", &["100.1"], false),
            ("price", "prefix", &["100"], false),
            ("trade_id", "eq", &["7"], true),
        ] {
            assert_eq!(check(field, op, operands, &payload), expected, "{field} {op} {operands:?}");
        }
    }

    #[test]
    fn an_absent_field_meets_nothing() {
        let payload = trade(None, "1");
        assert!(!check("side", "eq", &["Buy"], &payload));
        assert!(!check("side", "neq", &["Buy"], &payload));
    }

    #[test]
    fn faults_are_named() {
        let text = |result: Result<Filter, FilterError>| result.unwrap_err().to_string();
        assert_eq!(
            text(Filter::compile(Kind::Trade, "sied", "eq", vec![])),
            "Trade has no field `sied` to filter on; it has: side, price, quantity, trade_id"
        );
        assert_eq!(
            text(Filter::compile(Kind::Trade, "side", "like", vec![])),
            "filter operator `like` is unknown; expected eq, neq, in or prefix"
        );
        assert_eq!(
            text(Filter::compile(Kind::Trade, "side", "eq", vec![])),
            "filter operator `eq` takes one value, 0 were given"
        );
    }
}
