//! Tests of a market's invariants.

mod checker;

use super::*;
use crate::decimal::Decimal;
use crate::event::{Nanos, Side};
use crate::instrument::{Instrument, InstrumentType};
use crate::venue::{AccountId, OrderKind, TimeInForce};
use checker::Checker;
use proptest::prelude::*;

const SECOND: Nanos = 1_000_000_000;

pub(super) fn listing(base: &str, price: &str, rate: f64) -> Listing {
    let some = |text: &str| text.parse().ok();
    let instrument = Instrument {
        symbol: format!("{base}-USDT"),
        kind: InstrumentType::Spot,
        base: base.into(),
        quote: "USDT".into(),
        venue: "FAKE".into(),
        expiry: None,
        contract_value: None,
        contract_currency: None,
        strike: None,
        option_type: None,
        price_increment: some("0.01"),
        quantity_increment: some("0.0001"),
        min_quantity: some("0.0001"),
        max_quantity: some("1000"),
        min_notional: some("10"),
        max_notional: None,
        price_precision: Some(2),
        quantity_precision: Some(4),
        notional_precision: Some(2),
        halted: false,
    };
    Listing { instrument, price: price.parse().unwrap(), rate }
}

fn options(seed: u64) -> Options {
    let book = BookModel { levels: 6, max_mutation_width: 3 };
    Options { seed, kline_interval: SECOND, order_book: book, ..Options::default() }
}

pub(super) fn funded(market: &mut Market) -> AccountId {
    let account = market.open_account();
    for (_, asset) in market.assets().to_vec() {
        market.deposit(account, asset, Decimal::from_i64(100_000_000)).unwrap();
    }
    account
}

fn silent() -> impl Sink {
    |_: &Pair, _: Nanos, _: Event<'_>| {}
}

fn request(id: &str, side: Side, quantity: i64, kind: OrderKind) -> Request {
    Request { client_order_id: id.into(), side, quantity, kind }
}

const MARKET: OrderKind = OrderKind::Market { fok: false };

/// Returns the order number `i` of a session in which an account makes, takes, and meets its own orders. `middle` is
/// the price around which it trades.
pub(super) fn busy(i: i64, middle: i64) -> Request {
    let side = if i % 3 == 0 { Side::Buy } else { Side::Sell };
    let (price, time_in_force) = (middle + i * 7 % 11 - 5, TimeInForce::Gtc);
    let kind = if i % 5 == 4 { MARKET } else { OrderKind::Limit { price, time_in_force } };
    request(&format!("o{i}"), side, 1_000 * (1 + i * 13 % 200), kind)
}

#[derive(Debug, Clone)]
enum Do {
    Wait(Nanos),
    Submit { pair: usize, id: u8, side: Side, quantity: i64, kind: u8, away: i64 },
    Cancel(u8),
    Amend { id: u8, away: Option<i64>, quantity: Option<i64> },
}

fn commands() -> impl Strategy<Value = Vec<Do>> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let quantity = prop_oneof![4 => 1_000i64..30_000, 1 => Just(9_000_000i64), 1 => -1i64..100];
    let submit = (0usize..2, 0u8..8, side, quantity, 0u8..6, -60i64..60).prop_map(
        |(pair, id, side, quantity, kind, away)| Do::Submit { pair, id, side, quantity, kind, away },
    );
    let amend = (0u8..8, proptest::option::of(-60i64..60), proptest::option::of(1i64..40_000))
        .prop_map(|(id, away, quantity)| Do::Amend { id, away, quantity });
    let one = prop_oneof![
        3 => (0..2 * SECOND).prop_map(Do::Wait),
        4 => submit,
        1 => (0u8..8).prop_map(Do::Cancel),
        1 => amend,
    ];
    proptest::collection::vec(one, 1..40)
}

/// Runs commands with each wait divided into `parts`, and checks every event. Two accounts share the client order ids.
fn run(seed: u64, listings: &[Listing], commands: &[Do], parts: i64) -> Checker {
    let options = options(seed);
    let mut market = Market::new(&options, listings).unwrap();
    let accounts = [funded(&mut market), funded(&mut market)];
    let mut checker = Checker::new(&market, options.kline_interval);
    for account in accounts {
        let begins = |(_, asset, balance)| ((account, asset), balance);
        checker.balances.extend(market.balances(account).map(begins));
    }
    let last = listings.len() - 1;
    for command in commands {
        let near = |pair: usize, away: i64| market.pairs()[pair].reference() as i64 + away;
        let account = |id: u8| accounts[usize::from(id) % 2];
        match *command {
            Do::Wait(time) => {
                let from = market.now();
                for part in 1..=parts {
                    market.advance(from + time * part / parts, &mut checker);
                }
            }
            Do::Submit { pair, id, side, quantity, kind, away } => {
                let pair = pair.min(last);
                let price = near(pair, away);
                let kind = match kind {
                    0 | 1 => OrderKind::Limit { price, time_in_force: TimeInForce::Gtc },
                    2 => OrderKind::Limit { price, time_in_force: TimeInForce::Ioc },
                    3 => OrderKind::Limit { price, time_in_force: TimeInForce::Fok },
                    4 => OrderKind::PostOnly { price },
                    _ => MARKET,
                };
                let request = request(&id.to_string(), side, quantity, kind);
                let _ = market.submit(account(id), pair, &request, &mut checker);
            }
            Do::Cancel(id) => {
                let _ = market.cancel(account(id), &id.to_string(), &mut checker);
            }
            Do::Amend { id, away, quantity } => {
                let price = away.map(|away| near(0, away));
                let _ = market.amend(account(id), &id.to_string(), price, quantity, &mut checker);
            }
        }
    }
    for account in accounts {
        for (_, asset, balance) in market.balances(account) {
            assert_eq!(
                checker.balances[&(account, asset)],
                balance,
                "the last published balance is the balance of the ledger"
            );
        }
        let fills_since = |number| market.fills_since(number).filter(|fill| fill.account == account);
        let fills: Vec<_> = fills_since(0).map(|fill| fill.number).collect();
        assert!(fills.is_sorted_by(|a, b| a < b));
        if let Some(middle) = fills.get(fills.len() / 2) {
            let rest = fills_since(*middle).map(|fill| fill.number);
            assert!(rest.eq(fills[fills.len() / 2 + 1..].iter().copied()));
        }
    }
    checker
}

fn two() -> [Listing; 2] {
    [listing("BTC", "600", 20.0), listing("ETH", "200", 7.0)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Every event passes the checks. The same seed and commands give the same events, independent of how waits are
    /// divided.
    #[test]
    fn prop_events_agree_with_the_model_and_follow_from_the_seed(
        seed in 0u64..1000,
        commands in commands(),
        parts in 2i64..9,
    ) {
        let once = run(seed, &two(), &commands, 1);
        prop_assert_eq!(&once.text, &run(seed, &two(), &commands, 1).text);
        prop_assert_eq!(&once.text, &run(seed, &two(), &commands, parts).text);
    }
}

#[test]
fn an_hour_of_events_agrees_with_the_model() {
    let checker = run(3, &two(), &[Do::Wait(3600 * SECOND)], 1);
    assert!(checker.counts["trade"] > 10_000, "{:?}", checker.counts);
    // The first candle of an instrument is that of its first trade.
    assert!((7_198..=7_200).contains(&checker.counts["candle"]), "{:?}", checker.counts);
    assert!(checker.counts["quote"] > 10_000);
    let other = run(4, &two(), &[Do::Wait(3600 * SECOND)], 1);
    assert_ne!(checker.text, other.text, "seeds differ");
}

#[test]
fn instruments_do_not_influence_each_other() {
    let [btc, eth] = two();
    let wait = [Do::Wait(60 * SECOND)];
    let alone = run(5, std::slice::from_ref(&btc), &wait, 1);
    let with = run(5, &[eth, btc], &wait, 1);
    assert_eq!(alone.of("BTC"), with.of("BTC"));
    assert!(!with.of("ETH").is_empty());
}

#[test]
fn the_price_does_not_depend_on_the_rate() {
    let path = |rate| {
        let mut market = Market::new(&options(8), &[listing("BTC", "60000", rate)]).unwrap();
        let mut at = |second: i64| {
            // The price advances with the next action, so compare paths, not the last steps.
            market.advance(second * SECOND, &mut silent());
            market.pairs()[0].flow.clone().reference_at(second * SECOND)
        };
        (1..120).map(|second| at(second).to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(path(1.0), path(200.0));
}

#[test]
fn zero_disables_each_effect_of_the_price_model() {
    let price_model =
        PriceModel { drift: 0.0, volatility: 0.0, shock_probability: 0.0, shock_magnitude: 0.0 };
    let mut market =
        Market::new(&Options { price_model, ..options(1) }, &[listing("BTC", "600", 50.0)]).unwrap();
    market.advance(600 * SECOND, &mut silent());
    assert_eq!(market.pairs()[0].reference().to_bits(), 60_000f64.to_bits());
    let shocks = PriceModel { shock_probability: 1.0, shock_magnitude: 0.01, ..price_model };
    let mut market =
        Market::new(&Options { price_model: shocks, ..options(1) }, &[listing("BTC", "600", 50.0)]).unwrap();
    market.advance(60 * SECOND, &mut silent());
    assert!((market.pairs()[0].reference() - 60_000.0).abs() > 1.0);
}

#[test]
fn the_background_refills_a_swept_book() {
    let mut market = Market::new(&options(2), &[listing("BTC", "600", 20.0)]).unwrap();
    let account = funded(&mut market);
    let mut checker = Checker::new(&market, SECOND);
    market.advance(10 * SECOND, &mut checker);
    for round in 0..40 {
        let (side, other) = if round % 2 == 0 { (Side::Buy, Side::Sell) } else { (Side::Sell, Side::Buy) };
        let best = market.pairs()[0].engine().best(other).unwrap();
        let exact = request("exact", side, best.quantity.max(1_000), MARKET);
        let _ = market.submit(account, 0, &exact, &mut checker);
        let engine = market.pairs()[0].engine();
        let all: i64 = engine.levels(other).map(|level| level.quantity).sum();
        let whole = request("whole", side, all, MARKET);
        market.submit(account, 0, &whole, &mut checker).unwrap();
        assert_eq!(market.pairs()[0].engine().levels(other).len(), 0, "the order took the whole side");
        let from = market.now();
        market.advance(from + 5 * SECOND, &mut checker);
        let pair = &market.pairs()[0];
        let (resting, target) = pair.background(other);
        assert!(resting * 5 > target, "{resting} of {target} after five seconds");
        let [bid, ask] = [Side::Buy, Side::Sell].map(|side| pair.engine().best(side).unwrap().price as f64);
        assert!((bid - pair.reference()).abs() < 600.0 && (ask - pair.reference()).abs() < 600.0);
    }
}

#[test]
fn the_background_trades_through_a_large_order_and_the_price_returns() {
    let mut market = Market::new(&options(2), &[listing("BTC", "600", 50.0)]).unwrap();
    let account = funded(&mut market);
    let through = OrderKind::Limit { price: 1, time_in_force: TimeInForce::Gtc };
    let dump = OrderKind::Limit { price: 30_000, time_in_force: TimeInForce::Gtc };
    market.submit(account, 0, &request("dump", Side::Sell, 2_000_000, dump), &mut silent()).unwrap();
    let refused =
        market.submit(account, 0, &request("through", Side::Sell, 2_000_000, through), &mut silent());
    assert_eq!(refused.unwrap_err().code(), "min_notional", "200 at 0.01 is worth 2");
    market.advance(120 * SECOND, &mut silent());
    assert_eq!(market.open_orders(account).count(), 0, "background traders buy below the reference price");
    let pair = &market.pairs()[0];
    let ask = pair.engine().best(Side::Sell).unwrap().price as f64;
    assert!((ask - pair.reference()).abs() < 300.0, "{ask} at {}", pair.reference());
}

#[test]
fn a_day_keeps_the_number_of_background_orders() {
    let mut market =
        Market::new(&options(11), &[listing("BTC", "600", 10.0), listing("ETH", "100", 1.0)]).unwrap();
    let mut slots = 0;
    for hour in 1..=24 {
        market.advance(hour * 3600 * SECOND, &mut silent());
        for pair in market.pairs() {
            for side in [Side::Buy, Side::Sell] {
                let (resting, target) = pair.background(side);
                assert!(resting * 5 >= target && resting <= 3 * target, "{resting} of {target}");
                let engine: usize = pair.engine().orders(side).count();
                assert_eq!(engine, resting, "the flow counts its resting orders");
            }
        }
        slots = slots.max(market.pairs().iter().map(|pair| pair.flow.slots()).max().unwrap());
    }
    assert!(slots < 150, "{slots} places for 36 orders");
}

#[test]
fn an_hour_has_the_statistics_of_a_market() {
    let mut market = Market::new(&Options::default(), &[listing("ETH", "2000", 10.0)]).unwrap();
    let (mut spreads, mut away, mut seconds, mut books) = (Vec::new(), Vec::new(), vec![0u32; 3600], 0);
    let mut depth = [0i64; 3];
    for second in 0..3600 {
        market.advance(second * SECOND + SECOND - 1, &mut |pair: &Pair, _: Nanos, event: Event<'_>| {
            match event {
                Event::Book(_) => {
                    books += 1;
                    let best = |side| pair.engine().best(side).map(|level| level.price);
                    let (bid, ask) = (best(Side::Buy), best(Side::Sell));
                    let (bid, ask) = (bid.unwrap_or(0), ask.unwrap_or(i64::MAX));
                    spreads.push(ask - bid);
                    let middle = (bid as f64 + ask as f64) * 0.5;
                    away.push((middle / pair.reference() - 1.0).abs() * 1e4);
                }
                Event::Trade(_) => seconds[second as usize] += 1,
                _ => {}
            }
        });
        let asks: Vec<_> = market.pairs()[0].engine().levels(Side::Sell).collect();
        for level in &asks {
            // Distances of 2 basis points.
            let away = (level.price - asks[0].price) / 40;
            if let Some(depth) = depth.get_mut(usize::try_from(away / 3).unwrap_or(9)) {
                *depth += level.quantity;
            }
        }
    }
    spreads.sort_unstable();
    let spread = [2, 4, 10].map(|part| spreads[spreads.len() - spreads.len() / part]);
    assert!(spread[0] <= 2 && spread[1] <= 3 && spread[2] <= 10, "a spread of a few ticks: {spread:?}");
    away.sort_unstable_by(f64::total_cmp);
    let away = [away[away.len() / 2], away[away.len() * 99 / 100]];
    assert!(
        away[0] < 2.0 && away[1] < 20.0,
        "the middle follows the reference within basis points: {away:?}"
    );
    assert!(depth[0] > depth[1] && depth[1] > depth[2], "depth falls off: {depth:?}");
    let mean = f64::from(seconds.iter().sum::<u32>()) / 3600.0;
    let variance = seconds.iter().map(|&n| (f64::from(n) - mean).powi(2)).sum::<f64>() / 3600.0;
    assert!(variance > 6.0 * mean, "volume clusters within seconds: {variance} about {mean}");
    let mut minutes: Vec<u32> = seconds.chunks(60).map(|minute| minute.iter().sum()).collect();
    minutes.sort_unstable();
    assert!(minutes[54] > 3 * minutes[6], "and within minutes: {minutes:?}");
    let rate = f64::from(books) / 3600.0;
    assert!((9.0..11.0).contains(&rate), "the rate is kept: {rate}");
}

#[test]
fn all_faults_of_the_options_are_listed() {
    let wrong = Options {
        price_model: PriceModel {
            drift: f64::NAN,
            volatility: -1.0,
            shock_probability: 2.0,
            shock_magnitude: 0.9,
        },
        trade_model: TradeModel { min_quantity: Decimal::from_i64(2), max_quantity: Decimal::from_i64(1) },
        order_book: BookModel { levels: 10, max_mutation_width: 0 },
        kline_interval: 0,
        ..Options::default()
    };
    let [btc, eth] = two();
    let twice = [btc.clone(), Listing { rate: 0.0, ..btc }, eth];
    let faults = Market::new(&wrong, &twice).unwrap_err();
    assert_eq!(faults.0.len(), 9, "{faults}");
    assert!(faults.to_string().contains("price_model.volatility: expected 0 to 0.1, saw -1"), "{faults}");
    assert!(Market::new(&Options::default(), &[]).is_err());
    let cheap = Market::new(&Options::default(), &[listing("BTC", "0.001", 1.0)]).unwrap_err();
    assert!(cheap.to_string().contains("expected 1 to 9e12 ticks of 0.01"), "{cheap}");
}

#[test]
fn requests_return_their_refusals() {
    let mut market = Market::new(&options(2), &[listing("BTC", "600", 20.0)]).unwrap();
    let account = funded(&mut market);
    let far = OrderKind::Limit { price: 30_000, time_in_force: TimeInForce::Gtc };
    let code = |answer: Result<_, Refusal>| answer.map_err(|refusal: Refusal| refusal.code());
    let mut checker = Checker::new(&market, SECOND);
    let order = request("a", Side::Buy, 10_000, far);
    assert!(market.submit(account, 0, &order, &mut checker).is_ok());
    let again = market.submit(account, 0, &order, &mut checker).map(|_| ());
    assert_eq!(code(again), Err("duplicate_client_id"));
    assert_eq!(code(market.cancel(account, "b", &mut checker)), Err("unknown_order"));
    assert_eq!(code(market.amend(account, "a", Some(0), None, &mut checker)), Err("invalid_price"));
    assert_eq!(code(market.amend(account, "a", None, Some(5_000), &mut checker)), Ok(()));
    assert_eq!(market.open_orders(account).map(|order| order.quantity).collect::<Vec<_>>(), [5_000]);
    let other = market.open_account();
    assert_eq!(
        code(market.cancel(other, "a", &mut checker)),
        Err("unknown_order"),
        "the order belongs to another account"
    );
    let poor = market.submit(other, 0, &order, &mut checker).map(|_| ());
    assert_eq!(code(poor), Err("insufficient_funds"));
    assert_eq!(code(market.cancel(account, "a", &mut checker)), Ok(()));
    assert_eq!(market.open_orders(account).count(), 0);
    assert_eq!((checker.counts["ACK"], checker.counts["REJECTED"], checker.counts["CANCELLED"]), (2, 1, 1));
}

/// Pins the events of a seed. A change of the background flow changes the data of every seed and must update this hash.
#[test]
fn a_seed_gives_the_pinned_events() {
    let sweep = Do::Submit { pair: 0, id: 1, side: Side::Buy, quantity: 100_000, kind: 5, away: 0 };
    let checker = run(42, &two(), &[Do::Wait(30 * SECOND), sweep, Do::Wait(30 * SECOND)], 3);
    let hash = checker
        .text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    assert_eq!((checker.text.lines().count(), hash), (4_943, 11_126_148_979_123_751_546));
}
