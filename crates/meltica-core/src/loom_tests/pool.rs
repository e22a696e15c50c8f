//! Models of the pool.

use super::{explore, explore_within};
use crate::pool::{Pool, Recycle};
use crate::sync::{Arc, thread};

#[derive(Default)]
struct Value(u64);

impl Recycle for Value {
    fn recycle(&mut self) {
        self.0 = 0;
    }
}

fn pool(chunks: u32) -> Pool<Value> {
    let pool = Pool::new(0, Value::default);
    pool.grow_to(chunks as usize);
    pool
}

#[test]
fn loom_borrow_share_return() {
    explore(|| {
        let pool = Arc::new(pool(2));
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                for n in 1..=2 {
                    if let Some(mut slot) = pool.borrow() {
                        assert_eq!(slot.0, 0, "a returned slot is recycled");
                        slot.0 = n;
                        let shared = slot.into_shared();
                        assert_eq!(shared.0, n);
                    }
                }
            })
        };
        if let Some(mut slot) = pool.borrow() {
            slot.0 = 9;
            let mut readers = slot.share(2);
            let (a, b) = (readers.next(), readers.next());
            let reader = thread::spawn(move || assert_eq!(a.map(|a| a.0), Some(9)));
            assert_eq!(b.map(|b| b.0), Some(9));
            reader.join().unwrap();
        }
        other.join().unwrap();
        assert_eq!(pool.free(), 2, "every slot is returned");
    });
}

#[test]
fn loom_a_slot_in_use_is_not_borrowed_again() {
    explore(|| {
        let pool = Arc::new(pool(2));
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                if let Some(mut slot) = pool.borrow() {
                    slot.0 += 1;
                    assert_eq!(slot.0, 1, "only this thread holds the slot");
                }
                if let Some(slot) = pool.borrow() {
                    assert_eq!(slot.0, 0, "the second borrow is a free slot");
                }
            })
        };
        // The first slot returns while the second, its former successor, stays in use.
        let (first, second) = (pool.borrow(), pool.borrow());
        drop(first);
        if let Some(mut second) = second {
            second.0 += 1;
            assert_eq!(second.0, 1, "only this thread holds the slot");
        }
        other.join().unwrap();
        assert_eq!(pool.free(), 2, "every slot is returned");
    });
}

#[test]
fn loom_pool_dropped_before_its_slots() {
    explore(|| {
        let pool = pool(2);
        let (a, b) = (pool.borrow().unwrap().into_shared(), pool.borrow().unwrap().into_shared());
        let other = thread::spawn(move || drop(a));
        drop(pool);
        drop(b);
        other.join().unwrap();
        // loom's leak check fails the model if the memory is not freed exactly once.
    });
}

#[test]
fn loom_growth() {
    explore(|| {
        let pool = Arc::new(pool(1));
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || assert_eq!(pool.grow_to(2), 2))
        };
        let (a, b) = (pool.borrow(), pool.borrow());
        assert!(a.is_some());
        drop((a, b));
        other.join().unwrap();
        assert_eq!((pool.free(), pool.capacity()), (2, 2));
    });
}

#[test]
fn loom_free_beside_growth() {
    // One preemption: what the walk sees of the growth depends on its loads.
    explore_within(1, || {
        let pool = Arc::new(Pool::<Value>::new(1, Value::default));
        pool.grow_to(2);
        // loom runs the spawned thread last and explores a load only against stores before it: the walk is spawned.
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || assert!(pool.free() <= 4, "a walk beside growth ends"))
        };
        pool.grow_to(4);
        // The slots return in another order, so that the link of the first old slot leads to the second new one: an
        // address that is not null, even if the walk sees no new chunk.
        let (_first, second, old) = (pool.borrow(), pool.borrow(), pool.borrow());
        drop(second);
        drop(old);
        other.join().unwrap();
        assert_eq!(pool.free(), 3);
    });
}
