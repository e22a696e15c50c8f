//! The connections of a feed, and which market data each of them delivers.

use super::numbers::{Arrival, Numbers};
use crate::event::{Kind, Notice};
use crate::names::SymbolId;

/// One connection.
struct Connection {
    number: u32,
    /// The kinds and symbols received since it was opened, as bits.
    received: Vec<u64>,
    numbers: Numbers,
}

/// The open connections.
#[derive(Default)]
pub(super) struct Connections {
    open: Vec<Connection>,
    /// The position of the connection of the current frame.
    current: usize,
}

/// Bits per symbol. Each kind that a lost connection concerns has one.
const KINDS: usize = 4;

#[inline]
fn bit(kind: Kind, symbol: SymbolId) -> Option<(usize, u64)> {
    let kind = Notice::StaleFeed.concerns().iter().position(|other| *other == kind)?;
    let at = symbol.index() * KINDS + kind;
    Some((at / 64, 1 << (at % 64)))
}

impl Connections {
    /// Selects the connection of the next messages. Returns whether it was opened with them.
    #[inline]
    pub fn select(&mut self, number: u32) -> bool {
        self.open.get(self.current).is_none_or(|connection| connection.number != number) && self.find(number)
    }

    #[cold]
    fn find(&mut self, number: u32) -> bool {
        let found = self.open.iter().position(|other| other.number == number);
        self.current = found.unwrap_or_else(|| {
            self.open.push(Connection { number, received: Vec::new(), numbers: Numbers::default() });
            self.open.len() - 1
        });
        found.is_none()
    }

    /// Notes market data of the current connection.
    #[inline]
    pub fn note(&mut self, kind: Kind, symbol: SymbolId) {
        let Some((word, bit)) = bit(kind, symbol) else { return };
        let Some(connection) = self.open.get_mut(self.current) else { return };
        if connection.received.len() <= word {
            connection.received.resize(word + 1, 0);
        }
        connection.received[word] |= bit;
    }

    /// Adds a frame of the current connection that has a number.
    #[inline]
    pub fn add(&mut self, number: u64, frame: &[u8]) -> Arrival {
        self.open
            .get_mut(self.current)
            .map_or(Arrival::Next, |connection| connection.numbers.add(number, frame))
    }

    /// Returns whether frames of the connection were received since it was lost.
    pub fn is_open(&self, number: u32) -> bool {
        self.open.iter().any(|connection| connection.number == number)
    }

    /// Closes every connection.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// Closes a connection. Returns whether it was the only one.
    pub fn close(&mut self, number: u32) -> Closed {
        let (lost, others) = std::mem::take(&mut self.open).into_iter().partition(|c| c.number == number);
        self.open = others;
        Closed { lost, is_last: self.open.is_empty() }
    }

    /// Returns whether an open connection has delivered a kind of market data about a symbol.
    pub fn delivers(&self, kind: Kind, symbol: SymbolId) -> bool {
        self.open.iter().any(|connection| connection.has(kind, symbol))
    }
}

impl Connection {
    fn has(&self, kind: Kind, symbol: SymbolId) -> bool {
        bit(kind, symbol)
            .is_some_and(|(word, bit)| self.received.get(word).is_some_and(|received| received & bit != 0))
    }
}

/// A connection that was closed.
pub(super) struct Closed {
    lost: Vec<Connection>,
    /// Whether no other connection is open.
    pub is_last: bool,
}

impl Closed {
    /// Returns whether the connection has delivered a kind of market data about a symbol.
    pub fn delivered(&self, kind: Kind, symbol: SymbolId) -> bool {
        self.lost.iter().any(|connection| connection.has(kind, symbol))
    }
}
