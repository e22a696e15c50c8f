//! Tests of the binding in a real interpreter, with callbacks that are Rust closures.
//!
//! What depends on timing runs many times, with pauses of random length between its steps. A failure names its seed.

mod interrupts;
mod panics;
mod shares;
mod stops;

use crate::core::{CoreShared, PyCore};
use crate::instance::{PyInstance, State};
use crate::producer::PyProducer;
use meltica_core::decimal::Decimal;
use meltica_core::dispatch::Origin;
use meltica_core::event::{Kind, Payload, Trade, VenueId};
use meltica_core::names::ProviderId;
use meltica_core::pool::DepthClass;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyCFunction, PyDict};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

const SYMBOL: &str = "BTC-USDT";
/// Seconds that a stop waits for a callback that ends by itself.
const PATIENCE: f64 = 60.0;

/// A function that Python can call.
type Function<'py> = Bound<'py, PyAny>;

/// Random numbers of a seed.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Returns a number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    /// Returns the length of a pause: often none, seldom a long one.
    fn pause(&mut self) -> u64 {
        let longest = [1, 64, 1024, 8192][self.roll(4) as usize];
        self.roll(longest)
    }
}

/// Passes `turns` of a loop, which other threads can use.
fn pause(turns: u64) {
    for turn in 0..turns {
        if turn % 256 == 255 {
            thread::yield_now();
        }
        std::hint::spin_loop();
    }
}

/// Waits until `condition` is true.
fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// A data plane with one provider, whose trades have one symbol.
struct Plane {
    core: Py<PyCore>,
    producer: Py<PyProducer>,
    provider: &'static str,
}

impl Plane {
    fn new(py: Python<'_>, provider: &'static str) -> Self {
        // A short interval: callbacks of Python code take turns often.
        py.run(c"import sys; sys.setswitchinterval(1e-5)", None, None).expect("an interval");
        let core = py.get_type::<PyCore>().call0().expect("a core");
        let producer = core.call_method1("producer", (provider,)).expect("a producer");
        Self {
            core: core.cast_into().expect("a core").unbind(),
            producer: producer.cast_into().expect("a producer").unbind(),
            provider,
        }
    }

    fn shared(&self) -> &Arc<CoreShared> {
        &self.core.get().shared
    }

    fn host<'py>(&self, py: Python<'py>, mode: &str) -> Bound<'py, PyAny> {
        self.core.bind(py).call_method1("host", (mode,)).expect("a host")
    }

    /// Adds an instance that receives the trades. `options` are arguments of `Host.add`.
    fn add<'py>(
        &self,
        host: &Bound<'py, PyAny>,
        id: &str,
        on_trade: &Function<'py>,
        options: &[(&str, Bound<'py, PyAny>)],
    ) -> Bound<'py, PyInstance> {
        let py = host.py();
        let arguments = options.into_py_dict(py).expect("arguments");
        let callbacks = [("Trade", on_trade)].into_py_dict(py).expect("callbacks");
        arguments.set_item("callbacks", callbacks).expect("an argument");
        arguments.set_item("routes", [(self.provider, "Trade", SYMBOL)]).expect("an argument");
        let instance = host.call_method("add", (id,), Some(&arguments)).expect("an instance");
        instance.cast_into().expect("an instance")
    }

    /// Publishes trades without the interpreter.
    fn publish(&self, trades: u64) {
        let symbol = ProviderId::intern(self.provider).symbol(SYMBOL).expect("a symbol");
        let origin = Origin { kind: Kind::Trade, symbol, venue_time: None, received_time: 1 };
        let one = Decimal::from_i64(1);
        let trade =
            Trade { id: Some(VenueId::Number(1)), side: None, price: one, quantity: one, late: false };
        for _ in 0..trades {
            let published = self.producer.get().with_feed(|feed| feed.publish(origin, Payload::Trade(trade)));
            published.expect("a slot for each event");
        }
    }

    /// Waits until the hosts have handled what was published.
    fn drain(&self, py: Python<'_>) {
        let drained = self.producer.bind(py).call_method1("drain", (PATIENCE,)).expect("no callback waits");
        assert!(drained.extract::<bool>().expect("a truth value"), "a host did not handle its events");
    }

    /// Checks that nothing of the instances that ended is left.
    fn assert_idle(&self, py: Python<'_>) {
        let core = self.shared();
        assert_eq!(core.barrier.len(), 0, "ended hosts leave the list");
        assert!(core.subscriptions.wanted().is_empty(), "routes end with their instances");
        py.detach(|| {
            let pools = core.dispatcher.pools();
            assert_eq!(pools.events.free(), pools.events.capacity(), "every slot is returned");
            for books in DepthClass::ALL.map(|class| pools.books(class)) {
                assert_eq!(books.free(), books.capacity(), "every slot is returned");
            }
        });
    }
}

/// Returns a function that calls `act`, which may detach.
fn function(
    py: Python<'_>,
    act: impl Fn(Python<'_>) -> PyResult<()> + Send + Sync + 'static,
) -> Function<'_> {
    PyCFunction::new_closure(py, None, None, move |arguments, _| act(arguments.py()))
        .expect("a function")
        .into_any()
}

/// Returns a function that counts its calls.
fn counting<'py>(py: Python<'py>, calls: &Arc<AtomicU64>) -> Function<'py> {
    let calls = Arc::clone(calls);
    function(py, move |_| {
        calls.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}

/// Returns the function `f` of Python code, which sees `names`.
fn code<'py>(py: Python<'py>, code: &std::ffi::CStr, names: &[(&str, &Function<'py>)]) -> Function<'py> {
    let scope: Bound<'_, PyDict> = names.into_py_dict(py).expect("names");
    py.run(code, Some(&scope), None).expect("valid code");
    scope.get_item("f").expect("a dictionary").expect("a function f")
}

fn start(instance: &Bound<'_, PyInstance>) {
    instance.call_method0("start").expect("a start");
}

fn stop(instance: &Bound<'_, PyAny>, timeout: f64) -> bool {
    instance.call_method1("stop", (timeout,)).and_then(|ended| ended.extract()).expect("a stop")
}

fn state(instance: &Bound<'_, PyInstance>) -> State {
    instance.get().shared.state()
}

fn errors(instance: &Bound<'_, PyInstance>) -> u64 {
    instance.get().shared.stats.errors.get()
}
