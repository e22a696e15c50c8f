//! The routes of a queue, which end when the last instance that reads it leaves.

use crate::core::CoreShared;
use meltica_core::bus::Queue;
use meltica_core::dispatch::{Route, SubscriptionId};
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A queue's subscription. Each instance that reads the queue holds a reference; dropping the last one ends the
/// subscription and closes the queue.
pub struct Routes {
    core: Arc<CoreShared>,
    queue: Arc<Queue>,
    subscription: SubscriptionId,
}

impl Routes {
    /// Routes events into `queue`.
    pub fn subscribe(
        py: Python<'_>,
        core: &Arc<CoreShared>,
        queue: &Arc<Queue>,
        routes: Vec<Route>,
    ) -> Arc<Self> {
        let (subscription, change) = core.dispatcher.subscribe(queue, routes);
        core.add_queue(subscription, queue);
        core.report_routes(py, &change);
        Arc::new(Self { core: Arc::clone(core), queue: Arc::clone(queue), subscription })
    }
}

impl Routes {
    /// Returns the symbols for which the queue has no room, by kind: (provider, symbol).
    pub fn left_out(&self) -> BTreeMap<&'static str, Vec<(&'static str, &'static str)>> {
        let mut by_kind = BTreeMap::<_, Vec<_>>::new();
        for (provider, kind, symbol) in self.queue.left_out() {
            by_kind.entry(kind.name()).or_default().push((provider.name(), symbol.name()));
        }
        by_kind
    }

    /// Returns why the queue could not get more room, if it has left out symbols.
    pub fn refused(&self) -> Option<String> {
        self.queue.refused_growth().map(|refused| refused.to_string())
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        let change = self.core.dispatcher.unsubscribe(self.subscription);
        self.core.dispatcher.close(&self.queue);
        self.core.remove_queue(self.subscription);
        Python::attach(|py| self.core.report_routes(py, &change));
    }
}
