//! Random steps and threads against models of a queue.

use super::{Mark, SYMBOLS, Subscriber, all_slots_are_free, kinds, plane, private_limit, provider, send};
use crate::bus::{OverflowPolicy, Policies};
use crate::dispatch::{Dispatcher, Publisher};
use crate::event::Kind;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Returns any policy for each kind. The policies of private kinds have no effect.
fn policies() -> impl Strategy<Value = Policies> {
    proptest::array::uniform(prop_oneof![
        Just(OverflowPolicy::Conflate),
        Just(OverflowPolicy::DropOldest),
        Just(OverflowPolicy::Block)
    ])
}

fn any_kind() -> impl Strategy<Value = Kind> {
    proptest::sample::select(kinds().collect::<Vec<_>>())
}

#[derive(Debug, Clone)]
enum Step {
    Send(Kind, usize),
    /// The index of a queue, and the maximum number of events per lane.
    Read(usize, usize),
}

fn steps(queues: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (any_kind(), 0..SYMBOLS).prop_map(|(kind, of)| Step::Send(kind, of)),
        1 => (0..queues, 1usize..6).prop_map(|(queue, max)| Step::Read(queue, max)),
    ];
    proptest::collection::vec(step, 1..150)
}

/// Publishes an event to a full queue and one to another provider. The producer of the first must wait, and take its
/// sequence number only once the queue has room. Returns the number of the other provider's event, then that of the
/// waiting producer's event.
fn send_to_full(
    dispatcher: &Dispatcher,
    subscribers: &mut [Subscriber],
    publisher: &mut Publisher,
    other: &mut Publisher,
    mark: Mark,
) -> (u64, u64) {
    thread::scope(|scope| {
        let waiting = scope.spawn(|| send(publisher, mark));
        // The full queue has not been read, so the producer that does not wait is numbered first.
        let first = send(other, (Kind::Trade, 0, 0)).unwrap();
        while !waiting.is_finished() {
            for subscriber in subscribers.iter_mut().filter(|subscriber| subscriber.is_full(mark.0)) {
                subscriber.read_batch(dispatcher, 1);
            }
            thread::yield_now();
        }
        let second = waiting.join().unwrap().unwrap();
        (first.unwrap(), second.unwrap())
    })
}

proptest! {
    #[test]
    fn prop_events_stay_in_order_and_losses_are_counted(
        steps in steps(3),
        policies in proptest::collection::vec((policies(), 1usize..6), 3),
        all_read: bool,
    ) {
        let (pools, dispatcher) = plane();
        let (name, other) = (provider("bus-tests"), provider("bus-tests-other"));
        let mut subscribers: Vec<_> = policies
            .into_iter()
            .map(|(policies, capacity)| {
                Subscriber::new(&dispatcher, policies, capacity, private_limit(&policies), &[name])
            })
            .collect();
        let witness = Subscriber::new(&dispatcher, [OverflowPolicy::DropOldest; Kind::COUNT], 1, 1, &[other]);
        let (mut publisher, mut other) = (Publisher::new(&dispatcher, name), Publisher::new(&dispatcher, other));
        let (mut sent, mut last) = (BTreeMap::new(), 0);
        for step in steps {
            match step {
                Step::Send(kind, of) => {
                    let mark = (kind, of, last);
                    if subscribers.iter().any(|subscriber| subscriber.is_full(kind)) {
                        let numbers = send_to_full(&dispatcher, &mut subscribers, &mut publisher, &mut other, mark);
                        prop_assert_eq!(numbers, (last + 1, last + 2), "a producer that waits for room has not taken a number");
                        last += 2;
                    } else {
                        prop_assert_eq!(send(&mut publisher, mark), Ok(Some(last + 1)));
                        last += 1;
                    }
                    sent.insert(last, mark);
                }
                Step::Read(queue, max) => subscribers[queue].read_batch(&dispatcher, max),
            }
            prop_assert_eq!(dispatcher.watermark(), last);
        }
        if all_read {
            for subscriber in &mut subscribers {
                subscriber.read_out(&dispatcher);
            }
        }
        for subscriber in &subscribers {
            subscriber.check(&sent, all_read)?;
        }
        drop(witness);
        drop((subscribers, publisher, other, dispatcher));
        prop_assert!(all_slots_are_free(&pools), "every slot is returned");
    }

    #[test]
    fn prop_a_queue_equals_its_model_whenever_it_is_emptied(
        steps in steps(1), policies in policies(), capacity in 1usize..9,
    ) {
        let (pools, dispatcher) = plane();
        let name = provider("bus-tests");
        let mut subscriber = Subscriber::new(&dispatcher, policies, capacity, 10_000, &[name]);
        let mut publisher = Publisher::new(&dispatcher, name);
        let capacity = capacity.next_power_of_two();
        let (mut ring, mut kept, mut cells) = (VecDeque::new(), Vec::new(), BTreeMap::new());
        let (mut dropped, mut conflated) = ([0; Kind::COUNT], [0; Kind::COUNT]);
        for (n, step) in (0u64..).zip(steps) {
            let sends = match step {
                Step::Send(kind, of) if !subscriber.is_full(kind) => Some((kind, of, n)),
                _ => None,
            };
            if let Some(mark @ (kind, of, _)) = sends {
                let event = (send(&mut publisher, mark).unwrap().unwrap(), mark);
                match policies[kind as usize] {
                    _ if kind.is_private() => kept.push(event),
                    OverflowPolicy::Block => kept.push(event),
                    OverflowPolicy::DropOldest => {
                        ring.push_back(event);
                        if ring.len() > capacity && let Some((_, oldest)) = ring.pop_front() {
                            dropped[oldest.0 as usize] += 1;
                        }
                    }
                    OverflowPolicy::Conflate => {
                        conflated[kind as usize] += u64::from(cells.insert((kind, of), event).is_some());
                    }
                }
                continue;
            }
            let mut expected: Vec<_> = ring.drain(..).chain(kept.drain(..)).collect();
            expected.extend(std::mem::take(&mut cells).into_values());
            expected.sort_unstable_by_key(|event| event.0);
            subscriber.read.clear();
            subscriber.read_out(&dispatcher);
            prop_assert_eq!(&subscriber.read, &expected);
            prop_assert!(all_slots_are_free(&pools), "an emptied queue holds no slots");
        }
        for kind in kinds() {
            let losses = subscriber.queue.losses(kind);
            let model = (conflated[kind as usize], dropped[kind as usize]);
            prop_assert_eq!((losses.conflated(), losses.dropped()), model, "{:?}", kind);
        }
    }

    #[test]
    fn prop_a_halted_queue_ends_before_its_first_refused_event(limit in 1usize..6, steps in steps(1)) {
        let (_, dispatcher) = plane();
        let name = provider("bus-tests");
        // A ring without evictions, so that the only losses are those of the halt.
        let policies = [OverflowPolicy::DropOldest; Kind::COUNT];
        let mut subscriber = Subscriber::new(&dispatcher, policies, 256, limit, &[name]);
        let mut publisher = Publisher::new(&dispatcher, name);
        let (mut waiting, mut sent, mut halted, mut refused) = (0, Vec::new(), false, [0; Kind::COUNT]);
        for (n, step) in (0u64..).zip(steps) {
            match step {
                Step::Read(..) => {
                    subscriber.read_out(&dispatcher);
                    waiting = 0;
                    prop_assert_eq!(&subscriber.read, &sent, "every event before the refused one, none after it");
                }
                Step::Send(kind, of) => {
                    let mark = (kind, of, n);
                    let seq = send(&mut publisher, mark).unwrap().unwrap();
                    halted |= kind.is_private() && waiting == limit;
                    waiting += usize::from(kind.is_private() && !halted);
                    if halted { refused[kind as usize] += 1 } else { sent.push((seq, mark)) }
                }
            }
            prop_assert_eq!(subscriber.queue.is_halted(), halted);
            for kind in kinds() {
                prop_assert_eq!(subscriber.queue.losses(kind).dropped(), refused[kind as usize], "{:?}", kind);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn prop_threads_count_every_loss(
        producers in proptest::collection::vec(proptest::collection::vec((any_kind(), 0..SYMBOLS), 0..200), 1..4),
        readers in proptest::collection::vec((policies(), 1usize..9, 1usize..9), 1..4),
    ) {
        let (pools, dispatcher) = plane();
        let names: Vec<_> = (0..producers.len()).map(|i| provider(["bus-a", "bus-b", "bus-c"][i])).collect();
        let mut subscribers = Vec::new();
        for (policies, capacity, _) in &readers {
            subscribers.push(Subscriber::new(&dispatcher, *policies, *capacity, private_limit(policies), &names));
        }
        let queues: Vec<_> = subscribers.iter().map(|subscriber| Arc::clone(&subscriber.queue)).collect();
        let ended = AtomicBool::new(false);
        let sent = thread::scope(|scope| {
            for (subscriber, (_, _, max)) in subscribers.iter_mut().zip(&readers) {
                let (dispatcher, ended) = (&dispatcher, &ended);
                scope.spawn(move || loop {
                    let waker = Arc::clone(subscriber.queue.waker());
                    waker.wait(None, || subscriber.reader.has_work() || ended.load(Ordering::Acquire));
                    let ended = ended.load(Ordering::Acquire);
                    subscriber.read_batch(dispatcher, *max);
                    if ended && !subscriber.reader.has_work() {
                        break;
                    }
                });
            }
            let sending: Vec<_> = (0u64..).zip(&producers).zip(names).map(|((i, events), name)| {
                let mut publisher = Publisher::new(&dispatcher, name);
                scope.spawn(move || {
                    let mark = |(n, (kind, of)): (u64, &(Kind, usize))| (*kind, *of, i << 32 | n);
                    let send = |mark| (send(&mut publisher, mark).unwrap().unwrap(), mark);
                    (0u64..).zip(events).map(mark).map(send).collect::<Vec<_>>()
                })
            }).collect();
            let sent: Vec<_> = sending.into_iter().map(thread::ScopedJoinHandle::join).collect();
            // Before a producer's panic propagates, the readers' threads end.
            ended.store(true, Ordering::Release);
            for queue in &queues {
                queue.waker().wake();
            }
            sent.into_iter().map(Result::unwrap).collect::<Vec<_>>()
        });
        for of_producer in &sent {
            prop_assert!(of_producer.is_sorted_by(|a, b| a.0 < b.0), "the events of a producer are numbered in the order of sending");
        }
        let sent: BTreeMap<u64, Mark> = sent.into_iter().flatten().collect();
        prop_assert!(sent.keys().copied().eq(1..=dispatcher.watermark()), "each number is assigned once");
        for subscriber in &subscribers {
            subscriber.check(&sent, true)?;
        }
        drop((subscribers, queues, dispatcher));
        prop_assert!(all_slots_are_free(&pools), "every slot is returned");
    }
}
