use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

/// Returns ids that mostly grow, and also repeat, jump, arrive late or restart.
fn ids() -> impl Strategy<Value = Vec<u64>> {
    let step = prop_oneof![
        8 => (1i64..4).boxed(),
        2 => (-20i64..=0).boxed(),
        1 => (-6000i64..-4000).boxed(),
        1 => (60i64..5000).boxed(),
        1 => (-200_000i64..-100_000).boxed(),
    ];
    proptest::collection::vec(step, 1..400).prop_map(|steps| {
        let mut at = 150_000i64;
        steps
            .into_iter()
            .map(|step| {
                at = (at + step).max(0);
                at as u64
            })
            .collect()
    })
}

/// Returns how many of the messages are delivered, and in how many the numbers have restarted.
fn run(window: &mut Restarting, messages: impl Iterator<Item = (u64, Option<Nanos>)>) -> (usize, usize) {
    let checked: Vec<_> = messages.map(|(id, time)| window.check(id, time, 0)).collect();
    let count = |is: fn(&(IdStatus, bool)) -> bool| checked.iter().filter(|one| is(one)).count();
    (count(|(status, _)| *status == IdStatus::New), count(|(_, restarted)| *restarted))
}

#[test]
fn ids_that_restart_are_new_after_three_with_later_times() {
    for (start, n) in [(100_000, 50), (1, 3000)] {
        let mut window = Restarting::default();
        let at = |offset| move |id| (id, Some(id as Nanos + offset));
        assert_eq!(run(&mut window, (start..start + n).map(at(0))), (n as usize, 0));
        assert_eq!(run(&mut window, (start..start + n).map(at(0))), (0, 0), "a late second line");
        // Those that are in the window may be repeated, until there are three.
        let dropped = if start == 1 { 2 } else { 0 };
        assert_eq!(run(&mut window, (1..=n).map(at(1_000_000))), (n as usize - dropped, 1));
    }
}

#[test]
fn a_restart_loses_and_repeats_nothing_with_a_slower_second_connection() {
    for (start, lag) in [(1000, 20), (100_000, 20), (1, 20), (50, 3), (100_000, 300), (1000, 0)] {
        let before = (start..start + 100).map(|id| (id, (id - start) as Nanos));
        let messages: Vec<_> = before.chain((1..=400).map(|id| (id, 100 + id as Nanos))).collect();
        let (mut window, mut delivered) = (Restarting::default(), HashMap::new());
        let mut restarts = 0;
        for at in 0..messages.len() + lag {
            let late = at.checked_sub(lag).filter(|_| lag > 0);
            for (line, at) in [Some(at), late].into_iter().enumerate() {
                let Some(&(id, time)) = at.and_then(|at| messages.get(at)) else { continue };
                let (status, restarted) = window.check(id, Some(time), line as u32);
                *delivered.entry((id, time)).or_insert(0) += u32::from(status == IdStatus::New);
                restarts += u32::from(restarted);
            }
        }
        let lost = delivered.values().filter(|n| **n == 0).count();
        assert!(delivered.values().all(|n| *n <= 1), "start {start}, lag {lag}");
        // One connection delivers no id that is in the window until there are three.
        assert!(lost <= if lag == 0 { 2 } else { 0 }, "start {start}, lag {lag}: lost {lost}");
        assert_eq!(restarts, 1, "start {start}, lag {lag}");
    }
}

#[test]
fn repeats_whose_times_are_not_in_the_order_of_ids_are_no_restart() {
    let mut window = Restarting::default();
    let messages = [(8, Some(5)), (9, Some(5)), (10, Some(5)), (11, Some(4))];
    assert_eq!(run(&mut window, messages.into_iter()), (4, 0));
    assert_eq!(run(&mut window, messages.into_iter()), (0, 0));
}

#[test]
fn a_single_wrong_id_far_above_the_window_blocks_nothing() {
    let mut window = Restarting::default();
    let at = |id| (id, Some(id as Nanos));
    assert_eq!(run(&mut window, (1..4).map(at)), (3, 0));
    let wrong = [(1 << 50, Some(1 << 60)); 2];
    assert_eq!(run(&mut window, wrong.into_iter()), (1, 0), "it is delivered once");
    assert_eq!(run(&mut window, (4..10_000).map(at)), (9_996, 0));
    let sparse = |n: u64| at(n * 1_000_000);
    assert_eq!(run(&mut window, (1..100).map(sparse)), (99, 0));
    assert_eq!(run(&mut window, (1..100).map(sparse)), (0, 0));
}

#[test]
fn without_times_ids_that_restart_in_the_window_are_new_after_sixty_four() {
    let mut window = Restarting::default();
    let untimed = |id| (id, None);
    assert_eq!(run(&mut window, (1..=3000).map(untimed)), (3000, 0));
    assert_eq!(run(&mut window, (1..=3000).map(untimed)), (2937, 1));
}

#[test]
fn without_times_ids_that_restart_are_new_after_sixty_four() {
    let mut window = Restarting::default();
    let untimed = |id| (id, None);
    assert_eq!(run(&mut window, (100_000..101_000).map(untimed)), (1000, 0));
    let slower = (100_000..101_000).filter(|id| window.check(*id, None, 1).0 == IdStatus::New);
    assert_eq!(slower.count(), 0, "a late second line");
    assert_eq!(run(&mut window, (1..=100).map(untimed)), (37, 1));
}

proptest! {
    #[test]
    fn prop_monotonic_is_a_set_over_its_window(ids in ids()) {
        let (mut window, mut model, mut highest, mut far) = (Monotonic::default(), HashSet::new(), None::<u64>, 0);
        for id in ids {
            let is_far = highest.is_some_and(|h| id >= h + WINDOW);
            let expected = match highest {
                Some(h) if id + WINDOW <= h => IdStatus::Stale,
                _ if is_far && id != far => IdStatus::New,
                _ if !is_far && model.insert(id) => IdStatus::New,
                _ => IdStatus::Duplicate,
            };
            if is_far {
                let low;
                (low, far) = (id.min(far), id.max(far));
                if low > 0 && (id != far || expected == IdStatus::New) {
                    highest = Some(low);
                    model.insert(low);
                }
            } else {
                highest = highest.max(Some(id));
            }
            if far > 0 && highest.is_some_and(|h| h + WINDOW > far) && (is_far || highest >= Some(far)) {
                model.insert(far);
                highest = highest.max(Some(far));
                far = 0;
            }
            prop_assert_eq!(window.check(id), expected, "id {}", id);
        }
    }

    #[test]
    fn prop_opaque_is_a_set_of_the_last_ids(ids in proptest::collection::vec(0u64..6000, 1..300), fill in 0u64..5000) {
        let (mut window, mut model) = (Opaque::default(), VecDeque::new());
        for id in (10_000..10_000 + fill).chain(ids) {
            let expected = if model.contains(&id) { IdStatus::Duplicate } else { IdStatus::New };
            if expected == IdStatus::New {
                model.push_back(id);
                if model.len() as u64 > WINDOW {
                    model.pop_front();
                }
            }
            prop_assert_eq!(window.check(VenueId::Number(id)), expected);
        }
    }
}
