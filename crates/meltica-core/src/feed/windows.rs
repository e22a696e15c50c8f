//! The ids of messages, by which repeated ones are dropped.
//!
//! They are known beyond the end of a connection, as the venue repeats messages after a reconnect.
//!
//! The trades of the first history are dropped, as they are older than the subscription. They are not taken for
//! delivered: another connection that was subscribed before delivers those that it receives. A later history delivers the
//! trades that are newer than the first one and were not delivered.

use super::FeedStats;
use crate::codec::{IdMode, MessageInfo, SnapshotMode};
use crate::dedupe::{IdStatus, Opaque, Restarting};
use crate::event::{Nanos, VenueId};
use crate::names::SymbolId;
use std::collections::HashMap;

enum Ids {
    Monotonic {
        delivered: Restarting,
        /// The highest id that is older than the subscription.
        older: Option<u64>,
    },
    Opaque {
        delivered: Opaque,
        /// The ids that are older than the subscription, and the latest of their times.
        older: Opaque,
        time: Option<Nanos>,
    },
}

struct Window {
    ids: Ids,
    /// The connection of the first message, until it is lost or a message was delivered.
    first: Option<u32>,
    /// The connection of the first history.
    history: Option<u32>,
}

impl Window {
    fn new(mode: IdMode, first: Option<u32>) -> Self {
        let ids = match mode {
            IdMode::Monotonic => Ids::Monotonic { delivered: Restarting::default(), older: None },
            IdMode::Opaque => {
                Ids::Opaque { delivered: Opaque::default(), older: Opaque::default(), time: None }
            }
        };
        Self { ids, first, history: None }
    }

    /// Ends the first history with a message that is not of one: what is older than it is older than the subscription.
    #[cold]
    fn begin(&mut self, id: VenueId, at: Option<Nanos>) {
        self.first = None;
        match (&mut self.ids, id) {
            (Ids::Monotonic { older, .. }, VenueId::Number(id)) => *older = older.or(id.checked_sub(1)),
            (Ids::Opaque { time, .. }, _) => *time = time.or(at),
            (Ids::Monotonic { .. }, VenueId::Text(_)) => {}
        }
    }

    /// Returns whether a message of a history is older than the subscription, or was dropped as such. `since` is the time
    /// of the first subscription, if it was before the loss of a connection.
    #[cold]
    fn is_older(&mut self, connection: u32, id: VenueId, at: Option<Nanos>, since: Option<Nanos>) -> bool {
        let is_first = self.first == Some(connection);
        if is_first {
            self.history = Some(connection);
        }
        match (&mut self.ids, id) {
            (Ids::Monotonic { older, .. }, VenueId::Number(id)) => {
                let was_before = older.is_none() && at.zip(since).is_some_and(|(at, since)| at < since);
                if is_first || was_before {
                    *older = (*older).max(Some(id));
                }
                older.is_some_and(|older| id <= older)
            }
            (Ids::Monotonic { .. }, VenueId::Text(_)) => is_first,
            (Ids::Opaque { older, time, .. }, id) => {
                if is_first {
                    *time = (*time).max(at);
                }
                let is_before = at.zip((*time).or(since)).is_some_and(|(at, time)| at < time);
                if is_first || is_before {
                    older.check(id);
                }
                older.contains(id)
            }
        }
    }
}

/// What an id shows about its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// Whether the message is to be delivered.
    pub is_new: bool,
    /// Whether later messages were delivered before it.
    pub is_late: bool,
    /// Whether the venue's ids have restarted.
    pub has_restarted: bool,
}

/// The windows of ids, by message and symbol.
#[derive(Default)]
pub(super) struct Windows {
    symbols: HashMap<(u16, SymbolId), Window, foldhash::fast::RandomState>,
    /// When the first connection was opened.
    opened: Option<Nanos>,
    /// Whether a connection was lost since.
    was_lost: bool,
}

impl Windows {
    /// Looks up the id of a message about a symbol and adds it. Counts a message that is not new.
    #[inline]
    pub fn check(
        &mut self,
        stats: &FeedStats,
        info: &MessageInfo,
        (symbol, connection): (SymbolId, u32),
        id: Option<VenueId>,
        time: Option<Nanos>,
    ) -> Seen {
        let is_history = info.snapshot == Some(SnapshotMode::History);
        let Some((id, mode)) = id.zip(info.id_mode) else {
            // Nothing shows which trades of a snapshot were missed.
            stats.history.bump(u64::from(is_history));
            return Seen { is_new: !is_history, ..Seen::default() };
        };
        // The first history of a symbol after a reconnect is of a subscription that was there before.
        let first = (!self.was_lost).then_some(connection);
        let window = self.symbols.entry((info.window, symbol)).or_insert_with(|| Window::new(mode, first));
        if is_history {
            let since = self.opened.filter(|_| self.was_lost);
            if window.is_older(connection, id, time, since) {
                stats.history.bump(1);
                return Seen::default();
            }
        } else if window.first.is_some() {
            window.begin(id, time);
        }
        let is_of_history = !is_history && window.history == Some(connection);
        let (status, has_restarted) = match (&mut window.ids, id) {
            (Ids::Monotonic { delivered, older }, VenueId::Number(id)) => {
                if is_of_history && older.is_some_and(|older| id <= older) {
                    delivered.check_repeated(id, time)
                } else {
                    delivered.check(id, time, connection)
                }
            }
            (Ids::Opaque { older, .. }, id) if is_of_history && older.contains(id) => {
                (IdStatus::Duplicate, false)
            }
            (Ids::Opaque { delivered, .. }, id) => (delivered.check(id), false),
            // Declared ids are whole numbers that grow, so the window cannot contain a text.
            (Ids::Monotonic { .. }, VenueId::Text(_)) => (IdStatus::New, false),
        };
        if has_restarted {
            stats.id_restarts.bump(1);
            if let Ids::Monotonic { older, .. } = &mut window.ids {
                *older = None;
            }
        }
        match status {
            IdStatus::New => {
                stats.late.bump(u64::from(is_history));
                return Seen { is_new: true, is_late: is_history, has_restarted };
            }
            IdStatus::Duplicate => stats.duplicates.bump(1),
            IdStatus::Stale => stats.stale_ids.bump(1),
        }
        Seen { has_restarted, ..Seen::default() }
    }

    /// Notes that a connection was opened.
    pub fn open(&mut self, time: Nanos) {
        self.opened.get_or_insert(time);
    }

    /// Notes that a connection was lost, or all of them.
    pub fn lose(&mut self, connection: Option<u32>) {
        self.was_lost = true;
        for window in self.symbols.values_mut() {
            if connection.is_none() || window.first == connection {
                window.first = None;
            }
        }
    }

    /// Forgets all ids.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
