//! The events that lambdas emit: published at once live, at the end of a step in a replay.

use crate::barrier::Barrier;
use crate::errors::LambdaError;
use crate::locks::Lock;
use meltica_core::dispatch::{Dispatcher, NotDispatched, Origin, Publisher, StopFlag};
use meltica_core::event::{Extension, Kind, Nanos, Payload};
use meltica_core::names::ProviderId;
use pyo3::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The provider name of events that lambdas emit.
pub const LAMBDAS: &str = "meltica";

/// Most rounds of responses within one step of a replay.
const ROUNDS: usize = 1000;
/// Most extensions within one step of a replay.
const EMITTED: usize = 100_000;

/// An extension that is published at the end of the current step of a replay.
struct Emitted {
    origin: u64,
    extension: Extension,
    time: Nanos,
}

/// Publishes the extensions of all instances.
pub struct Extensions {
    /// Never waits for a reader, so a callback that emits waits for nothing but this lock.
    emitter: Lock<Publisher>,
    outbox: Lock<Outbox>,
}

/// What was emitted in the current step of a replay.
#[derive(Default)]
struct Outbox {
    emitted: Vec<Emitted>,
    bytes: usize,
}

impl Outbox {
    /// The most bytes of extensions that one step of a replay may emit.
    const MAX_BYTES: usize = 64 << 20;
}

impl Extensions {
    pub fn new(dispatcher: &Arc<Dispatcher>) -> Self {
        let publisher = Publisher::new(dispatcher, ProviderId::intern(LAMBDAS));
        let emitter = Lock::leaf(publisher.stopped_by(Arc::new(StopFlag::never_wait())));
        Self { emitter, outbox: Lock::leaf(Outbox::default()) }
    }

    /// Returns whether an instance subscribes to extensions.
    pub fn listened(&self) -> bool {
        self.emitter.lock().listened(Kind::Extension)
    }

    /// Publishes an extension now. Never waits for a reader: two hosts that emit to each other would wait for each
    /// other.
    pub fn emit(&self, py: Python<'_>, extension: Extension, time: Nanos) -> PyResult<()> {
        py.detach(|| self.publish(extension, time)).map_err(not_published)
    }

    /// Publishes an extension of instance `origin` at the end of the current step of a replay. Refuses one that exceeds
    /// what a step may emit.
    pub fn emit_later(&self, extension: Extension, origin: u64, time: Nanos) -> PyResult<()> {
        let mut outbox = self.outbox.lock();
        let (bytes, max) = (outbox.bytes + extension.cost(), Outbox::MAX_BYTES);
        if bytes > max {
            return Err(LambdaError::new_err(format!(
                "extension not published: the lambdas emitted more than {max} bytes within one step of the replay; \
                 emit less"
            )));
        }
        outbox.bytes = bytes;
        outbox.emitted.push(Emitted { origin, extension, time });
        Ok(())
    }

    fn publish(&self, extension: Extension, time: Nanos) -> Result<(), NotDispatched> {
        let mut publisher = self.emitter.lock();
        let Some((wanted, symbol)) = publisher.wanted_extension(extension.name()) else { return Ok(()) };
        let origin = Origin { kind: Kind::Extension, symbol, venue_time: None, received_time: time };
        let published = publisher.publish(wanted, origin, Payload::Extension(Box::new(extension)));
        publisher.flush();
        published.map(drop)
    }

    /// Ends a step of a replay: publishes the extensions emitted in it, in the order of their instances, and those
    /// that lambdas emit in response, until none is left. False when `stop` ended the wait for the hosts.
    ///
    /// Raises `LambdaError`, with the lambdas, after [`ROUNDS`] of responses or [`EMITTED`] extensions.
    pub fn settle(&self, barrier: &Barrier, stop: &StopFlag) -> PyResult<bool> {
        let (mut total, mut origins) = (0, BTreeSet::new());
        for _ in 0..ROUNDS {
            if !barrier.drain_until(stop) {
                return Ok(false);
            }
            let mut emitted = std::mem::take(&mut *self.outbox.lock()).emitted;
            if emitted.is_empty() {
                return Ok(true);
            }
            total += emitted.len();
            origins = emitted.iter().map(|e| e.origin).collect();
            if total > EMITTED {
                break;
            }
            emitted.sort_by_key(|e| e.origin);
            for Emitted { extension, time, .. } in emitted {
                // Once the hosts have handled everything, no queue is full.
                while let Err(full) = self.publish(extension.clone(), time) {
                    if full != NotDispatched::QueueFull {
                        return Err(not_published(full));
                    }
                    if !barrier.drain_until(stop) {
                        return Ok(false);
                    }
                }
            }
        }
        // Published by the next step otherwise.
        *self.outbox.lock() = Outbox::default();
        let names = barrier.lambdas(&origins).join(", ");
        Err(LambdaError::new_err(format!(
            "replay stopped: the lambdas {names} keep responding to each other, with {total} extensions within one \
             event; end the exchange in `on_extension`, for example after a number of responses"
        )))
    }
}

fn not_published(error: NotDispatched) -> PyErr {
    LambdaError::new_err(match error {
        NotDispatched::QueueFull => {
            "extension not published: a queue that blocks is full, and a callback must not \
            wait for it; emit less, or give the subscriber a larger queue or another policy"
                .into()
        }
        error => format!("extension not published: {error}"),
    })
}
