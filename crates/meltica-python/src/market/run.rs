//! The market's clock beside the wall's.

use crate::producer::PyProducer;
use meltica_core::clock;
use meltica_core::dispatch::NotDispatched;
use meltica_core::event::Nanos;
use meltica_core::venue::AccountId;
use meltica_core::venue::market::{Broadcast, Broadcasting, Market};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A market and all that tells of it.
pub struct State {
    pub market: Market,
    pub broadcast: Broadcast,
    pub account: AccountId,
    /// How often all balances are told again; 0 is never.
    pub balance_interval: Nanos,
    pub next_balances: Nanos,
    /// Background actions of all instruments a virtual second.
    pub rate: f64,
    pub pace: Option<Pace>,
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

    fn until(&self, time: Nanos) -> Duration {
        let ahead = time.saturating_sub(self.now()).max(0);
        Duration::from_nanos((ahead as f64 / self.speed) as u64)
    }
}

impl State {
    /// Goes on to `until`, and tells all balances on the way when it is time.
    pub fn advance(
        &mut self,
        producer: &PyProducer,
        until: Nanos,
        received: Option<Nanos>,
    ) -> Result<(), NotDispatched> {
        let Self { market, broadcast, balance_interval, next_balances, .. } = self;
        producer.with_feed(|feed| {
            let mut to = broadcast.to(feed, received);
            while *balance_interval > 0 && *next_balances <= until {
                market.advance(*next_balances, &mut to);
                to.balances(market);
                *next_balances += *balance_interval;
            }
            market.advance(until, &mut to);
            to.finish()
        })
    }

    /// Does something that is told, at the time that it is by now.
    pub fn tell<R>(
        &mut self,
        producer: &PyProducer,
        act: impl FnOnce(&mut Market, &mut Broadcasting<'_>) -> R,
    ) -> R {
        let received = self.pace.map(|_| clock::wall());
        if let Some(pace) = self.pace {
            // A stopped wait shows again, in the run.
            let _stopped = self.advance(producer, pace.now(), received);
        }
        let Self { market, broadcast, .. } = self;
        producer.with_feed(|feed| act(market, &mut broadcast.to(feed, received)))
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
    const NAP: Duration = Duration::from_millis(50);
    /// Actions done at once when nothing is waited for.
    const BATCH: f64 = 256.0;
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut state = lock();
        let from = state.market.now();
        state.pace = speed.map(|speed| Pace { started: Instant::now(), from, speed });
    }
    let mut looked = Instant::now();
    let result = loop {
        if producer.is_stopped() {
            break Ok(());
        }
        let mut now = lock();
        let target = match now.pace {
            Some(pace) => pace.now(),
            None => now.market.next_due().saturating_add((BATCH / now.rate * 1e9) as Nanos),
        };
        let target = target.min(until);
        let received = now.pace.map(|_| clock::wall());
        let stopped = now.advance(producer, target, received).is_err();
        let nap = now.pace.map(|pace| pace.until(now.market.next_due().min(until)).min(NAP));
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
