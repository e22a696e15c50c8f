//! The Python binding: newtypes over the core, conversions in one place. Conveniences are written in Python.
//!
//! Doc comments of what Python can see are its docstrings at run time, and equal those of `python/meltica/_core/*.pyi`.

// PyO3 requires arguments by value and functions that return `PyResult`.
#![allow(
    clippy::needless_pass_by_value,
    clippy::redundant_closure_for_method_calls,
    clippy::unnecessary_wraps,
    missing_docs
)]

mod barrier;
mod benchmark;
mod book;
mod callback;
mod change;
mod codec;
mod convert;
mod core;
mod errors;
mod events;
mod exit;
mod extensions;
mod feeds;
mod filter;
mod host;
mod instance;
mod intents;
mod locks;
mod market;
mod metrics;
mod payload;
mod producer;
mod quotes;
mod routes;
mod simulator;
mod stats;
mod symbols;
#[cfg(test)]
mod tests;
mod wake;
mod watch;

use pyo3::prelude::*;

/// The data plane: compiled from `crates/meltica-python`. Times are integer nanoseconds since the Unix epoch, UTC.
///
/// Events, the account's events, the simulator and the benchmarks are submodules; all of their names are here too.
// A host reuses an event object whose only reference is its own. Without the GIL, another thread could take a reference
// between that check and the write.
#[pymodule(gil_used = true)]
mod _core {
    use super::{
        add_part, benchmark, book, change, codec, core, errors, events, exit, filter, host, instance,
        intents, market, metrics, producer, quotes, simulator, stats, symbols, watch,
    };
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("BUILD_PROFILE", env!("MELTICA_PROFILE"))?;
        module.add("BUILD_TARGET", env!("MELTICA_TARGET"))?;
        errors::register(module)?;
        exit::register(module)?;
        codec::register(module)?;
        filter::register(module)?;
        instance::register(module)?;
        core::register(module)?;
        host::register(module)?;
        intents::register(module)?;
        change::register(module)?;
        producer::register(module)?;
        quotes::register(module)?;
        symbols::register(module)?;
        stats::register(module)?;
        metrics::register(module)?;
        watch::register(module)?;
        add_part(module, "events", events::DOC, &[events::register, book::register])?;
        add_part(module, "account", events::ACCOUNT_DOC, &[events::register_account])?;
        add_part(module, "simulator", simulator::DOC, &[simulator::register, market::register])?;
        add_part(module, "benchmarks", benchmark::DOC, &[benchmark::register])
    }
}

type Register = fn(&Bound<'_, PyModule>) -> PyResult<()>;

/// Adds an importable submodule, and adds its names to `module` too.
fn add_part(module: &Bound<'_, PyModule>, name: &str, doc: &str, register: &[Register]) -> PyResult<()> {
    let py = module.py();
    let full_name = format!("meltica._core.{name}");
    let part = PyModule::new(py, &full_name)?;
    part.setattr("__doc__", doc)?;
    for register in register {
        register(&part)?;
    }
    for name in part.index()? {
        let name: String = name.extract()?;
        module.add(name.as_str(), part.getattr(name.as_str())?)?;
    }
    module.setattr(name, &part)?;
    // `import` finds the submodule in `sys.modules`, because an extension module has no search path.
    py.import("sys")?.getattr("modules")?.set_item(full_name, part)
}
