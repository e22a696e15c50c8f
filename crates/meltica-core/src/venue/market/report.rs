//! What is said of an account's order, in decimals.

use super::orders::UserOrder;
use super::pair::Pair;
use crate::decimal::Decimal;
use crate::event::ExecReport;
use crate::venue::rules::exact;

/// Returns what is reported of an order; the currency of its fees has so many digits after the point.
pub fn exec_report(pair: &Pair, order: &UserOrder, fee_scale: u8) -> ExecReport {
    let (rules, instrument) = (pair.rules(), pair.instrument());
    let in_quote = pair.engine().fee_asset(order.side) == pair.engine().quote();
    let currency = if in_quote { &instrument.quote } else { &instrument.base };
    ExecReport {
        client_order_id: order.client_id.clone(),
        exchange_order_id: order.order.map(|order| order.0.to_string()),
        state: order.state,
        side: order.side,
        order_type: if order.price.is_some() { "Limit" } else { "Market" }.into(),
        price: order.price.map(|price| rules.price(price)),
        quantity: rules.quantity(order.quantity),
        filled_quantity: rules.quantity(order.filled),
        remaining_quantity: Some(rules.quantity(order.quantity - order.filled)),
        avg_fill_price: mean_price(order.notional, order.filled, rules.price_scale),
        commission: Some(exact(order.fee, fee_scale)),
        commission_asset: Some(currency.clone()),
        reject_reason: order.reason.as_ref().map(ToString::to_string),
    }
}

/// Returns the mean price of what is filled, to eight digits more than prices have.
fn mean_price(notional: i128, filled: i64, price_scale: u8) -> Option<Decimal> {
    const MORE: u8 = 8;
    let scale = (price_scale + MORE).min(Decimal::MAX_SCALE);
    let filled = (filled > 0).then_some(i128::from(filled))?;
    let scaled = notional.checked_mul(10i128.pow(u32::from(scale - price_scale)))?;
    Decimal::new((scaled + filled / 2) / filled, scale).map(Decimal::normalize)
}
