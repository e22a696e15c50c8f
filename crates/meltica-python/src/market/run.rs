//! Runs a market's virtual clock beside the wall clock.

use super::records::FillRecord;
use crate::locks::{self, Lock, Rank};
use crate::producer::PyProducer;
use meltica_core::clock as wall_clock;
use meltica_core::dispatch::NotDispatched;
use meltica_core::event::Nanos;
use meltica_core::feed::Feed;
use meltica_core::venue::AccountId;
use meltica_core::venue::market::{Broadcast, Budget, Outlet, SimulatedVenue, Wire};
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a run or a request may hold the state, so that a market that cannot keep its pace still handles requests and
/// stops on request.
const HOLD: Duration = Duration::from_millis(2);

/// A simulated venue and the output of its events.
pub struct State {
    pub venue: SimulatedVenue,
    pub output: Output,
    /// Names and ids, in the order of the configuration.
    pub accounts: Vec<(String, AccountId)>,
    /// Background actions of all instruments per virtual second.
    pub rate: f64,
    pub clock: Option<Clock>,
}

/// Where the events go.
pub enum Output {
    /// The readers of a producer.
    Readers(Broadcast, Py<PyProducer>),
    /// Frames; the names of the channels.
    Frames(Wire, Vec<Py<PyString>>),
}

/// Converts wall time to virtual time.
#[derive(Clone, Copy)]
pub struct Clock {
    started: Instant,
    from: Nanos,
    speed: f64,
}

impl Clock {
    fn now(&self) -> Nanos {
        self.from.saturating_add((self.started.elapsed().as_nanos() as f64 * self.speed) as Nanos)
    }

    fn since(&self, time: Nanos) -> Duration {
        let behind = self.now().saturating_sub(time).max(0);
        Duration::from_nanos((behind as f64 / self.speed) as u64)
    }

    fn until(&self, time: Nanos) -> Duration {
        let ahead = time.saturating_sub(self.now()).max(0);
        Duration::from_nanos((ahead as f64 / self.speed) as u64)
    }
}

impl Clock {
    pub fn new(from: Nanos, speed: f64) -> Self {
        Self { started: Instant::now(), from, speed }
    }
}

/// Makes a step that publishes to the readers of a producer. Its time, up to the last dispatch, is counted like that of
/// a frame.
fn observed<R>(producer: &Py<PyProducer>, step: impl FnOnce(&mut Feed) -> R) -> R {
    producer.get().with_feed(|feed| {
        let (started, before) = (wall_clock::ticks(), feed.publisher().last_ticks());
        let result = step(feed);
        let last = feed.publisher().last_ticks();
        if last != before {
            feed.stats().decode.record(wall_clock::elapsed_ns(started, last));
        }
        result
    })
}

impl State {
    /// Advances to `until`. Returns false if the budget ended before.
    pub fn advance(
        &mut self,
        until: Nanos,
        received: Option<Nanos>,
        budget: Budget,
    ) -> Result<bool, NotDispatched> {
        let Self { venue, output, .. } = self;
        match output {
            Output::Readers(broadcast, producer) => observed(producer, |feed| {
                let mut sink = broadcast.to(feed, received);
                let reached = venue.advance_within(until, &mut sink, budget);
                sink.finish().map(|()| reached)
            }),
            Output::Frames(wire, _) => Ok(venue.advance_within(until, wire, budget)),
        }
    }

    /// Advances towards the current virtual time, for at most [`HOLD`].
    pub fn catch_up(&mut self) {
        if let Some(clock) = self.clock {
            // The run reports a stopped wait.
            let _stopped = self.advance(clock.now(), Some(wall_clock::wall()), Budget::within(HOLD));
        }
    }

    /// Returns the wall time by which the market is behind its pace.
    pub fn lag(&self) -> Duration {
        self.clock.map_or(Duration::ZERO, |clock| clock.since(self.venue.market().now()))
    }

    /// Executes a request at the current virtual time.
    pub fn execute<R>(&mut self, act: impl FnOnce(&mut SimulatedVenue, &mut dyn Outlet) -> R) -> R {
        self.catch_up();
        let received = self.clock.map(|_| wall_clock::wall());
        let Self { venue, output, .. } = self;
        match output {
            Output::Readers(broadcast, producer) => {
                observed(producer, |feed| act(venue, &mut broadcast.to(feed, received)))
            }
            Output::Frames(wire, _) => act(venue, wire),
        }
    }

    /// Publishes what is due now, for at most [`HOLD`]. Returns whether nothing is left.
    pub fn publish(&mut self) -> bool {
        let received = self.clock.map(|_| wall_clock::wall());
        let Self { venue, output, .. } = self;
        match output {
            Output::Readers(broadcast, producer) => observed(producer, |feed| {
                let mut sink = broadcast.to(feed, received);
                let all = venue.publish_within(&mut sink, Budget::within(HOLD));
                // The run reports a stopped wait.
                all || sink.finish().is_err()
            }),
            Output::Frames(wire, _) => venue.publish_within(wire, Budget::within(HOLD)),
        }
    }

    /// Returns fills of an account numbered above `after` and not before `time`, at most `limit`, and whether they are
    /// all. It reads for at most [`HOLD`]; `after` becomes the number of the last fill that it read.
    pub fn fills(
        &self,
        account: AccountId,
        after: &mut u64,
        time: Nanos,
        limit: usize,
    ) -> (Vec<FillRecord>, bool) {
        let (market, deadline) = (self.venue.market(), Instant::now() + HOLD);
        let mut records = Vec::new();
        for fill in market.fills_since(*after) {
            if records.len() == limit {
                break;
            }
            if Instant::now() >= deadline {
                return (records, false);
            }
            *after = fill.number;
            if fill.account == account && fill.time >= time {
                records.push(FillRecord::new(market, fill));
            }
        }
        (records, true)
    }

    /// Returns the next due time.
    pub fn next_due(&self) -> Nanos {
        self.venue.next_due(match &self.output {
            Output::Readers(broadcast, _) => broadcast.next_due(),
            Output::Frames(wire, _) => wire.next_due(),
        })
    }

    /// Returns the wall time until something is due, at most 50 ms.
    pub fn nap(&self, clock: &Clock, until: Nanos) -> Duration {
        const MOST: Duration = Duration::from_millis(50);
        clock.until(self.next_due().min(until)).min(MOST)
    }
}

/// A state, and what can be read without its lock: a run holds that most of the time.
pub struct Locked {
    state: Lock<State>,
    /// Number of threads that wait for the state. A run lets them go first.
    waiting: AtomicUsize,
    now: AtomicI64,
    connected: AtomicBool,
    cuts: AtomicU64,
}

/// Exclusive use of a state. Its end publishes the counters.
pub struct Guard<'a> {
    state: locks::Guard<'a, State>,
    locked: &'a Locked,
}

impl Deref for Guard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.locked.publish(&self.state.venue);
    }
}

impl Locked {
    pub fn new(state: State) -> Self {
        let locked = Self {
            waiting: AtomicUsize::new(0),
            now: AtomicI64::new(0),
            connected: AtomicBool::new(true),
            cuts: AtomicU64::new(0),
            state: Lock::new(Rank::Simulator, state),
        };
        drop(locked.lock());
        locked
    }

    /// Waits for the state, before a run that would take it again.
    pub fn lock(&self) -> Guard<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let guard = self.guard(self.state.lock());
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    /// Waits for the state detached from the interpreter, and attaches again.
    pub fn lock_attached(&self, py: Python<'_>) -> Guard<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let guard = self.guard(self.state.lock_attached(py));
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    fn guard<'a>(&'a self, state: locks::Guard<'a, State>) -> Guard<'a> {
        Guard { state, locked: self }
    }

    fn publish(&self, venue: &SimulatedVenue) {
        self.now.store(venue.market().now(), Ordering::Release);
        self.connected.store(venue.is_connected(), Ordering::Release);
        self.cuts.store(venue.cuts(), Ordering::Release);
    }

    /// Returns the virtual time, as of the last use of the state.
    pub fn now(&self) -> Nanos {
        self.now.load(Ordering::Acquire)
    }

    /// Returns whether clients are connected.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// Returns the number of disconnects.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }
}

/// Runs until the virtual time is `until` or the producer is stopped.
pub fn run(locked: &Locked, producer: &PyProducer, speed: Option<f64>, until: Nanos) -> PyResult<()> {
    /// Actions per step without a pace.
    const BATCH: f64 = 256.0;
    {
        let mut state = locked.lock();
        let from = state.venue.market().now();
        state.clock = speed.map(|speed| Clock::new(from, speed));
    }
    let mut checked = Instant::now();
    let result = loop {
        if producer.is_stopped() {
            break Ok(());
        }
        // Not `lock`: threads that wait go first.
        let mut state = locked.guard(locked.state.lock());
        let target = match state.clock {
            Some(clock) => clock.now(),
            None => state.next_due().saturating_add((BATCH / state.rate * 1e9) as Nanos),
        };
        let target = target.min(until);
        let received = state.clock.map(|_| wall_clock::wall());
        let advanced = state.advance(target, received, Budget::within(HOLD));
        let nap = state.clock.map(|clock| state.nap(&clock, until));
        drop(state);
        // An error: the wait for a reader was stopped.
        if advanced.is_err() || (advanced == Ok(true) && target >= until) {
            break producer.raise_interrupt();
        }
        if let Some(nap) = nap.filter(|nap| !nap.is_zero()) {
            std::thread::sleep(nap);
        }
        while locked.waiting.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        if checked.elapsed() > Duration::from_millis(100) {
            checked = Instant::now();
            if let Err(error) = Python::attach(|py| py.check_signals()) {
                break Err(error);
            }
        }
    };
    locked.lock().clock = None;
    result
}
