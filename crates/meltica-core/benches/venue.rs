//! Orders per second on a book 1,000 levels deep: `cargo bench -p meltica-core --bench venue`.
//!
//! The rival is the obvious implementation: ordered maps of queues, and a hash map from id to price.

#![allow(missing_docs)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use meltica_core::decimal::Decimal;
use meltica_core::event::{Book, Side};
use meltica_core::venue::flow::{self, Flow};
use meltica_core::venue::{
    AccountId, Command, Engine, FeeAsset, Fees, Ledger, NewOrder, OrderKind, Outcome, TimeInForce,
};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hint::black_box;
use std::time::Duration;

const STEPS: usize = 200_000;
const ACCOUNTS: usize = 8;

/// Two maps of queues. Order `n` is that of the `n`th new order.
#[derive(Clone, Default)]
struct Plain {
    bids: BTreeMap<i64, VecDeque<(u64, i64)>>,
    asks: BTreeMap<i64, VecDeque<(u64, i64)>>,
    open: HashMap<u64, (Side, i64)>,
    count: u64,
}

impl Plain {
    fn new_order(&mut self, order: &NewOrder, fills: &mut Vec<(u64, i64, i64)>) {
        self.count += 1;
        let mut left = order.quantity;
        while left > 0 {
            let best = match order.side {
                Side::Buy => self.asks.first_entry(),
                Side::Sell => self.bids.last_entry(),
            };
            let Some(mut best) = best else { break };
            let price = *best.key();
            let reaches = order.kind.price().is_none_or(|limit| match order.side {
                Side::Buy => price <= limit,
                Side::Sell => price >= limit,
            });
            if !reaches {
                break;
            }
            let queue = best.get_mut();
            while left > 0
                && let Some((id, open)) = queue.front_mut()
            {
                let quantity = left.min(*open);
                (left, *open) = (left - quantity, *open - quantity);
                fills.push((*id, price, quantity));
                if *open == 0 {
                    self.open.remove(id);
                    queue.pop_front();
                }
            }
            if queue.is_empty() {
                best.remove();
            }
        }
        if left > 0
            && let OrderKind::Limit { price, time_in_force: TimeInForce::Gtc } = order.kind
        {
            let id = self.count;
            self.side(order.side).entry(price).or_default().push_back((id, left));
            self.open.insert(id, (order.side, price));
        }
    }

    fn cancel(&mut self, id: u64) {
        let Some((side, price)) = self.open.remove(&id) else { return };
        let levels = self.side(side);
        if let Some(queue) = levels.get_mut(&price) {
            queue.retain(|(other, _)| *other != id);
            if queue.is_empty() {
                levels.remove(&price);
            }
        }
    }

    fn side(&mut self, side: Side) -> &mut BTreeMap<i64, VecDeque<(u64, i64)>> {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    fn run(&mut self, commands: &[Command], fills: &mut Vec<(u64, i64, i64)>) {
        for command in commands {
            match command {
                Command::New(order) => self.new_order(order, fills),
                // The upper 40 bits of an engine's id count the orders.
                Command::Cancel(id) => self.cancel(id.0 >> 24),
                Command::Amend { .. } => {}
            }
            fills.clear();
        }
    }
}

/// Returns an engine after the first commands of a flow.
fn built(flow: &Flow, fees: Fees, out: &mut Vec<Outcome>) -> (Engine, Ledger) {
    let (mut engine, mut ledger) = flow::engine(fees);
    for _ in 0..ACCOUNTS {
        let account = ledger.open(true);
        for asset in [engine.base(), engine.quote()] {
            ledger.transfer(AccountId::OUTSIDE, account, asset, 1 << 80).expect("a deposit");
        }
    }
    run(&mut engine, &mut ledger, &flow.build, out);
    (engine, ledger)
}

fn run(engine: &mut Engine, ledger: &mut Ledger, commands: &[Command], out: &mut Vec<Outcome>) {
    for command in commands {
        out.clear();
        engine.process(ledger, *command, 0, out);
        black_box(&*out);
    }
}

/// Returns the flow with funded accounts, which reserve and pay balances and prevent self-trades.
fn funded(mut flow: Flow) -> Flow {
    let (_, mut ledger) = flow::engine(Fees::default());
    let accounts = (0..ACCOUNTS).map(|_| ledger.open(true)).collect::<Vec<_>>();
    let mut next = accounts.into_iter().cycle();
    for command in flow.build.iter_mut().chain(&mut flow.steps) {
        if let (Command::New(order), Some(account)) = (command, next.next()) {
            order.account = account;
        }
    }
    flow
}

fn orders(c: &mut Criterion) {
    let flow = flow::mixed(STEPS, 1);
    let mut out = Vec::with_capacity(1024);
    let mut group = c.benchmark_group("venue");
    group.throughput(Throughput::Elements(STEPS as u64)).sample_size(20);
    group.measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1));
    let rate = Decimal::new(1, 3).expect("a rate");
    let fees = Fees::new(rate, rate, FeeAsset::Received).expect("a rate");
    for (name, flow, fees) in [
        ("mixed flow, 1000 levels", &flow, Fees::default()),
        ("the same, funded accounts and fees", &funded(flow.clone()), fees),
    ] {
        let start = built(flow, fees, &mut out);
        group.bench_function(name, |b| {
            let work = |(mut engine, mut ledger): (Engine, Ledger)| {
                run(&mut engine, &mut ledger, &flow.steps, &mut out);
                (engine, ledger)
            };
            b.iter_batched(|| start.clone(), work, BatchSize::LargeInput);
        });
    }
    let mut plain = Plain::default();
    let mut fills = Vec::new();
    plain.run(&flow.build, &mut fills);
    group.bench_function("rival: maps of queues", |b| {
        let work = |mut plain: Plain| {
            plain.run(&flow.steps, &mut fills);
            plain
        };
        b.iter_batched(|| plain.clone(), work, BatchSize::LargeInput);
    });
    let (engine, _) = built(&flow, Fees::default(), &mut out);
    let mut book = Book::default();
    group.throughput(Throughput::Elements(1));
    group.bench_function("copy the top 25 levels", |b| b.iter(|| engine.copy_top(25, black_box(&mut book))));
}

criterion_group!(benches, orders);
criterion_main!(benches);
