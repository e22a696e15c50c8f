//! An example for each rule of the module's header.

use super::*;
use crate::event::{Book, PriceLevel, Side};
use Side::{Buy, Sell};

mod model;
mod money;
mod properties;

const ALICE: AccountId = AccountId::for_test(2);
const BOB: AccountId = AccountId::for_test(3);

struct Rig {
    engine: Engine,
    ledger: Ledger,
    out: Vec<Outcome>,
}

fn rules() -> InstrumentRules {
    InstrumentRules {
        price_scale: 0,
        quantity_scale: 0,
        tick_size: 5,
        lot_size: 2,
        min_quantity: 4,
        max_quantity: 1000,
        min_notional: 400,
    }
}

/// Returns rules without limits.
fn plain() -> InstrumentRules {
    InstrumentRules {
        tick_size: 1,
        lot_size: 1,
        min_quantity: 1,
        max_quantity: i64::MAX,
        min_notional: 0,
        ..rules()
    }
}

/// Returns an engine with whole units, `[maker, taker]` fees, and 10,000 of either asset for Alice and Bob.
fn rig(fees: [&str; 2], asset: FeeAsset) -> Rig {
    rig_of(plain(), fees, asset, 10_000)
}

fn rig_of(rules: InstrumentRules, fees: [&str; 2], asset: FeeAsset, funds: i128) -> Rig {
    let mut ledger = Ledger::new(&[0, 0]);
    let assets: Vec<_> = ledger.assets().collect();
    for account in [ALICE, BOB] {
        assert_eq!(ledger.open(true), account);
        for asset in &assets {
            ledger.transfer(AccountId::OUTSIDE, account, *asset, funds).expect("a deposit");
        }
    }
    let [maker, taker] = fees.map(|rate| rate.parse().expect("a number"));
    let fees = Fees::new(maker, taker, asset).expect("a rate");
    let engine =
        Engine::new(rules, fees, SelfTrade::Allow, &ledger, [assets[0], assets[1]], 0).expect("it fits");
    Rig { engine, ledger, out: Vec::new() }
}

fn free() -> Rig {
    rig(["0", "0"], FeeAsset::Quote)
}

fn gtc(price: i64) -> OrderKind {
    OrderKind::Limit { price, time_in_force: TimeInForce::Gtc }
}

impl Rig {
    fn run(&mut self, command: Command) -> &[Outcome] {
        self.out.clear();
        self.engine.process(&mut self.ledger, command, 1, &mut self.out);
        &self.out
    }

    fn submit(
        &mut self,
        account: AccountId,
        side: Side,
        quantity: i64,
        kind: OrderKind,
    ) -> Result<OrderId, &'static str> {
        self.guarded(account, side, quantity, kind, None)
    }

    fn guarded(
        &mut self,
        account: AccountId,
        side: Side,
        quantity: i64,
        kind: OrderKind,
        self_trade: Option<SelfTrade>,
    ) -> Result<OrderId, &'static str> {
        match self.run(Command::New(NewOrder { side, quantity, kind, account, self_trade, tag: 0 }))[0] {
            Outcome::Accepted { order, .. } => Ok(order),
            Outcome::Rejected(reject) => Err(reject.code()),
            other => panic!("expected an acceptance or rejection, saw {other:?}"),
        }
    }

    fn rests(&mut self, account: AccountId, side: Side, quantity: i64, price: i64) -> OrderId {
        self.submit(account, side, quantity, gtc(price)).expect("accepted")
    }

    fn amend(
        &mut self,
        order: OrderId,
        price: Option<i64>,
        quantity: Option<i64>,
    ) -> Result<(), &'static str> {
        match self.run(Command::Amend { order, price, quantity })[0] {
            Outcome::Rejected(reject) => Err(reject.code()),
            _ => Ok(()),
        }
    }

    /// Returns maker, price and quantity of each trade of the last step.
    fn fills(&self) -> Vec<(OrderId, i64, i64)> {
        let fill = |outcome: &Outcome| match outcome {
            Outcome::Filled(fill) => Some((fill.maker.order, fill.price, fill.quantity)),
            _ => None,
        };
        self.out.iter().filter_map(fill).collect()
    }

    fn closed(&self) -> Vec<(OrderId, i64, CloseReason)> {
        let close = |outcome: &Outcome| match outcome {
            Outcome::Closed { order, unfilled, reason, .. } => Some((*order, *unfilled, *reason)),
            _ => None,
        };
        self.out.iter().filter_map(close).collect()
    }

    fn levels(&self) -> Vec<(u64, Side, i64, i64, u32)> {
        let level = |outcome: &Outcome| match outcome {
            Outcome::Level(LevelChange { update_id, level: l }) => {
                Some((*update_id, l.side, l.price, l.quantity, l.orders))
            }
            _ => None,
        };
        self.out.iter().filter_map(level).collect()
    }

    /// Returns total and reserved amounts, base then quote.
    fn money(&self, account: AccountId) -> [(i128, i128); 2] {
        [self.engine.base(), self.engine.quote()].map(|asset| {
            let balance = self.ledger.balance(account, asset);
            (balance.total, balance.reserved)
        })
    }
}

#[test]
fn rule_1_the_first_failed_check_refuses() {
    let mut rig = rig_of(rules(), ["0", "0"], FeeAsset::Quote, 10_000);
    rig.rests(AccountId::OUTSIDE, Sell, 10, 100);
    let fok = |price| OrderKind::Limit { price, time_in_force: TimeInForce::Fok };
    for (account, quantity, kind, code) in [
        (AccountId::FEES, 0, gtc(0), "unknown_account"),
        (AccountId::for_test(4), 0, gtc(0), "unknown_account"),
        (ALICE, 0, gtc(-1), "invalid_quantity"),
        (ALICE, -2, OrderKind::Market { fok: false }, "invalid_quantity"),
        (ALICE, 3, gtc(0), "invalid_price"),
        (ALICE, 3, gtc(-5), "invalid_price"),
        (ALICE, 3, gtc(7), "tick_size"),
        (ALICE, 3, gtc(5), "lot_size"),
        (ALICE, 2, gtc(5), "min_quantity"),
        (ALICE, 1002, gtc(5), "max_quantity"),
        (ALICE, 78, gtc(5), "min_notional"),
        (ALICE, 200, OrderKind::PostOnly { price: 100 }, "would_cross"),
        (ALICE, 200, fok(100), "unfillable"),
        (ALICE, 12, OrderKind::Market { fok: true }, "unfillable"),
        (ALICE, 200, gtc(100), "insufficient_funds"),
    ] {
        assert_eq!(rig.submit(account, Buy, quantity, kind), Err(code), "{quantity} {kind:?}");
        assert_eq!((rig.out.len(), rig.engine.update_id()), (1, 1));
    }
    // A market order is valued at the best opposite price.
    rig.rests(AccountId::OUTSIDE, Buy, 100, 5);
    assert_eq!(rig.submit(ALICE, Sell, 78, OrderKind::Market { fok: false }), Err("min_notional"));
}

#[test]
fn rules_2_and_3_best_price_then_oldest_at_the_makers_price() {
    let mut rig = free();
    let [late, first, second, best] = [(102, 5), (101, 5), (101, 5), (100, 5)]
        .map(|(price, quantity)| rig.rests(BOB, Sell, quantity, price));
    let taker = rig.rests(ALICE, Buy, 17, 101);
    assert_eq!(rig.fills(), [(best, 100, 5), (first, 101, 5), (second, 101, 5)]);
    assert_eq!(rig.engine.order(taker).map(|open| (open.price, open.remaining)), Some((101, 2)));
    assert_eq!(rig.engine.order(late).map(|open| open.remaining), Some(5));
    // The taker keeps the price improvement.
    assert_eq!(rig.money(ALICE), [(10_015, 0), (10_000 - 500 - 1010, 202)]);
}

#[test]
fn rule_4_the_remainder_rests_or_expires() {
    let mut rig = free();
    rig.rests(BOB, Sell, 5, 100);
    let ioc = rig
        .submit(ALICE, Buy, 8, OrderKind::Limit { price: 100, time_in_force: TimeInForce::Ioc })
        .expect("accepted");
    assert_eq!((rig.fills().len(), rig.closed()), (1, vec![(ioc, 3, CloseReason::Remainder)]));
    let market = rig.submit(ALICE, Buy, 8, OrderKind::Market { fok: false }).expect("accepted");
    assert_eq!((rig.fills().len(), rig.closed()), (0, vec![(market, 8, CloseReason::Remainder)]));
    assert_eq!((rig.engine.best(Buy), rig.engine.best(Sell)), (None, None));
    rig.rests(BOB, Sell, 5, 100);
    rig.rests(BOB, Sell, 5, 103);
    rig.submit(ALICE, Buy, 10, OrderKind::Limit { price: 103, time_in_force: TimeInForce::Fok })
        .expect("accepted");
    assert_eq!((rig.fills().len(), rig.closed()), (2, vec![]));
}

#[test]
fn rule_5_post_only_never_takes() {
    let mut rig = free();
    rig.rests(BOB, Sell, 5, 100);
    assert_eq!(rig.submit(ALICE, Buy, 5, OrderKind::PostOnly { price: 100 }), Err("would_cross"));
    let order = rig.submit(ALICE, Buy, 5, OrderKind::PostOnly { price: 99 }).expect("accepted");
    assert_eq!(rig.amend(order, Some(100), None), Err("would_cross"));
    assert_eq!(rig.engine.order(order).map(|open| (open.price, open.post_only)), Some((99, true)));
}

#[test]
fn rule_6_self_trades_are_prevented_three_ways() {
    use SelfTrade::{Allow, ExpireBoth, ExpireMaker, ExpireTaker};
    for (policy, fills, gone) in
        [(Allow, 2, ""), (ExpireTaker, 0, "t"), (ExpireMaker, 1, "m"), (ExpireBoth, 0, "mt")]
    {
        let mut rig = free();
        let own = rig.rests(ALICE, Sell, 5, 100);
        let other = rig.rests(BOB, Sell, 5, 100);
        let taker = rig.guarded(ALICE, Buy, 9, gtc(100), Some(policy)).expect("accepted");
        assert_eq!(rig.fills().len(), fills, "{policy:?}");
        let names =
            rig.closed().iter().map(|(order, ..)| if *order == own { 'm' } else { 't' }).collect::<String>();
        assert_eq!(names, gone);
        assert!(rig.closed().iter().all(|(.., reason)| *reason == CloseReason::SelfTrade));
        assert_eq!(rig.engine.order(other).is_some(), policy != ExpireMaker);
        assert_eq!(rig.engine.order(taker).map(|open| open.remaining), (policy == ExpireMaker).then_some(4));
    }
    // Orders from outside belong to different traders.
    let mut rig = free();
    rig.rests(AccountId::OUTSIDE, Sell, 5, 100);
    rig.guarded(AccountId::OUTSIDE, Buy, 5, gtc(100), Some(ExpireBoth)).expect("accepted");
    assert_eq!(rig.fills().len(), 1);
}

#[test]
fn rule_7_a_cancelled_order_leaves_and_its_slot_is_reused() {
    let mut rig = free();
    let order = rig.rests(ALICE, Buy, 5, 100);
    rig.run(Command::Cancel(order));
    assert_eq!(
        (rig.closed(), rig.levels()),
        (vec![(order, 5, CloseReason::Cancelled)], vec![(2, Buy, 100, 0, 0)])
    );
    assert_eq!(rig.money(ALICE), [(10_000, 0); 2]);
    let next = rig.rests(ALICE, Buy, 5, 100);
    assert!(next > order);
    for id in [order, OrderId(0), OrderId(u64::MAX)] {
        assert_eq!(rig.run(Command::Cancel(id)), [Outcome::Rejected(Reject::UnknownOrder)]);
        assert_eq!(rig.amend(id, Some(1), None), Err("unknown_order"));
    }
}

#[test]
fn rule_8_amendments() {
    let mut rig = free();
    let queue = |rig: &Rig| rig.engine.orders(Buy).map(|open| open.order).collect::<Vec<_>>();
    let [a, b, c] = [5, 5, 5].map(|quantity| rig.rests(ALICE, Buy, quantity, 100));
    // 8.1: a smaller quantity keeps the queue position; equal values change nothing.
    rig.amend(a, None, Some(4)).expect("amended");
    assert_eq!((rig.levels(), queue(&rig)), (vec![(4, Buy, 100, 14, 3)], vec![a, b, c]));
    rig.amend(a, Some(100), Some(4)).expect("amended");
    assert_eq!((rig.out.len(), queue(&rig)), (1, vec![a, b, c]));
    // 8.2: a larger quantity moves to the end of the queue.
    rig.amend(a, None, Some(6)).expect("amended");
    assert_eq!((rig.levels(), queue(&rig)), (vec![(5, Buy, 100, 16, 3)], vec![b, c, a]));
    // 8.3: another price arrives again and takes where it crosses.
    let ask = rig.rests(BOB, Sell, 3, 103);
    rig.amend(b, Some(103), None).expect("amended");
    assert_eq!((rig.fills(), queue(&rig)), (vec![(ask, 103, 3)], vec![b, c, a]));
    assert_eq!(
        rig.engine.order(b).map(|open| (open.price, open.quantity, open.remaining)),
        Some((103, 5, 2))
    );
    rig.amend(b, Some(100), None).expect("amended");
    assert_eq!(queue(&rig), [c, a, b]);
    // The quantity includes the filled part.
    rig.amend(b, None, Some(4)).expect("amended");
    assert_eq!(rig.engine.order(b).map(|open| (open.quantity, open.remaining)), Some((4, 1)));
    // 8.4: a quantity at or below the filled quantity cancels.
    rig.amend(b, None, Some(3)).expect("amended");
    assert_eq!((rig.closed(), queue(&rig)), (vec![(b, 1, CloseReason::Amended)], vec![c, a]));
    // 8.5: checked like a new order.
    for (price, quantity, code) in [
        (None, Some(0), "invalid_quantity"),
        (Some(0), None, "invalid_price"),
        (None, Some(99), "insufficient_funds"),
        (Some(9000), None, "insufficient_funds"),
    ] {
        assert_eq!(rig.amend(c, price, quantity), Err(code));
    }
    assert_eq!(rig.money(ALICE), [(10_003, 0), (10_000 - 309, 500 + 600)]);
}

#[test]
fn rule_11_a_level_is_reported_once_per_command() {
    let mut rig = free();
    for (quantity, price) in [(5, 101), (5, 101), (5, 100), (5, 102)] {
        rig.rests(BOB, Sell, quantity, price);
    }
    rig.rests(ALICE, Buy, 12, 101);
    assert_eq!(rig.levels(), [(5, Sell, 100, 0, 0), (6, Sell, 101, 3, 1)]);
    let mut book = Book::default();
    rig.rests(ALICE, Buy, 12, 99);
    rig.engine.copy_top(1, &mut book);
    let level = |price, quantity| vec![PriceLevel { price, quantity }];
    assert_eq!((book.bids, book.asks), (level(99, 12), level(101, 3)));
    assert_eq!((book.bid_count, book.ask_count, book.last_update_id), (1, 2, 7));
}

#[test]
fn a_full_book_refuses_new_orders() {
    let mut rig = free();
    let order = rig.rests(ALICE, Buy, 5, 100);
    rig.engine.set_accepted(OrderId::MAX_COUNT - 1);
    let last = rig.rests(ALICE, Buy, 5, 100);
    assert!(last > order && rig.engine.order(last).is_some());
    assert_eq!(rig.submit(ALICE, Buy, 5, gtc(100)), Err("book_full"));
    rig.amend(order, None, Some(4)).expect("open orders can be amended");
    rig.run(Command::Cancel(last));
    assert_eq!(rig.closed().len(), 1);
}

#[test]
fn the_same_commands_give_the_same_outcomes_without_allocations() {
    let flow = flow::mixed(40_000, 3);
    let run = || {
        let (mut engine, mut ledger) = flow::engine(Fees::default());
        let (mut all, mut out) = (Vec::new(), Vec::with_capacity(1000));
        for command in &flow.build {
            engine.process(&mut ledger, *command, 0, &mut out);
            out.clear();
        }
        let (half, rest) = flow.steps.split_at(flow.steps.len() / 2);
        for command in half {
            engine.process(&mut ledger, *command, 0, &mut out);
            all.append(&mut out);
        }
        let room = (engine.book.capacities(), out.capacity());
        for command in rest {
            engine.process(&mut ledger, *command, 0, &mut out);
            all.extend_from_slice(&out);
            out.clear();
        }
        assert_eq!((engine.book.capacities(), out.capacity()), room);
        let depth = engine.levels(Buy).len().min(engine.levels(Sell).len());
        assert!(depth > 950, "the book stays deep: {depth}");
        all
    };
    let first = run();
    assert!(first == run());
    assert!(!first.iter().any(|outcome| matches!(outcome, Outcome::Rejected(_))));
}
