//! The merge: the readers of one host, whose events are handed out in sequence.
//!
//! A reader whose events were not all handed out is *held*: it is not read again, so no reader has more than one batch
//! outside its queue. Which events of the batches may be handed out is the [`Rule`]:
//! - [`Rule::Own`], live: all of them. Each reader returned its events up to its own safe number, so none of them waits
//!   for another reader. A reader that has used up its share of a round waits for the next round.
//! - [`Rule::Common`], in a replay: those up to the smallest safe number of all readers, so the numbers ascend over all
//!   readers. A held reader keeps its safe number, because its queue may have events above it.
//!
//! Both rules always make progress. Live, every held event may be handed out in the next round. In a replay, the events
//! of the reader with the smallest safe number are not above it.

use super::{Item, Reader};
use crate::clock;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Which events may be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Each reader's events up to its own safe number.
    Own,
    /// Every reader's events up to the smallest safe number.
    Common,
}

struct Member {
    reader: Reader,
    /// Events that are not handed out yet, the next one last.
    batch: Vec<Item>,
    /// Every event of the queue up to this number was read.
    safe: u64,
    /// The ticks that the events handed out in this round have taken.
    spent: u64,
}

impl Member {
    /// Returns the number of the next event, which may be handed out in this round.
    #[inline]
    fn next(&self, share: u64) -> Option<u64> {
        self.batch.last().filter(|_| self.spent < share).map(Item::seq)
    }
}

/// The readers of one host.
pub struct Merge {
    rule: Rule,
    /// The most events taken from one lane at once.
    batch: usize,
    /// A reader whose events have taken as many ticks waits for the next round.
    share: u64,
    members: Vec<Member>,
    /// The next event of each reader in the round, except for the current one: its number, and its reader.
    order: BinaryHeap<Reverse<(u64, usize)>>,
    /// Events above this number wait for the next round.
    limit: u64,
    /// The reader of the event handed out last.
    current: Option<usize>,
    /// When the last event was handed out.
    since: u64,
}

impl Merge {
    /// The share of a reader in a round, beside other readers.
    const EVENTS: usize = 64;
    const SHARE_NS: u64 = 2_000_000;

    /// Returns a merge without readers. `batch` is the largest number of events taken from one lane at once.
    pub fn new(rule: Rule, batch: usize) -> Self {
        Self {
            rule,
            batch,
            share: if rule == Rule::Own { clock::ticks_in(Self::SHARE_NS) } else { u64::MAX },
            members: Vec::new(),
            order: BinaryHeap::new(),
            limit: 0,
            current: None,
            since: 0,
        }
    }

    /// Adds a reader, which takes part from the next round on. Its index is the number of readers before.
    pub fn push(&mut self, reader: Reader) {
        self.members.push(Member { reader, batch: Vec::new(), safe: 0, spent: 0 });
    }

    /// Removes a reader, drops its events and ends the round. The indexes above move down by one.
    pub fn remove(&mut self, index: usize) -> Reader {
        self.order.clear();
        self.current = None;
        self.members.remove(index).reader
    }

    /// Returns the most calls, and the most ticks, that an instance may use in a round for what no event causes: the
    /// same as for events.
    pub fn share(&self) -> (usize, u64) {
        (if self.rule == Rule::Own { Self::EVENTS } else { usize::MAX }, self.share)
    }

    /// Leaves the time up to `ticks` out of the share of the event handed out last.
    #[inline]
    pub fn skip_time(&mut self, ticks: u64) {
        self.since = ticks;
    }

    /// Returns the number up to which every event was handed out; `watermark` without readers. Call it between rounds.
    pub fn handed_out(&self, watermark: u64) -> u64 {
        let upto = |member: &Member| member.batch.last().map_or(member.safe, |item| item.seq() - 1);
        self.members.iter().map(upto).min().unwrap_or(watermark)
    }

    /// Returns whether a reader has events, taken or not.
    pub fn reader_has_work(&self, index: usize) -> bool {
        let member = &self.members[index];
        !member.batch.is_empty() || member.reader.has_work()
    }

    /// Returns whether a round would have events.
    pub fn has_work(&self) -> bool {
        (0..self.members.len()).any(|index| self.reader_has_work(index))
    }

    /// Starts a round: reads every reader that is not held. `watermark` is a reading of the dispatcher's watermark.
    pub fn read(&mut self, watermark: u64) {
        let is_shared = self.rule == Rule::Own && self.members.len() > 1;
        let max = if is_shared { self.batch.min(Self::EVENTS) } else { self.batch };
        self.order.clear();
        for (index, member) in self.members.iter_mut().enumerate() {
            member.spent = 0;
            if member.batch.is_empty() {
                member.safe = member.reader.read(watermark, max, &mut member.batch);
                member.batch.reverse();
            }
            self.order.extend(member.next(self.share).map(|seq| Reverse((seq, index))));
        }
        let common = || self.members.iter().map(|member| member.safe).min().unwrap_or(watermark);
        self.limit = if self.rule == Rule::Common { common() } else { u64::MAX };
        self.current = None;
    }

    /// Hands out the next event of the round, with the index of its reader; `None` ends the round.
    ///
    /// The time since the last call, up to `ticks`, counts for the reader of the last event. The caller drops that event
    /// before the next round.
    #[inline]
    pub fn next(&mut self, ticks: u64) -> Option<(usize, Item)> {
        let (seq, index) = self.next_reader(ticks)?;
        if seq > self.limit {
            return None;
        }
        let item = self.members[index].batch.pop()?;
        (self.current, self.since) = (Some(index), ticks);
        Some((index, item))
    }

    /// Returns the reader of the next event and its number, taken out of the order.
    #[inline]
    fn next_reader(&mut self, ticks: u64) -> Option<(u64, usize)> {
        if let Some(index) = self.current.take() {
            let member = &mut self.members[index];
            member.spent += ticks.saturating_sub(self.since);
            if let Some(seq) = member.next(self.share) {
                let own = (seq, index);
                let first = self.order.peek_mut().filter(|first| first.0 < own);
                return Some(first.map_or(own, |mut first| std::mem::replace(&mut *first, Reverse(own)).0));
            }
        }
        self.order.pop().map(|first| first.0)
    }
}
