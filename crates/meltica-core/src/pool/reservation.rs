//! The share of the pools that an instance reserves when it starts, priced in bytes.

use super::{Pool, Slot};
use crate::event::{Book, Event, PriceLevel};
use crate::sync::{Arc, Mutex, lock};

/// The two pools of a data plane and the limit of their reservations in bytes.
pub struct Pools {
    /// Events.
    pub events: Pool<Event>,
    /// Books, with room for their levels.
    pub books: Pool<Book>,
    max_bytes: usize,
    reserved: Mutex<Reserved>,
}

#[derive(Default)]
struct Reserved {
    events: usize,
    books: usize,
    bytes: usize,
}

/// The most that an instance holds at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claim {
    /// Events in its queue and in its current batch.
    pub events: usize,
    /// Books in its queue and in its current batch.
    pub books: usize,
    /// Levels per side of those books.
    pub depth: usize,
}

impl Claim {
    /// Returns the claim's price in bytes.
    pub fn bytes(&self) -> usize {
        let book = size_of::<Slot<Book>>() + 2 * self.depth * size_of::<PriceLevel>();
        self.events * size_of::<Slot<Event>>() + self.books * book
    }
}

/// A claim that exceeds what is left of the pools' limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "instance not started: it needs {wanted} bytes for {} events and {} books of depth {}, and {left} of the pools' \
     {max} bytes are left; lower its queue capacity or book depth, or raise the maximum",
    claim.events, claim.books, claim.depth
)]
pub struct NoCapacity {
    /// The refused claim.
    pub claim: Claim,
    /// Its price in bytes.
    pub wanted: usize,
    /// Bytes left.
    pub left: usize,
    /// The limit in bytes.
    pub max: usize,
}

/// A granted claim. Dropping it releases its share.
pub struct Reservation {
    pools: Arc<Pools>,
    claim: Claim,
}

impl Pools {
    /// Slots beyond all reservations, for events that producers are filling.
    const IN_FLIGHT: usize = if cfg!(loom) { 4 } else { 256 };
    /// Chunks of 1,024 events and of 64 books.
    const CHUNK_BITS: (u32, u32) = if cfg!(loom) { (2, 0) } else { (10, 6) };

    /// Returns pools with a limit of `max_bytes` for reservations.
    pub fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            events: Pool::new(Self::CHUNK_BITS.0, Event::default),
            books: Pool::new(Self::CHUNK_BITS.1, Book::default),
            max_bytes,
            reserved: Mutex::default(),
        })
    }

    /// Reserves an instance's claim and grows `pools` by it.
    ///
    /// # Errors
    /// [`NoCapacity`] if the claim exceeds the limit; nothing has changed then.
    pub fn reserve(pools: &Arc<Self>, claim: Claim) -> Result<Reservation, NoCapacity> {
        let mut reserved = lock(&pools.reserved);
        let (wanted, left) = (claim.bytes(), pools.max_bytes.saturating_sub(reserved.bytes));
        let refused = NoCapacity { claim, wanted, left, max: pools.max_bytes };
        if wanted > left {
            return Err(refused);
        }
        let events = reserved.events + claim.events + Self::IN_FLIGHT;
        let books = reserved.books + claim.books + Self::IN_FLIGHT / 4;
        if pools.events.grow_to(events) < events || pools.books.grow_to(books) < books {
            return Err(refused);
        }
        reserved.events += claim.events;
        reserved.books += claim.books;
        reserved.bytes += wanted;
        drop(reserved);
        Ok(Reservation { pools: Arc::clone(pools), claim })
    }

    /// Returns the reserved bytes.
    pub fn reserved_bytes(&self) -> usize {
        lock(&self.reserved).bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = lock(&self.pools.reserved);
        reserved.events -= self.claim.events;
        reserved.books -= self.claim.books;
        reserved.bytes -= self.claim.bytes();
    }
}
