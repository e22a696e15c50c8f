//! What the messages of a snapshot do.

use super::Compiler;
use crate::codec::SnapshotMode;
use crate::codec::spec::{MessageSpec, Role};
use crate::event::Kind;

impl Compiler {
    /// Checks the snapshot mode of a message.
    pub(super) fn snapshot(&mut self, message: &MessageSpec, all: &[MessageSpec]) {
        let is_history = message.snapshot == Some(SnapshotMode::History);
        let expected = match (message.role, message.snapshot) {
            (Role::BookSnapshot, None) => Some(
                "joins for a requested snapshot, replaces for one of the stream, or window for one that no diffs \
                     follow",
            ),
            (Role::BookSnapshot, _) if is_history => Some("joins, replaces or window: a history is a Trade"),
            (Role::Event(Kind::Trade), Some(_)) if !is_history => {
                Some("history, or none, as the message is a Trade")
            }
            (Role::Event(Kind::Ticker), Some(mode)) if message.keep => {
                (mode != SnapshotMode::Replaces).then_some("replaces, or none, as the message is a Ticker")
            }
            (Role::BookSnapshot | Role::Event(Kind::Trade), _) | (_, None) => None,
            _ => Some("none, as the message is not a BookSnapshot"),
        };
        if message.keep && message.role != Role::Event(Kind::Ticker) {
            self.fault(&format!("{}.keep", message.name), "expected none, as the message is not a Ticker");
        }
        if let Some(expected) = expected {
            self.fault(&format!("{}.snapshot", message.name), format_args!("expected {expected}"));
        }
        if is_history && message.id.is_some() && new_trades(message, all).is_none() {
            self.fault(
                &format!("{}.id", message.name),
                "expected the same id as in the message of new trades",
            );
        }
    }
}

/// Returns the index of the message of the new trades that a history has.
fn new_trades(history: &MessageSpec, all: &[MessageSpec]) -> Option<usize> {
    all.iter()
        .position(|other| other.snapshot.is_none() && other.id == history.id && other.role == history.role)
}

/// Returns the index of the message whose ids a message repeats: that of the new trades for a history, else its own.
pub(super) fn window(all: &[MessageSpec], index: usize) -> u16 {
    let message = &all[index];
    let is_history = message.snapshot == Some(SnapshotMode::History);
    is_history.then(|| new_trades(message, all)).flatten().unwrap_or(index) as u16
}
