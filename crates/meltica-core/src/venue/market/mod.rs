//! A market that lives by itself: many instruments, each an [`Engine`](super::Engine) whose book strangers and accounts
//! share, so that what is told and what can be traded never disagree.
//!
//! The clock is virtual. [`Market::advance`] does all that is due up to a time, over all instruments in the order of
//! time, then of their numbers; a command of an account is done at the time that it is then. Randomness comes from the
//! seed alone, a stream for each instrument's orders and one for its price. So the same seed and the same commands at
//! the same virtual times give the same events, however the way there was divided, and an instrument behaves the same
//! whatever others there are.
//!
//! # Invariants
//! Quote, trades, candles and volume are at every instant those of the book and the trades told so far. The number of
//! background orders stays around its target; whatever accounts take out of a book comes back.
//!
//! # Cost
//! An action costs a few dozen random numbers and one command of the engine; nothing is allocated for it in a book that
//! has been as full before.

mod accounts;
mod behavior;
mod broadcast;
#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod broadcast_tests;
#[cfg(test)]
mod checker;
mod flow;
mod line;
mod live;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod live_tests;
mod machine;
mod options;
mod orders;
mod pacer;
mod pair;
mod price;
mod random;
mod report;
mod sink;
mod step;
mod tape;
#[cfg(test)]
mod tests;
mod wire;

pub use behavior::{Behavior, Failure};
pub use broadcast::{Broadcast, Broadcasting};
pub use flow::TAKERS;
pub use live::{Live, Outlet, Reminders};
pub use machine::Market;
pub use options::{BookModel, Listing, OptionErrors, Options, PriceModel, TradeModel};
pub use orders::{Refusal, Request, UserFill, UserOrder};
pub use pacer::Intervals;
pub use pair::Pair;
pub use report::exec_report;
pub use sink::{Event, Print, Quote, Report, Sink};
pub use tape::Candle;
pub use wire::Wire;
