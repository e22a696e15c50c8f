//! Windows of levels whose size is a guess, against a venue whose size is known.

use super::*;
use crate::codec::{ChecksumRule, ChecksumSpec, Depth, Digits, Layout, LevelsSpec, Role, SnapshotMode};
use std::fmt::Write as _;

/// Returns a feed of books in a window of 3, 6 or 12 levels, of which `covered` have a checksum.
fn plane(covered: usize) -> Plane {
    let rule = ChecksumRule {
        levels: covered.max(1),
        layout: Layout::AsksBids,
        separator: String::new(),
        digits: Digits::Shortest,
    };
    let message = |name: &str, role, snapshot| MessageSpec {
        name: name.into(),
        role,
        matches: vec![Match::Equals("t".into(), name.into())],
        symbol: Some("s".into()),
        snapshot,
        levels: Some(LevelsSpec {
            bids: vec!["b".into()],
            asks: vec!["a".into()],
            checksum: Some(ChecksumSpec { path: "c".into(), rule: rule.clone(), zero_is_none: covered == 0 }),
            depth: Some(Depth::Snapshot(vec![3, 6, 12])),
            ..LevelsSpec::default()
        }),
        ..MessageSpec::default()
    };
    let mut spec = binance_spec();
    spec.envelope = None;
    spec.messages = vec![
        message("whole", Role::BookSnapshot, Some(SnapshotMode::Replaces)),
        message("change", Role::BookDiff, None),
        MessageSpec {
            name: "confirmed".into(),
            role: Role::Control,
            matches: vec![Match::Equals("t".into(), "confirmed".into())],
            symbol: Some("s".into()),
            depth: Some("n".into()),
            ..MessageSpec::default()
        },
    ];
    let mut plane = Plane::new();
    let publisher = Publisher::new(&plane.dispatcher, ProviderId::intern("feed-tests"));
    plane.feed = Feed::new(publisher, Some(Codec::compile(spec).unwrap()));
    plane
}

/// The levels of a side by price, with a quantity each.
type Side = BTreeMap<i64, u64>;

/// A venue that sends the best levels of its book.
struct Venue {
    window: usize,
    covered: usize,
    /// All bids and asks.
    sides: [Side; 2],
}

impl Venue {
    /// Returns the best levels of a side, best first.
    fn best(side: &Side, of: usize, levels: usize) -> Vec<(i64, u64)> {
        let level = |(price, quantity): (&i64, &u64)| (*price, *quantity);
        if of == 0 {
            side.iter().rev().take(levels).map(level).collect()
        } else {
            side.iter().take(levels).map(level).collect()
        }
    }

    fn frame(&self, kind: &str, sides: &[Vec<(i64, u64)>; 2]) -> String {
        let [bids, asks] = sides.each_ref().map(|levels| {
            let level = |(price, quantity): &(i64, u64)| format!(r#"["{price}","{quantity}"]"#);
            levels.iter().map(level).collect::<Vec<_>>().join(",")
        });
        let mut text = String::new();
        for of in [1, 0] {
            for (price, quantity) in Self::best(&self.sides[of], of, self.covered) {
                write!(text, "{price}{quantity}").unwrap();
            }
        }
        let checksum = if self.covered == 0 { 0 } else { crc32fast::hash(text.as_bytes()) };
        format!(r#"{{"t":"{kind}","s":"BTCUSDT","b":[{bids}],"a":[{asks}],"c":{checksum}}}"#)
    }

    fn whole(&self) -> String {
        self.frame("whole", &[0, 1].map(|of| Self::best(&self.sides[of], of, self.window)))
    }

    /// Changes levels of one side; returns the message about those that are or were in the window. A level that falls out
    /// of it is not in it, and one that enters it is.
    fn change(&mut self, of: usize, changes: &[(i64, u64)]) -> Option<String> {
        let before = Self::best(&self.sides[of], of, self.window);
        for (price, quantity) in changes {
            if *quantity == 0 {
                self.sides[of].remove(price);
            } else {
                self.sides[of].insert(*price, *quantity);
            }
        }
        let after = Self::best(&self.sides[of], of, self.window);
        let mut levels: Vec<_> = after.iter().filter(|level| !before.contains(level)).copied().collect();
        let gone = before.iter().filter(|(price, _)| !self.sides[of].contains_key(price));
        levels.extend(gone.map(|(price, _)| (*price, 0)));
        if levels.is_empty() {
            return None;
        }
        let sides = if of == 0 { [levels, vec![]] } else { [vec![], levels] };
        Some(self.frame("change", &sides))
    }
}

/// Checks that a book has exactly the levels of the venue, as far as it is known.
fn check(venue: &Venue, book: &Book) {
    let sides = [(&book.bids, book.bid_horizon), (&book.asks, book.ask_horizon)];
    for (of, (levels, horizon)) in sides.into_iter().enumerate() {
        let is_known = |price: i64| horizon.is_some_and(|at| if of == 0 { price >= at } else { price <= at });
        let own = levels.iter().map(|level| (level.price, level.quantity.cast_unsigned()));
        let own: Vec<_> = own.filter(|(price, _)| is_known(*price)).collect();
        let all = Venue::best(&venue.sides[of], of, usize::MAX);
        let theirs: Vec<_> = all.into_iter().filter(|(price, _)| is_known(*price)).collect();
        assert_eq!(own, theirs, "side {of}, known up to {horizon:?}, window {}", venue.window);
        // Levels behind one that fell out are not known, but a checksum shows whether it counts.
        let sure = venue.covered.min(venue.window).min(venue.sides[of].len());
        assert!(own.len() >= sure, "{} of {sure} levels are known", own.len());
    }
}

/// Runs a session and returns the number of levels of the last book, and the failed checksums.
fn run(venue: &mut Venue, changes: &[(usize, Vec<(i64, u64)>)]) -> ([usize; 2], u64) {
    let mut plane = plane(venue.covered);
    let whole = venue.whole();
    let mut last = [0, 0];
    let frames = std::iter::once(None).chain(changes.iter().map(Some));
    for change in frames {
        let frame = match change {
            None => Some(whole.clone()),
            Some((of, levels)) => venue.change(*of, levels),
        };
        let Some(frame) = frame else { continue };
        for item in plane.run(frame.as_bytes()) {
            match &item.payload {
                Payload::Book(book) => {
                    check(venue, book);
                    last = [book.bids.len(), book.asks.len()];
                }
                other => panic!("{other:?} after {frame}"),
            }
        }
    }
    (last, plane.feed.stats.checksums_failed.get())
}

fn venue(window: usize, covered: usize, levels: i64) -> Venue {
    let bids = (0..levels).map(|n| (100 - n, 1)).collect();
    let asks = (0..levels).map(|n| (101 + n, 1)).collect();
    Venue { window, covered, sides: [bids, asks] }
}

#[test]
fn a_guess_grows_with_levels_behind_the_window() {
    for covered in [0, 3] {
        let mut thin = venue(12, covered, 2);
        let bids: Vec<_> = (2..20).map(|n| (0, vec![(100 - n, 2)])).collect();
        assert_eq!(run(&mut thin, &bids), ([12, 2], 0), "{covered}");
    }
}

#[test]
fn a_checksum_shows_whether_a_level_fell_out_of_the_window() {
    // 99 falls out of a window of 3, and comes back without a message in one of 6.
    let changes = [(0, vec![(98, 1)]), (0, vec![(101, 1)]), (0, vec![(101, 0)]), (0, vec![(100, 0)])];
    let asks: Side = (110..113).map(|price| (price, 1)).collect();
    for (window, levels) in [(3, 2), (6, 2)] {
        let mut venue = venue(window, 3, 2);
        venue.sides[1].clone_from(&asks);
        assert_eq!(run(&mut venue, &changes), ([levels, 3], 0), "{window}");
    }
    // 98 is deleted where no message of a window of 3 says so, and never counts again.
    let changes =
        [vec![(98, 1)], vec![(101, 1)], vec![(98, 0)], vec![(101, 0)], vec![(97, 1)], vec![(96, 1)]];
    let mut venue = venue(3, 3, 2);
    venue.sides[1] = asks;
    assert_eq!(run(&mut venue, &changes.map(|levels| (0, levels))), ([3, 3], 0));
}

fn confirm(plane: &mut Plane, levels: &str) {
    let frame = format!(r#"{{"t":"confirmed","s":"BTCUSDT","n":{levels}}}"#);
    assert_eq!(plane.feed.frame(frame.as_bytes(), 0).unwrap().control, 1);
}

#[test]
fn a_depth_that_the_venue_confirms_is_no_guess() {
    let bids = |plane: &mut Plane, frame: &str| match &plane.run(frame.as_bytes())[..] {
        [item] => match &item.payload {
            Payload::Book(book) => (book.bids.len(), book.bid_horizon.unwrap()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    for (is_before, window) in [(true, 3), (true, 12), (false, 3), (false, 12)] {
        let mut venue = venue(window, 0, 3);
        let mut plane = plane(0);
        if is_before {
            confirm(&mut plane, &window.to_string());
        }
        bids(&mut plane, &venue.whole());
        let better: Vec<_> = (101..107).map(|price| (price, 1)).collect();
        venue.sides[1] = [(200, 1)].into();
        bids(&mut plane, &venue.whole());
        for level in &better[..5] {
            bids(&mut plane, &venue.change(0, &[*level]).unwrap());
        }
        if !is_before {
            confirm(&mut plane, &window.to_string());
        }
        let expected = if window == 3 { (3, 104) } else { (9, 98) };
        assert_eq!(
            bids(&mut plane, &venue.change(0, &better[5..]).unwrap()),
            expected,
            "{is_before} {window}"
        );
    }
    // Other values than numbers of levels confirm nothing, and a lost connection has no depth.
    let mut plane = plane(0);
    for levels in ["0", "null", "\"3\"", "-1", "99999999999"] {
        confirm(&mut plane, levels);
    }
    confirm(&mut plane, "12");
    let events = plane.feed.restart(0).unwrap();
    plane.read(events);
    let mut venue = venue(12, 0, 3);
    bids(&mut plane, &venue.whole());
    assert_eq!(bids(&mut plane, &venue.change(0, &[(99, 0), (97, 1)]).unwrap()), (3, 97));
    assert_eq!(bids(&mut plane, &venue.change(0, &[(99, 1)]).unwrap()), (3, 98), "97 may be there or not");
}

fn sessions() -> impl Strategy<Value = Vec<(usize, Vec<(i64, u64)>)>> {
    let level = |of: usize| {
        let price = if of == 0 { 80..100i64 } else { 101..121 };
        (price, prop_oneof![2 => Just(0u64), 3 => 1..4u64])
    };
    let change = (0..2usize).prop_flat_map(move |of| (Just(of), prop::collection::vec(level(of), 1..3)));
    prop::collection::vec(change, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_a_book_says_that_it_knows_is_so(
        window in select(vec![3usize, 6, 12]),
        covered in select(vec![0usize, 3]),
        levels in 1i64..12,
        changes in sessions(),
    ) {
        let mut venue = venue(window, covered, levels);
        let (_, failed) = run(&mut venue, &changes);
        prop_assert_eq!(failed, 0);
    }
}
