//! Quotes and connections against plain models.

use super::{Connection, FeedLag, Last, Quote, Reading, Top};
use crate::decimal::Decimal;
use crate::event::{
    Book, BookGap, Event, Header, Kind, Nanos, Notice, Payload, PriceLevel, Side, StaleReason, Ticker, Trade,
    VenueId,
};
use crate::names::{ProviderId, SymbolId};
use crate::pool::{DepthClass, Pools};
use proptest::prelude::*;
use proptest::sample::select;

const SECOND: Nanos = 1_000_000_000;
const CLOCKS: Reading = Reading { wall: 1000 * SECOND, now: 7 * SECOND };

/// Makes the events of a symbol, with their numbers by kind.
struct Source {
    pools: std::sync::Arc<Pools>,
    numbers: [u64; Kind::COUNT],
    received: Nanos,
}

impl Source {
    fn new() -> Self {
        let pools = Pools::new(1 << 24);
        Self { pools, numbers: [0; Kind::COUNT], received: CLOCKS.wall - SECOND }
    }

    fn event(&mut self, kind: Kind, payload: Payload) -> Event {
        self.numbers[kind as usize] += 1;
        self.received += 1;
        let header = Header {
            seq: 1,
            provider_seq: self.numbers[kind as usize],
            venue_time: None,
            received_time: self.received,
            dispatched_time: 0,
            dispatched_ticks: 0,
            routing_version: 0,
            provider: ProviderId::EMPTY,
            symbol: SymbolId::EMPTY,
            kind,
        };
        Event { header: Some(header), payload }
    }

    fn trade(&mut self, price: i64) -> Event {
        let (price, quantity) = (Decimal::from_i64(price), Decimal::from_i64(1));
        self.event(
            Kind::Trade,
            Payload::Trade(Trade { id: Some(VenueId::Number(1)), side: None, price, quantity, late: false }),
        )
    }

    fn ticker(&mut self, [last, bid, ask]: [Option<i64>; 3]) -> Event {
        let [last, bid, ask] = [last, bid, ask].map(|price| price.map(Decimal::from_i64));
        self.event(Kind::Ticker, Payload::Ticker(Ticker { last, bid, ask, ..Ticker::default() }))
    }

    /// A book with one digit after the point of prices, and two after that of quantities.
    fn book(&mut self, bids: &[(i64, i64)], asks: &[(i64, i64)]) -> Event {
        let _reserved =
            Pools::reserve(&self.pools, crate::pool::Claim::new(8, DepthClass::of(8), 8)).unwrap();
        let levels = |levels: &[(i64, i64)]| -> Vec<_> {
            levels.iter().map(|(price, quantity)| PriceLevel { price: *price, quantity: *quantity }).collect()
        };
        let (bids, asks) = (levels(bids), levels(asks));
        let mut slot = self.pools.books(DepthClass::of(8)).borrow().unwrap();
        slot.copy_top(&Book { bids, asks, price_scale: 1, quantity_scale: 2, ..Book::default() }, 8);
        self.event(Kind::BookSnapshot, Payload::Book(slot.into_shared()))
    }

    fn stale(&mut self, reason: StaleReason) -> Event {
        self.event(Kind::MarketStale, Payload::MarketStale(reason))
    }
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn observe(quote: &mut Quote, event: &Event) {
    quote.observe(event, 8, CLOCKS);
}

/// Bid, ask and last.
fn prices(quote: &Quote) -> [Option<Decimal>; 3] {
    let Quote { top, last, .. } = quote;
    [top.and_then(|top| top.bid), top.and_then(|top| top.ask), last.map(|last| last.price)]
}

/// The same, of the texts of prices; `-` is absent.
fn texts(texts: [&str; 3]) -> [Option<Decimal>; 3] {
    texts.map(|text| text.parse().ok())
}

#[test]
fn prices_are_exact_and_each_has_the_time_of_the_event_that_stated_it() {
    let (mut source, mut quote) = (Source::new(), Quote::default());
    assert_eq!(prices(&quote), [None; 3]);
    observe(&mut quote, &source.trade(100));
    assert_eq!(quote.last, Some(Last { price: decimal("100"), time: 6 * SECOND + 1 }));
    observe(&mut quote, &source.book(&[(995, 10), (990, 5)], &[(1005, 3), (1010, 4)]));
    assert_eq!(prices(&quote), texts(["99.5", "100.5", "100"]));
    assert_eq!(quote.top.map(|top| (top.time, top.is_of_book)), Some((6 * SECOND + 2, true)));
    assert_eq!(quote.last.map(|last| last.time), Some(6 * SECOND + 1));
    observe(&mut quote, &source.ticker([Some(101), Some(99), Some(102)]));
    assert_eq!(prices(&quote), texts(["99", "102", "101"]));
    assert_eq!(quote.top.map(|top| (top.time, top.is_of_book)), Some((6 * SECOND + 3, false)));
    assert_eq!(quote.last.map(|last| last.time), Some(6 * SECOND + 3));
}

#[test]
fn a_ticker_removes_the_side_that_it_leaves_out_and_keeps_the_last_price() {
    let (mut source, mut quote) = (Source::new(), Quote::default());
    observe(&mut quote, &source.ticker([Some(100), Some(99), Some(101)]));
    observe(&mut quote, &source.ticker([None, None, Some(51)]));
    assert_eq!(prices(&quote), texts(["-", "51", "100"]));
    assert_eq!(quote.last.map(|last| last.time), Some(6 * SECOND + 1));
    observe(&mut quote, &source.ticker([None, Some(50), None]));
    assert_eq!(prices(&quote), texts(["50", "-", "100"]));
}

#[test]
fn a_ticker_that_agrees_with_a_complete_book_is_of_the_book() {
    let (mut source, mut quote) = (Source::new(), Quote::default());
    let is_of_book = |quote: &Quote| quote.top.map(|top| top.is_of_book);
    observe(&mut quote, &source.ticker([None, Some(99), Some(101)]));
    assert_eq!(is_of_book(&quote), Some(false), "without a book");
    observe(&mut quote, &source.book(&[(990, 10)], &[(1010, 3)]));
    observe(&mut quote, &source.ticker([None, Some(98), Some(101)]));
    assert_eq!(is_of_book(&quote), Some(false));
    observe(&mut quote, &source.ticker([None, Some(99), Some(101)]));
    assert_eq!(is_of_book(&quote), Some(true));
    observe(&mut quote, &source.stale(StaleReason::Gap));
    observe(&mut quote, &source.ticker([None, Some(99), Some(101)]));
    assert_eq!(is_of_book(&quote), Some(false), "the book is not complete");
}

#[test]
fn a_crossed_or_locked_ticker_or_book_has_no_prices_until_a_good_one() {
    for (bid, ask) in [(102, 101), (101, 101)] {
        let (mut source, mut quote) = (Source::new(), Quote::default());
        observe(&mut quote, &source.ticker([Some(100), Some(99), Some(101)]));
        observe(&mut quote, &source.ticker([None, Some(bid), Some(ask)]));
        assert_eq!((quote.top, quote.is_crossed), (None, true));
        observe(&mut quote, &source.trade(100));
        assert!(quote.is_crossed, "a trade does not say what bid and ask are");
        observe(&mut quote, &source.book(&[(990, 10)], &[(1010, 3)]));
        assert!(!quote.is_crossed && quote.top.is_some());
        observe(&mut quote, &source.book(&[(bid * 10, 10)], &[(ask * 10, 3)]));
        assert_eq!((quote.top, quote.is_crossed), (None, true));
        assert_eq!(quote.depth(Side::Buy, decimal("1000")), None);
        observe(&mut quote, &source.ticker([None, Some(99), None]));
        assert!(!quote.is_crossed && quote.top.is_some());
    }
}

#[test]
fn a_stale_book_has_no_prices_until_the_next_one() {
    let (mut source, mut quote) = (Source::new(), Quote::default());
    let gap = |source: &mut Source| {
        source.event(Kind::BookGap, Payload::BookGap(BookGap { expected: 1, received: 3 }))
    };
    for notice in [gap, |source: &mut Source| source.stale(StaleReason::Gap)] {
        observe(&mut quote, &source.trade(100));
        observe(&mut quote, &source.book(&[(995, 10)], &[(1005, 3)]));
        let last = quote.last;
        observe(&mut quote, &notice(&mut source));
        assert_eq!((quote.top, quote.last), (None, last), "a notice has no market data");
        assert_eq!(quote.depth(Side::Buy, decimal("1000")), None);
        observe(&mut quote, &source.trade(101));
        assert_eq!((quote.top, quote.depth(Side::Buy, decimal("1000"))), (None, None));
        observe(&mut quote, &source.book(&[(995, 10)], &[]));
        assert_eq!(prices(&quote), texts(["99.5", "-", "101"]));
        assert_eq!(quote.depth(Side::Sell, decimal("1")), Some(decimal("0.1")));
    }
}

#[test]
fn prices_from_before_a_loss_of_the_feed_do_not_come_back() {
    for reason in [StaleReason::Disconnected, StaleReason::Silent] {
        let (mut source, mut quote) = (Source::new(), Quote::default());
        observe(&mut quote, &source.ticker([Some(100), Some(99), Some(101)]));
        observe(&mut quote, &source.stale(reason));
        assert_eq!(prices(&quote), [None; 3], "{reason:?}");
        observe(&mut quote, &source.trade(50));
        assert_eq!(prices(&quote), texts(["-", "-", "50"]));
    }
}

#[test]
fn the_depth_is_exact_and_ends_at_the_limit() {
    let (mut source, mut quote) = (Source::new(), Quote::default());
    observe(&mut quote, &source.book(&[(995, 110), (990, 5)], &[(1005, 30), (1010, 41), (1100, 1)]));
    for (side, limit, expected) in [
        (Side::Buy, "100.4", "0"),
        (Side::Buy, "100.50", "0.30"),
        (Side::Buy, "101.05", "0.71"),
        (Side::Buy, "1e6", "0.72"),
        (Side::Sell, "99.6", "0"),
        (Side::Sell, "99.5", "1.1"),
        (Side::Sell, "0", "1.15"),
    ] {
        assert_eq!(quote.depth(side, decimal(limit)), Some(decimal(expected)), "{side:?} {limit}");
    }
}

#[test]
fn a_reading_converts_recent_times_and_never_to_the_future() {
    assert_eq!(CLOCKS.at(CLOCKS.wall), CLOCKS.now);
    assert_eq!(CLOCKS.at(CLOCKS.wall - 5), CLOCKS.now - 5);
    assert_eq!(CLOCKS.at(CLOCKS.wall + 7200 * SECOND), CLOCKS.now, "the wall clock was set back");
    assert_eq!(CLOCKS.at(CLOCKS.wall - 7200 * SECOND), CLOCKS.now - 7200 * SECOND, "it was set forward");
}

#[test]
fn a_connection_has_the_time_of_the_check_before_the_one_that_found_a_message() {
    let mut connection = Connection::new(5, 10);
    connection.check(5, 20);
    assert_eq!((connection.time, connection.lag), (0, None), "nothing was delivered since");
    connection.check(6, 30);
    assert_eq!(connection.time, 20, "it arrived after this time");
    connection.check(6, 90);
    assert_eq!(connection.time, 20, "a frozen connection");
    connection.check(60, 95);
    assert_eq!(connection.time, 90);
    connection.observe(100, None);
    assert_eq!(connection.lag, None);
    connection.observe(100, Some(40));
    connection.observe(110, Some(43));
    assert_eq!(connection.lag, Some(7));
    connection.observe(120, None);
    assert_eq!(connection.lag, Some(7));
}

/// What happens to a symbol.
#[derive(Debug, Clone)]
enum Step {
    Trade(i64),
    Ticker([Option<i64>; 3]),
    /// Bid and ask.
    Book([Option<i64>; 2]),
    Stale(StaleReason),
}

fn step() -> impl Strategy<Value = Step> {
    let price = || proptest::option::of(1..9_i64);
    prop_oneof![
        (1..9_i64).prop_map(Step::Trade),
        [price(), price(), price()].prop_map(Step::Ticker),
        [price(), price()].prop_map(Step::Book),
        select(&StaleReason::ALL[..]).prop_map(Step::Stale),
    ]
}

/// Returns the value of the last step that decides it, and the number of that step.
fn latest<T: Copy>(steps: &[Step], value: impl Fn(&Step) -> Option<Option<T>>) -> Option<(usize, T)> {
    let decided = |(number, step)| value(step).map(|found| found.map(|value| (number, value)));
    steps.iter().enumerate().rev().find_map(decided).flatten()
}

fn is_crossed(bid: Option<i64>, ask: Option<i64>) -> bool {
    matches!((bid, ask), (Some(bid), Some(ask)) if bid >= ask)
}

proptest! {
    /// The model looks backwards for the step that decides each value.
    #[test]
    fn a_quote_is_that_of_the_events_since_its_prices_were_lost(steps in proptest::collection::vec(step(), 0..40)) {
        let (mut source, mut quote) = (Source::new(), Quote::default());
        for (number, step) in steps.iter().enumerate() {
            let event = match step {
                Step::Trade(price) => source.trade(*price),
                Step::Ticker(prices) => source.ticker(*prices),
                Step::Book([bid, ask]) => {
                    let side = |price: &Option<i64>| -> Vec<_> { price.iter().map(|one| (one * 10, 1)).collect() };
                    source.book(&side(bid), &side(ask))
                }
                Step::Stale(reason) => source.stale(*reason),
            };
            observe(&mut quote, &event);
            let seen = &steps[..=number];
            let last = latest(seen, |step| match step {
                Step::Trade(price) => Some(Some(*price)),
                Step::Ticker([last, ..]) => last.map(Some),
                Step::Stale(reason) => (reason.subject() == Notice::StaleFeed).then_some(None),
                Step::Book(_) => None,
            });
            let top = latest(seen, |step| match step {
                Step::Ticker([_, bid, ask]) | Step::Book([bid, ask]) => {
                    Some((!is_crossed(*bid, *ask)).then_some([*bid, *ask]))
                }
                Step::Stale(StaleReason::IdsRestarted) | Step::Trade(_) => None,
                Step::Stale(_) => Some(None),
            });
            let crossed = latest(seen, |step| match step {
                Step::Ticker([_, bid, ask]) | Step::Book([bid, ask]) => Some(is_crossed(*bid, *ask).then_some(())),
                Step::Stale(StaleReason::Crossed | StaleReason::TickerCrossed) => Some(Some(())),
                Step::Stale(_) | Step::Trade(_) => None,
            });
            let book = latest(seen, |step| match step {
                Step::Book([bid, ask]) => Some((!is_crossed(*bid, *ask)).then_some([*bid, *ask])),
                Step::Stale(reason) => (!matches!(
                    reason.subject(), Notice::StaleTicker | Notice::StaleTrades
                )).then_some(None),
                _ => None,
            });
            let time = |number: usize| 6 * SECOND + 1 + number as Nanos;
            let price = |price: Option<i64>| price.map(Decimal::from_i64);
            let expected = top.map(|(number, [bid, ask])| Top {
                bid: price(bid),
                ask: price(ask),
                time: time(number),
                is_of_book: book.map(|(_, of_book)| of_book) == Some([bid, ask]),
            });
            prop_assert_eq!(quote.top, expected);
            let expected = last.map(|(number, price)| Last { price: Decimal::from_i64(price), time: time(number) });
            prop_assert_eq!(quote.last, expected);
            prop_assert_eq!(quote.is_crossed, crossed.is_some());
            prop_assert_eq!(quote.depth(Side::Buy, decimal("0")).is_some(), book.is_some());
        }
    }

    /// The least delay is that of the messages of the last 8 s, to the eighth of a second at which an interval ends.
    #[test]
    fn the_lag_is_the_delay_above_the_least_one_of_eight_seconds(
        messages in proptest::collection::vec((0..2 * SECOND, -SECOND..SECOND), 1..60)
    ) {
        let (mut lag, mut now, mut seen) = (FeedLag::default(), 1_800_000_000 * SECOND, Vec::new());
        for (pause, delay) in messages {
            now += pause;
            seen.push((now, delay));
            let of = |window: Nanos| {
                seen.iter().filter(|(time, _)| now - time <= window).map(|(_, each)| delay - each).max().unwrap()
            };
            let found = lag.observe(now, now - delay);
            prop_assert!(of(8 * SECOND) <= found && found <= of(8 * SECOND + SECOND / 8), "{found}");
        }
    }
}

#[test]
fn a_clock_that_is_set_back_forgets_the_delays_of_the_future() {
    let mut lag = FeedLag::default();
    let now = 1_800_000_000 * SECOND;
    assert_eq!(lag.observe(now, now - 5), 0);
    let earlier = now - 7200 * SECOND;
    assert_eq!(lag.observe(earlier, earlier + 7200 * SECOND), 0);
    assert_eq!(lag.observe(earlier + 1, earlier + 7200 * SECOND), 1);
}
