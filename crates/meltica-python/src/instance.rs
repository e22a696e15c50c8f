//! One run of a lambda: the part that its host and Python share.

mod market;
mod python;

use crate::host::{HostShared, Member, Signature};
use market::MarketView;
use meltica_core::clock;
use meltica_core::dispatch::Route;
use meltica_core::event::{Event, Kind, Nanos};
use meltica_core::pool::Reservation;
use meltica_core::stats::{Counter, Histogram};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use python::PyInstance;

/// Locks a mutex, also one whose last holder panicked.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The life-cycle state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Created,
    Running,
    Stopping,
    Stopped,
    Failed,
    Stuck,
}

impl State {
    const ALL: [Self; 6] =
        [Self::Created, Self::Running, Self::Stopping, Self::Stopped, Self::Failed, Self::Stuck];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
        }
    }
}

/// A timer that the host has not yet taken over.
pub struct TimerRequest {
    pub period: Nanos,
    pub function: Py<PyAny>,
    pub cancelled: Arc<AtomicBool>,
}

/// Everything a host needs to start the instance.
pub struct Plan {
    pub member: Member,
    pub signature: Signature,
    pub routes: Vec<Route>,
    pub reservation: Reservation,
}

/// Counters of one instance; its host's thread is the only writer.
#[derive(Default)]
pub struct InstanceStats {
    pub delivered: [Counter; Kind::COUNT],
    pub errors: Counter,
    pub slow: Counter,
    /// Beats of timers that jumps of a recording's clock skipped.
    pub skipped_beats: Counter,
    pub emitted: Counter,
    pub latency: Histogram,
    pub callback: Histogram,
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
pub struct InstanceShared {
    pub number: u64,
    pub id: String,
    state: AtomicU8,
    pub host: Arc<HostShared>,
    pub plan: Mutex<Option<Plan>>,
    pub now: AtomicI64,
    pub delivered_at: AtomicI64,
    pub stats: InstanceStats,
    pub timers: Mutex<Vec<TimerRequest>>,
    pub last_error: Mutex<Option<String>>,
    view: MarketView,
}

impl InstanceShared {
    pub fn new(number: u64, id: String, host: Arc<HostShared>, keep: Keep) -> Self {
        Self {
            number,
            id,
            state: AtomicU8::new(State::Created as u8),
            host,
            plan: Mutex::default(),
            now: AtomicI64::new(0),
            delivered_at: AtomicI64::new(0),
            stats: InstanceStats::default(),
            timers: Mutex::default(),
            last_error: Mutex::default(),
            view: MarketView::new(keep),
        }
    }

    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Acquire))]
    }

    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Changes the state if it is `from`; otherwise changes nothing and returns false.
    pub fn change_state(&self, from: State, to: State) -> bool {
        self.state.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Updates the state behind `self.market` and `self.book`.
    #[inline]
    pub fn observe(&self, event: &Event) {
        self.view.observe(event);
    }

    /// Drops everything that holds pool slots or Python objects.
    pub fn clear(&self) {
        self.view.clear();
        lock(&self.timers).clear();
        lock(&self.plan).take();
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
