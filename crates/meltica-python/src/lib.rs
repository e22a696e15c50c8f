//! The Python binding: newtypes over the core, conversions in one place, the pleasant API in Python.

// PyO3's generated code takes arguments by value and returns results where Python wants them.
#![allow(
    clippy::needless_pass_by_value,
    clippy::redundant_closure_for_method_calls,
    clippy::unnecessary_wraps,
    missing_docs
)]

mod benchmark;
mod book;
mod call;
mod codec;
mod convert;
mod core;
mod errors;
mod events;
mod filter;
mod host;
mod instance;
mod market;
mod payload;
mod producer;
mod simulator;
mod stats;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    use super::{
        benchmark, book, codec, core, errors, events, filter, host, instance, market, producer, simulator,
    };
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("BUILD_PROFILE", env!("MELTICA_PROFILE"))?;
        module.add("BUILD_TARGET", env!("MELTICA_TARGET"))?;
        errors::register(module)?;
        events::register(module)?;
        book::register(module)?;
        codec::register(module)?;
        filter::register(module)?;
        instance::register(module)?;
        core::register(module)?;
        host::register(module)?;
        producer::register(module)?;
        simulator::register(module)?;
        market::register(module)?;
        benchmark::register(module)
    }
}
