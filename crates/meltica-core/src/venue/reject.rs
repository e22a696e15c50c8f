//! Why a command is refused.

use super::engine::Engine;
use super::ledger::{AssetId, Ledger};
use super::order::{Command, NewOrder};
use super::rules::exact;
use crate::decimal::Decimal;

/// Why a command is refused; it then changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// A quantity of zero or less.
    InvalidQuantity,
    /// A price of zero or less.
    InvalidPrice,
    /// The price is between two ticks.
    TickSize,
    /// The quantity is between two lots.
    LotSize,
    /// Too little.
    MinQuantity,
    /// Too much.
    MaxQuantity,
    /// Price times quantity is too little.
    MinNotional,
    /// A post-only order would take.
    WouldCross,
    /// The book does not fill a fill-or-kill order whole.
    Unfillable,
    /// The account cannot pay.
    InsufficientFunds {
        /// What is short.
        asset: AssetId,
        /// How much the order needs.
        needed: i128,
        /// How much there is for it.
        available: i128,
    },
    /// There is no such account, or it does not trade.
    UnknownAccount,
    /// No such order is open.
    UnknownOrder,
    /// A number, or a sum that it leads to, does not fit.
    Overflow,
    /// The book holds as many orders as it can.
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
    /// Returns one line that says why a command was refused: what was expected and what was seen.
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
        let shown =
            |value: Option<Decimal>| value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
        let seen = |expected: String, value| format!("expected {expected}, seen {}", shown(value));
        match reject {
            Reject::InvalidQuantity => seen("a quantity above zero".into(), quantity),
            Reject::InvalidPrice => seen("a price above zero".into(), price),
            Reject::TickSize => {
                seen(format!("a price in ticks of {}", rules.price(rules.tick_size).normalize()), price)
            }
            Reject::LotSize => seen(
                format!("a quantity in lots of {}", rules.quantity(rules.lot_size).normalize()),
                quantity,
            ),
            Reject::MinQuantity => {
                seen(format!("a quantity of at least {}", rules.quantity(rules.min_quantity)), quantity)
            }
            Reject::MaxQuantity => {
                seen(format!("a quantity of at most {}", rules.quantity(rules.max_quantity)), quantity)
            }
            Reject::MinNotional => format!(
                "expected a notional of at least {}, seen {} at {}",
                rules.notional(rules.min_notional),
                shown(quantity),
                price.map_or_else(|| "the best price".to_owned(), |price| price.to_string())
            ),
            Reject::WouldCross => {
                format!("expected a post-only order to rest, seen one at {} that would take", shown(price))
            }
            Reject::Unfillable => {
                format!(
                    "expected the book to fill {} whole, seen too little within the limit",
                    shown(quantity)
                )
            }
            Reject::InsufficientFunds { asset, needed, available } => {
                let money = |amount| exact(amount, ledger.scale(asset));
                let side = if asset == self.quote() { "quote" } else { "base" };
                format!("expected {} of {side} available, seen {}", money(needed), money(available))
            }
            Reject::UnknownAccount => {
                "expected an account of the ledger that trades, seen another".to_owned()
            }
            Reject::UnknownOrder => "expected an open order, seen none with this id".to_owned(),
            Reject::Overflow => format!(
                "expected numbers whose sums and products fit, seen {} at {}",
                shown(quantity),
                shown(price)
            ),
            Reject::BookFull => "expected room for one more order, seen a full book".to_owned(),
        }
    }
}
