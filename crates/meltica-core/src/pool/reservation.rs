//! The shares of the pools that queues and publishers reserve, priced in bytes.
//!
//! Every slot in use belongs to a claim, so no queue can consume the capacity of another one:
//! - a queue claims the slots that it and its reader can hold;
//! - a publisher holds one event and one book per depth class while it publishes, and one displaced event, with its
//!   book, per queue.

use super::{Pool, Slot};
use crate::event::{Book, Event, PriceLevel};
use crate::sync::{Arc, Mutex, lock};
use std::ops::{Add, AddAssign, Mul, SubAssign};

/// A size of book slots. A queue holds books of one class, the smallest that has its depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DepthClass(u8);

impl DepthClass {
    /// The number of classes.
    pub const COUNT: usize = 5;
    const LEVELS: [usize; Self::COUNT] = [8, 32, 128, 1024, 5000];
    /// Chunks of 0.3 to 0.7 MB.
    const CHUNK_BITS: [u32; Self::COUNT] = if cfg!(loom) { [0; Self::COUNT] } else { [10, 8, 6, 4, 2] };

    /// Every class, from the smallest.
    pub const ALL: [Self; Self::COUNT] = [Self(0), Self(1), Self(2), Self(3), Self(4)];

    /// Returns the smallest class for books of `depth` levels per side; the largest for a greater depth.
    pub const fn of(depth: u32) -> Self {
        let mut class = 0;
        while class + 1 < Self::COUNT && Self::LEVELS[class] < depth as usize {
            class += 1;
        }
        Self(class as u8)
    }

    /// Returns the levels per side of the class.
    pub const fn levels(self) -> usize {
        Self::LEVELS[self.index()]
    }

    /// Returns the class as an index, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the size of a slot in bytes.
    pub const fn slot_bytes(self) -> usize {
        size_of::<Slot<Book>>() + 2 * self.levels() * size_of::<PriceLevel>()
    }
}

/// A number of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claim {
    /// Event slots.
    pub events: usize,
    /// Book slots by [`DepthClass`].
    pub books: [usize; DepthClass::COUNT],
    /// Bytes of extensions, which are on the heap.
    pub extension_bytes: usize,
}

impl Claim {
    /// Returns a claim of events and of books of one class.
    pub fn new(events: usize, class: DepthClass, books: usize) -> Self {
        let mut claim = Self { events, ..Self::default() };
        claim.books[class.index()] = books;
        claim
    }

    /// Returns the price in bytes.
    pub fn bytes(&self) -> usize {
        let books = DepthClass::ALL.into_iter().map(|class| self.books[class.index()] * class.slot_bytes());
        self.events * size_of::<Slot<Event>>() + books.sum::<usize>() + self.extension_bytes
    }
}

impl AddAssign for Claim {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.extension_bytes += other.extension_bytes;
        for (mine, others) in self.books.iter_mut().zip(other.books) {
            *mine += others;
        }
    }
}

impl Add for Claim {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl Mul<usize> for Claim {
    type Output = Self;
    fn mul(self, times: usize) -> Self {
        Self {
            events: self.events * times,
            books: self.books.map(|books| books * times),
            extension_bytes: self.extension_bytes * times,
        }
    }
}

impl SubAssign for Claim {
    fn sub_assign(&mut self, other: Self) {
        self.events -= other.events;
        self.extension_bytes -= other.extension_bytes;
        for (mine, others) in self.books.iter_mut().zip(other.books) {
            *mine -= others;
        }
    }
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} events", self.events)?;
        for class in DepthClass::ALL {
            let books = self.books[class.index()];
            if books > 0 {
                write!(f, ", {books} books of {} levels", class.levels())?;
            }
        }
        if self.extension_bytes > 0 {
            write!(f, ", {} bytes of extensions", self.extension_bytes)?;
        }
        Ok(())
    }
}

/// A claim that exceeds what is left of the pools' limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "slots not reserved: {claim} need {wanted} bytes, and {left} of the pools' {max} bytes are left; lower the queue \
     capacity, the book depth or the number of symbols, or raise the maximum"
)]
pub struct NoCapacity {
    /// The refused claim.
    pub claim: Claim,
    /// Its price in bytes, with the publishers' share.
    pub wanted: usize,
    /// Bytes left.
    pub left: usize,
    /// The limit in bytes.
    pub max: usize,
}

/// The pools of a data plane and the limit of their reservations in bytes.
pub struct Pools {
    /// Events.
    pub events: Pool<Event>,
    books: [Pool<Book>; DepthClass::COUNT],
    max_bytes: usize,
    reserved: Mutex<Reserved>,
}

/// What is reserved, from which the size of every pool follows.
#[derive(Clone, Copy, Default)]
struct Reserved {
    claims: Claim,
    /// The number of claims, and of those with books of each class.
    queues: Claim,
    publishers: usize,
}

impl Reserved {
    /// Events that a publisher holds before it pushes them: copies of one event, one per class.
    const IN_FLIGHT: usize = if cfg!(loom) { 1 } else { DepthClass::COUNT };

    fn add(&mut self, claim: Claim) {
        self.claims += claim;
        self.queues += Self::queue(claim);
    }

    fn remove(&mut self, claim: Claim) {
        self.claims -= claim;
        self.queues -= Self::queue(claim);
    }

    fn queue(claim: Claim) -> Claim {
        let books = claim.books.map(|books| usize::from(books > 0));
        Claim { events: 1, books, extension_bytes: 0 }
    }

    /// Returns every slot that can be in use at once.
    fn total(&self) -> Claim {
        let mut total = self.claims;
        total.events += self.publishers * (Self::IN_FLIGHT + self.queues.events);
        for (total, queues) in total.books.iter_mut().zip(self.queues.books) {
            *total += if queues > 0 { self.publishers * (1 + queues) } else { 0 };
        }
        total
    }
}

impl Pools {
    /// Chunks of 1,024 events, and of few in models.
    const CHUNK_BITS: u32 = if cfg!(loom) { 3 } else { 10 };

    /// Returns pools with a limit of `max_bytes` for reservations.
    pub fn new(max_bytes: usize) -> Arc<Self> {
        let books = DepthClass::ALL.map(|class| {
            let make = move || Book::with_capacity(class.levels());
            Pool::new(DepthClass::CHUNK_BITS[class.index()], make)
        });
        Arc::new(Self {
            events: Pool::new(Self::CHUNK_BITS, Event::default),
            books,
            max_bytes,
            reserved: Mutex::default(),
        })
    }

    /// Returns the pool of books of a class.
    #[inline]
    pub fn books(&self, class: DepthClass) -> &Pool<Book> {
        &self.books[class.index()]
    }

    /// Reserves a queue's claim and grows the pools by it.
    ///
    /// # Errors
    /// [`NoCapacity`] if the claim exceeds the limit; nothing is reserved then.
    pub fn reserve(pools: &Arc<Self>, claim: Claim) -> Result<Reservation, NoCapacity> {
        let mut reserved = lock(&pools.reserved);
        let before = reserved.total().bytes();
        let mut after = *reserved;
        after.add(claim);
        let wanted = after.total().bytes() - before;
        let left = pools.max_bytes.saturating_sub(before);
        let refused = NoCapacity { claim, wanted, left, max: pools.max_bytes };
        if wanted > left {
            return Err(refused);
        }
        *reserved = after;
        // Growth can take long: other threads can read the reserved bytes meanwhile.
        drop(reserved);
        let reservation = Reservation { pools: Arc::clone(pools), claim };
        pools.make_room(after.total());
        if pools.grow_to(after.total()) { Ok(reservation) } else { Err(refused) }
    }

    /// Reserves the share of a publisher. It is not subject to the limit, which is for queues.
    pub(crate) fn enter(pools: &Arc<Self>) -> InFlight {
        let mut reserved = lock(&pools.reserved);
        reserved.publishers += 1;
        let total = reserved.total();
        drop(reserved);
        // If a table of chunks is full, the publisher competes for the slots that exist: a failure to borrow is counted.
        let _ = pools.grow_to(total);
        InFlight(Arc::clone(pools))
    }

    /// Parks book slots that are not reserved, if the pools would exceed their limit by growing to `total`. Classes that
    /// were used before would hold their memory otherwise, each up to the limit.
    fn make_room(&self, total: Claim) {
        let mut grown = self.capacity();
        grown.events = grown.events.max(total.events);
        for (grown, total) in grown.books.iter_mut().zip(total.books) {
            *grown = (*grown).max(total);
        }
        if grown.bytes() > self.max_bytes {
            for class in DepthClass::ALL {
                let reserved = || self.reserved().books[class.index()];
                self.books(class).shrink_to(reserved, Book::default);
            }
        }
    }

    /// Grows each pool to its part of `total`. Returns false if a table of chunks is full.
    fn grow_to(&self, total: Claim) -> bool {
        let books = DepthClass::ALL.into_iter().all(|class| {
            let books = total.books[class.index()];
            self.books(class).grow_to(books) >= books
        });
        self.events.grow_to(total.events) >= total.events && books
    }

    /// Returns the reserved slots, the publishers' included.
    pub fn reserved(&self) -> Claim {
        lock(&self.reserved).total()
    }

    /// Returns the reserved bytes.
    pub fn reserved_bytes(&self) -> usize {
        self.reserved().bytes()
    }

    /// Returns the limit of the reserved bytes.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    fn capacity(&self) -> Claim {
        let books = DepthClass::ALL.map(|class| self.books(class).capacity());
        Claim { events: self.events.capacity(), books, extension_bytes: 0 }
    }

    /// Returns the bytes of all slots. Slots of events remain once they were reserved, those of books only while the
    /// limit has room for them.
    pub fn capacity_bytes(&self) -> usize {
        let parked: usize = DepthClass::ALL.into_iter().map(|class| self.books(class).parked()).sum();
        self.capacity().bytes() + parked * size_of::<Slot<Book>>()
    }
}

/// A granted claim. Dropping it releases its share.
pub struct Reservation {
    pools: Arc<Pools>,
    claim: Claim,
}

impl Reservation {
    /// Returns the pools.
    pub(crate) fn pools(&self) -> &Arc<Pools> {
        &self.pools
    }

    /// Returns the reserved slots.
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// Releases all but `kept`.
    pub(crate) fn shrink_to(&mut self, kept: Claim) {
        let mut reserved = lock(&self.pools.reserved);
        reserved.remove(self.claim);
        reserved.add(kept);
        self.claim = kept;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        lock(&self.pools.reserved).remove(self.claim);
    }
}

/// The share of a live publisher.
pub(crate) struct InFlight(Arc<Pools>);

impl Drop for InFlight {
    fn drop(&mut self) {
        lock(&self.0.reserved).publishers -= 1;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LIMIT: usize = 64 << 20;
    /// Pools grow by whole chunks.
    const CHUNKS: usize = 6 << 20;

    fn books(class: DepthClass, bytes: usize) -> Claim {
        Claim::new(0, class, bytes / class.slot_bytes())
    }

    #[test]
    fn classes_used_one_after_another_share_the_limit() {
        let pools = Pools::new(LIMIT);
        for class in DepthClass::ALL.into_iter().chain(DepthClass::ALL) {
            let claim = books(class, LIMIT);
            let reservation = Pools::reserve(&pools, claim).expect("the limit is free");
            assert!(pools.books(class).free() >= claim.books[class.index()]);
            let parked: usize = DepthClass::ALL.into_iter().map(|class| pools.books(class).parked()).sum();
            let most = LIMIT + CHUNKS + parked * size_of::<Slot<Book>>();
            assert!(pools.capacity_bytes() <= most, "{class:?}: {} bytes", pools.capacity_bytes());
            let book = pools.books(class).borrow().expect("a free slot");
            assert_eq!(book.bids.capacity(), class.levels(), "a slot of a class has its levels");
            drop((book, reservation));
        }
    }

    #[test]
    fn slots_in_use_and_reserved_slots_are_not_parked() {
        let pools = Pools::new(LIMIT);
        let [small, large] = [DepthClass::of(8), DepthClass::of(1024)];
        let kept = Pools::reserve(&pools, books(small, LIMIT / 2)).expect("the limit is free");
        let released = Pools::reserve(&pools, books(small, LIMIT / 2)).expect("the limit is free");
        let held: Vec<_> = std::iter::from_fn(|| pools.books(small).borrow()).collect();
        drop(released);
        let _large = Pools::reserve(&pools, books(large, LIMIT / 2)).expect("half of the limit is free");
        assert_eq!((pools.books(small).parked(), pools.books(small).free()), (0, 0));
        drop(held);
        assert!(pools.books(small).free() >= kept.claim().books[small.index()]);
    }

    #[test]
    fn reserved_slots_can_be_borrowed_while_another_class_grows() {
        let pools = Pools::new(LIMIT);
        let [small, large] = [DepthClass::of(8), DepthClass::of(1024)];
        let kept = Pools::reserve(&pools, books(small, LIMIT / 2)).expect("the limit is free");
        let released = Pools::reserve(&pools, books(small, LIMIT / 2)).expect("the limit is free");
        drop(released);
        // The first step of a reservation. Its last step would return what the first one should not have parked.
        pools.make_room(kept.claim() + books(large, LIMIT / 2));
        assert!(pools.books(small).parked() > 0);
        assert!(pools.books(small).free() >= kept.claim().books[small.index()]);
    }
}
