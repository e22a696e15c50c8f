//! Reasons for refusing a command.

use super::engine::Engine;
use super::increments::exact;
use super::ledger::{AssetId, Ledger};
use super::order::{Command, NewOrder};
use crate::decimal::Decimal;

/// Why a command was refused. A refused command changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// The quantity is zero or less.
    InvalidQuantity,
    /// The price is zero or less.
    InvalidPrice,
    /// The price is between two ticks.
    TickSize,
    /// The quantity is between two lots.
    LotSize,
    /// The quantity is below the minimum.
    MinQuantity,
    /// The quantity is above the maximum.
    MaxQuantity,
    /// Price times quantity is below the minimum.
    MinNotional,
    /// The order is post-only and would take.
    WouldCross,
    /// The order is fill or kill, and the book does not fill it completely.
    Unfillable,
    /// The account has too little available.
    InsufficientFunds {
        /// The asset.
        asset: AssetId,
        /// Amount that the order needs.
        needed: i128,
        /// Amount that is available.
        available: i128,
    },
    /// The account does not exist, or does not trade.
    UnknownAccount,
    /// The order is not open.
    UnknownOrder,
    /// A number, or a sum or product of it, does not fit.
    Overflow,
    /// The book holds the maximum number of orders.
    BookFull,
}

impl Reject {
    /// Returns the machine-readable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidQuantity => "invalid_quantity",
            Self::InvalidPrice => "invalid_price",
            Self::TickSize => "tick_size",
            Self::LotSize => "lot_size",
            Self::MinQuantity => "min_quantity",
            Self::MaxQuantity => "max_quantity",
            Self::MinNotional => "min_notional",
            Self::WouldCross => "would_cross",
            Self::Unfillable => "unfillable",
            Self::InsufficientFunds { .. } => "insufficient_funds",
            Self::UnknownAccount => "unknown_account",
            Self::UnknownOrder => "unknown_order",
            Self::Overflow => "overflow",
            Self::BookFull => "book_full",
        }
    }
}

impl Engine {
    /// Returns one line that explains a refusal: the expected and the actual value.
    pub fn explain(&self, ledger: &Ledger, command: &Command, reject: Reject) -> String {
        let (price, quantity) = match *command {
            Command::New(NewOrder { kind, quantity, .. }) => (kind.price(), Some(quantity)),
            Command::Cancel(_) => (None, None),
            Command::Amend { order, price, quantity } => {
                let open = self.order(order);
                (price.or(open.map(|open| open.price)), quantity.or(open.map(|open| open.quantity)))
            }
        };
        let rules = self.rules();
        let price = price.map(|price| rules.price(price));
        let quantity = quantity.map(|quantity| rules.quantity(quantity));
        let text =
            |value: Option<Decimal>| value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
        let mismatch = |expected: String, value| format!("expected {expected}, saw {}", text(value));
        match reject {
            Reject::InvalidQuantity => mismatch("a quantity above zero".into(), quantity),
            Reject::InvalidPrice => mismatch("a price above zero".into(), price),
            Reject::TickSize => {
                mismatch(format!("a price in ticks of {}", rules.price(rules.tick_size).normalize()), price)
            }
            Reject::LotSize => mismatch(
                format!("a quantity in lots of {}", rules.quantity(rules.lot_size).normalize()),
                quantity,
            ),
            Reject::MinQuantity => {
                mismatch(format!("a quantity of at least {}", rules.quantity(rules.min_quantity)), quantity)
            }
            Reject::MaxQuantity => {
                mismatch(format!("a quantity of at most {}", rules.quantity(rules.max_quantity)), quantity)
            }
            Reject::MinNotional => format!(
                "expected a notional of at least {}, saw {} at {}",
                rules.notional(rules.min_notional),
                text(quantity),
                price.map_or_else(|| "the best price".to_owned(), |price| price.to_string())
            ),
            Reject::WouldCross => {
                format!("expected a post-only order that rests, saw one at {} that would take", text(price))
            }
            Reject::Unfillable => {
                format!(
                    "expected a quantity within the limit of at least {}, saw less in the book",
                    text(quantity)
                )
            }
            Reject::InsufficientFunds { asset, needed, available } => {
                let money = |amount| exact(amount, ledger.scale(asset));
                let side = if asset == self.quote() { "quote" } else { "base" };
                format!("expected {} of {side} available, saw {}", money(needed), money(available))
            }
            Reject::UnknownAccount => "expected an existing account that may trade, saw another".to_owned(),
            Reject::UnknownOrder => "expected the id of an open order, saw another".to_owned(),
            Reject::Overflow => format!(
                "expected price and quantity whose sums and products fit, saw {} at {}",
                text(quantity),
                text(price)
            ),
            Reject::BookFull => "expected room for one more order, saw a full book".to_owned(),
        }
    }
}
