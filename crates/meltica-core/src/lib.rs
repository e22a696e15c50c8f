//! The data plane of Meltica. It knows no Python, no HTTP and no SQL.
//!
//! [`feed`] decodes a venue's frame with [`codec`], assembles [`book`]s and de-duplicates messages. [`dispatch`]
//! numbers and routes each event to the queues of the [`bus`], where the event waits in a slot of the [`pool`] until a
//! host reads it. [`venue`] is the simulated exchange.

pub mod book;
pub mod bus;
pub mod clock;
pub mod codec;
pub mod decimal;
pub mod dedupe;
pub mod deliveries;
pub mod dispatch;
pub mod event;
pub mod feed;
pub mod filter;
pub mod instrument;
pub mod intents;
mod janitor;
#[cfg(all(test, loom))]
mod loom_tests;
pub mod metrics;
pub mod names;
pub mod pool;
pub mod quotes;
pub mod replay;
pub mod stats;
pub mod sync;
pub mod timer;
pub mod venue;
pub mod watch;
#[cfg(feature = "workload")]
pub mod workload;
