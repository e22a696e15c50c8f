//! The exit of the interpreter while hosts run, in scripts and tests that did not stop them.
//!
//! An `atexit` function stops every host: it ends the threads whose callbacks return, or stop when they are interrupted,
//! within [`PATIENCE`] and [`INTERRUPTED`].
//!
//! A thread that is left behind is in a callback, and parks when the callback returns. When the callback requests the
//! interpreter after its end, Python 3.13 and older end the thread by an unwind that must not pass Rust frames: the
//! process would abort. So each call of a host into Python code holds a [`Hang`] guard, which parks the thread too.

use crate::barrier::Drains;
use crate::errors::LambdaStopped;
use crate::host::{Command, HostShared};
use crate::locks::Lock;
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Weak};
use std::time::{Duration, Instant};

/// How long callbacks that run may take to return.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long they may take after they have been interrupted.
const INTERRUPTED: Duration = Duration::from_secs(1);
/// The interval between two interrupts of a host.
const SLICE: Duration = Duration::from_millis(200);
/// How long the search for the callbacks that do not return may take: a host may be between two of them.
const SEARCH: Duration = Duration::from_secs(1);

/// The hosts whose threads run, with the process of each: a forked child has none of its parent's threads.
static LIVE: Lock<Vec<(u32, Arc<HostShared>)>> = Lock::leaf(Vec::new());
static LEFT: Condvar = Condvar::new();
/// The process that has started the last host.
static PROCESS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static OWN: RefCell<Weak<HostShared>> = const { RefCell::new(Weak::new()) };
}

/// Parks the thread forever when an unwind that is not a panic drops it.
pub struct Hang;

impl Drop for Hang {
    fn drop(&mut self) {
        while !std::thread::panicking() {
            std::thread::park();
        }
    }
}

/// The registration of a host, from before its thread starts until it ends.
pub struct Live(Arc<HostShared>);

impl Live {
    /// Registers a host whose thread is about to start.
    pub fn new(host: &Arc<HostShared>) -> Self {
        let process = std::process::id();
        PROCESS.store(process, Ordering::Release);
        LIVE.lock().push((process, Arc::clone(host)));
        Self(Arc::clone(host))
    }

    /// Makes the current thread that of the host.
    pub fn adopt(&self) {
        OWN.set(Arc::downgrade(&self.0));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        LIVE.lock().retain(|(_, host)| !Arc::ptr_eq(host, &self.0));
        LEFT.notify_all();
    }
}

/// Returns the host of the current thread.
pub fn own_host() -> Option<Arc<HostShared>> {
    OWN.with_borrow(Weak::upgrade)
}

/// Returns the hosts of this process.
fn live() -> Vec<Arc<HostShared>> {
    let process = std::process::id();
    // A child that was forked while another thread held the lock must not wait for it.
    if PROCESS.load(Ordering::Acquire) != process {
        return Vec::new();
    }
    LIVE.lock().iter().filter(|(of, _)| *of == process).map(|(_, host)| Arc::clone(host)).collect()
}

/// Waits detached until no host is left; false if the time is over before.
fn wait(py: Python<'_>, most: Duration) -> bool {
    let (process, deadline) = (std::process::id(), Instant::now() + most);
    py.detach(|| {
        let mut hosts = LIVE.lock();
        while hosts.iter().any(|(of, _)| *of == process) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            hosts = hosts.wait(&LEFT, left);
        }
        true
    })
}

/// Stops every host of the process, at the exit of the interpreter.
#[pyfunction]
fn stop_hosts(py: Python<'_>) {
    let hosts = live();
    if hosts.is_empty() {
        return;
    }
    for host in &hosts {
        host.send(Command::End);
    }
    drop(hosts);
    if wait(py, PATIENCE) {
        return;
    }
    let stopped = py.get_type::<LambdaStopped>().into_any();
    let deadline = Instant::now() + INTERRUPTED;
    while Instant::now() < deadline {
        for host in live() {
            host.interrupt_any(py, &stopped);
        }
        if wait(py, SLICE) {
            return;
        }
    }
    let deadline = Instant::now() + SEARCH;
    while !live().iter().all(|host| host.abandon(py)) && Instant::now() < deadline {
        if wait(py, Duration::from_millis(1)) {
            return;
        }
    }
    for host in live() {
        let lambda = host.running().map_or_else(|| "none".to_owned(), |callback| callback.lambda);
        eprintln!(
            "meltica: a host did not stop before the interpreter ended, its thread ends with the process; lambda in \
             a callback: {lambda}"
        );
    }
}

/// Lets a process that a callback has forked end with the callback, as one that a Python thread has forked does.
#[pyfunction]
fn leave_child() {
    if let Some(host) = own_host() {
        host.end_with_callback();
    }
}

/// Ends a process that a callback has forked.
pub fn end_child() -> ! {
    signal_hook::low_level::exit(0)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let stop = wrap_pyfunction!(stop_hosts, module)?;
    py.import("atexit")?.getattr("register")?.call1((stop,))?;
    let leave = [("after_in_child", wrap_pyfunction!(leave_child, module)?)].into_py_dict(py)?;
    py.import("os")?.getattr("register_at_fork")?.call((), Some(&leave))?;
    Ok(())
}
