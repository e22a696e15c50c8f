//! A mixed flow of orders on a deep book, for benchmarks.

use super::{
    AccountId, Command, Engine, Fees, InstrumentRules, Ledger, NewOrder, OrderId, OrderKind, Outcome,
    SelfTrade, TimeInForce,
};
use crate::event::Side;

/// Commands for an engine of [`engine`]. All orders belong to [`AccountId::OUTSIDE`]. The ids of cancelled orders are
/// valid for any accounts and fees, as long as the engine refuses no command.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Builds a book with [`LEVELS`] levels on either side.
    pub build: Vec<Command>,
    /// Keeps the depth about constant: 45 % resting limit orders, 40 % cancellations, 15 % orders that take.
    pub steps: Vec<Command>,
}

/// Levels on either side.
pub const LEVELS: i64 = 1000;
/// Initial number of orders per level.
const ORDERS: i64 = 10;
const MID: i64 = 6_000_000;

/// Returns an empty engine without limits, and its ledger.
pub fn engine(fees: Fees) -> (Engine, Ledger) {
    let rules = InstrumentRules {
        price_scale: 2,
        quantity_scale: 4,
        tick_size: 1,
        lot_size: 1,
        min_quantity: 1,
        max_quantity: i64::MAX,
        min_notional: 0,
    };
    let ledger = Ledger::new(&[8, 8]);
    let assets: Vec<_> = ledger.assets().collect();
    let engine = Engine::new(rules, fees, SelfTrade::Allow, &ledger, [assets[0], assets[1]], 1 << 14);
    (engine.expect("the scales fit"), ledger)
}

/// Returns a flow of `n` steps, which the seed determines.
///
/// Prices of new orders are drawn from the whole depth, half of them with more weight near the best price. Cancelled
/// orders are drawn from all open orders.
pub fn mixed(n: usize, seed: u64) -> Flow {
    let (mut engine, mut ledger) = engine(Fees::default());
    let mut random = Random(seed);
    let mut open: Vec<OrderId> = Vec::new();
    let mut out = Vec::new();
    let (mut build, mut steps) = (Vec::new(), Vec::with_capacity(n));
    let depth = 0..LEVELS * ORDERS * 2;
    let seeds = depth.map(|i| {
        let (side, away) = if i % 2 == 0 { (Side::Buy, -1) } else { (Side::Sell, 1) };
        limit(side, MID + away * (1 + i / 2 % LEVELS), random.below(90) + 10, TimeInForce::Gtc)
    });
    build.extend(seeds.collect::<Vec<_>>());
    for command in &build {
        engine.process(&mut ledger, *command, 0, &mut out);
    }
    let accepted = |out: &mut Vec<Outcome>| {
        let order = out.iter().find_map(|outcome| match outcome {
            Outcome::Accepted { order, .. } => Some(*order),
            _ => None,
        });
        out.clear();
        order
    };
    open.extend(engine.orders(Side::Buy).chain(engine.orders(Side::Sell)).map(|order| order.order));
    out.clear();
    let full = engine.book.quantity(Side::Buy) + engine.book.quantity(Side::Sell);
    while steps.len() < n {
        let side = if random.below(2) == 0 { Side::Buy } else { Side::Sell };
        let best = |side| engine.best(side).map_or(MID, |level| level.price);
        let command = match random.below(100) {
            0..45 => {
                let far = random.below(LEVELS);
                let away = 1 + if random.below(2) == 0 { far } else { random.below(far / 16 + 1) };
                let price = if side == Side::Buy { best(Side::Sell) - away } else { best(Side::Buy) + away };
                limit(side, price, random.below(90) + 10, TimeInForce::Gtc)
            }
            45..85 => {
                let Some(order) = pick(&mut open, &engine, &mut random) else { continue };
                Command::Cancel(order)
            }
            kind => {
                // Takes from the fuller side, and takes more while the book is deeper than at first.
                let [bids, asks] = [Side::Buy, Side::Sell].map(|side| engine.book.quantity(side));
                let (side, price) = if bids > asks {
                    (Side::Sell, best(Side::Buy) - 40)
                } else {
                    (Side::Buy, best(Side::Sell) + 40)
                };
                let most = if bids + asks > full { 30 } else { 16 };
                match kind {
                    85..92 => limit(side, price, random.below(most) + 1, TimeInForce::Ioc),
                    92..99 => new(side, random.below(most) + 1, OrderKind::Market { fok: false }),
                    // Sweeps several levels.
                    _ => limit(side, price, random.below(16 * most) + 1, TimeInForce::Ioc),
                }
            }
        };
        engine.process(&mut ledger, command, 0, &mut out);
        let rests = matches!(
            command,
            Command::New(NewOrder { kind: OrderKind::Limit { time_in_force: TimeInForce::Gtc, .. }, .. })
        );
        if let Some(order) = accepted(&mut out).filter(|_| rests) {
            open.push(order);
        }
        steps.push(command);
    }
    Flow { build, steps }
}

/// Removes and returns a random order that is still open.
fn pick(open: &mut Vec<OrderId>, engine: &Engine, random: &mut Random) -> Option<OrderId> {
    while !open.is_empty() {
        let at = random.below(open.len() as i64) as usize;
        let order = open.swap_remove(at);
        if engine.order(order).is_some() {
            return Some(order);
        }
    }
    None
}

fn limit(side: Side, price: i64, quantity: i64, time_in_force: TimeInForce) -> Command {
    new(side, quantity, OrderKind::Limit { price, time_in_force })
}

fn new(side: Side, quantity: i64, kind: OrderKind) -> Command {
    Command::New(NewOrder { side, quantity, kind, account: AccountId::OUTSIDE, self_trade: None, tag: 0 })
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as i64
    }
}
