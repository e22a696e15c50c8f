//! The simulated exchange: a limit order book with a price-time-priority matching engine, and a ledger.
//!
//! [`Engine::process`] is one pure step: command in, [`Outcome`]s appended to a vector of the caller's, which is used
//! again. There is no clock, no randomness and no hashing in it, so the same commands at the same times give the same
//! outcomes. An [`Engine`] is one instrument; the [`Ledger`] of balances is shared by all engines of a venue.
//!
//! Numbers are integers: prices and quantities 64 bits on the instrument's scales ([`Rules`]), money 128 bits in the
//! smallest unit of its asset. Decimals stand at the edge, floats nowhere.
//!
//! # Rules
//! The branches are numbered by these; `docs/simulator.md` tells them with their reasons.
//! 1. A command is checked whole before it changes anything, in this order: account (1.1), signs (1.2), tick and lot
//!    size (1.3), least and greatest quantity and least notional (1.4), sums that could overflow, and room (1.5),
//!    post-only (1.6), fill or kill (1.7), funds (1.8). One that fails is refused.
//! 2. An arriving order trades with the best price first, and within a price with the oldest order first.
//! 3. Every trade is at the maker's price.
//! 4. What is left of a GTC order rests; of an IOC or a market order it expires; a FOK order leaves nothing.
//! 5. A post-only order never takes: it is refused where it would, and its amendments too.
//! 6. An arriving order that meets one of its own account, where they may not trade, expires that one, itself, or both.
//! 7. A cancelled order leaves at once.
//! 8. An amendment tells the whole quantity, filled or not. Less at the same price keeps the place in the queue (8.1);
//!    more goes to its end (8.2); another price leaves the book and arrives again, as a taker where it crosses (8.3); a
//!    quantity at or below what is filled cancels (8.4); and it is checked like a new order (8.5).
//! 9. Fees of an order add up to its exact fee rounded up once ([`Fees`]).
//! 10. An open order of a funded account reserves exactly what it may still have to give, fees included.
//! 11. Each change of a level is told once a command, with its new sums, and has the next update id.
//!
//! # Invariants
//! The book is never crossed. The balances of an asset add up to zero, fees and [`AccountId::OUTSIDE`] included. A
//! funded account's reservation is the sum of what its open orders need, and never above its total. No command
//! panics, and one that could overflow a number is refused. Models in the tests hold all of it.
//!
//! # Cost
//! A new order costs a search for its price, outwards from the best; a cancellation none. A price that appears or
//! vanishes moves the better prices of its side by one, 12 bytes each. Nothing is allocated in a book that has been as
//! full before. `cargo bench -p meltica-core --bench venue` measures it, beside a plain rival.

mod amend;
mod book;
mod checks;
mod engine;
mod fees;
pub mod flow;
mod ladder;
mod ledger;
pub mod market;
#[cfg(test)]
mod model;
#[cfg(test)]
mod model_tests;
mod order;
mod reject;
mod rules;
#[cfg(test)]
mod tests;
mod views;

pub use crate::event::TimeInForce;
pub use engine::{Engine, ScaleError};
pub use fees::{FeeAsset, FeeError, Fees};
pub use ledger::{AccountId, AssetId, Balance, Ledger};
pub use order::{
    BookLevel, CloseReason, Command, Fill, LevelChange, NewOrder, OpenOrder, OrderId, OrderKind, Outcome,
    Party, SelfTrade,
};
pub use reject::Reject;
pub use rules::Rules;
