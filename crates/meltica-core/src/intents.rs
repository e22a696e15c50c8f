//! Requests of strategies on their way to trading: many writers, one reader, one wake-up per batch.
//!
//! A writer never waits for the reader. The first request after the reader took the last batch asks for a wake-up; those
//! that follow join its batch.

use crate::sync::{Mutex, lock};

/// A request, and the trace that it belongs to.
#[derive(Debug, PartialEq, Eq)]
pub struct Intent<T> {
    /// What is requested.
    pub body: T,
    /// The id of the trace that led to the request.
    pub trace: Option<u128>,
}

/// What [`Intents::push`] did.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<T> {
    /// The request joined a batch whose reader was woken already.
    Joined,
    /// The request is the first of a batch: wake the reader.
    First,
    /// The queue is full, and the request comes back.
    Full(T),
}

/// The queue. The order of the requests is that of the calls of [`Self::push`].
#[derive(Debug)]
pub struct Intents<T> {
    capacity: usize,
    waiting: Mutex<Vec<Intent<T>>>,
}

impl<T> Intents<T> {
    /// Returns an empty queue for at most `capacity` requests.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, waiting: Mutex::new(Vec::new()) }
    }

    /// Adds a request, unless the queue is full.
    pub fn push(&self, body: T, trace: Option<u128>) -> Pushed<T> {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= self.capacity {
            return Pushed::Full(body);
        }
        waiting.push(Intent { body, trace });
        if waiting.len() == 1 { Pushed::First } else { Pushed::Joined }
    }

    /// Takes all requests, oldest first.
    pub fn take(&self) -> Vec<Intent<T>> {
        std::mem::take(&mut *lock(&self.waiting))
    }

    /// Returns how many requests wait.
    pub fn len(&self) -> usize {
        lock(&self.waiting).len()
    }

    /// Returns whether no request waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the most requests that can wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    #[test]
    fn the_first_request_of_each_batch_asks_for_a_wake_up() {
        let intents = Intents::new(8);
        assert_eq!(intents.push(1, None), Pushed::First);
        assert_eq!(intents.push(2, Some(7)), Pushed::Joined);
        let batch = intents.take();
        assert_eq!(batch, [Intent { body: 1, trace: None }, Intent { body: 2, trace: Some(7) }]);
        assert_eq!(intents.push(3, None), Pushed::First);
        assert_eq!((intents.len(), intents.is_empty(), intents.capacity()), (1, false, 8));
    }

    #[test]
    fn a_full_queue_returns_the_request() {
        let intents = Intents::new(1);
        intents.push("kept", None);
        assert_eq!(intents.push("refused", None), Pushed::Full("refused"));
        assert_eq!(intents.take().len(), 1);
        assert_eq!(intents.push("room", None), Pushed::First);
    }

    #[test]
    fn no_request_of_several_writers_waits_without_a_wake_up() {
        const EACH: usize = 20_000;
        let intents = Arc::new(Intents::new(usize::MAX));
        let (waker, wakes) = channel();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (intents, waker) = (Arc::clone(&intents), waker.clone());
                std::thread::spawn(move || {
                    for number in 0..EACH {
                        if intents.push((writer, number), None) == Pushed::First {
                            waker.send(()).expect("the reader waits");
                        }
                    }
                })
            })
            .collect();
        drop(waker);
        let mut next = [0; 4];
        for () in wakes {
            for Intent { body: (writer, number), .. } in intents.take() {
                assert_eq!(number, next[writer]);
                next[writer] += 1;
            }
        }
        for writer in writers {
            writer.join().expect("a writer does not panic");
        }
        assert_eq!(next, [EACH; 4]);
        assert!(intents.is_empty());
    }
}
