//! The prices up to which the levels of a book are known.

use super::ladder::Ladder;
use crate::event::PriceLevel;

/// The worst bid and ask of a snapshot that joined, with a quantity of 0: of worse levels, the stream has only those that
/// change. 0 where the stream has every level of the book.
pub(super) type Horizon = [PriceLevel; 2];

/// Returns the horizon of a snapshot that joined.
pub(super) fn of(bids: &Ladder<false>, asks: &Ladder<true>) -> Horizon {
    [bids.worst(), asks.worst()].map(|price| PriceLevel { price: price.unwrap_or(0), quantity: 0 })
}

/// Returns the prices up to which the bids and asks are known: those of the worst levels without a `horizon`.
#[inline]
pub(super) fn prices(horizon: &Horizon, bids: &Ladder<false>, asks: &Ladder<true>) -> [Option<i64>; 2] {
    let [bid, ask] = horizon.map(|level| (level.price != 0).then_some(level.price));
    [bid.or_else(|| bids.worst()), ask.or_else(|| asks.worst())]
}
