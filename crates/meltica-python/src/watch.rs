//! The watch: a thread that needs no interpreter, so that it works while a callback holds it.
//!
//! A second thread, the probe, attaches to the interpreter twice a second. While it waits, the interpreter is held, and
//! the watch logs by whom: the hosts' stamps say which callback runs, and since when. After a signal to stop, the watch
//! keeps the deadline: what the interpreter cannot stop any more ends with the process. `meltica_core::watch` decides,
//! this module does.
//!
//! The watch also supervises: it compares the hosts' stamps with the limit of a stuck callback, and wakes the event loop
//! after a change, so the loop does not poll. If the loop does not respond, the watch logs the stuck callbacks itself.

mod end;
mod log;
mod probe;

use crate::barrier::Running;
use crate::convert::value_error;
use crate::core::{CoreShared, PyCore};
use crate::locks::{Lock, Rank};
use crate::wake::Wake;
use end::{Ending, Signals};
use log::{Level, Log};
use meltica_core::clock;
use meltica_core::event::Nanos;
use meltica_core::watch::{HELD_AFTER, Hold, HoldReport};
pub use probe::thread_number;
use probe::{Activity, Probe};
use pyo3::prelude::*;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(50);
/// How many ticks pass between two checks of the queues' room.
const ROOM_TICKS: u64 = 4;
/// How long the event loop may take to respond to a change.
const RESPONSE: Nanos = 1_000_000_000;
/// The limit of a stuck callback before `Watch.supervise` has set one.
const UNSUPERVISED: u64 = u64::MAX;

struct Shared {
    core: Weak<CoreShared>,
    log: Lock<Log>,
    ending: Lock<Option<Ending>>,
    /// From when on a callback counts as stuck, in ns.
    stuck_ns: AtomicU64,
    wake: Wake,
    /// Whether the event loop was woken and has not read the states since.
    is_woken: AtomicBool,
    closed: AtomicBool,
}

/// The thread's own state.
struct Patrol {
    shared: Arc<Shared>,
    probe: Arc<Probe>,
    hold: Hold,
    /// Activity of the hosts' threads when the probe had waited for half of a hold.
    before: HashMap<u32, Activity>,
    ticks: u64,
    /// How many instances of the core had ended.
    ends: u64,
    /// Whether a queue lacked room at the last check.
    lacked_room: bool,
    /// Since when the event loop has not responded, and the stuck lambdas that were logged since.
    unanswered: Option<Nanos>,
    logged: Vec<String>,
}

impl Patrol {
    fn run(&mut self) {
        while !self.shared.closed.load(Ordering::Acquire) {
            let Some(core) = self.shared.core.upgrade() else { return };
            let running = core.barrier.running();
            self.supervise(&core);
            self.tick(&running);
            drop(core);
            std::thread::park_timeout(TICK);
        }
    }

    /// Wakes the event loop after a change of what it supervises, and while a queue lacks room.
    fn supervise(&mut self, core: &CoreShared) {
        let limit = self.shared.stuck_ns.load(Ordering::Acquire);
        if limit == UNSUPERVISED {
            return;
        }
        let ends = core.ends.load(Ordering::Acquire);
        let ended = std::mem::replace(&mut self.ends, ends) != ends;
        let mut changed = core.barrier.check_blocked(limit) || ended;
        self.ticks += 1;
        if self.ticks.is_multiple_of(ROOM_TICKS) {
            let lacks_room = core.barrier.lacks_room();
            let lacked_room = std::mem::replace(&mut self.lacked_room, lacks_room);
            changed |= lacks_room || lacked_room;
        }
        if !changed {
            return;
        }
        self.shared.is_woken.store(true, Ordering::Release);
        if let Err(error) = self.shared.wake.wake() {
            let text = format!("the states of the lambdas may be outdated: {error}");
            self.shared.log.lock().write(Level::Error, &text);
        }
    }

    /// Logs the stuck callbacks while the event loop, which would, does not respond. A held interpreter is logged anyway.
    fn log_stuck(&mut self, now: Nanos, running: &[Running]) {
        if !self.shared.is_woken.load(Ordering::Acquire) {
            self.unanswered = None;
            self.logged.clear();
            return;
        }
        let since = *self.unanswered.get_or_insert(now);
        if now - since < RESPONSE || self.hold.is_held() {
            return;
        }
        let limit = self.shared.stuck_ns.load(Ordering::Acquire);
        for one in running.iter().filter(|one| one.for_ns > limit) {
            if !self.logged.contains(&one.lambda) {
                let (lambda, seconds) = (&one.lambda, one.for_ns as f64 / 1e9);
                let text =
                    format!("lambda {lambda} is stuck: a callback has been running for {seconds:.1} s");
                let text = format!("{text}; the event loop does not respond either, REST and stops wait");
                self.shared.log.lock().write(Level::Error, &text);
                self.logged.push(one.lambda.clone());
            }
        }
    }

    fn tick(&mut self, running: &[Running]) {
        let now = clock::monotonic();
        let waiting = self.probe.tick(now);
        self.sample(waiting, running);
        match self.hold.check(waiting) {
            Some(HoldReport::Held(ns)) => {
                let text = format!("{} {} s", self.holder(running, ns), ns / 1_000_000_000);
                let text = format!("{text}; no other Python code runs, REST and signals wait");
                self.shared.log.lock().write(Level::Error, &text);
            }
            Some(HoldReport::Free(ns)) => {
                let text = format!("the interpreter is free again after {:.1} s", ns as f64 / 1e9);
                self.shared.log.lock().write(Level::Warning, &text);
            }
            None => {}
        }
        self.log_stuck(now, running);
        if let Some(ending) = &mut *self.shared.ending.lock()
            && let Some(cause) = ending.check(now, self.hold.is_held())
        {
            let holder = running.iter().map(|callback| callback.lambda.as_str()).collect::<Vec<_>>();
            ending.end(cause, now, &holder, &self.shared.log.lock());
        }
    }

    /// Reads the activity of the threads that run callbacks once the probe has waited for half of a hold.
    fn sample(&mut self, waiting: Option<Nanos>, running: &[Running]) {
        if waiting.is_none_or(|waiting| waiting < HELD_AFTER / 2) {
            self.before.clear();
        } else if self.before.is_empty() {
            let threads = running.iter().map(|one| one.thread);
            self.before = threads.filter_map(|thread| Some((thread, Activity::of(thread)?))).collect();
        }
    }

    /// Names the lambda that holds the interpreter. Others wait for it, or sleep without it; of those that do not wait,
    /// the holder works the most, or started last before the probe began to wait.
    fn holder(&self, running: &[Running], waiting: Nanos) -> String {
        let worked = |one: &Running| match (self.before.get(&one.thread), Activity::of(one.thread)) {
            (Some(before), Some(now)) => now.worked_since(*before),
            _ => Some(0),
        };
        let since = (waiting - HELD_AFTER / 2).max(0) as u64;
        let candidates = running.iter().filter(|one| one.for_ns >= since);
        let holder = candidates.max_by_key(|one| (worked(one), Reverse(one.for_ns)));
        holder.map_or_else(
            || "code outside of the lambdas holds the interpreter for".to_owned(),
            |one| format!("lambda {} holds the interpreter for", one.lambda),
        )
    }
}

/// Watches the callbacks of a core from a thread that needs no interpreter, until `close`.
///
/// While a callback holds the interpreter for longer than a second, the watch logs which lambda does: to stderr, and to
/// the file of `log_to`.
#[pyclass(module = "meltica._core", name = "Watch", frozen, immutable_type)]
pub struct PyWatch {
    shared: Arc<Shared>,
    probe: Arc<Probe>,
    threads: Lock<Vec<JoinHandle<()>>>,
}

#[pymethods]
impl PyWatch {
    #[new]
    fn new(core: &Bound<'_, PyCore>) -> PyResult<Self> {
        let shared = Arc::new(Shared {
            core: Arc::downgrade(&core.get().shared),
            log: Lock::leaf(Log::default()),
            ending: Lock::new(Rank::Ending, None),
            stuck_ns: AtomicU64::new(UNSUPERVISED),
            wake: Wake::new()?,
            is_woken: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let (probe, probing) = Probe::start()?;
        let mut patrol = Patrol {
            shared: Arc::clone(&shared),
            probe: Arc::clone(&probe),
            hold: Hold::default(),
            before: HashMap::new(),
            ticks: 0,
            ends: 0,
            lacked_room: false,
            unanswered: None,
            logged: Vec::new(),
        };
        let patrolling =
            std::thread::Builder::new().name("meltica-watch".into()).spawn(move || patrol.run())?;
        Ok(Self { shared, probe, threads: Lock::leaf(vec![probing, patrolling]) })
    }

    /// Sets the format of the lines, and a file that they are written to as well as to stderr.
    #[pyo3(signature = (format, path = None))]
    fn log_to(&self, format: &str, path: Option<PathBuf>) -> PyResult<()> {
        let json = match format {
            "human" => false,
            "json" => true,
            _ => return Err(value_error(format!("expected the format human or json, saw {format:?}"))),
        };
        *self.shared.log.lock() = Log { json, path };
        Ok(())
    }

    /// Supervises the hosts: a callback that runs for more than `stuck_after` seconds counts as stuck, see `Host.blocked`.
    ///
    /// `fileno` is readable after a change until `clear`: a callback became stuck or returned after that, an instance has
    /// ended. It is also readable from time to time while the queue of an instance lacks room for symbols. If nothing calls
    /// `clear` within a second, the watch logs the stuck callbacks itself.
    fn supervise(&self, stuck_after: f64) -> PyResult<()> {
        let limit = Duration::try_from_secs_f64(stuck_after).map_err(value_error)?;
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(UNSUPERVISED).min(UNSUPERVISED - 1);
        self.shared.stuck_ns.store(limit, Ordering::Release);
        Ok(())
    }

    /// The descriptor to wait for.
    fn fileno(&self) -> i32 {
        self.shared.wake.fileno()
    }

    /// Makes `fileno` unreadable until the next change. Call it before the states are read.
    fn clear(&self) {
        self.shared.wake.clear();
        self.shared.is_woken.store(false, Ordering::Release);
    }

    /// Keeps the deadline of a stop: ends the process when one of `signals` was received and the stop cannot end.
    ///
    /// The process ends shortly before `timeout` seconds have passed if the interpreter is held, because nothing else can
    /// stop it then, and 5 s after them in any case. Before that, the PostgreSQL server on the directory `data` is
    /// stopped. `output` is a file descriptor that receives a last line of JSON. The exit code is 3 while a callback
    /// runs, otherwise 1, and 130 after a second signal.
    ///
    /// Call it after the handlers of the signals are installed; they stay.
    #[pyo3(signature = (timeout, signals, *, data = None, output = None))]
    fn end_after(
        &self,
        timeout: f64,
        signals: Vec<i32>,
        data: Option<PathBuf>,
        output: Option<i32>,
    ) -> PyResult<()> {
        let timeout = Duration::try_from_secs_f64(timeout).map_err(value_error)?;
        let signals = Signals::register(&signals)?;
        *self.shared.ending.lock() = Some(Ending::new(timeout.as_nanos() as Nanos, signals, data, output));
        Ok(())
    }

    /// Ends the probe of the interpreter, before the interpreter ends.
    ///
    /// After `end_after` and a signal, the deadline of the stop stays.
    fn close(&self, py: Python<'_>) {
        self.probe.close();
        let stopping = self.shared.ending.lock().as_ref().is_some_and(Ending::is_requested);
        if !stopping {
            self.shared.closed.store(true, Ordering::Release);
        }
        let threads = std::mem::take(&mut *self.threads.lock());
        py.detach(|| {
            for (index, thread) in threads.into_iter().enumerate() {
                thread.thread().unpark();
                if index == 0 || !stopping {
                    let _ = thread.join();
                }
            }
        });
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyWatch>()
}
