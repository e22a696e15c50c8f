//! The threads that run callbacks.
//!
//! A host owns one thread that stays attached to the interpreter and detaches only to sleep or to read its queues. Each
//! batch is read while detached, merged by sequence if several queues feed the host, and delivered event by event: one
//! Python object per event, then the callback of every member.

mod commands;
mod context;
mod drains;
mod objects;
mod posted;
mod python;
mod seat;
mod share;
mod slowest;
mod thread;
mod timers;
mod trigger;

use crate::callback::{Callback, absorb_pending, raise_in_thread};
use crate::core::CoreShared;
use crate::errors::LambdaError;
use crate::exit;
use crate::instance::{InstanceShared, Plan, State};
use crate::locks::{Lock, Rank};
use context::Entered;
pub use context::new_context;
use meltica_core::bus::{Policies, Waker};
use meltica_core::clock;
use meltica_core::dispatch::RouteKey;
use meltica_core::event::{Event, Kind};
use pyo3::prelude::*;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Condvar, OnceLock, Weak, mpsc};
use std::time::Duration;

pub use python::PyHost;
use slowest::Slowest;
pub use slowest::{PySlowDelivery, Slow};
use thread::spawn;
use trigger::Begun;
pub use trigger::PyTrigger;

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

/// The callbacks of an instance and its limits. What each delivery reads comes first.
#[repr(C)]
pub struct Member {
    pub slow_ns: u64,
    /// What its context variables have, such as the context of `decimal`.
    pub context: Py<PyAny>,
    pub callbacks: [Option<Callback>; Kind::COUNT],
    pub on_start: Option<Py<PyAny>>,
    pub on_stop: Option<Py<PyAny>>,
    pub on_error: Option<Py<PyAny>>,
    pub max_errors: u64,
}

type Reply = mpsc::Sender<PyResult<()>>;

/// A request of another thread to a host.
pub enum Command {
    Start(Arc<InstanceShared>, Box<Plan>, Reply),
    Stop(Arc<InstanceShared>, mpsc::Sender<()>),
    End,
    /// Makes the thread panic.
    #[cfg(test)]
    Panic,
}

/// The part of a host that other threads use.
pub struct HostShared {
    pub shared_mode: bool,
    pub event_clock: bool,
    batch: usize,
    /// How long the thread waits for events before it sleeps.
    spin: Duration,
    core: Arc<CoreShared>,
    waker: Arc<Waker>,
    commands: Lock<VecDeque<Command>>,
    /// The instances added to this host that still exist.
    instances: Lock<Vec<Weak<InstanceShared>>>,
    pending_commands: AtomicBool,
    timers_changed: AtomicBool,
    /// Whether functions may wait to be called that were posted to instances.
    posted: AtomicBool,
    /// Every event up to this number that was routed here has been handled.
    done: AtomicU64,
    drain_to: AtomicU64,
    drained: (Lock<()>, Condvar),
    /// Why the thread has ended.
    ended: OnceLock<String>,
    ident: AtomicU64,
    /// Whether an exception was raised in the thread that may still be pending.
    interrupted: AtomicBool,
    /// Whether the callback that runs holds a `ChangeLock` or requests it.
    changing: AtomicBool,
    /// Whether an interrupt waits for the release of that lock.
    deferred: AtomicBool,
    /// Whether this is the child of a fork that a callback of this host made.
    forked: AtomicBool,
    /// Whether the interpreter ends without this host.
    abandoned: AtomicBool,
    /// Number of the instance whose callback runs, 0 between callbacks.
    current: AtomicU64,
    /// When that callback began, in ticks.
    started: AtomicU64,
    /// The event that the callback is about, null if none.
    event: AtomicPtr<Event>,
    /// When the round of deliveries began, in ticks.
    round: AtomicU64,
    /// The context of the instance that was called last. Only the host's thread uses it.
    entered: Entered,
    /// Number of the instance whose callback has blocked the thread for too long, as the watch found it; otherwise 0.
    blocked: AtomicU64,
    /// The kernel's number of the thread, 0 where there is none.
    thread: AtomicU32,
    slowest: Lock<Slowest>,
}

impl HostShared {
    pub fn new(
        core: Arc<CoreShared>,
        shared_mode: bool,
        event_clock: bool,
        batch: usize,
        spin: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared_mode,
            event_clock,
            batch,
            spin,
            core,
            waker: Arc::default(),
            commands: Lock::new(Rank::Commands, VecDeque::new()),
            instances: Lock::leaf(Vec::new()),
            pending_commands: AtomicBool::new(false),
            timers_changed: AtomicBool::new(false),
            posted: AtomicBool::new(false),
            done: AtomicU64::new(0),
            drain_to: AtomicU64::new(0),
            drained: (Lock::leaf(()), Condvar::new()),
            ended: OnceLock::new(),
            ident: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            changing: AtomicBool::new(false),
            deferred: AtomicBool::new(false),
            forked: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            current: AtomicU64::new(0),
            started: AtomicU64::new(0),
            event: AtomicPtr::default(),
            round: AtomicU64::new(0),
            entered: Entered::default(),
            blocked: AtomicU64::new(0),
            thread: AtomicU32::new(0),
            slowest: Lock::leaf(Slowest::default()),
        })
    }

    pub fn send(&self, command: Command) {
        let mut commands = self.commands.lock();
        if self.has_ended() {
            return;
        }
        commands.push_back(command);
        self.pending_commands.store(true, Ordering::Release);
        drop(commands);
        self.waker.wake();
    }

    /// Sends an instance and its plan to the thread; returns the receiver of what became of the start.
    pub fn start(&self, instance: &Arc<InstanceShared>) -> PyResult<mpsc::Receiver<PyResult<()>>> {
        let (sender, receiver) = mpsc::channel();
        let mut commands = self.commands.lock();
        // The state changes under the lock, so that a stop that sees it comes after the start.
        let Some(plan) = instance.take_plan(State::Starting) else {
            let (id, state) = (&instance.id, instance.state().name());
            let text = format!("instance {id} not started: it is {state}; an instance starts only once");
            return Err(LambdaError::new_err(text));
        };
        if let Some(reason) = self.ended.get() {
            drop(commands);
            instance.fail(reason);
            return Ok(receiver);
        }
        commands.push_back(Command::Start(Arc::clone(instance), Box::new(plan), sender));
        self.pending_commands.store(true, Ordering::Release);
        drop(commands);
        self.waker.wake();
        Ok(receiver)
    }

    /// Returns the instances that still exist.
    pub fn instances(&self) -> Vec<Arc<InstanceShared>> {
        self.instances.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Adds an instance, and forgets those that have ended.
    pub fn add(&self, instance: &Arc<InstanceShared>) {
        let ended = |state| matches!(state, State::Stopped | State::Failed);
        // Dropped after the lock is released: the last reference to an instance drops Python objects.
        let mut others = Vec::new();
        let mut instances = self.instances.lock();
        instances.retain(|other| {
            let other = other.upgrade();
            let stays = other.as_ref().is_some_and(|other| !ended(other.state()));
            others.extend(other);
            stays
        });
        instances.push(Arc::downgrade(instance));
        drop(instances);
    }

    /// Returns the largest number of events read from one lane at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    pub fn timers_changed(&self) {
        self.timers_changed.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub fn wake_for_posted(&self) {
        self.posted.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Raises `exception` in the callback of instance `number`, if that callback is running.
    ///
    /// An interrupt never reaches another callback: this method and the host's thread read and write `current` and
    /// `interrupted` only while attached to the interpreter and without detaching in between. So the exception is set
    /// while that callback runs, and [`Self::watched`] absorbs it when the callback has returned without raising it. The
    /// same holds for `changing` and `deferred`: an interrupt is never raised inside a change.
    pub fn interrupt(&self, py: Python<'_>, exception: &Bound<'_, PyAny>, number: u64) {
        if self.current.load(Ordering::Acquire) != number {
            return;
        }
        if self.changing.load(Ordering::Acquire) {
            self.deferred.store(true, Ordering::Release);
            return;
        }
        self.interrupted.store(true, Ordering::Release);
        raise_in_thread(py, self.ident.load(Ordering::Acquire), exception);
    }

    /// Defers interrupts until [`Self::end_change`]; returns whether one may be pending. Called by the host's thread.
    #[inline]
    pub fn begin_change(&self) -> bool {
        self.changing.store(true, Ordering::Release);
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Ends the change; returns whether an interrupt was deferred, which the caller raises.
    #[inline]
    pub fn end_change(&self) -> bool {
        self.changing.store(false, Ordering::Release);
        self.deferred.swap(false, Ordering::Relaxed)
    }

    /// Makes a call for instance `number` in its context, which has `begun`; other threads can watch and interrupt it.
    ///
    /// The caller checks the instance's state right before, without running Python code in between: a stop first
    /// changes the state, then interrupts the callback that runs.
    #[inline]
    pub fn watched<R>(
        &self,
        py: Python<'_>,
        (number, context): (u64, &Py<PyAny>),
        begun: Begun<'_>,
        call: impl FnOnce() -> R,
    ) -> R {
        self.entered.enter(py, context);
        self.started.store(begun.ticks, Ordering::Relaxed);
        self.event.store(begun.event(), Ordering::Relaxed);
        self.current.store(number, Ordering::Release);
        let result = call();
        self.current.store(0, Ordering::Release);
        if self.interrupted.load(Ordering::Relaxed) {
            self.absorb_interrupt(py);
        }
        result
    }

    /// Raises `exception` in the callback that runs, and lets no other one start.
    pub fn interrupt_any(&self, py: Python<'_>, exception: &Bound<'_, PyAny>) {
        for instance in self.instances() {
            instance.enter(State::Stopping);
        }
        let number = self.current.load(Ordering::Acquire);
        if number != 0 {
            self.interrupt(py, exception, number);
        }
    }

    /// Ends the process when the callback that runs returns. For a child that it has forked.
    pub fn end_with_callback(&self) {
        self.forked.store(true, Ordering::Relaxed);
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// Parks the thread when the callback that runs returns; false between callbacks. The caller ends the interpreter.
    ///
    /// The caller is attached, so the thread is in Python code of the callback: it cannot have left it unnoticed.
    pub fn abandon(&self, _py: Python<'_>) -> bool {
        let running = self.current.load(Ordering::Acquire) != 0;
        if running {
            self.abandoned.store(true, Ordering::Relaxed);
            self.interrupted.store(true, Ordering::Release);
        }
        running
    }

    #[cold]
    fn absorb_interrupt(&self, py: Python<'_>) {
        if self.forked.load(Ordering::Relaxed) {
            exit::end_child();
        }
        if self.abandoned.load(Ordering::Relaxed) {
            py.detach(|| drop(exit::Hang));
        }
        self.interrupted.store(false, Ordering::Relaxed);
        absorb_pending(py);
    }

    /// Returns how long the current callback of instance `number` has been running, 0 when none is.
    pub fn in_callback_ns(&self, number: u64) -> u64 {
        if self.current.load(Ordering::Acquire) != number {
            return 0;
        }
        clock::elapsed_ns(self.started.load(Ordering::Relaxed), clock::ticks())
    }

    /// Returns how many events were dispatched since the last one that the host has handled; 0 while it is idle, that is
    /// without a callback that runs and without events that wait.
    pub fn backlog(&self, waits: bool) -> u64 {
        if !waits && self.current.load(Ordering::Acquire) == 0 {
            return 0;
        }
        let done = self.done.load(Ordering::Acquire);
        self.core.dispatcher.watermark().saturating_sub(done)
    }

    /// Returns the id of the instance whose callback has blocked the thread for too long, as the watch found it.
    pub fn blocked(&self) -> Option<String> {
        self.find(self.blocked.load(Ordering::Acquire)).map(|instance| instance.id.clone())
    }

    /// Returns an instance by its number; 0 is not the number of one.
    fn find(&self, number: u64) -> Option<Arc<InstanceShared>> {
        if number == 0 {
            return None;
        }
        self.instances().into_iter().find(|instance| instance.number == number)
    }

    fn set_done(&self, seq: u64) {
        if seq > self.done.load(Ordering::Relaxed) {
            self.done.store(seq, Ordering::Release);
            // Pairs with the fence of `Waker::wake` in `wait_drained`: either this thread sees the wait, or the waiting
            // thread sees the number.
            fence(Ordering::SeqCst);
            if self.drain_to.load(Ordering::Acquire) != 0 {
                drop(self.drained.0.lock());
                self.drained.1.notify_all();
            }
        }
    }

    pub fn has_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Marks the thread as ended, releases all who wait for it and fails what it has not ended itself.
    fn end(&self, reason: String) {
        let mut commands = self.commands.lock();
        let reason = self.ended.get_or_init(|| reason);
        // A panic has left the callback that ran.
        self.current.store(0, Ordering::Release);
        let unanswered = std::mem::take(&mut *commands);
        drop(commands);
        for instance in self.instances() {
            instance.fail(reason);
        }
        self.core.ends.fetch_add(1, Ordering::Release);
        // Who waits for an answer is released when its sender is dropped, after the states have changed.
        drop(unanswered);
        drop(self.drained.0.lock());
        self.drained.1.notify_all();
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyHost>()?;
    trigger::register(module)?;
    slowest::register(module)
}
