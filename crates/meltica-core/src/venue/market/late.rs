//! Requests whose answer is lost on demand, and requests that the venue carries out later.

use super::orders::Request;
use crate::event::Nanos;
use crate::venue::AccountId;
use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;

/// A kind of request that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// A new order.
    Submit,
    /// A cancellation.
    Cancel,
    /// An amendment.
    Amend,
}

/// Requests of one kind whose answers are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LostAnswers {
    /// How many of the next requests.
    pub count: u32,
    /// The delay after which the venue carries them out; `None` if it never does.
    pub carried_out_after: Option<Nanos>,
}

/// A change that an account requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Submits an order: the index of the instrument, and the order.
    Submit(usize, Request),
    /// Cancels the order with this client order id.
    Cancel(String),
    /// Amends an order: client order id, price, quantity.
    Amend(String, Option<i64>, Option<i64>),
}

/// A request that arrived and is not carried out yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateRequest {
    /// The account that sent it.
    pub account: AccountId,
    /// The requested change.
    pub change: Change,
}

/// The lost answers to come, and the requests that are carried out later.
#[derive(Debug, Clone, Default)]
pub(super) struct Late {
    /// By kind.
    lost: [LostAnswers; 3],
    /// By due time, then number.
    requests: BTreeMap<(Nanos, u64), LateRequest>,
    count: u64,
}

impl Late {
    /// Maximum delay of a request: ten seconds. After that, a client may rely on it not being carried out.
    pub const MAX_DELAY: Nanos = 10_000_000_000;

    pub fn lose(&mut self, kind: RequestKind, lost: LostAnswers) {
        self.lost[kind as usize] = lost;
    }

    pub fn lost(&self, kind: RequestKind) -> LostAnswers {
        self.lost[kind as usize]
    }

    /// Returns whether the answer to a request is lost, and counts it.
    pub fn take(&mut self, kind: RequestKind) -> Option<LostAnswers> {
        let lost = &mut self.lost[kind as usize];
        lost.count = lost.count.checked_sub(1)?;
        Some(*lost)
    }

    pub fn put(&mut self, due: Nanos, request: LateRequest) {
        self.count += 1;
        self.requests.insert((due, self.count), request);
    }

    /// Returns when the next request is carried out.
    pub fn next_due(&self) -> Nanos {
        self.requests.first_key_value().map_or(Nanos::MAX, |((due, _), _)| *due)
    }

    /// Takes the next request that is due.
    pub fn due(&mut self, now: Nanos) -> Option<LateRequest> {
        self.requests.first_entry().filter(|first| first.key().0 <= now).map(OccupiedEntry::remove)
    }
}
