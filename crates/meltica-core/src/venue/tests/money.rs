//! Fees, funds and overflow.

use super::*;

#[test]
fn rule_9_fees_are_rounded_up_once_per_order() {
    // 0.1 % of 3 times 300: 0.9, rounded up to 1 in the first fill.
    let mut rig = rig(["0", "0.001"], FeeAsset::Quote);
    for _ in 0..3 {
        rig.rests(BOB, Sell, 3, 100);
    }
    rig.rests(ALICE, Buy, 9, 100);
    let fees = rig.out.iter().filter_map(|outcome| match outcome {
        Outcome::Filled(fill) => Some((fill.taker.fee, fill.maker.fee)),
        _ => None,
    });
    assert_eq!(fees.collect::<Vec<_>>(), [(1, 0), (0, 0), (0, 0)]);
    assert_eq!(rig.money(AccountId::FEES), [(0, 0), (1, 0)]);
    assert_eq!(rig.money(ALICE), [(10_009, 0), (10_000 - 901, 0)]);
    assert_eq!(rig.money(BOB), [(10_000 - 9, 0), (10_900, 0)]);
}

#[test]
fn rule_9_fees_are_charged_in_the_configured_asset() {
    for (asset, buyer, seller, fees) in [
        (FeeAsset::Quote, [50, -1100], [-50, 800], [0, 300]),
        (FeeAsset::Base, [45, -1000], [-60, 1000], [15, 0]),
        (FeeAsset::Received, [45, -1000], [-50, 800], [5, 200]),
    ] {
        let mut rig = rig(["0.2", "0.1"], asset);
        rig.rests(BOB, Sell, 50, 20);
        assert_eq!(rig.money(BOB)[0].1, -seller[0]);
        rig.rests(ALICE, Buy, 50, 20);
        let total = |account| rig.money(account).map(|(total, _)| total);
        assert_eq!(total(ALICE), buyer.map(|change| 10_000 + change), "{asset:?}");
        assert_eq!(total(BOB), seller.map(|change| 10_000 + change), "{asset:?}");
        assert_eq!(total(AccountId::FEES), fees);
        assert_eq!((rig.money(BOB)[0].1, rig.money(ALICE)[1].1), (0, 0));
    }
}

#[test]
fn rule_10_an_order_needs_the_amount_it_may_have_to_pay() {
    // The order takes at 1 % and its remainder rests at 10 %. The higher rate is needed only where the order may take.
    let mut rig = rig_of(plain(), ["0.1", "0.01"], FeeAsset::Quote, 11_000);
    rig.rests(AccountId::OUTSIDE, Sell, 1, 100);
    assert_eq!(rig.submit(ALICE, Buy, 101, gtc(100)), Err("insufficient_funds"));
    let order = rig.rests(ALICE, Buy, 100, 100);
    // 1 taken at 1 %: 1; 99 rest at 10 %: 990.
    assert_eq!(rig.money(ALICE)[1], (11_000 - 101, 9900 + 990));
    rig.run(Command::Cancel(order));
    assert_eq!(rig.money(ALICE)[1], (11_000 - 101, 0));
    // The taker rate is higher than the maker rate: a resting order needs the maker rate.
    let mut rig = rig_of(plain(), ["0.01", "0.1"], FeeAsset::Quote, 10_100);
    let order = rig.rests(ALICE, Buy, 100, 100);
    assert_eq!(rig.money(ALICE)[1], (10_100, 10_100));
    rig.amend(order, None, Some(99)).expect("a smaller order is always funded");
    rig.rests(AccountId::OUTSIDE, Sell, 1, 101);
    assert_eq!(rig.amend(order, Some(101), Some(99)), Err("insufficient_funds"));
}

#[test]
fn rule_10_a_market_buy_needs_the_notional_of_its_fills() {
    let mut rig = rig(["0", "0.01"], FeeAsset::Quote);
    rig.rests(BOB, Sell, 50, 100);
    rig.rests(BOB, Sell, 100, 200);
    // 50 * 100 + 24 * 200 = 9,800 and 98; one more is 10,000 and 100.
    let market = OrderKind::Market { fok: false };
    assert_eq!(rig.submit(ALICE, Buy, 75, market), Err("insufficient_funds"));
    rig.submit(ALICE, Buy, 74, market).expect("accepted");
    assert_eq!(rig.money(ALICE), [(10_074, 0), (10_000 - 9898, 0)]);
    // A market sell needs its whole quantity, even where the book would fill less.
    let mut rig = rig_of(plain(), ["0", "0"], FeeAsset::Quote, 500);
    assert_eq!(rig.submit(ALICE, Sell, 501, market), Err("insufficient_funds"));
    assert!(rig.submit(ALICE, Sell, 500, market).is_ok());
}

#[test]
fn sums_that_could_overflow_are_refused() {
    const OUTSIDE: AccountId = AccountId::OUTSIDE;
    const MUCH: i64 = 10_000_000_000;
    // A side's quantity.
    let mut rig = free();
    rig.rests(OUTSIDE, Buy, i64::MAX - 1, 1);
    assert_eq!(rig.submit(OUTSIDE, Buy, 2, gtc(1)), Err("overflow"));
    let order = rig.rests(OUTSIDE, Buy, 1, 2);
    assert_eq!(rig.amend(order, None, Some(2)), Err("overflow"));
    // A notional: at the own price, at the bids that a sell takes, at the asks that a market buy takes.
    assert_eq!(rig.submit(OUTSIDE, Sell, 2 * MUCH, gtc(i64::MAX)), Err("overflow"));
    let mut rig = free();
    for _ in 0..2 {
        rig.rests(OUTSIDE, Buy, MUCH, i64::MAX);
    }
    assert_eq!(rig.submit(OUTSIDE, Sell, 2 * MUCH, gtc(1)), Err("overflow"));
    rig.rests(OUTSIDE, Sell, MUCH, 1);
    assert_eq!(rig.fills().len(), 1);
    let mut rig = free();
    for _ in 0..2 {
        rig.rests(OUTSIDE, Sell, MUCH, i64::MAX);
    }
    assert_eq!(rig.submit(OUTSIDE, Buy, 2 * MUCH, OrderKind::Market { fok: false }), Err("overflow"));
    // The sum of transfers: a trade of 500 and its two fees could overflow the counter.
    let mut rig = free();
    rig.rests(OUTSIDE, Sell, 5, 100);
    rig.ledger.set_moved(rig.engine.quote(), i128::MAX - 1499);
    assert_eq!(rig.submit(OUTSIDE, Buy, 5, gtc(100)), Err("overflow"));
    rig.ledger.set_moved(rig.engine.quote(), i128::MAX - 1500);
    rig.rests(OUTSIDE, Buy, 5, 100);
    assert_eq!(rig.fills().len(), 1);
}

#[test]
fn transfers_need_funds() {
    let Rig { engine, mut ledger, .. } = free();
    let asset = engine.quote();
    assert_eq!(ledger.transfer(ALICE, BOB, asset, 4_000), Ok(()));
    let short = Reject::InsufficientFunds { asset, needed: 6_001, available: 6_000 };
    assert_eq!(ledger.transfer(ALICE, BOB, asset, 6_001), Err(short));
    assert_eq!(ledger.transfer(ALICE, BOB, asset, -1), Err(Reject::Overflow));
    assert_eq!(
        ledger.transfer(AccountId::OUTSIDE, BOB, asset, Ledger::MAX_AMOUNT + 1),
        Err(Reject::Overflow)
    );
    assert_eq!(ledger.transfer(AccountId::for_test(9), BOB, asset, 1), Err(Reject::UnknownAccount));
    let totals = [ALICE, BOB, AccountId::OUTSIDE].map(|account| ledger.balance(account, asset).total);
    assert_eq!(totals, [6_000, 14_000, -20_000]);
}
