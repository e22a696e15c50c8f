//! Filters by kind, and their faults.

use super::*;
use crate::event::{Trade, VenueId};

fn trade(side: Option<Side>, price: &str) -> Payload {
    let decimal = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
    Payload::Trade(Trade {
        id: Some(VenueId::Number(7)),
        side,
        price: decimal(price),
        quantity: decimal("1"),
        late: false,
    })
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
        ("trade_id", "eq", &["7"], true),
    ] {
        assert_eq!(check(field, op, operands, &payload), expected, "{field} {op} {operands:?}");
    }
}

#[test]
fn values_are_found_among_as_many_as_allowed() {
    let values: Vec<_> = (0..Filter::MAX_VALUES).rev().map(|n| format!("{n}.50")).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    for (price, expected) in
        [("0.5", true), ("999.5", true), ("500.500", true), ("500", false), ("1000.5", false)]
    {
        assert_eq!(check("price", "in", &values, &trade(None, price)), expected, "{price}");
    }
    let more = vec![Operand::Text("1".into()); Filter::MAX_VALUES + 1];
    assert_eq!(
        Filter::compile(Kind::Trade, "price", "in", more).unwrap_err().to_string(),
        "filter not compiled: expected at most 1000 values for the operator `in`, saw 1001"
    );
}

#[test]
fn an_absent_field_meets_no_condition() {
    let payload = trade(None, "1");
    assert!(!check("side", "eq", &["Buy"], &payload));
    assert!(!check("side", "neq", &["Buy"], &payload));
}

#[test]
fn each_fault_has_its_message() {
    let text = |result: Result<Filter, FilterError>| result.unwrap_err().to_string();
    let value = |kind, field: &str, op: &str, value: &str| {
        text(Filter::compile(kind, field, op, vec![Operand::Text(value.into())]))
    };
    assert_eq!(
        text(Filter::compile(Kind::Trade, "sied", "eq", vec![])),
        "filter not compiled: Trade has no field `sied`; use one of: side, price, quantity, trade_id, late"
    );
    assert_eq!(
        text(Filter::compile(Kind::Trade, "side", "like", vec![])),
        "filter not compiled: expected the operator eq, neq, in or prefix, saw `like`"
    );
    assert_eq!(
        text(Filter::compile(Kind::Trade, "side", "eq", vec![])),
        "filter not compiled: expected one value for the operator `eq`, saw 0"
    );
    assert_eq!(
        value(Kind::Trade, "price", "eq", "1/3"),
        "filter not compiled: expected a number to compare `price` with, saw `1/3`"
    );
    assert_eq!(
        value(Kind::Trade, "side", "eq", "buy"),
        "filter not compiled: expected Buy or Sell to compare `side` with, saw `buy`"
    );
    assert_eq!(
        value(Kind::ExecReport, "state", "prefix", "F "),
        "filter not compiled: expected ACK or PARTIAL or FILLED or CANCELLED or REJECTED or EXPIRED or UNKNOWN to \
         compare `state` with, saw `F `"
    );
    assert_eq!(
        value(Kind::KlineSummary, "closed", "eq", "yes"),
        "filter not compiled: expected true or false to compare `closed` with, saw `yes`"
    );
    assert_eq!(
        text(Filter::compile(Kind::KlineSummary, "interval", "eq", vec![Operand::Flag(true)])),
        "filter not compiled: expected text to compare `interval` with, saw `true`"
    );
    assert_eq!(
        value(Kind::Trade, "price", "prefix", "6"),
        "filter not compiled: expected text for the operator `prefix`, and `price` is a number"
    );
    assert_eq!(
        value(Kind::BookSnapshot, "bid", "eq", "6"),
        "filter not compiled: BookSnapshot has no field `bid`; remove the filter, as the kind has no fields to filter on"
    );
}
