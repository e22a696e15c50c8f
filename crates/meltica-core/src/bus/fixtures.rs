//! Queues for tests.

use super::{Policies, Queue, QueueOptions, Reader, Waker};
use crate::dispatch::{Dispatcher, Route, SubscriptionId};
use crate::sync::Arc;

/// The size of a queue of a test.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub capacity: usize,
    pub batch: usize,
    pub private_limit: usize,
}

impl Size {
    /// A queue that takes as many events as its reader, and as many private ones.
    pub fn of(capacity: usize) -> Self {
        Self { capacity, batch: capacity, private_limit: capacity }
    }
}

/// Returns the options of a queue for `routes`, as deep as the deepest of them.
pub(crate) fn options(policies: Policies, size: Size, routes: &[Route]) -> QueueOptions {
    let depth = routes.iter().map(|route| route.depth).max().unwrap_or_default();
    let Size { capacity, batch, private_limit } = size;
    QueueOptions { policies, capacity, batch, private_limit, depth }
}

/// Makes a queue for `routes` and subscribes it.
pub(crate) fn subscribed(
    dispatcher: &Arc<Dispatcher>,
    policies: Policies,
    size: Size,
    routes: Vec<Route>,
    waker: &Arc<Waker>,
) -> (Arc<Queue>, Reader, SubscriptionId) {
    let keys: Vec<_> = routes.iter().map(|route| route.key).collect();
    let options = options(policies, size, &routes);
    let (queue, reader) = dispatcher.queue(options, &keys, Arc::clone(waker)).unwrap();
    let (id, _) = Dispatcher::subscribe(dispatcher, &queue, routes);
    (queue, reader, id)
}
