//! Tests of a venue from the view of its clients, with simulated faults.

use crate::event::{Nanos, Side};
use crate::venue::market::tests::{busy, funded, listing};
use crate::venue::market::*;
use crate::venue::{AccountId, FeeAsset, Fees, OrderKind, TimeInForce};
use proptest::prelude::*;
use std::time::Duration;

const SECOND: Nanos = 1_000_000_000;
const INTERVALS: Intervals = Intervals { ticker: SECOND, book_snapshot: SECOND / 10 };
const REFRESH: RefreshIntervals = RefreshIntervals { instruments: 7 * SECOND, balances: 3 * SECOND };

struct Venue {
    live: SimulatedVenue,
    wire: Wire,
    account: AccountId,
    names: Vec<String>,
}

impl Venue {
    /// Returns a venue with a subscriber for every channel.
    fn new(seed: u64, rate: f64, behavior: Behavior) -> Self {
        let [maker, taker] = ["0.001", "0.002"].map(|rate| rate.parse().unwrap());
        let fees = Fees::new(maker, taker, FeeAsset::Quote).unwrap();
        let options = Options { seed, kline_interval: SECOND, fees, ..Options::default() };
        let listings = [listing("BTC", "600", rate), listing("ETH", "20", rate)];
        let mut market = Market::new(&options, &listings).unwrap();
        let account = funded(&mut market);
        let rules = vec!["{}".to_owned(); 2];
        let mut wire = Wire::new(&market, vec![account], rules, INTERVALS, "1s", seed, behavior);
        let names = wire.channels(&["main".to_owned()]);
        for channel in 0..names.len() {
            wire.want(&market, channel, true);
        }
        Self { live: SimulatedVenue::new(market, seed, behavior, REFRESH), wire, account, names }
    }

    fn advance(&mut self, until: Nanos) -> Vec<(usize, String)> {
        self.live.advance(until, &mut self.wire);
        self.wire.take()
    }

    /// Advances by as few actions at once as a budget allows.
    fn advance_in_pieces(&mut self, until: Nanos) -> Vec<(usize, String)> {
        while !self.live.advance_within(until, &mut self.wire, Budget::within(Duration::ZERO)) {
            assert!(self.live.market().now() <= until);
        }
        self.wire.take()
    }

    fn submit(&mut self, id: &str, side: Side, kind: OrderKind) -> Result<(), Refusal> {
        let request = Request { client_order_id: id.into(), side, quantity: 1_000, kind };
        self.live.submit(self.account, 0, &request, &mut self.wire).map(drop)
    }

    fn channel(&self, name: &str) -> usize {
        self.names.iter().position(|other| other == name).unwrap()
    }

    fn of(&self, name: &str, frames: &[(usize, String)]) -> Vec<String> {
        let channel = self.channel(name);
        frames.iter().filter(|(of, _)| *of == channel).map(|(_, frame)| frame.clone()).collect()
    }
}

/// Returns the number behind a key of a frame.
fn number(frame: &str, key: &str) -> u64 {
    let at = frame.find(&format!("\"{key}\":")).unwrap() + key.len() + 3;
    frame[at..].split([',', '}']).next().unwrap().parse().unwrap()
}

/// Returns the text behind a key of a frame, without quotes.
fn text<'a>(frame: &'a str, key: &str) -> &'a str {
    let key = format!("\"{key}\":");
    let at = frame.find(&key).unwrap_or_else(|| panic!("expected {key} in {frame}")) + key.len();
    frame[at..].split([',', '}']).next().unwrap().trim_matches('"')
}

const FAR: OrderKind = OrderKind::Limit { price: 30_000, time_in_force: TimeInForce::Gtc };
const TAKE: OrderKind = OrderKind::Market { fok: false };

type Advance = fn(&mut Venue, Nanos) -> Vec<(usize, String)>;

/// Returns the frames of 20 seconds with an order every half second; `step` divides the time in between.
fn session(seed: u64, behavior: Behavior, step: Nanos, advance: Advance) -> Vec<(usize, String)> {
    let mut venue = Venue::new(seed, 50.0, behavior);
    let mut frames = Vec::new();
    for half in 1..40 {
        let due = half * SECOND / 2;
        let mut now = due - SECOND / 2;
        while now < due {
            now = (now + step).min(due);
            frames.extend(advance(&mut venue, now));
        }
        let (latency, _) = venue.live.request_fate(None);
        assert!((behavior.latency_min..=behavior.latency_max).contains(&latency));
        let (side, kind) = if half % 2 == 0 { (Side::Buy, FAR) } else { (Side::Sell, TAKE) };
        let _ = venue.submit(&half.to_string(), side, kind);
        let _ = venue.live.cancel(venue.account, &(half - 2).to_string(), &mut venue.wire);
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_same_seed_gives_the_same_frames_for_any_division_of_time(
        seed in 0u64..1000,
        latency in (0i64..SECOND / 20, 0i64..SECOND / 5),
        chances in (0.0f64..0.5, 0.0f64..0.3, 0.0f64..0.5, 0.0f64..0.5, 0.0f64..0.5),
        step in SECOND / 100..SECOND,
    ) {
        let (transient_error, disconnect_chance, late, twice, reorder) = chances;
        let behavior = Behavior {
            latency_min: latency.0,
            latency_max: latency.0 + latency.1,
            transient_error,
            disconnect_chance,
            disconnect_for: SECOND,
            reject: transient_error,
            report_late: late,
            report_late_for: SECOND / 2,
            report_duplicate: twice,
            report_reorder: reorder,
        };
        let whole = session(seed, behavior, SECOND, Venue::advance);
        prop_assert!(whole.len() > 50);
        prop_assert!(whole == session(seed, behavior, step, Venue::advance));
        prop_assert!(whole == session(seed, behavior, step, Venue::advance_in_pieces));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn each_fill_is_in_one_order_frame(seed in 0u64..1000) {
        let mut venue = Venue::new(seed, 50.0, Behavior::default());
        let mut frames = Vec::new();
        for i in 1..200 {
            frames.extend(venue.advance(i * SECOND / 5));
            let middle = venue.live.market().pairs()[0].reference() as i64;
            let _ = venue.live.submit(venue.account, 0, &busy(i, middle), &mut venue.wire);
            frames.extend(venue.wire.take());
        }
        let mut frames = venue.of("account:main", &frames);
        frames.retain(|frame| frame.contains("executionId"));
        let market = venue.live.market();
        let fills: Vec<_> = market.fills_since(0).collect();
        prop_assert!(fills.len() > 100, "{} fills", fills.len());
        prop_assert!(fills.iter().any(|fill| fill.maker) && fills.iter().any(|fill| !fill.maker));
        prop_assert_eq!(fills.len(), frames.len());
        let rules = market.pairs()[0].rules();
        let usdt = market.assets().iter().find(|(name, _)| name == "USDT").unwrap().1;
        for (fill, frame) in fills.iter().zip(&frames) {
            prop_assert_eq!(text(frame, "executionId"), fill.number.to_string());
            prop_assert_eq!(text(frame, "clientOrderId"), &fill.client_order_id);
            prop_assert_eq!(text(frame, "venueOrderId"), fill.order.0.to_string());
            prop_assert_eq!(text(frame, "lastPrice"), rules.price(fill.price).to_string());
            prop_assert_eq!(text(frame, "lastQuantity"), rules.quantity(fill.quantity).to_string());
            prop_assert_eq!(text(frame, "lastFee"), market.money(usdt, fill.fee).to_string());
            prop_assert_eq!(text(frame, "lastFeeCurrency"), "USDT");
            prop_assert_eq!(text(frame, "liquidity"), if fill.maker { "maker" } else { "taker" });
        }
    }
}

#[test]
fn a_constant_latency_only_delays_frames() {
    let plain = session(5, Behavior::default(), SECOND, Venue::advance);
    let slow = Behavior { latency_min: SECOND / 2, latency_max: SECOND / 2, ..Behavior::default() };
    let mut slow = session(5, slow, SECOND, Venue::advance);
    assert!(slow.len() < plain.len(), "the last frames are in flight");
    assert_eq!(plain[..slow.len()], slow[..], "a constant latency changes only arrival times");
    slow.clear();
    assert_ne!(plain, session(6, Behavior::default(), SECOND, Venue::advance));
}

#[test]
fn depth_frames_are_consecutive_and_include_the_last_change() {
    let mut venue = Venue::new(3, 20.0, Behavior::default());
    let mut frames = Vec::new();
    for second in 1..30 {
        frames.extend(venue.advance(second * SECOND));
    }
    // The background is idle in the meantime, so the pending changes are published within an interval.
    let quiet = venue.live.market().next_due() - 1;
    frames.extend(venue.advance(quiet.min(30 * SECOND)));
    let depth = venue.of("depth:BTC-USDT", &frames);
    assert!(depth.len() > 100, "{}", depth.len());
    let mut last = None;
    for frame in &depth {
        assert!(last.is_none_or(|last| number(frame, "first") == last + 1), "{last:?} {frame}");
        assert!(number(frame, "last") >= number(frame, "first"));
        last = Some(number(frame, "last"));
    }
    let times: Vec<_> = depth.iter().map(|frame| number(frame, "time") as Nanos).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= INTERVALS.book_snapshot), "throttled");
    let mut slow = Venue::new(3, 0.5, Behavior::default());
    let mut published = None;
    for half in 1..400 {
        for frame in {
            let frames = slow.advance(half * SECOND / 2);
            slow.of("depth:ETH-USDT", &frames)
        } {
            published = Some(number(&frame, "last"));
        }
        let due = slow.live.market().pairs()[1].engine().update_id();
        let settled = slow.wire.next_due() == Nanos::MAX;
        assert!(!settled || published.is_none_or(|id| id == due), "{published:?} of {due}");
    }
    assert!(published.is_some());
}

#[test]
fn skipped_depth_frames_leave_a_gap() {
    let mut venue = Venue::new(3, 50.0, Behavior::default());
    let first = venue.advance(5 * SECOND);
    let before = number(venue.of("depth:BTC-USDT", &first).last().unwrap(), "last");
    venue.wire.skip_depth(0, 2);
    let then = venue.advance(10 * SECOND);
    let depth = venue.of("depth:BTC-USDT", &then);
    assert!(number(&depth[0], "first") > before + 1, "{before} {}", depth[0]);
    assert!(depth.windows(2).all(|pair| number(&pair[1], "first") == number(&pair[0], "last") + 1));
    let other = venue.of("depth:ETH-USDT", &then);
    let other_before = number(venue.of("depth:ETH-USDT", &first).last().unwrap(), "last");
    assert_eq!(number(&other[0], "first"), other_before + 1, "other symbols have no gap");
}

#[test]
fn a_disconnect_loses_messages_until_the_venue_is_restored() {
    let mut venue = Venue::new(3, 50.0, Behavior::default());
    venue.advance(5 * SECOND);
    venue.live.disconnect(4 * SECOND, &mut venue.wire);
    assert!(!venue.live.is_connected());
    assert!(venue.advance(9 * SECOND - 1).is_empty());
    venue.submit("one", Side::Buy, FAR).unwrap();
    assert!(venue.wire.take().is_empty(), "the order is open and not reported");
    let back = venue.advance(12 * SECOND);
    assert!(venue.live.is_connected());
    assert!(venue.of("account:main", &back).iter().all(|frame| !frame.contains("\"order\"")));
    assert!(!venue.of("depth:BTC-USDT", &back).is_empty());
    assert_eq!(venue.live.market().open_orders(venue.account).count(), 1);
}

#[test]
fn a_paused_background_publishes_pending_changes() {
    let mut venue = Venue::new(3, 50.0, Behavior::default());
    venue.advance(5 * SECOND);
    venue.live.pause_background(true);
    let pending = venue.advance(6 * SECOND);
    let id = venue.live.market().pairs()[0].engine().update_id();
    assert!(venue.of("depth:BTC-USDT", &pending).last().is_none_or(|frame| number(frame, "last") == id));
    let quiet = venue.advance(9 * SECOND);
    assert!(venue.of("depth:BTC-USDT", &quiet).is_empty());
    assert_eq!(venue.of("candle:BTC-USDT", &quiet).len(), 3, "the clock continues");
    venue.live.pause_background(false);
    let again = venue.advance(12 * SECOND);
    assert_eq!(number(&venue.of("depth:BTC-USDT", &again)[0], "first"), id + 1);
    assert!(again.iter().all(|(_, frame)| number(frame, "time") > 9 * SECOND as u64));
}

#[test]
fn a_simulated_rejection_is_reported() {
    let behavior = Behavior { reject: 1.0, ..Behavior::default() };
    let mut venue = Venue::new(3, 50.0, behavior);
    let refused = venue.submit("say \"no\"", Side::Buy, FAR).unwrap_err();
    assert_eq!(refused.code(), "venue_rejected");
    let frames = venue.of("account:main", &venue.wire.clone().take());
    assert!(
        frames[0].contains(r#""state":"REJECTED""#) && frames[0].contains(r#""clientOrderId":"say \"no\"""#),
        "{frames:?}"
    );
    let order = venue.live.market().order(venue.account, "say \"no\"").unwrap();
    assert_eq!((order.state.name(), order.order), ("REJECTED", None));
    let faultless = Behavior::default();
    venue.live.set_behavior(faultless, &mut venue.wire).unwrap();
    venue.submit("yes", Side::Buy, FAR).unwrap();
}

#[test]
fn all_invalid_faults_are_listed() {
    let behavior = Behavior {
        latency_min: 5,
        latency_max: 1,
        reject: 1.5,
        report_late: 0.5,
        disconnect_for: -1,
        ..Behavior::default()
    };
    let faults = behavior.check().unwrap_err().0;
    assert_eq!(faults.len(), 4, "{faults:?}");
    let mut venue = Venue::new(3, 50.0, Behavior::default());
    assert!(venue.live.set_behavior(behavior, &mut venue.wire).is_err());
    assert_eq!(venue.live.behavior(), Behavior::default());
}

#[test]
fn a_full_publication_is_divided_by_the_budget() {
    let mut venue = Venue::new(7, 20.0, Behavior::default());
    for _ in 0..20 {
        venue.wire.instruments(venue.live.market());
    }
    assert!(venue.wire.take().is_empty());
    let mut sizes = Vec::new();
    while !venue.live.publish_within(&mut venue.wire, Budget::within(Duration::ZERO)) {
        sizes.push(venue.wire.take().len());
    }
    sizes.push(venue.wire.take().len());
    assert!(sizes.len() > 2 && sizes.iter().all(|size| *size <= 10), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 20 * 2, "each instrument is published");
}
