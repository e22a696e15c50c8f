//! A synthetic market of many instruments. Background traders and accounts share each instrument's
//! [`Engine`](super::Engine), so published data and tradable orders always agree.
//!
//! The clock is virtual. [`Market::advance`] executes everything due up to a time, ordered by time and then by
//! instrument. A command of an account is executed at the current virtual time. The seed is the only source of
//! randomness; every instrument has one random stream for its orders and one for its price. So the same seed and the
//! same commands at the same virtual times give the same events, independent of how the time in between was divided.
//! Instruments do not influence each other.
//!
//! # Invariants
//! - Quote, trades, candles and volume always match the book and the published trades.
//! - The number of background orders stays near its target; the background refills a book that accounts have emptied.
//!
//! # Cost
//! A background action costs a few dozen random numbers and one engine command. A book that has been as full before
//! allocates nothing.

mod accounts;
mod behavior;
mod broadcast;
mod budget;
mod flow;
mod interventions;
mod late;
mod machine;
mod network;
mod options;
mod orders;
mod pacer;
mod pair;
mod price;
mod random;
mod refresh;
mod report;
mod reporter;
mod simulated_venue;
mod sink;
mod step;
mod tape;
#[cfg(test)]
mod tests;
mod wire;

pub use behavior::{Behavior, Failure};
pub use broadcast::{Broadcast, Broadcasting};
pub use budget::Budget;
pub use flow::TAKER_SHARE;
pub use interventions::FeeCurrency;
pub use late::{Change, LateRequest, LostAnswers, RequestKind};
pub use machine::Market;
pub use options::{BookModel, Listing, OptionErrors, Options, PriceModel, TradeModel};
pub use orders::{Refusal, Request, UserFill, UserOrder};
pub use pacer::Intervals;
pub use pair::Pair;
pub use report::exec_report;
pub use reporter::ReportFaults;
pub use simulated_venue::{Outlet, RefreshIntervals, SimulatedVenue};
pub use sink::{BalanceChange, Event, Print, Quote, Report, Sink, Transfer};
pub use tape::Candle;
pub use wire::Wire;
