//! The data plane of Meltica. It knows no Python, no HTTP and no SQL.
//!
//! A frame goes through [`codec`] (and [`book`]), is numbered, de-duplicated and routed by [`dispatch`], waits in a
//! queue of the [`bus`] in a slot of the [`pool`], and is read by whatever runs callbacks. [`venue`] is the simulated
//! exchange.

pub mod book;
pub mod bus;
pub mod clock;
pub mod codec;
pub mod decimal;
pub mod dedupe;
pub mod dispatch;
pub mod event;
pub mod feed;
pub mod filter;
pub mod instrument;
#[cfg(all(test, loom))]
mod loom_tests;
pub mod names;
pub mod pool;
pub mod replay;
pub mod stats;
pub mod sync;
pub mod venue;
#[cfg(feature = "workload")]
pub mod workload;
