//! Execution reports of account orders, in decimals.

use super::orders::{UserFill, UserOrder};
use super::pair::Pair;
use crate::decimal::Decimal;
use crate::event::{ExecReport, Liquidity};
use crate::venue::AssetId;
use crate::venue::increments::exact;

/// Returns the report on an order and, if given, on one of its fills. `asset` returns the name of an asset and its
/// number of digits after the point.
pub fn exec_report<'a>(
    pair: &Pair,
    order: &UserOrder,
    fill: Option<&UserFill>,
    asset: impl Fn(AssetId) -> (&'a str, u8),
) -> ExecReport {
    let rules = pair.rules();
    let (currency, fee_scale) = asset(order.fee_asset.unwrap_or_else(|| pair.engine().fee_asset(order.side)));
    let fill_fee = fill.map(|fill| (fill.fee, asset(fill.fee_asset)));
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
        fee: (!order.mixed_fees).then(|| exact(order.fee, fee_scale)),
        fee_currency: (!order.mixed_fees).then(|| currency.to_owned()),
        reason: order.reason.as_ref().map(ToString::to_string),
        execution_id: fill.map(|fill| fill.number.to_string()),
        last_quantity: fill.map(|fill| rules.quantity(fill.quantity)),
        last_price: fill.map(|fill| rules.price(fill.price)),
        liquidity: fill.map(|fill| if fill.maker { Liquidity::Maker } else { Liquidity::Taker }),
        last_fee: fill_fee.map(|(fee, (_, scale))| exact(fee, scale)),
        last_fee_currency: fill_fee.map(|(_, (currency, _))| currency.to_owned()),
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
