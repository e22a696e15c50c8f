//! The private lane: a list that grows, for what may never be dropped.

use crate::event::Event;
use crate::sync::{Arc, AtomicPtr, AtomicUsize, Ordering, UnsafeCell};

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
pub(super) struct Private {
    tail: UnsafeCell<*mut Node>,
    head: UnsafeCell<*mut Node>,
    len: AtomicUsize,
}

impl Private {
    pub fn new() -> Self {
        let spent = Node::boxed(None);
        Self { tail: UnsafeCell::new(spent), head: UnsafeCell::new(spent), len: AtomicUsize::new(0) }
    }

    /// Returns how many events wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Appends `event`. Producer only.
    pub fn push(&self, mut place: Place, event: Arc<Event>) {
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

    #[inline]
    pub fn is_empty(&self) -> bool {
        // SAFETY: `head` is touched by the one reader only, which calls this.
        unsafe { self.head.with(|head| (**head).next.load(Ordering::Acquire).is_null()) }
    }

    /// Takes the oldest event if it is numbered `bound` or lower. Reader only.
    #[inline]
    pub fn take(&self, bound: u64) -> Option<Arc<Event>> {
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
