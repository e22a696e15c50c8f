//! Runs a market's virtual clock beside the wall clock.

use crate::producer::PyProducer;
use meltica_core::clock as wall_clock;
use meltica_core::dispatch::NotDispatched;
use meltica_core::event::Nanos;
use meltica_core::venue::AccountId;
use meltica_core::venue::market::{Broadcast, Outlet, SimulatedVenue, Wire};
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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

impl State {
    /// Advances to `until`.
    pub fn advance(&mut self, until: Nanos, received: Option<Nanos>) -> Result<(), NotDispatched> {
        let Self { venue, output, .. } = self;
        match output {
            Output::Readers(broadcast, producer) => producer.get().with_feed(|feed| {
                let mut sink = broadcast.to(feed, received);
                venue.advance(until, &mut sink);
                sink.finish()
            }),
            Output::Frames(wire, _) => {
                venue.advance(until, wire);
                Ok(())
            }
        }
    }

    /// Advances towards the current virtual time for at most a few milliseconds of work.
    pub fn catch_up(&mut self) {
        if let Some(clock) = self.clock {
            // The run reports a stopped wait.
            let _stopped = self.advance(self.towards(clock.now()), Some(wall_clock::wall()));
        }
    }

    /// Returns `target`, or an earlier time after some thousand actions, so that a market that cannot keep its pace
    /// still handles requests and stops on request.
    fn towards(&self, target: Nanos) -> Nanos {
        const MOST: f64 = 20_000.0;
        target.min(self.venue.market().now().saturating_add((MOST / self.rate * 1e9) as Nanos))
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
                producer.get().with_feed(|feed| act(venue, &mut broadcast.to(feed, received)))
            }
            Output::Frames(wire, _) => act(venue, wire),
        }
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

/// Runs until the virtual time is `until` or the producer is stopped.
pub fn run(
    state: &Mutex<State>,
    producer: &PyProducer,
    waiting: &AtomicUsize,
    speed: Option<f64>,
    until: Nanos,
) -> PyResult<()> {
    /// Actions per step without a pace.
    const BATCH: f64 = 256.0;
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut state = lock();
        let from = state.venue.market().now();
        state.clock = speed.map(|speed| Clock::new(from, speed));
    }
    let mut checked = Instant::now();
    let result = loop {
        if producer.is_stopped() {
            break Ok(());
        }
        let mut state = lock();
        let target = match state.clock {
            Some(clock) => state.towards(clock.now()),
            None => state.next_due().saturating_add((BATCH / state.rate * 1e9) as Nanos),
        };
        let target = target.min(until);
        let received = state.clock.map(|_| wall_clock::wall());
        let stopped = state.advance(target, received).is_err();
        let nap = state.clock.map(|clock| state.nap(&clock, until));
        drop(state);
        if stopped || target >= until {
            break producer.raise_interrupt();
        }
        if let Some(nap) = nap.filter(|nap| !nap.is_zero()) {
            std::thread::sleep(nap);
        }
        while waiting.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        if checked.elapsed() > Duration::from_millis(100) {
            checked = Instant::now();
            if let Err(error) = Python::attach(|py| py.check_signals()) {
                break Err(error);
            }
        }
    };
    lock().clock = None;
    result
}
