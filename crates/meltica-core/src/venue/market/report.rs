//! Execution reports of account orders, in decimals.

use super::orders::{UserFill, UserOrder};
use super::pair::Pair;
use crate::decimal::Decimal;
use crate::event::{ExecReport, Liquidity};
use crate::venue::increments::exact;

/// Returns the report on an order and, if given, on one of its fills. `fee_scale` is the fee currency's number of
/// digits after the point.
pub fn exec_report(pair: &Pair, order: &UserOrder, fill: Option<&UserFill>, fee_scale: u8) -> ExecReport {
    let (rules, instrument) = (pair.rules(), pair.instrument());
    let in_quote = pair.engine().fee_asset(order.side) == pair.engine().quote();
    let currency = if in_quote { &instrument.quote } else { &instrument.base };
    ExecReport {
        client_order_id: order.client_order_id.clone(),
        venue_order_id: order.order.map(|order| order.0.to_string()),
        state: order.state,
        side: order.side,
        order_type: if order.price.is_some() { "Limit" } else { "Market" }.into(),
        time_in_force: Some(order.kind.time_in_force()),
        price: order.price.map(|price| rules.price(price)),
        quantity: rules.quantity(order.quantity),
        filled_quantity: rules.quantity(order.filled),
        remaining_quantity: Some(rules.quantity(order.quantity - order.filled)),
        average_price: mean_price(order.notional, order.filled, rules.price_scale),
        fee: Some(exact(order.fee, fee_scale)),
        fee_currency: Some(currency.clone()),
        reason: order.reason.as_ref().map(ToString::to_string),
        execution_id: fill.map(|fill| fill.number.to_string()),
        last_quantity: fill.map(|fill| rules.quantity(fill.quantity)),
        last_price: fill.map(|fill| rules.price(fill.price)),
        liquidity: fill.map(|fill| if fill.maker { Liquidity::Maker } else { Liquidity::Taker }),
        last_fee: fill.map(|fill| exact(fill.fee, fee_scale)),
        last_fee_currency: fill.map(|_| currency.clone()),
    }
}

/// Returns the average fill price, with eight digits more than prices have.
fn mean_price(notional: i128, filled: i64, price_scale: u8) -> Option<Decimal> {
    const MORE: u8 = 8;
    let scale = (price_scale + MORE).min(Decimal::MAX_SCALE);
    let filled = (filled > 0).then_some(i128::from(filled))?;
    let scaled = notional.checked_mul(10i128.pow(u32::from(scale - price_scale)))?;
    Decimal::new((scaled + filled / 2) / filled, scale).map(Decimal::normalize)
}
