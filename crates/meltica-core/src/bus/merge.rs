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
use std::collections::VecDeque;

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
    /// Events of this reader that are not handed out yet.
    held: usize,
    /// Every event of the queue up to this number was read.
    safe: u64,
    /// The time that the events handed out in this round have taken.
    spent_ns: u64,
}

struct Held {
    member: usize,
    seq: u64,
    item: Item,
}

/// The readers of one host.
pub struct Merge {
    rule: Rule,
    /// The most events taken from one lane at once.
    batch: usize,
    members: Vec<Member>,
    /// What may still be handed out in this round, by sequence.
    hand: VecDeque<Held>,
    /// What waits for the next round, by sequence.
    deferred: VecDeque<Held>,
    /// The smallest safe number.
    common: u64,
    /// The reader of the event handed out last.
    last: Option<usize>,
    last_ticks: u64,
    scratch: Vec<Item>,
}

impl Merge {
    /// The share of a reader in a round, beside other readers.
    const EVENTS: usize = 64;
    /// A reader whose events have taken longer waits for the next round.
    const SPENT_NS: u64 = 2_000_000;

    /// Returns a merge without readers. `batch` is the largest number of events taken from one lane at once.
    pub fn new(rule: Rule, batch: usize) -> Self {
        Self {
            rule,
            batch,
            members: Vec::new(),
            hand: VecDeque::new(),
            deferred: VecDeque::new(),
            common: 0,
            last: None,
            last_ticks: 0,
            scratch: Vec::new(),
        }
    }

    /// Adds a reader, which takes part from the next round on. Its index is the number of readers before.
    pub fn push(&mut self, reader: Reader) {
        self.members.push(Member { reader, held: 0, safe: 0, spent_ns: 0 });
    }

    /// Removes a reader and drops its events. The indexes above move down by one.
    pub fn remove(&mut self, index: usize) -> Reader {
        for events in [&mut self.hand, &mut self.deferred] {
            events.retain(|held| held.member != index);
            for held in events.iter_mut().filter(|held| held.member > index) {
                held.member -= 1;
            }
        }
        self.last = None;
        self.members.remove(index).reader
    }

    /// Returns whether a reader has events, taken or not.
    pub fn reader_has_work(&self, index: usize) -> bool {
        let member = &self.members[index];
        member.held > 0 || member.reader.has_work()
    }

    /// Returns whether a round would have events.
    pub fn has_work(&self) -> bool {
        (0..self.members.len()).any(|index| self.reader_has_work(index))
    }

    /// Starts a round: reads every reader that is not held. `watermark` is a reading of the dispatcher's watermark.
    pub fn read(&mut self, watermark: u64) {
        let alone = self.members.len() == 1;
        let max = if alone || self.rule == Rule::Common { self.batch } else { self.batch.min(Self::EVENTS) };
        self.hand.append(&mut self.deferred);
        let mut unsorted = !alone && !self.hand.is_empty();
        for (index, member) in self.members.iter_mut().enumerate() {
            member.spent_ns = 0;
            if member.held > 0 {
                continue;
            }
            member.safe = member.reader.read(watermark, max, &mut self.scratch);
            member.held = self.scratch.len();
            unsorted |= !alone && member.held > 0;
            let held = |item: Item| Held { member: index, seq: item.header().seq, item };
            self.hand.extend(self.scratch.drain(..).map(held));
        }
        if unsorted {
            self.hand.make_contiguous().sort_by_key(|held| held.seq);
        }
        self.common = self.members.iter().map(|member| member.safe).min().unwrap_or(watermark);
        self.last = None;
    }

    /// Hands out the next event of the round, with the index of its reader; `None` ends the round.
    ///
    /// The time since the last call, up to `ticks`, counts for the reader of the last event. The caller drops that event
    /// before the next round.
    #[inline]
    pub fn next(&mut self, ticks: u64) -> Option<(usize, Item)> {
        if let Some(last) = self.last {
            self.members[last].spent_ns += clock::elapsed_ns(self.last_ticks, ticks);
        }
        self.last_ticks = ticks;
        while let Some(held) = self.hand.front() {
            if self.rule == Rule::Common && held.seq > self.common {
                break;
            }
            let held = self.hand.pop_front()?;
            let member = &mut self.members[held.member];
            if self.rule == Rule::Own && member.spent_ns >= Self::SPENT_NS {
                self.deferred.push_back(held);
                continue;
            }
            member.held -= 1;
            self.last = Some(held.member);
            return Some((held.member, held.item));
        }
        self.last = None;
        None
    }
}
