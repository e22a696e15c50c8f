//! Property tests: the engine agrees with the plain model and keeps its invariants.

use super::model::{Event, Model, Request};
use crate::decimal::Decimal;
use crate::event::Side;
use crate::venue::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A command. Cancellations and amendments refer to earlier orders by index, modulo their number.
#[derive(Debug, Clone, Copy)]
enum Step {
    New(NewOrder),
    Cancel(usize),
    Amend(usize, Option<i64>, Option<i64>),
}

#[derive(Debug, Clone)]
struct Setup {
    rules: InstrumentRules,
    rates: [u32; 2],
    fee_asset: FeeAsset,
    extra_digits: [u8; 2],
    self_trade: SelfTrade,
    funds: [i64; 4],
}

fn rates() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1_000_000), Just(750_000), 0u32..500_000_000]
}

fn policy() -> impl Strategy<Value = SelfTrade> {
    use SelfTrade::{Allow, ExpireBoth, ExpireMaker, ExpireTaker};
    prop_oneof![Just(Allow), Just(ExpireTaker), Just(ExpireMaker), Just(ExpireBoth)]
}

fn setup() -> impl Strategy<Value = Setup> {
    let rules = (prop_oneof![3 => Just(1i64), 1 => 1..4i64], prop_oneof![3 => Just(1i64), 1 => 1..4i64]);
    let limits =
        (1..4i64, prop_oneof![Just(i64::MAX), 15..40i64], prop_oneof![2 => Just(0i128), 1 => 0i128..600]);
    let fee_asset = prop_oneof![Just(FeeAsset::Quote), Just(FeeAsset::Base), Just(FeeAsset::Received)];
    let funds = [0..200i64, 0..20_000, 0..200, 0..20_000];
    (rules, limits, [rates(), rates()], fee_asset, [0..3u8, 0..3u8], policy(), funds).prop_map(
        |(
            (tick_size, lot_size),
            (min_quantity, max_quantity, min_notional),
            rates,
            fee_asset,
            extra_digits,
            self_trade,
            funds,
        )| {
            let rules = InstrumentRules {
                price_scale: 1,
                quantity_scale: 2,
                tick_size,
                lot_size,
                min_quantity,
                max_quantity,
                min_notional,
            };
            Setup { rules, rates, fee_asset, extra_digits, self_trade, funds }
        },
    )
}

/// Two funded accounts, one unfunded account, the outside account, and rarely an account that may not trade.
fn account() -> impl Strategy<Value = AccountId> {
    prop_oneof![
        10 => prop_oneof![Just(2u32), Just(3), Just(4), Just(0)],
        1 => prop_oneof![Just(1u32), Just(5)],
    ]
    .prop_map(AccountId::for_test)
}

fn kind() -> impl Strategy<Value = OrderKind> {
    let price = || prop_oneof![20 => 90..110i64, 1 => -1..2i64];
    let time_in_force =
        prop_oneof![6 => Just(TimeInForce::Gtc), 1 => Just(TimeInForce::Ioc), 1 => Just(TimeInForce::Fok)];
    prop_oneof![
        8 => (price(), time_in_force).prop_map(|(price, time_in_force)| OrderKind::Limit { price, time_in_force }),
        2 => price().prop_map(|price| OrderKind::PostOnly { price }),
        2 => any::<bool>().prop_map(|fok| OrderKind::Market { fok }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let quantity = || prop_oneof![20 => 1..25i64, 1 => -1..1i64];
    let new = (side, quantity(), kind(), account(), proptest::option::weighted(0.3, policy())).prop_map(
        |(side, quantity, kind, account, self_trade)| {
            Step::New(NewOrder { side, quantity, kind, account, self_trade, tag: 0 })
        },
    );
    let price = proptest::option::of(prop_oneof![20 => 90..110i64, 1 => -1..2i64]);
    prop_oneof![
        6 => new,
        1 => any::<usize>().prop_map(Step::Cancel),
        3 => (any::<usize>(), price, proptest::option::of(quantity())).prop_map(|(n, p, q)| Step::Amend(n, p, q)),
    ]
}

/// The engine, the model, and a book rebuilt from the level changes.
struct Pair {
    engine: Engine,
    ledger: Ledger,
    assets: [AssetId; 2],
    model: Model,
    default: SelfTrade,
    ids: Vec<Option<OrderId>>,
    feed: BTreeMap<(u8, i64), (i64, u32)>,
    last_update: u64,
    /// By tag: total and filled quantity.
    volume: BTreeMap<u64, (i64, i64)>,
}

impl Pair {
    fn new(setup: &Setup) -> Self {
        let scales = [2 + setup.extra_digits[0], 3 + setup.extra_digits[1]];
        let mut ledger = Ledger::new(&scales);
        let assets: Vec<_> = ledger.assets().collect();
        let assets = [assets[0], assets[1]];
        let rate = |rate: u32| Decimal::new(i128::from(rate), 9).expect("a rate");
        let [maker, taker] = setup.rates;
        let fees = Fees::new(rate(maker), rate(taker), setup.fee_asset).expect("below 1");
        let engine =
            Engine::new(setup.rules, fees, setup.self_trade, &ledger, assets, 0).expect("scales fit");
        let mut model = Model {
            rules: setup.rules,
            maker_rate: i128::from(maker),
            taker_rate: i128::from(taker),
            in_quote: match setup.fee_asset {
                FeeAsset::Quote => [true, true],
                FeeAsset::Base => [false, false],
                FeeAsset::Received | FeeAsset::Other(_) => [false, true],
            },
            factors: setup.extra_digits.map(|digits| 10i128.pow(u32::from(digits))),
            accounts: BTreeMap::from([(AccountId::OUTSIDE, false), (AccountId::FEES, false)]),
            totals: BTreeMap::new(),
            orders: Vec::new(),
        };
        for funded in [true, true, false] {
            model.accounts.insert(ledger.open(funded), funded);
        }
        model.totals = model.accounts.keys().map(|account| (*account, [0; 2])).collect();
        for (i, funds) in setup.funds.iter().enumerate() {
            let account = AccountId::for_test(2 + i as u32 / 2);
            let amount = i128::from(*funds) * model.factors[i % 2];
            ledger.transfer(AccountId::OUTSIDE, account, assets[i % 2], amount).expect("a deposit");
            model.totals.get_mut(&account).expect("an account")[i % 2] += amount;
            model.totals.get_mut(&AccountId::OUTSIDE).expect("an account")[i % 2] -= amount;
        }
        let default = setup.self_trade;
        let (ids, feed, volume) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { engine, ledger, assets, model, default, ids, feed, last_update: 0, volume }
    }

    fn run(&mut self, step: Step) -> Result<(), TestCaseError> {
        let step = match step {
            Step::New(_) => step,
            Step::Cancel(n) => Step::Cancel(n % self.ids.len().max(1)),
            Step::Amend(n, price, quantity) => Step::Amend(n % self.ids.len().max(1), price, quantity),
        };
        let id = |n: usize| self.ids.get(n).copied().flatten().unwrap_or(OrderId(0));
        let (command, expected) = match step {
            Step::New(order) => {
                let tag = self.ids.len() as u64;
                let NewOrder { side, quantity, kind, account, self_trade, .. } = order;
                let self_trade = self_trade.unwrap_or(self.default);
                let request = Request { side, quantity, kind, account, self_trade, tag };
                (Command::New(NewOrder { tag, ..order }), self.model.submit(&request))
            }
            Step::Cancel(n) => (Command::Cancel(id(n)), self.model.cancel(n as u64)),
            Step::Amend(n, price, quantity) => (
                Command::Amend { order: id(n), price, quantity },
                self.model.amend(n as u64, price, quantity),
            ),
        };
        let before = format!("{:?} {:?}", self.engine, self.ledger);
        let mut out = Vec::new();
        self.engine.process(&mut self.ledger, command, 7, &mut out);
        if let Step::New(order) = step {
            let accepted = out.iter().find_map(|outcome| match outcome {
                Outcome::Accepted { order, .. } => Some(*order),
                _ => None,
            });
            prop_assert_eq!(accepted.is_some(), expected.is_ok());
            if accepted.is_some() {
                self.volume.insert(self.ids.len() as u64, (order.quantity, 0));
            }
            self.ids.push(accepted);
        }
        match expected {
            Err(code) => {
                prop_assert!(
                    matches!(out[..], [Outcome::Rejected(reject)] if reject.code() == code),
                    "{code}: {out:?}"
                );
                prop_assert_eq!(before, format!("{:?} {:?}", self.engine, self.ledger));
                if let [Outcome::Rejected(reject)] = out[..] {
                    let text = self.engine.explain(&self.ledger, &command, reject);
                    prop_assert!(text.starts_with("expected "));
                }
            }
            Ok(events) => prop_assert_eq!(self.events(&out)?, events),
        }
        self.check_book()?;
        self.check_money()
    }

    /// Applies level changes to the feed and converts the other outcomes to events of the model.
    fn events(&mut self, out: &[Outcome]) -> Result<Vec<Event>, TestCaseError> {
        let mut events = Vec::new();
        let mut changed = Vec::new();
        for outcome in out {
            match *outcome {
                Outcome::Filled(fill) => {
                    for party in [fill.maker, fill.taker] {
                        prop_assert_eq!(self.ids[party.tag as usize], Some(party.order));
                        let (ordered, filled) = self.volume.get_mut(&party.tag).expect("an order");
                        *filled += fill.quantity;
                        prop_assert_eq!(party.remaining, *ordered - *filled);
                    }
                    events.push(Event::Fill {
                        maker: fill.maker.tag,
                        taker: fill.taker.tag,
                        price: fill.price,
                        quantity: fill.quantity,
                        maker_fee: fill.maker.fee,
                        taker_fee: fill.taker.fee,
                    });
                }
                Outcome::Closed { tag, unfilled, reason, order, .. } => {
                    prop_assert_eq!(self.ids[tag as usize], Some(order));
                    let (ordered, filled) = self.volume[&tag];
                    prop_assert_eq!(unfilled, ordered - filled);
                    let reason = match reason {
                        CloseReason::Cancelled => "Cancelled",
                        CloseReason::Amended => "Amended",
                        CloseReason::Remainder => "Remainder",
                        CloseReason::SelfTrade => "SelfTrade",
                    };
                    events.push(Event::Closed { tag, unfilled, reason });
                }
                Outcome::Amended { tag, quantity, .. } => {
                    self.volume.get_mut(&tag).expect("an order").0 = quantity;
                }
                Outcome::Level(LevelChange { update_id, level }) => {
                    self.last_update += 1;
                    prop_assert_eq!(update_id, self.last_update);
                    let key = (level.side as u8, level.price);
                    prop_assert!(!changed.contains(&key), "a level is reported once per command");
                    changed.push(key);
                    let sums = (level.quantity, level.orders);
                    let before = match level.orders {
                        0 => self.feed.remove(&key),
                        _ => self.feed.insert(key, sums),
                    };
                    prop_assert_ne!(before.unwrap_or_default(), sums, "a reported level has changed");
                }
                Outcome::Accepted { .. } => {}
                Outcome::Rejected(reject) => return Err(TestCaseError::fail(format!("{reject:?}"))),
            }
        }
        Ok(events)
    }

    fn check_book(&self) -> Result<(), TestCaseError> {
        let mut expected = BTreeMap::<(u8, i64), (i64, u32)>::new();
        for order in &self.model.orders {
            let level = expected.entry((order.side as u8, order.price)).or_default();
            *level = (level.0 + order.remaining(), level.1 + 1);
        }
        let mut actual = BTreeMap::new();
        for side in [Side::Buy, Side::Sell] {
            let levels: Vec<_> = self.engine.levels(side).collect();
            let sign = if side == Side::Buy { -1 } else { 1 };
            prop_assert!(levels.is_sorted_by_key(|level| sign * level.price), "best first");
            prop_assert_eq!(self.engine.best(side), levels.first().copied());
            prop_assert_eq!(
                self.engine.book.quantity(side),
                levels.iter().map(|level| level.quantity).sum::<i64>()
            );
            actual.extend(levels.iter().map(|l| ((side as u8, l.price), (l.quantity, l.orders))));
            // The model's vector is sorted by time; a stable sort by price gives the priority.
            let mut orders: Vec<_> = self.model.orders.iter().filter(|order| order.side == side).collect();
            orders.sort_by_key(|order| sign * order.price);
            let orders: Vec<_> = orders
                .iter()
                .map(|o| (o.tag, o.price, o.quantity, o.remaining(), o.account, o.post_only))
                .collect();
            let own = self.engine.orders(side);
            let own: Vec<_> =
                own.map(|o| (o.tag, o.price, o.quantity, o.remaining, o.account, o.post_only)).collect();
            prop_assert_eq!(own, orders);
        }
        prop_assert_eq!(&actual, &expected);
        prop_assert_eq!(&actual, &self.feed);
        prop_assert_eq!(self.engine.update_id(), self.last_update);
        if let (Some(bid), Some(ask)) = (self.engine.best(Side::Buy), self.engine.best(Side::Sell)) {
            prop_assert!(bid.price < ask.price, "crossed");
        }
        for order in [Side::Buy, Side::Sell].into_iter().flat_map(|side| self.engine.orders(side)) {
            prop_assert_eq!(self.volume[&order.tag], (order.quantity, order.quantity - order.remaining));
        }
        Ok(())
    }

    fn check_money(&self) -> Result<(), TestCaseError> {
        for (i, asset) in self.assets.into_iter().enumerate() {
            let mut sum = 0;
            for (account, totals) in &self.model.totals {
                let actual = self.ledger.balance(*account, asset);
                prop_assert_eq!(actual.total, totals[i]);
                prop_assert_eq!(actual.reserved, self.model.reserved(*account, i));
                if self.model.accounts[account] {
                    prop_assert!(
                        0 <= actual.reserved && actual.reserved <= actual.total,
                        "{account:?} {actual:?}"
                    );
                }
                sum += actual.total;
            }
            prop_assert_eq!(sum, 0);
        }
        Ok(())
    }
}

/// Any number; extreme numbers are more likely.
fn wild() -> impl Strategy<Value = i64> {
    prop_oneof![
        any::<i64>(),
        Just(i64::MAX),
        Just(i64::MIN),
        Just(0),
        Just(1),
        (0..63u32).prop_map(|bits| 1 << bits),
        1..1000i64,
    ]
}

fn wild_step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        4 => wild().prop_map(|price| OrderKind::Limit { price, time_in_force: TimeInForce::Gtc }),
        1 => wild().prop_map(|price| OrderKind::Limit { price, time_in_force: TimeInForce::Fok }),
        1 => wild().prop_map(|price| OrderKind::PostOnly { price }),
        1 => any::<bool>().prop_map(|fok| OrderKind::Market { fok }),
    ];
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let account = (0..7u32).prop_map(AccountId::for_test);
    prop_oneof![
        5 => (side, wild(), kind, account, proptest::option::of(policy())).prop_map(
            |(side, quantity, kind, account, self_trade)| {
                Step::New(NewOrder { side, quantity, kind, account, self_trade, tag: 0 })
            }
        ),
        1 => any::<usize>().prop_map(Step::Cancel),
        2 => (any::<usize>(), proptest::option::of(wild()), proptest::option::of(wild()))
            .prop_map(|(n, p, q)| Step::Amend(n, p, q)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn prop_the_engine_agrees_with_the_plain_model(setup in setup(), steps in proptest::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new(&setup);
        for step in steps {
            pair.run(step)?;
        }
    }

    #[test]
    fn prop_extreme_commands_keep_the_invariants(
        mut setup in setup(),
        digits in 0..20u8,
        deposits in [wild(), wild(), wild()],
        steps in proptest::collection::vec((wild_step(), any::<u64>()), 1..60),
    ) {
        setup.extra_digits = [digits.min(10), digits];
        setup.rules.max_quantity = i64::MAX;
        let mut pair = Pair::new(&setup);
        for (i, amount) in deposits.into_iter().enumerate() {
            let to = AccountId::for_test(2 + i as u32 / 2);
            let _ = pair.ledger.transfer(AccountId::OUTSIDE, to, pair.assets[i % 2], i128::from(amount) << (digits * 2));
        }
        let mut out = Vec::new();
        for (step, stray) in steps {
            let id = |n: usize| pair.ids.get(n % (pair.ids.len() + 1)).copied().flatten().unwrap_or(OrderId(stray));
            let command = match step {
                Step::New(order) => Command::New(order),
                Step::Cancel(n) => Command::Cancel(id(n)),
                Step::Amend(n, price, quantity) => Command::Amend { order: id(n), price, quantity },
            };
            out.clear();
            pair.engine.process(&mut pair.ledger, command, 0, &mut out);
            prop_assert!(!out.is_empty());
            for outcome in &out {
                match *outcome {
                    Outcome::Accepted { order, .. } => pair.ids.push(Some(order)),
                    Outcome::Rejected(reject) => drop(pair.engine.explain(&pair.ledger, &command, reject)),
                    _ => {}
                }
            }
            for asset in pair.assets {
                let accounts = (0..5u32).map(AccountId::for_test);
                prop_assert_eq!(accounts.map(|account| pair.ledger.balance(account, asset).total).sum::<i128>(), 0);
                for funded in [2, 3].map(AccountId::for_test) {
                    let balance = pair.ledger.balance(funded, asset);
                    prop_assert!(0 <= balance.reserved && balance.reserved <= balance.total);
                }
            }
            if let (Some(bid), Some(ask)) = (pair.engine.best(Side::Buy), pair.engine.best(Side::Sell)) {
                prop_assert!(bid.price < ask.price);
            }
        }
    }
}
