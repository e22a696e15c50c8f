//! Checks of events that were not decoded from frames, by the rules that decoded ones meet.

use super::{Book, Payload, PriceLevel};
use crate::decimal::Decimal;

/// The fault of a payload that is not dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPayload {
    /// A price, quantity or volume has a sign that the field does not allow.
    #[error("event not published: {field} is {found}, and it must be {expected}")]
    Number {
        /// The key of the value.
        field: &'static str,
        /// The value.
        found: Decimal,
        /// The allowed sign.
        expected: &'static str,
    },
    /// A level of a book has no quantity, or a negative price or quantity.
    #[error(
        "book not published: level {index} of the {side} has a price or quantity that is not above 0; leave out empty \
         levels"
    )]
    Level {
        /// `bids` or `asks`.
        side: &'static str,
        /// The index of the level.
        index: usize,
    },
    /// The levels of a side are not in order, or a price occurs twice.
    #[error(
        "book not published: level {index} of the {side} is not {order} than the one before; sort the levels"
    )]
    Order {
        /// `bids` or `asks`.
        side: &'static str,
        /// The index of the level.
        index: usize,
        /// `lower` or `higher`.
        order: &'static str,
    },
}

impl Payload {
    /// Checks the signs of prices, quantities and volumes.
    ///
    /// # Errors
    /// [`InvalidPayload`] for the first number with a wrong sign.
    pub fn check(&self) -> Result<(), InvalidPayload> {
        match self {
            Self::Trade(trade) => {
                above_zero("price", trade.price)?;
                above_zero("quantity", trade.quantity)
            }
            Self::Ticker(ticker) => [
                ("lastPrice", ticker.last),
                ("bidPrice", ticker.bid),
                ("bidQuantity", ticker.bid_quantity),
                ("askPrice", ticker.ask),
                ("askQuantity", ticker.ask_quantity),
                ("volume24h", ticker.volume_24h),
            ]
            .into_iter()
            .try_for_each(|(field, value)| value.map_or(Ok(()), |value| not_negative(field, value))),
            Self::Kline(kline) => [
                ("openPrice", kline.open),
                ("closePrice", kline.close),
                ("highPrice", kline.high),
                ("lowPrice", kline.low),
                ("volume", kline.volume),
            ]
            .into_iter()
            .try_for_each(|(field, value)| not_negative(field, value)),
            _ => Ok(()),
        }
    }
}

fn above_zero(field: &'static str, found: Decimal) -> Result<(), InvalidPayload> {
    let expected = "above 0";
    if found.mantissa() > 0 { Ok(()) } else { Err(InvalidPayload::Number { field, found, expected }) }
}

fn not_negative(field: &'static str, found: Decimal) -> Result<(), InvalidPayload> {
    let expected = "0 or above";
    if found.mantissa() >= 0 { Ok(()) } else { Err(InvalidPayload::Number { field, found, expected }) }
}

impl Book {
    /// Checks that every level has a price and a quantity above 0, and that the best level comes first.
    ///
    /// # Errors
    /// [`InvalidPayload`] for the first level that breaks a rule.
    pub fn check(&self) -> Result<(), InvalidPayload> {
        check_side("bids", "lower", &self.bids, |level, previous| level.price < previous.price)?;
        check_side("asks", "higher", &self.asks, |level, previous| level.price > previous.price)
    }

    /// Returns whether the best bid reaches the best ask.
    pub fn is_crossed(&self) -> bool {
        self.bids.first().zip(self.asks.first()).is_some_and(|(bid, ask)| bid.price >= ask.price)
    }
}

fn check_side(
    side: &'static str,
    order: &'static str,
    levels: &[PriceLevel],
    follows: fn(&PriceLevel, &PriceLevel) -> bool,
) -> Result<(), InvalidPayload> {
    for (index, level) in levels.iter().enumerate() {
        if level.price <= 0 || level.quantity <= 0 {
            return Err(InvalidPayload::Level { side, index });
        }
        if index > 0 && !follows(level, &levels[index - 1]) {
            return Err(InvalidPayload::Order { side, index, order });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Ticker, Trade, VenueId};

    fn book(bids: &[(i64, i64)], asks: &[(i64, i64)]) -> Book {
        let levels = |side: &[(i64, i64)]| {
            side.iter().map(|(price, quantity)| PriceLevel { price: *price, quantity: *quantity }).collect()
        };
        Book { bids: levels(bids), asks: levels(asks), ..Book::default() }
    }

    #[test]
    fn a_book_is_sorted_and_its_levels_are_above_zero() {
        let order = |side, index, order| Err(InvalidPayload::Order { side, index, order });
        let level = |side, index| Err(InvalidPayload::Level { side, index });
        for (book, expected) in [
            (book(&[(9, 1), (8, 2)], &[(10, 1), (11, 2)]), Ok(())),
            (book(&[], &[]), Ok(())),
            (book(&[(8, 1), (9, 2)], &[]), order("bids", 1, "lower")),
            (book(&[(9, 1), (9, 2)], &[]), order("bids", 1, "lower")),
            (book(&[], &[(10, 1), (12, 1), (11, 2)]), order("asks", 2, "higher")),
            (book(&[(9, 1), (8, 0)], &[]), level("bids", 1)),
            (book(&[], &[(10, -1)]), level("asks", 0)),
            (book(&[(-9, 1)], &[]), level("bids", 0)),
            (book(&[(0, 1)], &[]), level("bids", 0)),
        ] {
            assert_eq!(book.check(), expected, "{book:?}");
        }
        assert!(book(&[(10, 1)], &[(10, 1)]).is_crossed());
        assert!(!book(&[(10, 1)], &[(11, 1)]).is_crossed() && !book(&[(10, 1)], &[]).is_crossed());
    }

    #[test]
    fn prices_and_quantities_have_their_sign() {
        let trade = |price, quantity| {
            let (price, quantity) = (Decimal::from_i64(price), Decimal::from_i64(quantity));
            Payload::Trade(Trade { id: Some(VenueId::Number(1)), side: None, price, quantity, late: false })
                .check()
        };
        assert_eq!(trade(1, 1), Ok(()));
        for (price, quantity) in [(-1, 1), (0, 1), (1, -1), (1, 0)] {
            assert!(
                matches!(trade(price, quantity), Err(InvalidPayload::Number { .. })),
                "{price} {quantity}"
            );
        }
        let ticker = |bid| Payload::Ticker(Ticker { bid: Some(Decimal::from_i64(bid)), ..Ticker::default() });
        assert_eq!(ticker(0).check(), Ok(()));
        let text = ticker(-5).check().unwrap_err().to_string();
        assert_eq!(text, "event not published: bidPrice is -5, and it must be 0 or above");
    }
}
