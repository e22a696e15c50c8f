//! One run of a lambda: the part that its host and Python share.

mod market;
mod posted;
mod python;
mod state;

use crate::host::{HostShared, Member, Signature};
use crate::locks::Lock;
use crate::routes::Routes;
use market::MarketView;
use meltica_core::bus::{Queue, Reader};
use meltica_core::clock;
use meltica_core::deliveries::Deliveries;
use meltica_core::dispatch::Route;
use meltica_core::event::{Event, Kind, Nanos};
use meltica_core::stats::Counter;
use posted::Posted;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

pub use posted::POSTED_LIMIT;
pub use python::PyInstance;
pub use state::State;
use state::StateCell;

/// A timer that the host has not yet taken over.
pub struct TimerRequest {
    pub period: Nanos,
    pub function: Py<PyAny>,
    pub cancelled: Arc<AtomicBool>,
}

/// The changes of an instance's timers that the host has not yet taken over.
#[derive(Default)]
pub struct TimerChanges {
    /// The number of requests so far, which numbers the timers.
    count: u64,
    requests: Vec<(u64, TimerRequest)>,
    cancelled: Vec<u64>,
}

impl TimerChanges {
    /// Adds a timer and returns its number.
    pub fn add(&mut self, request: TimerRequest) -> u64 {
        self.count += 1;
        self.requests.push((self.count, request));
        self.count
    }

    /// Cancels a timer.
    pub fn cancel(&mut self, id: u64) {
        self.cancelled.push(id);
    }

    /// Takes the requests and the cancelled timers, which may be among the requests.
    pub fn take(&mut self) -> (Vec<(u64, TimerRequest)>, Vec<u64>) {
        (std::mem::take(&mut self.requests), std::mem::take(&mut self.cancelled))
    }
}

/// Everything a host needs to start the instance.
pub struct Plan {
    pub member: Member,
    pub signature: Signature,
    pub routes: Vec<Route>,
    /// The queue and its reader, unless a queue of the host serves the instance too.
    pub queue: (Arc<Queue>, Reader),
}

/// Counters of one instance; its host's thread is the only writer.
#[derive(Default)]
#[repr(C)]
pub struct InstanceStats {
    pub delivered: [Counter; Kind::COUNT],
    pub deliveries: Deliveries,
    pub errors: Counter,
    pub slow: Counter,
    /// Beats of timers that jumps of a recording's clock skipped.
    pub skipped_beats: Counter,
    pub emitted: Counter,
    /// Functions that were posted and not called.
    pub discarded_posts: Counter,
    /// Losses of its queue, updated by the host.
    pub conflated: [AtomicU64; Kind::COUNT],
    pub dropped: [AtomicU64; Kind::COUNT],
}

/// What an instance keeps for `self.market` and `self.book`.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    pub market: bool,
    pub book: bool,
    /// Levels per side of a kept book.
    pub depth: u32,
}

/// The part of an instance that its host and Python share.
///
/// What each delivery touches comes first and lies together, in two or three pages of memory: a shared host delivers an
/// event to many instances in turn, and each page that the processor has to look up costs as much as a part of a call.
#[repr(C, align(64))]
pub struct InstanceShared {
    pub number: u64,
    state: StateCell,
    /// Whether `view` needs the events.
    observes: bool,
    pub now: AtomicI64,
    pub delivered_at: AtomicI64,
    pub stats: InstanceStats,
    pub id: String,
    pub host: Arc<HostShared>,
    /// What the start needs, until it is taken.
    plan: Lock<Option<Plan>>,
    /// The routes of its queue, while it runs.
    pub routes: Lock<Option<Arc<Routes>>>,
    pub timers: Lock<TimerChanges>,
    /// What is to be called between its callbacks.
    posted: Lock<Posted>,
    /// Whether a stop has waited for too long: no call may start any more, except for `on_stop`.
    overdue: AtomicBool,
    pub last_error: Lock<Option<String>>,
    view: MarketView,
}

impl InstanceShared {
    pub fn new(number: u64, id: String, host: Arc<HostShared>, keep: Keep, plan: Plan) -> Self {
        Self {
            number,
            state: StateCell::new(),
            observes: keep.market || keep.book,
            now: AtomicI64::new(0),
            delivered_at: AtomicI64::new(0),
            stats: InstanceStats::default(),
            id,
            host,
            plan: Lock::leaf(Some(plan)),
            routes: Lock::leaf(None),
            timers: Lock::leaf(TimerChanges::default()),
            posted: Lock::leaf(Posted::default()),
            overdue: AtomicBool::new(false),
            last_error: Lock::leaf(None),
            view: MarketView::new(keep),
        }
    }

    #[inline]
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// Changes the state to `to` if that is an allowed transition; otherwise changes nothing and returns false.
    pub fn enter(&self, to: State) -> bool {
        self.state.enter(to)
    }

    /// Takes the plan for a start, or for a stop before the start. The first change of the state decides.
    pub fn take_plan(&self, to: State) -> Option<Plan> {
        self.state.change(State::Created, to).then(|| self.plan.lock().take()).flatten()
    }

    /// Fails the instance because its host's thread failed.
    pub fn fail(&self, reason: &str) {
        if self.enter(State::Failed) {
            *self.last_error.lock() = Some(reason.to_owned());
            self.clear();
        }
    }

    /// Updates the state behind `self.market` and `self.book`.
    #[inline]
    pub fn observe(&self, event: &Event) {
        if self.observes {
            self.view.observe(event);
        }
    }

    /// Whether its queue has left out symbols or lacks the room to admit them.
    pub fn lacks_room(&self) -> bool {
        self.routes.lock().as_ref().is_some_and(|routes| routes.lacks_room())
    }

    /// Ends the instance's share of its queue's routes.
    pub fn leave(&self) {
        // Not under the lock, because the last share ends the routes.
        let routes = self.routes.lock().take();
        drop(routes);
    }

    /// Drops everything that holds routes, pool slots or Python objects.
    pub fn clear(&self) {
        self.leave();
        self.view.clear();
        // Not under the locks, because dropping a function may run Python code.
        let timers = self.timers.lock().take();
        drop(timers);
        self.discard_posted();
    }

    /// Whether a stop has waited for too long.
    pub fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Acquire)
    }

    /// Forbids further calls, except for `on_stop`, because a stop has waited for too long.
    pub fn forbid_calls(&self) {
        self.overdue.store(true, Ordering::Release);
        self.enter(State::Stopping);
    }

    /// The instance's clock: the wall clock live, the events' time in replay.
    pub fn now(&self) -> Nanos {
        if self.host.event_clock { self.now.load(Ordering::Relaxed) } else { clock::wall() }
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyInstance>()?;
    module.add_class::<market::PyMarketState>()?;
    module.add_class::<python::PyTimer>()
}
