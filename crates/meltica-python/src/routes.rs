//! The routes of the queues, which end when the last instance that reads a queue leaves.

use crate::locks::Lock;
use meltica_core::bus::Queue;
use meltica_core::dispatch::{Change, Dispatcher, Route, RouteKey, SubscriptionId};
use meltica_core::names::SymbolId;
use meltica_core::pool::Claim;
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A route as Python sees it: provider, kind, symbol or None for every symbol.
pub type RouteTuple = (&'static str, &'static str, Option<&'static str>);

fn tuples(keys: &[RouteKey]) -> Vec<RouteTuple> {
    keys.iter().map(|key| (key.provider.name(), key.kind.name(), key.symbol.map(SymbolId::name))).collect()
}

/// The subscriptions of a data plane and the watcher of their changes.
pub struct Subscriptions {
    dispatcher: Arc<Dispatcher>,
    queues: Lock<BTreeMap<SubscriptionId, Arc<Queue>>>,
    /// Called with the subscription changes that providers have to make.
    watch: Lock<Option<Py<PyAny>>>,
}

impl Subscriptions {
    pub fn new(dispatcher: &Arc<Dispatcher>) -> Arc<Self> {
        let dispatcher = Arc::clone(dispatcher);
        Arc::new(Self { dispatcher, queues: Lock::leaf(BTreeMap::new()), watch: Lock::leaf(None) })
    }

    /// Returns the routes of the running instances.
    pub fn wanted(&self) -> Vec<RouteTuple> {
        tuples(&self.dispatcher.wanted())
    }

    /// Replaces the watcher.
    pub fn watch(&self, callback: Option<Py<PyAny>>) {
        // Dropped after the lock is released, because its destructor may run Python code.
        let former = std::mem::replace(&mut *self.watch.lock(), callback);
        drop(former);
    }

    /// Returns the bytes of the extensions that wait in all queues.
    pub fn extension_bytes(&self) -> u64 {
        self.queues.lock().values().map(|queue| queue.extension_bytes()).sum()
    }

    /// Closes every queue.
    pub fn close(&self) {
        for queue in self.queues.lock().values() {
            self.dispatcher.close(queue);
        }
    }

    /// Reports a change of the routing table to the watcher, if it changes what providers must subscribe to.
    fn report(&self, py: Python<'_>, change: &Change) {
        let Some(watch) = self.watch.lock().as_ref().map(|watch| watch.clone_ref(py)) else { return };
        if change.subscribe.is_empty() && change.unsubscribe.is_empty() {
            return;
        }
        let (subscribe, unsubscribe) = (tuples(&change.subscribe), tuples(&change.unsubscribe));
        if let Err(error) = watch.call1(py, (change.version, subscribe, unsubscribe)) {
            error.write_unraisable(py, Some(watch.bind(py)));
        }
    }
}

/// A queue's subscription. Each instance that reads the queue holds a reference; dropping the last one ends the
/// subscription and closes the queue.
pub struct Routes {
    all: Arc<Subscriptions>,
    queue: Arc<Queue>,
    id: SubscriptionId,
}

impl Routes {
    /// Routes events into `queue`.
    pub fn subscribe(
        py: Python<'_>,
        all: &Arc<Subscriptions>,
        queue: &Arc<Queue>,
        routes: Vec<Route>,
    ) -> Arc<Self> {
        // Detached: the entries of thousands of symbols take long, and so does the janitor, for which this may wait.
        let (id, change) = py.detach(|| Dispatcher::subscribe(&all.dispatcher, queue, routes));
        all.queues.lock().insert(id, Arc::clone(queue));
        let subscribed = Arc::new(Self { all: Arc::clone(all), queue: Arc::clone(queue), id });
        all.report(py, &change);
        subscribed
    }

    /// Returns the symbols for which the queue has no room, by kind: (provider, symbol).
    pub fn left_out(&self) -> BTreeMap<&'static str, Vec<(&'static str, &'static str)>> {
        let mut by_kind = BTreeMap::<_, Vec<_>>::new();
        for (provider, kind, symbol) in self.queue.left_out() {
            by_kind.entry(kind.name()).or_default().push((provider.name(), symbol.name()));
        }
        by_kind
    }

    /// Returns the number of symbols for which the queue has no room.
    pub fn left_out_symbols(&self) -> usize {
        self.queue.left_out().len()
    }

    /// Returns the number of events that wait in the queue, without those of conflated kinds.
    pub fn waiting(&self) -> u64 {
        self.queue.waiting()
    }

    /// Returns whether an event waits in the queue, of any kind.
    pub fn has_waiting(&self) -> bool {
        self.queue.has_waiting()
    }

    /// Returns whether the queue has left out symbols or lacks the room to admit them.
    pub fn lacks_room(&self) -> bool {
        self.queue.lacks_room()
    }

    /// Tries again to get room for the symbols that the queue has left out, on the janitor's thread.
    pub fn retry_growth(&self) {
        Dispatcher::retry_growth_later(&self.all.dispatcher, &self.queue);
    }

    /// Returns the bytes of the extensions that wait in the queue.
    pub fn extension_bytes(&self) -> u64 {
        self.queue.extension_bytes()
    }

    /// Returns the slots reserved for the queue and its reader.
    pub fn claim(&self) -> Claim {
        self.queue.claim()
    }

    /// Returns why the queue could not get more room, if it has left out symbols.
    pub fn refused(&self) -> Option<String> {
        self.queue.refused_growth().map(|refused| refused.to_string())
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        Python::attach(|py| {
            // Detached, as in `subscribe`.
            let change = py.detach(|| {
                let change = self.all.dispatcher.unsubscribe(self.id);
                self.all.dispatcher.close(&self.queue);
                change
            });
            self.all.queues.lock().remove(&self.id);
            self.all.report(py, &change);
        });
    }
}
