//! The counters of all providers.

use crate::locks::Lock;
use meltica_core::feed::FeedStats;
use meltica_core::names::ProviderId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The counters of the feeds by provider. They survive the restarts of their provider.
pub struct Feeds(Lock<BTreeMap<ProviderId, Arc<FeedStats>>>);

impl Feeds {
    pub fn new() -> Self {
        Self(Lock::leaf(BTreeMap::new()))
    }

    /// Returns a provider's counters.
    pub fn of(&self, provider: ProviderId) -> Arc<FeedStats> {
        let mut feeds = self.0.lock();
        Arc::clone(feeds.entry(provider).or_insert_with(|| Arc::new(FeedStats::new(provider))))
    }

    /// Returns the counters of all providers.
    pub fn all(&self) -> Vec<Arc<FeedStats>> {
        self.0.lock().values().cloned().collect()
    }
}
