//! The dispatch of notices.
//!
//! A notice has no routes of its own. It goes to the queues of the market data that it concerns, and a queue that
//! receives a symbol has paid for the cells of its notices, so none of these queues misses the notice.

use super::super::part::{Entry, Target};
use super::super::step::Step;
use super::{NotDispatched, Origin, Publisher, wake_parked};
use crate::bus::Queue;
use crate::clock;
use crate::event::{Kind, Notice, Payload};
use crate::names::SymbolId;
use crate::pool::DepthClass;
use crate::sync::Arc;

impl Publisher {
    /// Publishes a notice to every queue that receives its symbol's market data, of any kind that the notice concerns.
    /// Returns its number, or `None` without such a queue and for the payload of another kind.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn publish_notice(
        &mut self,
        origin: Origin,
        mut payload: Payload,
    ) -> Result<Option<u64>, NotDispatched> {
        let Some(notice) = Notice::of(&payload) else { return Ok(None) };
        let entry = self.notice_entry(notice, origin.symbol);
        let readers = entry.targets.len();
        if readers == 0 {
            return Ok(None);
        }
        let ticks = clock::ticks();
        let header = self.header(Origin { kind: notice.kind(), ..origin }, self.dispatcher.version(), ticks);
        let mut step = Step {
            dispatcher: &self.dispatcher,
            entry: &entry,
            passed: &[],
            wakes: &mut self.wakes,
            displaced: &mut self.displaced,
            stop: &self.stop,
        };
        let seq = step.market(readers, header, &mut payload)?;
        self.last_ticks = ticks;
        wake_parked(&entry.targets, &mut self.wakes);
        Ok(Some(seq))
    }

    /// Builds the entry of a notice from the entries of the market data that it concerns.
    fn notice_entry(&mut self, notice: Notice, symbol: SymbolId) -> Entry {
        let kind = notice.kind();
        let mut queues = Vec::new();
        for of in notice.concerns() {
            let Some(entry) = self.concerned(notice, *of, symbol) else { continue };
            queues.extend(entry.targets.iter().map(|target| Arc::clone(&target.queue)));
        }
        queues.sort_unstable_by_key(Arc::as_ptr);
        queues.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let target = |queue: Arc<Queue>| Target {
            waker: Arc::clone(queue.waker()),
            cell: queue.notice_cell(notice, self.provider, symbol),
            filters: [].into(),
            queue,
        };
        let targets: Vec<_> = queues.into_iter().map(target).collect();
        Entry {
            symbol,
            depths: [0; DepthClass::COUNT],
            filtered: false,
            blocking: targets.iter().any(|target| target.queue.blocks(kind)),
            targets,
            sequence: self.routes.notice_sequence(kind, symbol),
        }
    }

    /// Returns the entry of a symbol's market data. A notice about a book can be the first event of its symbol; one
    /// about a feed concerns only symbols with events.
    fn concerned(&mut self, notice: Notice, kind: Kind, symbol: SymbolId) -> Option<&Entry> {
        // Another publisher of the provider may have added the symbol.
        self.refresh(kind, self.dispatcher.version());
        let place = match self.views[kind as usize].index.find(symbol) {
            None if notice != Notice::StaleFeed => self.wanted(kind, symbol)?.place,
            place => place?,
        };
        Some(self.views[kind as usize].index.entry(place))
    }
}
