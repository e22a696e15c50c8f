//! The simulated exchange: a limit order book with a price-time-priority matching engine, and a ledger.
//!
//! [`Engine::process`] is one pure step: it takes a command and appends [`Outcome`]s to a vector that the caller
//! reuses. The step uses no clock, no randomness and no hashing, so the same commands at the same times give the same
//! outcomes. An [`Engine`] serves one instrument; all engines of a venue share the [`Ledger`] of balances.
//!
//! Numbers are integers. Prices and quantities have 64 bits on the instrument's scales ([`InstrumentRules`]), money has 128 bits
//! in the smallest unit of its asset. Decimals appear only at the edge, floats nowhere.
//!
//! # Rules
//! Comments in the branches refer to these numbers; `docs/simulator.md` explains the rules.
//! 1. A command is checked completely before it changes anything, in this order: account (1.1), signs (1.2), tick and
//!    lot size (1.3), minimum and maximum quantity and minimum notional (1.4), overflow and capacity (1.5), post-only
//!    (1.6), fill or kill (1.7), funds (1.8). A command that fails a check is refused.
//! 2. An arriving order trades with the best price first, and within a price with the oldest order first.
//! 3. Every trade is at the maker's price.
//! 4. The remainder of a GTC order rests. The remainder of an IOC or market order expires. A FOK order has none.
//! 5. A post-only order never takes: an order or amendment that would take is refused.
//! 6. Where self-trades are not allowed, an arriving order that meets an order of its own account expires the resting
//!    order, itself, or both.
//! 7. A cancelled order leaves the book at once.
//! 8. An amendment states the total quantity, including the filled part. A smaller quantity at the same price keeps the
//!    queue position (8.1). A larger quantity moves to the end of the queue (8.2). Another price leaves the book and
//!    arrives again, and takes where it crosses (8.3). A quantity at or below the filled quantity cancels the order
//!    (8.4). All other amendments are checked like new orders (8.5).
//! 9. The fees of an order add up to its exact fee, rounded up once ([`Fees`]); once more after a change of the fees.
//!    Fees in another asset ([`FeeAsset::Other`]) are rounded up in each trade.
//! 10. An open order of a funded account reserves exactly the amount it may still have to pay, fees included.
//! 11. Every changed level is reported once per command, with its new totals and the next update id.
//!
//! # Invariants
//! - The book is never crossed.
//! - The balances of an asset add up to zero, [`AccountId::FEES`] and [`AccountId::OUTSIDE`] included.
//! - The reservation of a funded account is the sum that its open orders need, and never exceeds its total.
//! - No command panics; a command that could overflow a number is refused.
//!
//! Property tests compare the engine with a plain model.
//!
//! # Cost
//! A new order costs a search for its price, outwards from the best price; a cancellation costs no search. A new or
//! removed price moves the better prices of its side by one position, 12 bytes each. A book that has been as full
//! before allocates nothing. `cargo bench -p meltica-core --bench venue` compares it with a plain implementation.

mod amend;
mod book;
mod charges;
mod checks;
mod engine;
mod fees;
#[cfg(any(test, feature = "workload"))]
pub mod flow;
mod increments;
mod ladder;
mod ledger;
pub mod market;
mod order;
mod reject;
#[cfg(test)]
mod tests;
mod views;

pub use crate::event::TimeInForce;
pub use engine::{Engine, ScaleError};
pub use fees::{FeeAsset, FeeError, Fees, OtherAsset};
pub use increments::InstrumentRules;
pub use ledger::{AccountId, AssetId, Balance, Ledger};
pub use order::{
    BookLevel, CloseReason, Command, Fill, LevelChange, NewOrder, OpenOrder, OrderId, OrderKind, Outcome,
    Party, SelfTrade,
};
pub use reject::Reject;
