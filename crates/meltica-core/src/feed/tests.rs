//! Outcomes of frames, and damaged frames: each is a counted error or loses data, and does not affect later frames.

use super::*;
use crate::bus::{Item, OverflowPolicy, Reader, fixtures};
use crate::codec::fixtures::{ALL, DIFF, SNAPSHOT, TICKER, TRADE, binance_spec, wrap};
use crate::codec::{MAX_FRAME, MAX_LEVELS, Match, MessageSpec};
use crate::dispatch::{Dispatcher, Route, RouteKey};
use crate::event::Kind;
use crate::names::ProviderId;
use crate::pool::{DepthClass, Pools};
use proptest::prelude::*;
use proptest::sample::{Index, select};

mod beliefs;
mod candles;
mod checksums;
mod connections;
mod contracts;
mod depth;
mod faults;
mod kept;
mod lead;
mod numbers;
mod restart;
mod source;
mod trades;
mod windows;

const DEPTH: usize = 25;

struct Plane {
    pools: Arc<Pools>,
    dispatcher: Arc<Dispatcher>,
    reader: Reader,
    feed: Feed,
    last: u64,
}

impl Plane {
    /// Returns a feed whose events are all routed, with a synchronised book of BTC-USDT.
    fn new() -> Self {
        let pools = Pools::new(1 << 26);
        let dispatcher = Dispatcher::new(Arc::clone(&pools));
        let provider = ProviderId::intern("feed-tests");
        let route = |kind: &Kind| Route {
            key: RouteKey { provider, kind: *kind, symbol: None },
            filters: Vec::new(),
            depth: DEPTH as u32,
        };
        let routes = Kind::PUBLIC.iter().map(route).collect();
        let policies = [OverflowPolicy::DropOldest; Kind::COUNT];
        let (_, reader, _) =
            fixtures::subscribed(&dispatcher, policies, fixtures::Size::of(2048), routes, &Arc::default());
        let codec = Codec::compile(binance_spec()).unwrap();
        let feed = Feed::new(Publisher::new(&dispatcher, provider), Some(codec));
        let mut plane = Self { pools, dispatcher, reader, feed, last: 0 };
        assert_eq!(plane.run(wrap(SNAPSHOT).as_bytes()).len(), 1);
        plane
    }

    /// Feeds one frame of a stream, checks its events and returns them.
    fn run(&mut self, frame: &[u8]) -> Vec<Item> {
        let events = self.feed.frame(frame, 0).unwrap().events;
        self.read(events)
    }

    /// Reads and checks the events of the last call.
    fn read(&mut self, events: u32) -> Vec<Item> {
        let mut items = Vec::new();
        while self.reader.has_work() {
            self.reader.read(self.dispatcher.watermark(), 2048, &mut items);
        }
        assert_eq!(items.len(), events as usize);
        for item in &items {
            self.last += 1;
            assert_eq!(item.header().seq, self.last);
            if let Payload::Book(book) = &item.payload {
                assert!(book.bids.is_sorted_by(|a, b| a.price > b.price));
                assert!(book.asks.is_sorted_by(|a, b| a.price < b.price));
                assert!(book.bids.iter().chain(&book.asks).all(|l| l.price > 0 && l.quantity > 0));
                let best = book.bids.first().zip(book.asks.first());
                assert!(
                    best.is_none_or(|(bid, ask)| bid.price < ask.price),
                    "a crossed book is not published"
                );
                assert_eq!(book.bids.len(), DEPTH.min(book.bid_count as usize));
            }
        }
        items
    }

    fn errors(&self) -> BTreeMap<&'static str, u64> {
        self.feed.stats.errors.lock().unwrap().clone()
    }

    /// Checks that the kept data is bounded and that the next valid frame is decoded.
    fn check(mut self) {
        let bad = self.feed.stats.bad.lock().unwrap().clone();
        assert!(bad.len() <= 32 && bad.iter().all(|bad| bad.head.len() <= 4096));
        let levels = self.feed.decoder.as_ref().unwrap().levels();
        assert!(levels.bids.capacity().max(levels.asks.capacity()) <= 2 * MAX_LEVELS);
        let items = self.run(TICKER.as_bytes());
        let [item] = &items[..] else { panic!("{items:?}") };
        let Payload::Ticker(ticker) = &item.payload else { panic!("{item:?}") };
        assert_eq!(ticker.last, Some("61837.64".parse().unwrap()));
        drop(items);
        let Self { pools, dispatcher, reader, feed, .. } = self;
        drop((dispatcher, reader, feed));
        crate::janitor::settle();
        assert_eq!(pools.events.free(), pools.events.capacity(), "every slot is returned");
        for books in DepthClass::ALL.map(|class| pools.books(class)) {
            assert_eq!(books.free(), books.capacity(), "every slot is returned");
        }
    }
}

/// Returns the `nth` diff after the snapshot, so that damaged diffs reach the book.
fn diff(nth: u64) -> String {
    let id = 50_093_239_218 + nth;
    DIFF.replace("50093239203", &id.to_string()).replace("50093239207", &id.to_string())
}

/// Returns text of malformed frames.
fn junk() -> impl Strategy<Value = Vec<u8>> {
    let texts: Vec<Vec<u8>> = [
        r#""a":"#,
        r#""s":"ETHBTC","#,
        r#"{"x":1},"#,
        "null",
        "-",
        "1e400",
        "-0.00000001",
        "0.00000000000000000000000000001",
        "18446744073709551616",
        "\\u0000",
        "\\ud800",
        "\\u0065",
        "\"",
        "\\",
        "\n",
        "\0",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([
        b"\xff\xfe".to_vec(),
        b"9".repeat(400),
        b"x".repeat(5000),
        b"[".repeat(100),
        br#"{"a":"#.repeat(100),
        br#"["1","1"],"#.repeat(MAX_LEVELS + 1),
    ])
    .collect();
    select(texts)
}

#[derive(Debug, Clone)]
enum Damage {
    Cut(Index),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Repeat(Index, Index),
    /// Joins the beginning of the frame with the end of another one.
    Splice(Index, usize, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        1 => at().prop_map(Damage::Cut),
        1 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Flip(at, byte)),
        3 => (at(), junk()).prop_map(|(at, junk)| Damage::Insert(at, junk)),
        1 => (at(), at()).prop_map(|(from, to)| Damage::Remove(from, to)),
        1 => (at(), at()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        1 => (at(), 0..ALL.len(), at()).prop_map(|(at, other, from)| Damage::Splice(at, other, from)),
    ]
}

impl Damage {
    fn apply(&self, frame: &mut Vec<u8>) {
        if frame.is_empty() {
            return;
        }
        let part = |from: &Index, to: &Index| {
            let (from, to) = (from.index(frame.len()), to.index(frame.len()));
            from.min(to)..from.max(to)
        };
        match self {
            Self::Cut(at) => frame.truncate(at.index(frame.len())),
            Self::Flip(at, byte) => {
                let at = at.index(frame.len());
                frame[at] ^= byte;
            }
            Self::Insert(at, junk) => {
                let at = at.index(frame.len());
                frame.splice(at..at, junk.iter().copied());
            }
            Self::Remove(from, to) => drop(frame.drain(part(from, to))),
            Self::Repeat(from, to) => {
                let range = part(from, to);
                let again = frame[range.clone()].to_vec();
                frame.splice(range.end..range.end, again);
            }
            Self::Splice(at, other, from) => {
                let other = ALL[*other].as_bytes();
                frame.truncate(at.index(frame.len()));
                frame.extend_from_slice(&other[from.index(other.len())..]);
            }
        }
    }
}

proptest! {
    #[test]
    fn prop_damaged_frames_do_not_affect_later_frames(
        frames in prop::collection::vec(
            (0..ALL.len() + 1, any::<bool>(), prop::collection::vec(damage(), 0..4)), 1..16,
        ),
    ) {
        let mut plane = Plane::new();
        for (n, (which, wrapped, damages)) in (1..).zip(frames) {
            let frame = ALL.get(which).map_or_else(|| diff(n), |frame| (*frame).to_owned());
            let mut frame = if wrapped { wrap(&frame) } else { frame }.into_bytes();
            for damage in &damages {
                damage.apply(&mut frame);
            }
            plane.run(&frame);
        }
        plane.check();
    }
}

#[test]
fn a_frame_above_the_size_limit_is_refused() {
    let mut plane = Plane::new();
    let padded = |len: usize| format!("{TRADE}{}", " ".repeat(len - TRADE.len())).into_bytes();
    assert_eq!(plane.run(&padded(MAX_FRAME)).len(), 1);
    assert!(plane.run(&padded(MAX_FRAME + 1)).is_empty());
    assert!(plane.run(&vec![b'['; 5 * MAX_FRAME]).is_empty());
    assert_eq!(plane.errors(), BTreeMap::from([("too_large", 2)]));
    plane.check();
}

#[test]
fn only_the_last_bad_frames_are_kept() {
    let mut plane = Plane::new();
    for n in 0..1000 {
        plane.run(format!(r#"{{"n":{n},{}"#, "x".repeat(10_000)).as_bytes());
    }
    assert_eq!(plane.errors(), BTreeMap::from([("syntax", 1000)]));
    let last = plane.feed.stats.bad.lock().unwrap().back().cloned().unwrap();
    assert!(last.head.starts_with(br#"{"n":999,"#));
    plane.check();
}

#[test]
fn unknown_enum_values_are_counted() {
    let mut plane = Plane::new();
    plane.run(TRADE.as_bytes());
    assert_eq!(plane.feed.stats.unknown_enums.get(), 0);
    for id in 1..3 {
        let frame =
            TRADE.replace("true,", r#""both","#).replace("3735683259", &(3_735_683_259 + id).to_string());
        let items = plane.run(frame.as_bytes());
        assert!(matches!(&items[0].payload, Payload::Trade(trade) if trade.side.is_none()));
        assert_eq!(plane.feed.stats.unknown_enums.get(), id);
    }
}

/// Returns a feed whose codec also declares acknowledgements.
fn plane_with_control() -> Plane {
    let mut plane = Plane::new();
    let mut spec = binance_spec();
    spec.messages.push(MessageSpec {
        name: "ack".into(),
        matches: vec![Match::Present("id".into()), Match::Absent("e".into())],
        ..MessageSpec::default()
    });
    let publisher = Publisher::new(&plane.dispatcher, ProviderId::intern("feed-tests"));
    plane.feed = Feed::new(publisher, Some(Codec::compile(spec).unwrap()));
    plane
}

#[test]
fn each_frame_counts_as_decoded_control_unmatched_or_bad() {
    let mut feed = plane_with_control().feed;
    let mut outcome = |frame: &str| feed.frame(frame.as_bytes(), 0).unwrap();
    let decoded = FeedOutcome { decoded: 1, ..FeedOutcome::default() };
    assert_eq!(outcome(TRADE), FeedOutcome { events: 1, ..decoded });
    assert_eq!(outcome(TRADE), decoded, "a duplicate");
    assert_eq!(outcome(&diff(1)), decoded, "a diff that waits for a snapshot");
    let control = FeedOutcome { control: 1, ..FeedOutcome::default() };
    assert_eq!(outcome(r#"{"id":7,"result":null}"#), control);
    let unmatched = FeedOutcome { unmatched: 1, ..FeedOutcome::default() };
    assert_eq!(outcome(r#"{"result":null}"#), unmatched);
    assert_eq!(outcome("[1,2]"), unmatched);
    let bad = FeedOutcome { bad: 1, ..FeedOutcome::default() };
    assert_eq!(outcome("pong"), bad);
    assert_eq!(outcome(r#"{"e":"trade","id":7}"#), bad, "a trade without its fields");
    assert_eq!([control, unmatched].map(FeedOutcome::needs_adapter), [true, true]);
    assert_eq!([decoded, bad].map(FeedOutcome::needs_adapter), [false, false]);
    assert_eq!((feed.stats.control.get(), feed.stats.unmatched.get()), (1, 2));
}

#[test]
fn unwanted_market_data_is_decoded_and_needs_no_adapter() {
    let plane = Plane::new();
    let publisher = Publisher::new(&plane.dispatcher, ProviderId::intern("feed-tests-unwanted"));
    let mut feed = Feed::new(publisher, Some(Codec::compile(binance_spec()).unwrap()));
    let outcome = feed.frame(TRADE.as_bytes(), 0).unwrap();
    assert_eq!(outcome, FeedOutcome { decoded: 1, ..FeedOutcome::default() });
}

#[test]
fn a_feed_without_a_codec_counts_every_frame_as_bad() {
    let plane = Plane::new();
    let publisher = Publisher::new(&plane.dispatcher, ProviderId::intern("feed-tests"));
    let outcome = Feed::new(publisher, None).frame(TRADE.as_bytes(), 0).unwrap();
    assert_eq!(outcome, FeedOutcome { bad: 1, ..FeedOutcome::default() });
}
