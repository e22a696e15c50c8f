//! Tests of what an operator does, and of what an account sees of it.

use super::*;
use crate::event::{Nanos, OrderState, Side};
use crate::venue::market::tests::{busy, funded, listing};
use crate::venue::market::{Options, Pair, Report, Request, UserFill, UserOrder};
use crate::venue::{OrderKind, TimeInForce};
use proptest::prelude::*;

const SECOND: Nanos = 1_000_000_000;
const TAKE: OrderKind = OrderKind::Market { fok: false };

fn number(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn market() -> (Market, AccountId) {
    let listings = [listing("BTC", "600", 50.0), listing("ETH", "20", 50.0)];
    let mut market = Market::new(&Options { seed: 3, ..Options::default() }, &listings).unwrap();
    let account = funded(&mut market);
    (market, account)
}

fn request(id: &str, side: Side, quantity: i64, kind: OrderKind) -> Request {
    Request { client_order_id: id.into(), side, quantity, kind }
}

/// Pauses the background and buys the best asks until a buy order can rest above the best bid; returns its price.
fn inside(market: &mut Market) -> i64 {
    market.pause_background(true);
    loop {
        let [bid, ask] = [Side::Buy, Side::Sell].map(|side| market.pairs()[0].engine().best(side).unwrap());
        if ask.price > bid.price + 1 {
            return bid.price + 1;
        }
        let kind = OrderKind::Limit { price: ask.price, time_in_force: TimeInForce::Ioc };
        let buyer = funded(market);
        let taken =
            market.submit(buyer, 0, &request("", Side::Buy, ask.quantity, kind), &mut Client::default());
        taken.unwrap();
        market.cancel_all(buyer, None, &mut Client::default());
    }
}

fn far() -> OrderKind {
    OrderKind::Limit { price: 30_000, time_in_force: TimeInForce::Gtc }
}

fn fills(market: &Market, account: AccountId) -> impl Iterator<Item = &UserFill> {
    market.fills_since(0).filter(move |fill| fill.account == account)
}

fn asset(market: &Market, name: &str) -> AssetId {
    market.assets().iter().find(|(other, _)| other == name).unwrap().1
}

/// A report: state, filled quantity, execution id.
type Seen = (OrderState, i64, Option<u64>);

/// Receives the reports and the balances of accounts.
#[derive(Default)]
struct Client {
    reports: Vec<Seen>,
    balances: Vec<BalanceChange>,
}

impl Sink for Client {
    fn on(&mut self, _: &Pair, now: Nanos, event: Event<'_>) {
        match event {
            Event::Report(Report { order, fill, time }) => {
                assert!(time <= now);
                self.reports.push((order.state, order.filled, fill.map(|fill| fill.number)));
            }
            Event::Balance(change) => self.balances.push(change),
            _ => {}
        }
    }
}

/// Fails unless all money is accounted for.
fn check(market: &Market) {
    let mut sums = BTreeMap::<AssetId, i128>::new();
    for account in market.ledger.accounts() {
        for (_, asset, balance) in market.balances(account) {
            *sums.entry(asset).or_default() += balance.total;
            if account != AccountId::OUTSIDE && account != AccountId::FEES {
                assert!(0 <= balance.reserved && balance.reserved <= balance.total, "{balance:?}");
            }
        }
    }
    assert!(sums.values().all(|sum| *sum == 0), "{sums:?}");
}

#[derive(Debug, Clone)]
enum Do {
    Wait(Nanos),
    Order(i64, usize, bool),
    Cancel(i64),
    Amend(i64, i64),
    Fees(i64, i64, u8),
    Transfer(i64),
    Forget(i64),
    Faults(bool, bool),
    CancelAll,
}

fn commands() -> impl Strategy<Value = Vec<Do>> {
    let one = prop_oneof![
        3 => (0..SECOND).prop_map(Do::Wait),
        6 => (0i64..40, 0usize..2, any::<bool>()).prop_map(|(i, pair, own)| Do::Order(i, pair, own)),
        1 => (0i64..40).prop_map(Do::Cancel),
        1 => (0i64..40, 1i64..300_000).prop_map(|(i, quantity)| Do::Amend(i, quantity)),
        2 => (-90i64..90, -90i64..90, 0u8..6).prop_map(|(m, t, c)| Do::Fees(m, t, c)),
        1 => (-3_000_000i64..3_000_000).prop_map(Do::Transfer),
        1 => (0i64..40).prop_map(Do::Forget),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(a, b)| Do::Faults(a, b)),
        1 => Just(Do::CancelAll),
    ];
    proptest::collection::vec(one, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn prop_the_ledger_is_exact_whatever_the_operator_does(commands in commands()) {
        let (mut market, account) = market();
        let poor = market.open_account();
        let (usdt, eth) = (asset(&market, "USDT"), asset(&market, "ETH"));
        market.deposit(poor, usdt, number("20000")).unwrap();
        let mut client = Client::default();
        for command in commands {
            let owner = |i: i64| if i % 4 == 0 { poor } else { account };
            match command {
                Do::Wait(time) => market.advance(market.now() + time, &mut client),
                Do::Order(i, pair, own) => {
                    let middle = market.pairs()[pair].reference() as i64;
                    let mut request = busy(i, middle);
                    request.client_order_id = if own { format!("o{i}") } else { String::new() };
                    let _ = market.submit(owner(i), pair, &request, &mut client);
                }
                Do::Cancel(i) => drop(market.cancel(owner(i), &format!("o{i}"), &mut client)),
                Do::Amend(i, quantity) => {
                    let id = format!("o{i}");
                    drop(market.amend(owner(i), &id, None, Some(quantity), &mut client));
                }
                Do::Fees(maker, taker, currency) => {
                    let rate = |rate: i64| Decimal::new(i128::from(rate), 2).unwrap();
                    let currency = match currency {
                        0 => FeeCurrency::Traded(FeeAsset::Quote),
                        1 => FeeCurrency::Traded(FeeAsset::Base),
                        2 => FeeCurrency::Traded(FeeAsset::Received),
                        _ => FeeCurrency::Other(eth, number("20")),
                    };
                    // Refused where open orders cannot pay.
                    drop(market.set_fees(rate(maker), rate(taker), currency, &mut client));
                }
                Do::Transfer(amount) => drop(market.transfer(poor, usdt, Decimal::from_i64(amount), &mut client)),
                Do::Forget(i) => drop(market.forget(owner(i), &format!("o{i}"), &mut client)),
                Do::Faults(withhold_fills, fills_after_end) => {
                    market.set_report_faults(ReportFaults { withhold_fills, fills_after_end }, &mut client);
                }
                Do::CancelAll => drop(market.cancel_all(account, None, &mut client)),
            }
            check(&market);
        }
        for account in [account, poor] {
            market.cancel_all(account, None, &mut client);
            prop_assert_eq!(market.open_orders(account).count(), 0);
            for (name, _, balance) in market.balances(account) {
                prop_assert_eq!(balance.reserved, 0, "{} without open orders", name);
            }
        }
    }
}

#[test]
fn fees_change_between_two_fills_of_an_order() {
    let (mut market, account) = market();
    let mut client = Client::default();
    let price = inside(&mut market);
    let kind = OrderKind::PostOnly { price };
    market.submit(account, 0, &request("a", Side::Buy, 2_000, kind), &mut client).unwrap();
    let taker = funded(&mut market);
    let sell = |market: &mut Market, client: &mut Client| {
        market.submit(taker, 0, &request("s", Side::Sell, 500, TAKE), client).unwrap();
    };
    let (usdt, eth) = (asset(&market, "USDT"), asset(&market, "ETH"));
    let mut fees = Vec::new();
    for (currency, maker) in [
        (FeeCurrency::Traded(FeeAsset::Quote), "0.001"),
        (FeeCurrency::Traded(FeeAsset::Received), "0.001"),
        (FeeCurrency::Other(eth, number("20")), "0.001"),
        (FeeCurrency::Other(eth, number("20")), "-0.001"),
    ] {
        market.set_fees(number(maker), number("0.002"), currency, &mut client).unwrap();
        sell(&mut market, &mut client);
        let fill = fills(&market, account).last().unwrap();
        let order = market.order(account, "a").unwrap();
        fees.push((fill.fee_asset, market.money(fill.fee_asset, fill.fee), order.mixed_fees));
        check(&market);
    }
    let paid = number("0.05").checked_mul(market.pairs()[0].rules().price(price)).unwrap();
    let rate = |text: &str| paid.checked_mul(number(text)).unwrap();
    let btc = asset(&market, "BTC");
    assert_eq!(fees[0], (usdt, rate("0.001"), false));
    assert_eq!(fees[1], (btc, number("0.00005"), true));
    assert_eq!(fees[2].0, eth);
    let in_eth = rate("0.00005");
    assert!(fees[2].1 >= in_eth && fees[2].1.checked_sub(in_eth).unwrap() < number("0.00000002"));
    assert!(fees[3].1 < Decimal::ZERO && fees[3].0 == eth);
    assert_eq!(market.order(account, "a").unwrap().state, OrderState::Filled);
}

#[test]
fn a_fee_in_an_asset_that_the_account_lacks_is_charged_in_what_it_received() {
    let (mut market, _) = market();
    let poor = market.open_account();
    let (usdt, btc, eth) = (asset(&market, "USDT"), asset(&market, "BTC"), asset(&market, "ETH"));
    market.deposit(poor, usdt, number("1000")).unwrap();
    market.deposit(poor, eth, number("0.001")).unwrap();
    let mut client = Client::default();
    let other = FeeCurrency::Other(eth, number("20"));
    market.set_fees(Decimal::ZERO, number("0.01"), other, &mut client).unwrap();
    market.submit(poor, 0, &request("a", Side::Buy, 1_000, TAKE), &mut client).unwrap();
    assert!(fills(&market, poor).all(|fill| fill.fee_asset == btc));
    // A symbol that trades the asset itself charges what is received, too.
    market.submit(poor, 1, &request("b", Side::Buy, 10_000, TAKE), &mut client).unwrap();
    market.submit(poor, 1, &request("c", Side::Sell, 9_000, TAKE), &mut client).unwrap();
    let last: Vec<_> = fills(&market, poor).filter(|fill| fill.client_order_id == "c").collect();
    assert!(!last.is_empty() && last.iter().all(|fill| fill.fee_asset == usdt));
    check(&market);
}

#[test]
fn fees_that_open_orders_cannot_pay_change_nothing() {
    let (mut market, _) = market();
    let poor = market.open_account();
    let usdt = asset(&market, "USDT");
    market.deposit(poor, usdt, number("300.3")).unwrap();
    let mut client = Client::default();
    let quote = FeeCurrency::Traded(FeeAsset::Quote);
    market.set_fees(number("0.001"), number("0.001"), quote, &mut client).unwrap();
    market.submit(poor, 0, &request("a", Side::Buy, 10_000, far()), &mut client).unwrap();
    let before = client.balances.clone();
    let error = market.set_fees(number("0.0011"), number("0.001"), quote, &mut client).unwrap_err();
    assert!(error.0[0].starts_with("fees not changed"), "{error:?}");
    assert_eq!(client.balances, before);
    market.set_fees(number("0.0005"), number("0.001"), quote, &mut client).unwrap();
    let last = client.balances.last().unwrap();
    assert_eq!(market.money(usdt, last.balance.reserved), number("300.15"));
    check(&market);
}

/// Rests a buy order at the best price, without background; returns an account that can sell to it.
fn trade(market: &mut Market, account: AccountId, client: &mut Client) -> AccountId {
    let kind = OrderKind::PostOnly { price: inside(market) };
    market.submit(account, 0, &request("a", Side::Buy, 1_500, kind), client).unwrap();
    let taker = market.open_account();
    market.deposit(taker, asset(market, "BTC"), number("10")).unwrap();
    taker
}

#[test]
fn a_fill_is_reported_after_the_end_of_its_order() {
    use OrderState::{Ack, Cancelled, Partial};
    let (mut market, account) = market();
    let mut client = Client::default();
    let taker = trade(&mut market, account, &mut client);
    market.set_report_faults(ReportFaults { fills_after_end: true, ..ReportFaults::default() }, &mut client);
    let sell = request("", Side::Sell, 500, TAKE);
    let mut other = Client::default();
    market.submit(taker, 0, &sell, &mut other).unwrap();
    // The taker's report is sent, as it ends its order; the maker's is not.
    assert_eq!(other.reports.len(), 2, "{:?}", other.reports);
    assert_eq!(fills(&market, account).count(), 1);
    market.cancel(account, "a", &mut client).unwrap();
    let number = fills(&market, account).next().unwrap().number;
    assert_eq!(client.reports, [(Ack, 0, None), (Cancelled, 500, None), (Partial, 500, Some(number))]);
}

#[test]
fn withheld_fills_are_listed_when_the_fault_ends() {
    let (mut market, account) = market();
    let mut client = Client::default();
    let taker = trade(&mut market, account, &mut client);
    market.set_report_faults(ReportFaults { withhold_fills: true, ..ReportFaults::default() }, &mut client);
    let before = client.reports.len();
    for _ in 0..3 {
        market.submit(taker, 0, &request("", Side::Sell, 500, TAKE), &mut client).unwrap();
    }
    // Three acknowledgements of the taker's orders; no fill, and no end by a fill.
    assert_eq!(client.reports.len(), before + 3);
    assert!(client.reports[before..].iter().all(|(_, _, fill)| fill.is_none()));
    assert_eq!(fills(&market, account).count(), 0);
    let order: &UserOrder = market.order(account, "a").unwrap();
    assert_eq!((order.state, order.filled), (OrderState::Filled, 1_500));
    assert!(client.balances.iter().any(|change| change.account == account));
    market.set_report_faults(ReportFaults::default(), &mut client);
    assert_eq!(client.reports.len(), before + 3);
    assert_eq!(fills(&market, account).count(), 3);
}

#[test]
fn a_forgotten_order_leaves_no_trace_but_its_fills() {
    let (mut market, account) = market();
    let mut client = Client::default();
    let taker = trade(&mut market, account, &mut client);
    market.submit(taker, 0, &request("", Side::Sell, 500, TAKE), &mut client).unwrap();
    let reports = client.reports.len();
    market.forget(account, "a", &mut client).unwrap();
    assert_eq!(client.reports.len(), reports);
    assert!(market.order(account, "a").is_none() && market.open_orders(account).count() == 0);
    assert_eq!(fills(&market, account).count(), 1);
    let usdt = asset(&market, "USDT");
    let reserved = market.balances(account).find(|(_, asset, _)| *asset == usdt).unwrap().2.reserved;
    assert_eq!(reserved, 0);
    assert!(market.forget(account, "a", &mut client).is_err());
    // The id is free again, and an ended order can be forgotten, too.
    market.submit(account, 0, &request("a", Side::Buy, 1_000, far()), &mut client).unwrap();
    market.cancel(account, "a", &mut client).unwrap();
    market.forget(account, "a", &mut client).unwrap();
    assert!(market.order(account, "a").is_none());
}

#[test]
fn transfers_are_reported_with_their_amount_and_an_older_balance_with_its_time() {
    let (mut market, account) = market();
    let (mut client, usdt) = (Client::default(), asset(&market, "USDT"));
    assert!(!market.resend_older_balance(account, usdt, &mut client));
    let start = market.now();
    assert_eq!(market.transfer(account, usdt, number("12.5"), &mut client), Ok(1));
    market.advance(start + SECOND, &mut client);
    assert_eq!(market.transfer(account, usdt, number("-2.5"), &mut client), Ok(2));
    let money = |units| market.money(usdt, units);
    let seen: Vec<_> = client.balances.iter().map(|change| change.transfer.unwrap()).collect();
    assert_eq!(seen.iter().map(|transfer| transfer.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(seen.iter().map(|t| money(t.amount)).collect::<Vec<_>>(), [number("12.5"), number("-2.5")]);
    let first = client.balances[0];
    assert!(market.resend_older_balance(account, usdt, &mut client));
    assert_eq!(client.balances[2], BalanceChange { transfer: None, time: start, ..first });
    let much = number("-1000000000");
    assert!(matches!(
        market.transfer(account, usdt, much, &mut client),
        Err(Reject::InsufficientFunds { .. })
    ));
    assert_eq!(client.balances.len(), 3);
    check(&market);
}

#[test]
fn orders_of_another_client_are_found_by_the_venues_id_only() {
    let (mut market, account) = market();
    let mut client = Client::default();
    let ids: Vec<_> = (0..3)
        .map(|_| market.submit(account, 0, &request("", Side::Buy, 1_000, far()), &mut client).unwrap())
        .collect();
    assert_eq!(market.open_orders(account).count(), 3);
    assert!(market.order(account, "").is_none());
    assert!(market.cancel(account, "", &mut client).is_err());
    market.cancel_venue_order(account, 0, ids[1], &mut client).unwrap();
    assert!(market.cancel_venue_order(account, 0, ids[1], &mut client).is_err());
    assert!(market.cancel_venue_order(account, 1, ids[0], &mut client).is_err());
    let other = market.open_account();
    assert!(market.cancel_venue_order(other, 0, ids[0], &mut client).is_err());
    assert_eq!(market.cancel_all(account, Some(1), &mut client), Vec::<String>::new());
    assert_eq!(market.cancel_all(account, Some(0), &mut client), ["", ""]);
    assert!(market.order(account, "").is_none());
}
