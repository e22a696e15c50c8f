//! The barrier: waits until every host has handled what was dispatched.

use crate::host::Slow;
use crate::locks::Lock;
use meltica_core::clock;
use meltica_core::dispatch::{Dispatcher, StopFlag};
use pyo3::prelude::*;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long a wait for the hosts lasts before it checks whether it was stopped.
const SLICE: Duration = Duration::from_millis(50);

/// A callback that runs.
pub struct Running {
    /// Id of its instance.
    pub lambda: String,
    /// How long it has been running.
    pub for_ns: u64,
    /// The kernel's number of its thread.
    pub thread: u32,
}

/// A host, as far as the data plane uses it.
pub trait Drains: Send + Sync {
    /// Waits until every event up to `seq` that was routed here has been handled; false at the deadline.
    fn wait_drained(&self, seq: u64, deadline: Instant) -> bool;

    /// Refuses calls from the host's own thread, which would wait for themselves forever.
    fn refuse_own_thread(&self, what: &str) -> PyResult<()>;

    /// Whether the host is on the events' clock.
    fn replays(&self) -> bool;

    /// Returns the callback that runs.
    fn running(&self) -> Option<Running>;

    /// Returns the id of an instance of the host by its number.
    fn lambda(&self, number: u64) -> Option<String>;

    /// Updates which callback has blocked the thread for more than `limit_ns`; returns whether that changed.
    fn check_blocked(&self, limit_ns: u64) -> bool;

    /// Whether the queue of an instance has no room for some symbols.
    fn lacks_room(&self) -> bool;

    /// Returns the slowest deliveries of the minute before `now`, in ticks.
    fn slowest(&self, now: u64) -> Vec<Slow>;
}

/// The hosts whose threads run. The barrier refers to hosts weakly: hosts own the data plane, not the reverse.
pub struct Barrier {
    dispatcher: Arc<Dispatcher>,
    hosts: Lock<Vec<Weak<dyn Drains>>>,
    /// How many of them are on the events' clock: each publish reads it.
    replaying: AtomicUsize,
}

impl Barrier {
    pub fn new(dispatcher: &Arc<Dispatcher>) -> Self {
        Self {
            dispatcher: Arc::clone(dispatcher),
            hosts: Lock::leaf(Vec::new()),
            replaying: AtomicUsize::new(0),
        }
    }

    /// Adds a host whose thread has started.
    pub fn enter(&self, host: &Arc<dyn Drains>) {
        self.hosts.lock().push(Arc::downgrade(host));
        self.replaying.fetch_add(usize::from(host.replays()), Ordering::AcqRel);
    }

    /// Removes a host whose thread ends.
    pub fn exit(&self, host: &Arc<dyn Drains>) {
        let host_itself = Arc::downgrade(host);
        self.hosts.lock().retain(|other| !Weak::ptr_eq(other, &host_itself));
        self.replaying.fetch_sub(usize::from(host.replays()), Ordering::AcqRel);
    }

    fn hosts(&self) -> Vec<Arc<dyn Drains>> {
        self.hosts.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns the number of hosts.
    pub fn len(&self) -> usize {
        self.hosts.lock().len()
    }

    /// Whether a host is on the events' clock.
    pub fn replays(&self) -> bool {
        self.replaying.load(Ordering::Acquire) > 0
    }

    /// Returns the callbacks that run.
    pub fn running(&self) -> Vec<Running> {
        self.hosts().iter().filter_map(|host| host.running()).collect()
    }

    /// Returns the ids of instances by their numbers, sorted.
    pub fn lambdas(&self, numbers: &BTreeSet<u64>) -> Vec<String> {
        let hosts = self.hosts();
        let id = |number: &u64| hosts.iter().find_map(|host| host.lambda(*number));
        let mut ids: Vec<_> = numbers.iter().filter_map(id).collect();
        ids.sort();
        ids
    }

    /// Updates which callbacks have blocked their threads for more than `limit_ns`; returns whether that changed.
    pub fn check_blocked(&self, limit_ns: u64) -> bool {
        self.hosts().iter().filter(|host| host.check_blocked(limit_ns)).count() > 0
    }

    /// Whether the queue of an instance has no room for some symbols.
    pub fn lacks_room(&self) -> bool {
        self.hosts().iter().any(|host| host.lacks_room())
    }

    /// Returns the slowest deliveries of each host within the last minute.
    pub fn slowest(&self) -> Vec<Slow> {
        let now = clock::ticks();
        self.hosts().iter().flat_map(|host| host.slowest(now)).collect()
    }

    /// Refuses calls on the thread of a host, which would wait for themselves forever.
    pub fn refuse_own_hosts(&self, what: &str) -> PyResult<()> {
        self.hosts().iter().try_for_each(|host| host.refuse_own_thread(what))
    }

    /// Returns the number of the event dispatched last. A wait in several steps is for one number, so it ends although
    /// further events are dispatched.
    pub fn dispatched(&self) -> u64 {
        self.dispatcher.watermark()
    }

    /// Waits until every host has handled the events up to `seq`; false when the deadline passed first.
    pub fn drain(&self, seq: u64, deadline: Instant) -> bool {
        self.hosts().iter().all(|host| host.wait_drained(seq, deadline))
    }

    /// Waits until every host has handled the events dispatched so far; false when `stop` ended the wait.
    pub fn drain_until(&self, stop: &StopFlag) -> bool {
        let seq = self.dispatched();
        while !self.drain(seq, Instant::now() + SLICE) {
            if stop.is_stopped() {
                return false;
            }
        }
        true
    }
}
