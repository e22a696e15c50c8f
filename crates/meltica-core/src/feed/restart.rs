//! Lost connections.

use super::Feed;
use super::books::SymbolBooks;
use super::events::BookEvents;
use crate::dispatch::NotDispatched;
use crate::event::{Kind, Nanos, Notice, StaleReason};
use crate::names::SymbolId;
use std::collections::{BTreeMap, BTreeSet};

impl Feed {
    /// Resets the feed after all connections were lost: every symbol with events since the last restart is stale until its
    /// next event, every book until its next snapshot. The venue repeats ids after a reconnect, so they stay known.
    ///
    /// # Errors
    /// As [`Self::frame`]. The notices that were not dispatched are published before the next event.
    pub fn restart(&mut self, received_time: Nanos) -> Result<u32, NotDispatched> {
        self.connections.clear();
        self.checks.lose(None);
        self.kept.forget(None, None);
        self.candles.forget(None, None);
        self.windows.lose(None);
        self.books.values_mut().chain(self.partials.values_mut()).for_each(SymbolBooks::reset);
        self.lose(received_time, |_| true);
        self.owed.publish(&mut self.publisher, &self.stats)
    }

    /// Resets one connection after it was lost: the symbols that no other connection delivers are stale. The good books of
    /// other connections are published in place of those of the lost one.
    ///
    /// # Errors
    /// As [`Self::restart`].
    pub fn restart_connection(
        &mut self,
        connection: u32,
        received_time: Nanos,
    ) -> Result<u32, NotDispatched> {
        let closed = self.connections.close(connection);
        if closed.is_last {
            return self.restart(received_time);
        }
        self.checks.lose(Some(connection));
        self.kept.forget(Some(connection), None);
        self.candles.forget(Some(connection), None);
        self.windows.lose(Some(connection));
        let (mut events, mut stale) = (0, BTreeSet::new());
        for (&symbol, books) in self.books.iter_mut().chain(&mut self.partials) {
            let (publisher, stats, owed) = (&mut self.publisher, &*self.stats, &mut self.owed);
            let mut to = BookEvents::new(publisher, stats, owed, symbol, None, received_time);
            to.unit = self.contracts.unit(symbol);
            match books.lose(connection, &mut to)? {
                Some(n) => events += n,
                None => drop(stale.insert(symbol)),
            }
        }
        let connections = std::mem::take(&mut self.connections);
        let lost = self.lose(received_time, |symbol| {
            let is_lost = |kind: &Kind| {
                *kind != Kind::BookSnapshot
                    && closed.delivered(*kind, symbol)
                    && !connections.delivers(*kind, symbol)
            };
            stale.contains(&symbol) || Notice::StaleFeed.concerns().iter().any(is_lost)
        });
        self.connections = connections;
        events += self.owed.publish(&mut self.publisher, &self.stats)?;
        // A notice concerns all market data of a symbol, but the connection of its book may be open.
        for symbol in lost {
            for books in [self.books.get_mut(&symbol), self.partials.get_mut(&symbol)].into_iter().flatten() {
                let (publisher, stats, owed) = (&mut self.publisher, &*self.stats, &mut self.owed);
                let mut to = BookEvents::new(publisher, stats, owed, symbol, None, received_time);
                to.unit = self.contracts.unit(symbol);
                events += books.repeat(&mut to)?;
            }
        }
        Ok(events)
    }

    /// Adds the notices of the symbols that are `lost` and have events since they were lost last. Returns these symbols.
    fn lose(&mut self, received_time: Nanos, lost: impl Fn(SymbolId) -> bool) -> Vec<SymbolId> {
        let mut published = BTreeMap::new();
        for kind in Notice::StaleFeed.concerns() {
            for (symbol, events) in self.publisher.published(*kind) {
                *published.entry(symbol).or_insert(0) += events;
            }
        }
        let mut stale = Vec::new();
        for (symbol, events) in published.into_iter().filter(|(symbol, _)| lost(*symbol)) {
            if self.published.insert(symbol, events).unwrap_or(0) != events {
                self.owed.add(&self.stats, symbol, StaleReason::Disconnected, (None, received_time));
                stale.push(symbol);
            }
        }
        stale
    }
}
