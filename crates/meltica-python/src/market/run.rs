//! The market's clock beside the wall's.

use crate::producer::PyProducer;
use meltica_core::clock;
use meltica_core::dispatch::NotDispatched;
use meltica_core::event::Nanos;
use meltica_core::venue::AccountId;
use meltica_core::venue::market::{Broadcast, Live, Outlet, Wire};
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A market and all that tells of it.
pub struct State {
    pub live: Live,
    pub out: Out,
    /// By name, in the order they were given.
    pub accounts: Vec<(String, AccountId)>,
    /// Background actions of all instruments a virtual second.
    pub rate: f64,
    pub pace: Option<Pace>,
}

/// What it is told through.
pub enum Out {
    /// A producer's readers.
    Readers(Broadcast, Py<PyProducer>),
    /// Frames, and the channels' names.
    Frames(Wire, Vec<Py<PyString>>),
}

/// Virtual time out of wall time.
#[derive(Clone, Copy)]
pub struct Pace {
    started: Instant,
    from: Nanos,
    speed: f64,
}

impl Pace {
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

impl Pace {
    pub fn new(from: Nanos, speed: f64) -> Self {
        Self { started: Instant::now(), from, speed }
    }
}

impl State {
    /// Goes on to `until`.
    pub fn advance(&mut self, until: Nanos, received: Option<Nanos>) -> Result<(), NotDispatched> {
        let Self { live, out, .. } = self;
        match out {
            Out::Readers(broadcast, producer) => producer.get().with_feed(|feed| {
                let mut to = broadcast.to(feed, received);
                live.advance(until, &mut to);
                to.finish()
            }),
            Out::Frames(wire, _) => {
                live.advance(until, wire);
                Ok(())
            }
        }
    }

    /// Goes on to the present, or as far towards it as takes a few milliseconds.
    pub fn catch_up(&mut self) {
        if let Some(pace) = self.pace {
            // A stopped wait shows again, in the run.
            let _stopped = self.advance(self.towards(pace.now()), Some(clock::wall()));
        }
    }

    /// Returns `target`, or what comes before it after some thousand actions: a market that cannot keep pace still
    /// answers, and ends when it is told to.
    fn towards(&self, target: Nanos) -> Nanos {
        const MOST: f64 = 20_000.0;
        target.min(self.live.market().now().saturating_add((MOST / self.rate * 1e9) as Nanos))
    }

    /// Returns by how much wall time it is behind its pace.
    pub fn lag(&self) -> Duration {
        self.pace.map_or(Duration::ZERO, |pace| pace.since(self.live.market().now()))
    }

    /// Does something that is told, at the time that it is by now.
    pub fn tell<R>(&mut self, act: impl FnOnce(&mut Live, &mut dyn Outlet) -> R) -> R {
        self.catch_up();
        let received = self.pace.map(|_| clock::wall());
        let Self { live, out, .. } = self;
        match out {
            Out::Readers(broadcast, producer) => {
                producer.get().with_feed(|feed| act(live, &mut broadcast.to(feed, received)))
            }
            Out::Frames(wire, _) => act(live, wire),
        }
    }

    /// Returns when something is due.
    pub fn next_due(&self) -> Nanos {
        self.live.next_due(match &self.out {
            Out::Readers(broadcast, _) => broadcast.next_due(),
            Out::Frames(wire, _) => wire.next_due(),
        })
    }

    /// Returns how long nothing is due, at most a while.
    pub fn nap(&self, pace: &Pace, until: Nanos) -> Duration {
        const MOST: Duration = Duration::from_millis(50);
        pace.until(self.next_due().min(until)).min(MOST)
    }
}

/// Goes on until the virtual time is `until` or the producer is stopped.
pub fn run(
    state: &Mutex<State>,
    producer: &PyProducer,
    waiting: &AtomicUsize,
    speed: Option<f64>,
    until: Nanos,
) -> PyResult<()> {
    /// Actions done at once when nothing is waited for.
    const BATCH: f64 = 256.0;
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut state = lock();
        let from = state.live.market().now();
        state.pace = speed.map(|speed| Pace::new(from, speed));
    }
    let mut looked = Instant::now();
    let result = loop {
        if producer.is_stopped() {
            break Ok(());
        }
        let mut now = lock();
        let target = match now.pace {
            Some(pace) => now.towards(pace.now()),
            None => now.next_due().saturating_add((BATCH / now.rate * 1e9) as Nanos),
        };
        let target = target.min(until);
        let received = now.pace.map(|_| clock::wall());
        let stopped = now.advance(target, received).is_err();
        let nap = now.pace.map(|pace| now.nap(&pace, until));
        drop(now);
        if stopped || target >= until {
            break Ok(());
        }
        if let Some(nap) = nap.filter(|nap| !nap.is_zero()) {
            std::thread::sleep(nap);
        }
        while waiting.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        if looked.elapsed() > Duration::from_millis(100) {
            looked = Instant::now();
            if let Err(error) = Python::attach(|py| py.check_signals()) {
                break Err(error);
            }
        }
    };
    lock().pace = None;
    result
}
