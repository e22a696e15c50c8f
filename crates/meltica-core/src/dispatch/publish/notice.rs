//! The dispatch of notices.
//!
//! A notice has no routes of its own. It goes to the queues of the market data that it concerns, and a queue that
//! receives a symbol has paid for the cells of its notices, so none of these queues misses the notice.

use super::super::entry::{Entry, Target};
use super::super::step::Step;
use super::{NotDispatched, Origin, Publisher, Wanted, wake_parked};
use crate::bus::Queue;
use crate::clock;
use crate::event::{Kind, Notice, Payload, StaleReason};
use crate::names::SymbolId;
use crate::pool::DepthClass;
use crate::sync::{Arc, AtomicBool, Ordering};

impl Publisher {
    /// Publishes a notice to every queue that receives its symbol's market data, of any kind that the notice concerns.
    /// Returns its number, or `None` without such a queue and for the payload of another kind.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn publish_notice(&mut self, origin: Origin, payload: Payload) -> Result<Option<u64>, NotDispatched> {
        let Some(notice) = Notice::of(&payload) else { return Ok(None) };
        let queues = self.concerned_queues(notice, origin.symbol);
        self.send_notice(notice, queues, origin, payload)
    }

    /// Counts an event at the queues that leave its symbol out. To queues that have left it out before, a notice reports
    /// that they have missed events.
    #[cold]
    #[inline(never)]
    pub(super) fn report_left_out(
        &mut self,
        wanted: Wanted,
        origin: Origin,
        payload: Option<&Payload>,
    ) -> Result<(), NotDispatched> {
        let entry = self.entry(wanted);
        if !entry.late.is_empty() && !entry.is_reported.swap(true, Ordering::AcqRel) {
            let (queues, reason) = (entry.late.clone(), Payload::MarketStale(StaleReason::LeftOut));
            let sent = self.send_notice(Notice::StaleFeed, queues, origin, reason);
            if sent.is_err() {
                self.entry(wanted).is_reported.store(false, Ordering::Release);
            }
            sent?;
        }
        self.entry(wanted).count_left_out(origin.kind, payload);
        Ok(())
    }

    /// Publishes a notice to the queues, which receive its symbol.
    fn send_notice(
        &mut self,
        notice: Notice,
        queues: Vec<Arc<Queue>>,
        origin: Origin,
        mut payload: Payload,
    ) -> Result<Option<u64>, NotDispatched> {
        let entry = self.notice_entry(notice, origin.symbol, queues);
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
            fanout: self.routes.fanout(),
        };
        let seq = step.market(readers, header, &mut payload)?;
        self.last_ticks = ticks;
        wake_parked(&entry.targets, &mut self.wakes);
        Ok(Some(seq))
    }

    /// Returns the queues of the market data that a notice concerns.
    fn concerned_queues(&mut self, notice: Notice, symbol: SymbolId) -> Vec<Arc<Queue>> {
        let mut queues = Vec::new();
        for of in notice.concerns() {
            let Some(entry) = self.concerned(notice, *of, symbol) else { continue };
            queues.extend(entry.targets.iter().map(|target| Arc::clone(&target.queue)));
        }
        queues.sort_unstable_by_key(Arc::as_ptr);
        queues.dedup_by(|a, b| Arc::ptr_eq(a, b));
        queues
    }

    /// Builds the entry of a notice to `queues`.
    fn notice_entry(&self, notice: Notice, symbol: SymbolId, queues: Vec<Arc<Queue>>) -> Entry {
        let kind = notice.kind();
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
            left_out: Vec::new(),
            late: Vec::new(),
            is_reported: AtomicBool::new(false),
            is_whole: true,
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
