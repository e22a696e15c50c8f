//! Queues: one per reader, two lanes each, merged by sequence when read.
//!
//! # Lanes
//! *Market* lane, with a policy per kind: [`Policy::Conflate`] keeps one cell per route, latest wins;
//! [`Policy::DropOldest`] is a ring that evicts; [`Policy::Block`] is a ring whose producer waits for room before it
//! takes a sequence number. *Private* lane: a list that grows, for what may never be dropped; past its stated length
//! the queue is halted.
//!
//! # Order
//! Producers push under the dispatch lock, in the order of their sequence numbers, and move the [`Watermark`] once an
//! event stands in every queue. A reader first loads the watermark and takes nothing beyond it, so whatever it has not
//! seen by then carries a higher number. No policy reorders: conflation moves a value to the place of the latest one.
//!
//! # Threads
//! One producer at a time (the dispatch lock) and one [`Reader`]. The two contend only where a full ring evicts, which
//! an exchange on the ring's head settles.

use crate::event::{Event, Kind};
use crate::pool::{Shared, Slot};
use crate::stats::Counter;
use crate::sync::{
    Arc, AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, Padded, UnsafeCell, fence, thread,
};
use std::collections::VecDeque;
use std::ops::Deref;
use std::time::Instant;

/// What happens to an event of the market lane when its reader is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// One cell per provider, kind and symbol; the latest wins and the replaced one counts as conflated.
    Conflate,
    /// The oldest event of the ring goes, counted as dropped.
    DropOldest,
    /// The producer waits for room. For replay and tests.
    Block,
}

impl Policy {
    /// Returns the name used in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conflate => "conflate",
            Self::DropOldest => "drop_oldest",
            Self::Block => "block",
        }
    }

    /// Returns the policy of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Conflate, Self::DropOldest, Self::Block].into_iter().find(|policy| policy.name() == name)
    }
}

/// A policy for each kind. The private kinds' entries mean nothing.
pub type Policies = [Policy; Kind::COUNT];

/// Books and tickers conflate, the rest drops its oldest.
pub const DEFAULT_POLICIES: Policies = {
    let mut policies = [Policy::DropOldest; Kind::COUNT];
    policies[Kind::BookSnapshot as usize] = Policy::Conflate;
    policies[Kind::Ticker as usize] = Policy::Conflate;
    policies
};

/// The highest sequence number that stands in every queue it was routed to.
#[derive(Debug, Default)]
pub struct Watermark(Padded<AtomicU64>);

impl Watermark {
    /// Returns the number.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Moves to `seq`, after the last push of that event.
    #[inline]
    pub(crate) fn set(&self, seq: u64) {
        self.0.store(seq, Ordering::Release);
    }
}

/// Lets one thread sleep until another has something for it.
#[derive(Debug)]
pub struct Waker {
    parked: Padded<AtomicBool>,
    /// Guards a handle and nothing else: not for loom, whose locks swallow a pending unpark.
    thread: std::sync::Mutex<Option<thread::Thread>>,
}

impl Default for Waker {
    fn default() -> Self {
        Self { parked: Padded(AtomicBool::new(false)), thread: std::sync::Mutex::new(None) }
    }
}

impl Waker {
    /// Sleeps until `ready` holds or the deadline has passed. Only one thread may wait on a waker.
    pub fn wait(&self, deadline: Option<Instant>, ready: impl Fn() -> bool) {
        if ready() {
            return;
        }
        *self.handle() = Some(thread::current());
        loop {
            self.parked.store(true, Ordering::Relaxed);
            // Pairs with the fence of `claim`: either we see what was pushed, or the pusher sees us parked.
            fence(Ordering::SeqCst);
            if ready() {
                break;
            }
            if !Self::park(deadline) {
                break;
            }
        }
        self.parked.store(false, Ordering::Relaxed);
    }

    #[cfg(not(loom))]
    fn park(deadline: Option<Instant>) -> bool {
        let Some(deadline) = deadline else {
            thread::park();
            return true;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            thread::park_timeout(left);
        }
        !left.is_zero()
    }

    #[cfg(loom)]
    fn park(_deadline: Option<Instant>) -> bool {
        thread::park();
        true
    }

    /// Whether the thread sleeps; if so the caller must [`Self::unpark`] it. Needs a `SeqCst` fence between whatever
    /// made the thread ready and this call.
    #[inline]
    pub(crate) fn take_parked(&self) -> bool {
        self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::Relaxed)
    }

    fn handle(&self) -> std::sync::MutexGuard<'_, Option<thread::Thread>> {
        self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn unpark(&self) {
        let thread = self.handle().clone();
        if let Some(thread) = thread {
            thread.unpark();
        }
    }

    /// Wakes the thread if it sleeps.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.take_parked() {
            self.unpark();
        }
    }
}

struct Cell {
    event: AtomicPtr<Slot<Event>>,
    seq: AtomicU64,
}

/// A bounded ring: one producer that may evict, one consumer that takes runs.
struct Ring {
    /// Next to take. Moved by the consumer, and by the producer when it evicts.
    head: Padded<AtomicU64>,
    /// Next to fill. Moved by the producer.
    tail: Padded<AtomicU64>,
    cells: Box<[Cell]>,
}

impl Ring {
    fn new(capacity: usize) -> Self {
        let capacity = if capacity == 0 { 0 } else { capacity.next_power_of_two() };
        let cell = |_| Cell { event: AtomicPtr::new(std::ptr::null_mut()), seq: AtomicU64::new(0) };
        Self {
            head: Padded(AtomicU64::new(0)),
            tail: Padded(AtomicU64::new(0)),
            cells: (0..capacity).map(cell).collect(),
        }
    }

    #[inline]
    fn cell(&self, index: u64) -> &Cell {
        &self.cells[index as usize & (self.cells.len() - 1)]
    }

    fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire) == self.tail.load(Ordering::Acquire)
    }

    #[inline]
    fn is_full(&self) -> bool {
        let tail = self.tail.load(Ordering::Relaxed);
        tail - self.head.load(Ordering::Acquire) >= self.cells.len() as u64
    }

    /// Appends `event`; evicts and returns the oldest one when the ring is full. Producer only.
    #[inline]
    fn push(&self, event: Shared<Event>, seq: u64) -> Option<Shared<Event>> {
        let tail = self.tail.load(Ordering::Relaxed);
        let mut evicted = None;
        let head = self.head.load(Ordering::Acquire);
        if tail - head >= self.cells.len() as u64 {
            let oldest = self.cell(head).event.load(Ordering::Relaxed);
            // Fails when the reader has just taken it: then there is room.
            if self.head.compare_exchange(head, head + 1, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                // SAFETY: the exchange took cell `head` from the reader; only this producer refills it.
                evicted = Some(unsafe { Shared::from_raw(oldest) });
            }
        }
        let cell = self.cell(tail);
        cell.event.store(event.into_raw(), Ordering::Relaxed);
        cell.seq.store(seq, Ordering::Relaxed);
        // Release: the reader that sees the new tail sees the cell and the event behind it.
        self.tail.store(tail + 1, Ordering::Release);
        evicted
    }

    /// Takes up to `max` events numbered `bound` or lower, oldest first; returns whether it stopped at `max`. Reader
    /// only.
    #[inline]
    fn take(
        &self,
        bound: u64,
        max: usize,
        out: &mut VecDeque<Item>,
        raw: &mut Vec<*mut Slot<Event>>,
    ) -> bool {
        loop {
            let head = self.head.load(Ordering::Acquire);
            let tail = self.tail.load(Ordering::Acquire);
            let end = tail.min(head + max as u64);
            raw.clear();
            for index in head..end {
                let cell = self.cell(index);
                if cell.seq.load(Ordering::Relaxed) > bound {
                    break;
                }
                raw.push(cell.event.load(Ordering::Relaxed));
            }
            if raw.is_empty() {
                return false;
            }
            let next = head + raw.len() as u64;
            // Release: the producer refills these cells only after it has seen this exchange, hence after our loads.
            if self.head.compare_exchange(head, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                // SAFETY: the exchange gave us exactly these cells as they were read.
                out.extend(raw.drain(..).map(|slot| Item::Pooled(unsafe { Shared::from_raw(slot) })));
                return next == head + max as u64;
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let (mut out, mut raw) = (VecDeque::new(), Vec::new());
        if !self.cells.is_empty() {
            self.take(u64::MAX, self.cells.len(), &mut out, &mut raw);
        }
    }
}

struct Node {
    event: Option<Arc<Event>>,
    next: AtomicPtr<Node>,
}

impl Node {
    fn boxed(event: Option<Arc<Event>>) -> *mut Self {
        Box::into_raw(Box::new(Self { event, next: AtomicPtr::new(std::ptr::null_mut()) }))
    }
}

/// A place in a private lane, made before the dispatch lock is taken so that nothing is allocated under it.
pub(crate) struct Place(*mut Node);

impl Place {
    pub(crate) fn new() -> Self {
        Self(Node::boxed(None))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: `push` takes the pointer away when it links the node; here the node is still ours alone.
            drop(unsafe { Box::from_raw(self.0) });
        }
    }
}

/// A list that grows: one producer, one consumer. The node at `head` is spent, the one after it is the oldest event.
struct Private {
    tail: UnsafeCell<*mut Node>,
    head: UnsafeCell<*mut Node>,
    len: AtomicUsize,
}

impl Private {
    fn new() -> Self {
        let spent = Node::boxed(None);
        Self { tail: UnsafeCell::new(spent), head: UnsafeCell::new(spent), len: AtomicUsize::new(0) }
    }

    /// Appends `event`. Producer only.
    fn push(&self, mut place: Place, event: Arc<Event>) {
        let node = std::mem::replace(&mut place.0, std::ptr::null_mut());
        // SAFETY: the node is ours until it is linked; `tail` is touched by the one producer only, and its node is
        // freed by the reader only after `next` was set, which happens here.
        unsafe {
            (*node).event = Some(event);
            self.tail.with_mut(|tail| {
                (**tail).next.store(node, Ordering::Release);
                *tail = node;
            });
        }
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    fn is_empty(&self) -> bool {
        // SAFETY: `head` is touched by the one reader only, which calls this.
        unsafe { self.head.with(|head| (**head).next.load(Ordering::Acquire).is_null()) }
    }

    /// Takes the oldest event if it is numbered `bound` or lower. Reader only.
    fn take(&self, bound: u64) -> Option<Arc<Event>> {
        // SAFETY: `head` is touched by the one reader only; a non-null `next` was released by the producer, who does
        // not look at the spent node again.
        unsafe {
            let head = self.head.with(|head| *head);
            let next = (*head).next.load(Ordering::Acquire);
            let event = next.as_mut()?.event.as_ref()?;
            if event.header().seq > bound {
                return None;
            }
            let event = (*next).event.take();
            self.head.with_mut(|head| *head = next);
            drop(Box::from_raw(head));
            self.len.fetch_sub(1, Ordering::Relaxed);
            event
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        while self.take(u64::MAX).is_some() {}
        // SAFETY: the spent node is the last one.
        drop(unsafe { Box::from_raw(self.head.with(|head| *head)) });
    }
}

/// One route into one queue; for conflated kinds it holds the route's cell.
pub struct Tap {
    cell: AtomicPtr<Slot<Event>>,
    next: AtomicPtr<Tap>,
}

impl Default for Tap {
    fn default() -> Self {
        Self { cell: AtomicPtr::new(std::ptr::null_mut()), next: AtomicPtr::new(std::ptr::null_mut()) }
    }
}

impl Tap {
    fn take(&self) -> Option<Shared<Event>> {
        let slot = self.cell.swap(std::ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: the swap made us the pointer's only owner.
        (!slot.is_null()).then(|| unsafe { Shared::from_raw(slot) })
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// What one kind lost in one queue.
#[derive(Debug, Default)]
pub struct Losses {
    /// Replaced by a later value of the same route.
    pub conflated: Counter,
    /// Evicted from a full ring, or refused by a halted queue.
    pub dropped: Counter,
}

/// A reader's queue, as its producers see it.
pub struct Queue {
    policies: Policies,
    ring: Ring,
    blocking: Ring,
    private: Private,
    private_limit: usize,
    /// Taps whose cell is filled, a stack that the reader takes whole.
    pending: Padded<AtomicPtr<Tap>>,
    closed: AtomicBool,
    halted: AtomicBool,
    waker: Arc<Waker>,
    /// Where a blocked producer sleeps.
    room: Waker,
    losses: [Losses; Kind::COUNT],
}

// SAFETY: events go from one thread to another; the raw pointers are owned handles that the algorithms above pass on
// exactly once, and the two `UnsafeCell`s are touched by the producer (under the dispatch lock) and the reader only.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Queued,
    /// The queue is closed or halted; the event was not taken.
    Refused,
}

impl Queue {
    /// Makes a queue of `capacity` events (rounded up to a power of two) and its reader. `private_limit` is the length
    /// of the private lane past which the queue is halted.
    pub fn new(
        policies: Policies,
        capacity: usize,
        private_limit: usize,
        waker: Arc<Waker>,
    ) -> (Arc<Self>, Reader) {
        let uses = |policy| Kind::ALL.into_iter().any(|k| !k.is_private() && policies[k as usize] == policy);
        let size = |policy| if uses(policy) { capacity.max(1) } else { 0 };
        let queue = Arc::new(Self {
            policies,
            ring: Ring::new(size(Policy::DropOldest)),
            blocking: Ring::new(size(Policy::Block)),
            private: Private::new(),
            private_limit,
            pending: Padded(AtomicPtr::new(std::ptr::null_mut())),
            closed: AtomicBool::new(false),
            halted: AtomicBool::new(false),
            waker,
            room: Waker::default(),
            losses: Default::default(),
        });
        let reader = Reader {
            queue: Arc::clone(&queue),
            bound: 0,
            staged: VecDeque::new(),
            cells_due: 0,
            raw: Vec::new(),
        };
        (queue, reader)
    }

    /// Whether a producer of that kind has to wait for room before it takes a number.
    #[inline]
    pub(crate) fn blocks(&self, kind: Kind) -> bool {
        if kind.is_private() {
            // Where market events wait for their reader (replay), so do the others: the lane must not fill up.
            return !self.blocking.cells.is_empty();
        }
        self.policies[kind as usize] == Policy::Block
    }

    #[inline]
    pub(crate) fn has_room(&self, kind: Kind) -> bool {
        let full = if kind.is_private() {
            self.private.len.load(Ordering::Relaxed) >= self.private_limit.min(self.blocking.cells.len())
        } else {
            self.blocking.is_full()
        };
        !full || self.is_closed()
    }

    /// Sleeps until there is room or the queue is closed. One producer at a time.
    pub(crate) fn wait_for_room(&self, kind: Kind, deadline: Option<Instant>) {
        self.room.wait(deadline, || self.has_room(kind));
    }

    /// Pushes an event of the market lane. Producer only, under the dispatch lock.
    #[inline]
    pub(crate) fn push(&self, tap: &Arc<Tap>, kind: Kind, seq: u64, event: Shared<Event>) -> Pushed {
        if self.closed.load(Ordering::Relaxed) {
            return Pushed::Refused;
        }
        match self.policies[kind as usize] {
            Policy::DropOldest => {
                if let Some(evicted) = self.ring.push(event, seq) {
                    self.losses[evicted.header().kind as usize].dropped.bump(1);
                }
            }
            Policy::Block => {
                let evicted = self.blocking.push(event, seq);
                debug_assert!(evicted.is_none(), "Invariant: room was waited for");
                if let Some(evicted) = evicted {
                    self.losses[evicted.header().kind as usize].dropped.bump(1);
                }
            }
            Policy::Conflate => {
                let old = tap.cell.swap(event.into_raw(), Ordering::AcqRel);
                if old.is_null() {
                    let tap = Arc::into_raw(Arc::clone(tap)).cast_mut();
                    let mut top = self.pending.load(Ordering::Relaxed);
                    loop {
                        // SAFETY: the tap is kept alive by the count just taken; a tap with an empty cell is on no
                        // list, so its link is ours.
                        unsafe { (*tap).next.store(top, Ordering::Relaxed) };
                        match self.pending.compare_exchange(top, tap, Ordering::Release, Ordering::Relaxed) {
                            Ok(_) => break,
                            Err(seen) => top = seen,
                        }
                    }
                } else {
                    // SAFETY: the swap made us the owner of the pointer that stood in the cell.
                    drop(unsafe { Shared::from_raw(old) });
                    self.losses[kind as usize].conflated.bump(1);
                }
            }
        }
        Pushed::Queued
    }

    /// Pushes an event of the private lane; refused, with the queue halted, past the stated length. Producer only,
    /// under the dispatch lock.
    pub(crate) fn push_private(&self, place: Place, kind: Kind, event: Arc<Event>) -> Pushed {
        if self.closed.load(Ordering::Relaxed) {
            return Pushed::Refused;
        }
        if self.private.len.load(Ordering::Relaxed) >= self.private_limit {
            self.halted.store(true, Ordering::Release);
            self.losses[kind as usize].dropped.bump(1);
            return Pushed::Refused;
        }
        self.private.push(place, event);
        Pushed::Queued
    }

    /// Takes no more events and wakes reader and producer. What is queued can still be read.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.room.wake();
        self.waker.wake();
    }

    /// Whether [`Self::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether the private lane passed its stated length: events were refused and the reader must be rebuilt.
    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// Returns what kind `kind` lost.
    pub fn losses(&self, kind: Kind) -> &Losses {
        &self.losses[kind as usize]
    }

    pub(crate) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        drop_pending(self.pending.load(Ordering::Acquire), drop);
    }
}

/// Unlinks a stack of taps that is ours alone and gives each to `each`.
fn drop_pending(mut top: *mut Tap, mut each: impl FnMut(Arc<Tap>)) {
    while !top.is_null() {
        // SAFETY: `push` put one count of each tap on the stack; the link is read before the cell can be emptied, after
        // which a producer may link the tap anew.
        let tap = unsafe { Arc::from_raw(top.cast_const()) };
        top = tap.next.load(Ordering::Relaxed);
        each(tap);
    }
}

/// An event in a reader's hands.
#[derive(Debug, Clone)]
pub enum Item {
    /// From the market lane.
    Pooled(Shared<Event>),
    /// From the private lane.
    Private(Arc<Event>),
}

impl Deref for Item {
    type Target = Event;
    #[inline]
    fn deref(&self) -> &Event {
        match self {
            Self::Pooled(event) => event,
            Self::Private(event) => event,
        }
    }
}

/// The reading end of a queue.
pub struct Reader {
    queue: Arc<Queue>,
    /// Watermark of the present round; everything up to it is either staged or still in a lane.
    bound: u64,
    /// Taken from the lanes and not delivered yet, by sequence.
    staged: VecDeque<Item>,
    /// How many of those came from conflation cells and belong to the present round.
    cells_due: usize,
    raw: Vec<*mut Slot<Event>>,
}

// SAFETY: `raw` is empty between calls.
unsafe impl Send for Reader {}

impl Reader {
    /// Returns the queue this reads.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Whether a call of [`Self::read`] would find something, now or as soon as the watermark has moved.
    pub fn has_work(&self) -> bool {
        let queue = &*self.queue;
        !self.staged.is_empty()
            || !queue.ring.is_empty()
            || !queue.pending.load(Ordering::Acquire).is_null()
            || !queue.blocking.is_empty()
            || !queue.private.is_empty()
    }

    /// Appends events in ascending sequence to `out`, about `max` of each lane at the most. `watermark` is a reading of
    /// the dispatcher's. Returns the number up to which everything of this queue has now been given out.
    ///
    /// A round ends when the cells it emptied are delivered up to its watermark; only then are cells emptied again. So
    /// the reader holds at most two events a route beyond its rings, and nothing above a round's watermark is delivered
    /// before the cells have been looked at again.
    pub fn read(&mut self, watermark: u64, max: usize, out: &mut Vec<Item>) -> u64 {
        let queue = &*self.queue;
        let new_round = self.cells_due == 0;
        if new_round {
            self.bound = watermark.max(self.bound);
            let top = if queue.pending.load(Ordering::Relaxed).is_null() {
                std::ptr::null_mut()
            } else {
                queue.pending.swap(std::ptr::null_mut(), Ordering::Acquire)
            };
            drop_pending(top, |tap| {
                self.staged.extend(tap.take().map(Item::Pooled));
            });
        }
        let staged_cells = !self.staged.is_empty();
        let mut safe = self.bound;
        let mut lanes = usize::from(!self.staged.is_empty());
        for ring in [&queue.ring, &queue.blocking] {
            if ring.cells.is_empty() {
                continue;
            }
            let before = self.staged.len();
            if ring.take(self.bound, max, &mut self.staged, &mut self.raw) {
                safe = safe.min(self.staged.back().map_or(safe, |last| last.header().seq));
            }
            lanes += usize::from(self.staged.len() > before);
        }
        let before = self.staged.len();
        while self.staged.len() - before < max {
            let Some(event) = queue.private.take(self.bound) else { break };
            self.staged.push_back(Item::Private(event));
        }
        if self.staged.len() - before == max {
            safe = safe.min(self.staged.back().map_or(safe, |last| last.header().seq));
        }
        lanes += usize::from(self.staged.len() > before);
        if !queue.blocking.cells.is_empty() {
            queue.room.wake();
        }
        if lanes > 1 || staged_cells {
            self.staged.make_contiguous().sort_by_key(|item| item.header().seq);
        }
        let upto = |seq| self.staged.iter().take_while(|item| item.header().seq <= seq).count();
        let n = upto(safe);
        if new_round && staged_cells {
            self.cells_due =
                self.staged.iter().take(upto(self.bound)).filter(|item| self.is_conflated(item)).count();
        }
        if self.cells_due > 0 {
            self.cells_due -= self.staged.iter().take(n).filter(|item| self.is_conflated(item)).count();
        }
        out.extend(self.staged.drain(..n));
        safe
    }

    fn is_conflated(&self, item: &Item) -> bool {
        matches!(item, Item::Pooled(event)
            if self.queue.policies[event.header().kind as usize] == Policy::Conflate)
    }
}
