//! The threads that run callbacks.
//!
//! A host owns one thread that stays attached to the interpreter and detaches only to sleep or to read its queues. Each
//! batch is read while detached, merged by sequence if several queues feed the host, and delivered event by event: one
//! Python object per event, then the callback of every member.

mod objects;
mod python;
mod seat;
mod thread;
mod timers;

use crate::callback::{Callback, absorb_pending, raise_in_thread, thread_ident};
use crate::core::CoreShared;
use crate::errors::LambdaError;
use crate::instance::{InstanceShared, lock};
use meltica_core::bus::{Policies, Waker};
use meltica_core::clock;
use meltica_core::dispatch::RouteKey;
use meltica_core::event::Kind;
use pyo3::prelude::*;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

pub use python::PyHost;
use thread::spawn;

/// Most private events that may wait for an instance; one more halts it.
const PRIVATE_LIMIT: usize = 65_536;

/// What decides which events a queue holds: members of a shared host with equal signatures share a queue.
#[derive(Clone, PartialEq)]
pub struct Signature {
    pub policies: Policies,
    pub capacity: usize,
    pub depth: u32,
    pub routes: Vec<RouteKey>,
    pub filtered: bool,
}

/// The callbacks of an instance and its limits.
pub struct Member {
    pub callbacks: [Option<Callback>; Kind::COUNT],
    pub on_start: Option<Py<PyAny>>,
    pub on_stop: Option<Py<PyAny>>,
    pub on_error: Option<Py<PyAny>>,
    pub max_errors: u64,
    pub slow_ns: u64,
}

type Reply = mpsc::Sender<PyResult<()>>;

/// A request of another thread to a host.
pub enum Command {
    Start(Arc<InstanceShared>, Reply),
    Stop(Arc<InstanceShared>, mpsc::Sender<()>),
    End,
}

/// The part of a host that other threads use.
pub struct HostShared {
    pub shared_mode: bool,
    pub event_clock: bool,
    batch: usize,
    core: Arc<CoreShared>,
    waker: Arc<Waker>,
    commands: Mutex<VecDeque<Command>>,
    pending_commands: AtomicBool,
    timers_changed: AtomicBool,
    /// Every event up to this number that was routed here has been handled.
    done: AtomicU64,
    drain_to: AtomicU64,
    drained: (Mutex<()>, Condvar),
    ended: AtomicBool,
    ident: AtomicU64,
    /// Whether an exception was raised in the thread that may still be pending.
    interrupted: AtomicBool,
    /// Number of the instance whose callback runs, 0 between callbacks.
    current: AtomicU64,
    /// When that callback began, in ticks.
    started: AtomicU64,
}

impl HostShared {
    pub fn new(core: Arc<CoreShared>, shared_mode: bool, event_clock: bool, batch: usize) -> Arc<Self> {
        Arc::new(Self {
            shared_mode,
            event_clock,
            batch,
            core,
            waker: Arc::default(),
            commands: Mutex::default(),
            pending_commands: AtomicBool::new(false),
            timers_changed: AtomicBool::new(false),
            done: AtomicU64::new(0),
            drain_to: AtomicU64::new(0),
            drained: (Mutex::default(), Condvar::new()),
            ended: AtomicBool::new(false),
            ident: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            current: AtomicU64::new(0),
            started: AtomicU64::new(0),
        })
    }

    pub fn send(&self, command: Command) {
        let mut commands = lock(&self.commands);
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        commands.push_back(command);
        self.pending_commands.store(true, Ordering::Release);
        drop(commands);
        self.waker.wake();
    }

    /// Returns the largest number of events read from one lane at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    pub fn timers_changed(&self) {
        self.timers_changed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Refuses calls from the host's own thread, which would wait for themselves forever.
    pub fn refuse_own_thread(&self, py: Python<'_>, what: &str) -> PyResult<()> {
        if self.ident.load(Ordering::Acquire) == thread_ident(py)? {
            return Err(LambdaError::new_err(format!(
                "{what} failed: it was called in a callback, on the host's own thread; call it from another thread"
            )));
        }
        Ok(())
    }

    /// Raises `exception` in the callback of instance `number`, if that callback is running.
    pub fn interrupt(&self, py: Python<'_>, exception: &Bound<'_, PyAny>, number: u64) {
        if self.current.load(Ordering::Acquire) == number {
            self.interrupted.store(true, Ordering::Release);
            raise_in_thread(py, self.ident.load(Ordering::Acquire), exception);
        }
    }

    /// Makes a call for instance `number`, started at `started`; other threads can watch and interrupt it.
    #[inline]
    fn watched<R>(&self, number: u64, started: u64, call: impl FnOnce() -> R) -> R {
        self.started.store(started, Ordering::Relaxed);
        self.current.store(number, Ordering::Release);
        let result = call();
        self.current.store(0, Ordering::Release);
        result
    }

    /// Absorbs an interrupt that may still be pending. Call it on the host's own thread.
    fn settle_interrupt(&self, py: Python<'_>) {
        if self.interrupted.swap(false, Ordering::AcqRel) {
            absorb_pending(py);
        }
    }

    /// Returns how long the current callback of instance `number` has been running, 0 when none is.
    pub fn in_callback_ns(&self, number: u64) -> u64 {
        if self.current.load(Ordering::Acquire) != number {
            return 0;
        }
        clock::elapsed_ns(self.started.load(Ordering::Relaxed), clock::ticks())
    }

    /// Waits until every event up to `seq` that was routed here has been handled; false at the deadline.
    pub fn wait_drained(&self, seq: u64, deadline: Option<Instant>) -> bool {
        self.drain_to.fetch_max(seq, Ordering::AcqRel);
        self.waker.wake();
        let mut guard = lock(&self.drained.0);
        while self.done.load(Ordering::Acquire) < seq && !self.ended.load(Ordering::Acquire) {
            let slice = Duration::from_millis(50);
            let left = deadline.map_or(slice, |d| d.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            guard =
                self.drained.1.wait_timeout(guard, left.min(slice)).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn set_done(&self, seq: u64) {
        if seq > self.done.load(Ordering::Relaxed) {
            self.done.store(seq, Ordering::Release);
            if self.drain_to.load(Ordering::Acquire) != 0 {
                drop(lock(&self.drained.0));
                self.drained.1.notify_all();
            }
        }
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Stops routing events to a stuck instance.
    pub fn abandon(&self, py: Python<'_>, instance: &InstanceShared) {
        self.core.cut_off(py, instance.number);
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyHost>()
}
