//! The ids of messages, by which repeated ones are dropped.
//!
//! They are known beyond the end of a connection, as the venue repeats messages after a reconnect.

use super::FeedStats;
use crate::codec::{IdMode, MessageInfo, SnapshotMode};
use crate::dedupe::{IdStatus, Opaque, Restarting};
use crate::event::{Nanos, VenueId};
use crate::names::SymbolId;
use std::collections::HashMap;

enum Ids {
    Monotonic(Restarting),
    Opaque(Opaque),
}

struct Window {
    ids: Ids,
    /// The connection of the first message, until it is lost.
    first: Option<u32>,
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
pub(super) struct Windows(HashMap<(u16, SymbolId), Window, foldhash::fast::RandomState>);

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
        let window = self.0.entry((info.window, symbol)).or_insert_with(|| {
            let ids = match mode {
                IdMode::Monotonic => Ids::Monotonic(Restarting::default()),
                IdMode::Opaque => Ids::Opaque(Opaque::default()),
            };
            Window { ids, first: Some(connection) }
        });
        let (status, has_restarted) = match (&mut window.ids, id) {
            (Ids::Monotonic(ids), VenueId::Number(id)) => ids.check(id, time),
            (Ids::Opaque(ids), id) => (ids.check(id), false),
            // Declared ids are whole numbers that grow, so the window cannot contain a text.
            (Ids::Monotonic(_), VenueId::Text(_)) => (IdStatus::New, false),
        };
        stats.id_restarts.bump(u64::from(has_restarted));
        match status {
            IdStatus::New if is_history && window.first == Some(connection) => stats.history.bump(1),
            IdStatus::New => {
                stats.late.bump(u64::from(is_history));
                return Seen { is_new: true, is_late: is_history, has_restarted };
            }
            IdStatus::Duplicate => stats.duplicates.bump(1),
            IdStatus::Stale => stats.stale_ids.bump(1),
        }
        Seen { has_restarted, ..Seen::default() }
    }

    /// Notes that a connection was lost, or all of them.
    pub fn lose(&mut self, connection: Option<u32>) {
        for window in self.0.values_mut() {
            if connection.is_none() || window.first == connection {
                window.first = None;
            }
        }
    }

    /// Forgets all ids.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
