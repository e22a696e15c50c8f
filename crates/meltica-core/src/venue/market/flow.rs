//! The background traders of one instrument.
//!
//! - Most actions place orders just inside the spread, or at an exponentially distributed distance. Some actions take,
//!   mostly small quantities. The others cancel.
//! - A spread of more than a few ticks is soon closed, and most takers wait for that.
//! - Where the middle of the book differs from the reference price, takers trade towards the reference, and orders on
//!   its wrong side are cancelled first.
//! - Trades and shocks raise the activity, which decays, and activity regimes last for minutes; so volume clusters.

use super::options::Options;
use super::price::Price;
use super::random::Random;
use crate::event::{Nanos, Side};
use crate::venue::{AccountId, Command, Engine, InstrumentRules, NewOrder, OrderId, OrderKind, TimeInForce};

/// Share of the actions that take, where the book's middle equals the reference price and the spread is narrow.
pub const TAKER_SHARE: f64 = 0.2;
/// Target number of orders per target price level.
const ORDERS_PER_LEVEL: usize = 3;
/// Strength of the pull towards the reference price. At 1, it saturates at the mean distance of new orders.
const PULL: f64 = 2.0;
/// Mean distance of new orders, as a fraction of the price.
const DISTANCE: f64 = 0.0002;
/// Number of actions in which heat decays to a half.
const COOLING: f64 = 64.0;
/// Number of actions over which activity is averaged, to keep the rate.
const AVERAGE: f64 = 1024.0;
/// Typical average activity.
const INITIAL_AVERAGE: f64 = 2.0;
/// A spread above this number of ticks is wide.
const WIDE: i64 = 3;
/// Share of new orders within a few ticks of the other side's best price.
const CLOSE_SHARE: f64 = 0.4;
/// The same share while the spread is wide.
const CLOSE_SHARE_WIDE: f64 = 0.9;
/// Minimum share of takers that do not wait until a wide spread is closed.
const IMPATIENT_SHARE: f64 = 0.25;
/// Factor on the activity after an action that may have widened the spread.
const WIDENED_FACTOR: f64 = 5.0;
/// Mean number of actions in an activity regime.
const REGIME: f64 = 400.0;
/// Minimum level of a regime; the mean level is 1.
const MIN_REGIME: f64 = 0.3;
/// Minimum activity, as a fraction of the average.
const MIN_ACTIVITY: f64 = 0.25;
/// Number of actions after which the flow is stationary.
const WARM_UP: f64 = 4096.0;
/// Maximum duration of the warm-up.
const MAX_WARM_UP: Nanos = 30 * 86_400_000_000_000;
/// Activity without heat.
const BASE_ACTIVITY: f64 = 0.3;
/// Heat that a trade adds.
const HEAT_OF_TRADE: f64 = 0.1;
/// Heat that a shock adds.
const HEAT_OF_SHOCK: f64 = 5.0;
const MAX_HEAT: f64 = 15.0;

/// The tag of orders that do not rest.
const NO_SLOT: u64 = u64::MAX;

/// The background flow of one instrument.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    random: Random,
    price: Price,
    rate: f64,
    /// Minimum quantity in lots, and the range above it.
    lots: (i64, f64),
    width: usize,
    levels: f64,
    /// Target number of orders per side.
    target: usize,
    /// The resting orders, by tag.
    slots: Vec<Option<(OrderId, Side)>>,
    free: Vec<u32>,
    resting: [usize; 2],
    heat: f64,
    regime: f64,
    /// Whether the last action may have widened the spread.
    widened: bool,
    /// Current activity, and its average over past time. An average activity gives `rate` actions per second.
    activity: f64,
    average: f64,
    updated: Nanos,
    last_taker: Side,
}

fn warm_up(rate: f64) -> Nanos {
    ((WARM_UP / rate * 1e9) as Nanos).min(MAX_WARM_UP)
}

/// The distribution of an order's quantity.
#[derive(Clone, Copy)]
enum Size {
    /// Uniform: orders that close a wide spread.
    Uniform,
    /// Mostly small: other resting orders.
    Small,
    /// Mostly very small: takers.
    VerySmall,
}

/// The state of the book before an action, in ticks.
struct View {
    best: [Option<i64>; 2],
    reference: f64,
    /// Mean distance of new orders from the other side.
    distance: f64,
    /// Distance of the reference above the middle of the book, in units of `distance`, times `PULL`.
    gap: f64,
    /// Whether the spread is wide.
    wide: bool,
}

impl Flow {
    /// Returns the flow of `symbol` with the initial reference price `ticks`.
    pub fn new(options: &Options, rules: &InstrumentRules, symbol: &str, ticks: f64, rate: f64) -> Self {
        let model = &options.trade_model;
        let lots = |quantity: crate::decimal::Decimal| {
            let lot = rules.quantity(rules.lot_size);
            let whole = quantity.round_to_increment(lot, false).and_then(|q| q.rescale(lot.scale()));
            let lots = whole.map_or(i128::MAX, |q| q.mantissa() / i128::from(rules.lot_size));
            (lots.min(i128::from(rules.max_quantity / rules.lot_size)) as i64)
                .max(rules.min_quantity.div_euclid(rules.lot_size))
        };
        let (least, most) = (lots(model.min_quantity).max(1), lots(model.max_quantity));
        let price = Random::new(options.seed, &format!("price of {symbol}"));
        let levels = options.order_book.levels as usize;
        Self {
            random: Random::new(options.seed, symbol),
            price: Price::new(&options.price_model, price, ticks, options.start),
            rate,
            lots: (least, (most - least).max(0) as f64),
            width: options.order_book.max_mutation_width as usize,
            levels: levels as f64,
            target: levels * ORDERS_PER_LEVEL,
            slots: Vec::new(),
            free: Vec::new(),
            resting: [0, 0],
            heat: 1.0,
            regime: 1.0,
            widened: false,
            activity: INITIAL_AVERAGE,
            average: INITIAL_AVERAGE,
            updated: options.start - warm_up(rate),
            last_taker: Side::Buy,
        }
    }

    /// Returns the duration of the warm-up before the start.
    pub fn warm_up(&self) -> Nanos {
        warm_up(self.rate)
    }

    /// Returns the number of resting orders of a side.
    pub fn resting(&self, side: Side) -> usize {
        self.resting[side as usize]
    }

    /// Returns the target number of resting orders per side.
    pub fn target(&self) -> usize {
        self.target
    }

    /// Returns the reference price, in ticks.
    pub fn reference(&self) -> f64 {
        self.price.ticks()
    }

    #[cfg(test)]
    pub fn reference_at(&mut self, now: Nanos) -> f64 {
        self.price.advance(now);
        self.price.ticks()
    }

    #[cfg(test)]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Records the id of an accepted order. Orders that never rest are ignored.
    #[inline]
    pub fn opened(&mut self, tag: u64, order: OrderId) {
        if let Some(Some(slot)) = self.slots.get_mut(tag as usize) {
            slot.0 = order;
        }
    }

    /// Frees the slot of an order that ended.
    #[inline]
    pub fn closed(&mut self, tag: u64) {
        if let Some((_, side)) = self.slots.get_mut(tag as usize).and_then(Option::take) {
            self.free.push(tag as u32);
            self.resting[side as usize] -= 1;
        }
    }

    /// Records that a command traded.
    #[inline]
    pub fn traded(&mut self) {
        self.heat = (self.heat + HEAT_OF_TRADE).min(MAX_HEAT);
    }

    /// Draws the time of the next action.
    #[inline]
    pub fn next(&mut self, now: Nanos) -> Nanos {
        let passed = (now - self.updated) as f64 * 1e-9 * self.rate;
        self.updated = now;
        self.average += (self.activity - self.average) * (passed / AVERAGE).min(1.0);
        self.heat /= 1.0 + passed / COOLING;
        if self.random.chance(passed / REGIME) {
            self.regime = MIN_REGIME + (1.0 - MIN_REGIME) * self.random.exponential();
        }
        let factor = if self.widened { WIDENED_FACTOR } else { 1.0 };
        self.activity = ((BASE_ACTIVITY + self.heat) * self.regime).max(MIN_ACTIVITY * self.average) * factor;
        let pause = self.random.exponential() * self.average / (self.activity * self.rate);
        now + ((pause * 1e9) as Nanos).max(1)
    }

    /// Returns the next order that fills a new book; `None` once the targets are reached.
    pub fn begin(&mut self, engine: &Engine) -> Option<Command> {
        let side = if self.resting[0] <= self.resting[1] { Side::Buy } else { Side::Sell };
        if self.resting[side as usize] >= self.target {
            return None;
        }
        let view = self.view(engine);
        self.place(engine.rules(), side, &view)
    }

    /// Returns the action at `now`; `None` where the instrument's rules allow no order.
    pub fn act(&mut self, engine: &Engine, now: Nanos) -> Option<Command> {
        if self.price.advance(now) {
            self.heat = (self.heat + HEAT_OF_SHOCK).min(MAX_HEAT);
        }
        let view = self.view(engine);
        self.widened = false;
        let [bids, asks] = self.resting;
        let thinner = if bids <= asks { Side::Buy } else { Side::Sell };
        // A thin side and a wide spread are equally urgent; the other side may have to close the spread.
        if bids.min(asks) < self.target / 2 && !(view.wide && self.random.chance(0.5)) {
            return self.place(engine.rules(), thinner, &view);
        }
        let impatient = if view.wide { (IMPATIENT_SHARE + view.gap.abs()).min(1.0) } else { 1.0 };
        if self.random.chance(impatient * TAKER_SHARE * (1.0 + (0.5 * view.gap.abs()).min(2.0))) {
            return self.take(engine, &view);
        }
        let (open, full) = ((bids + asks) as f64, (2 * self.target) as f64);
        if view.wide && open < 1.5 * full {
            let buys = (0.5 + 0.5 * view.gap).clamp(0.05, 0.95);
            let side = if self.random.chance(buys) { Side::Buy } else { Side::Sell };
            return self.place(engine.rules(), side, &view);
        }
        if self.random.chance((1.25 - 0.75 * open / full).clamp(0.0, 0.95)) {
            let side = if self.random.unit() * open < asks as f64 { Side::Buy } else { Side::Sell };
            return self.place(engine.rules(), side, &view);
        }
        self.cancel(engine, &view)
    }

    fn view(&self, engine: &Engine) -> View {
        let tick = engine.rules().tick_size;
        let best = [Side::Buy, Side::Sell].map(|side| engine.best(side).map(|level| level.price / tick));
        let reference = self.price.ticks();
        let distance = (reference * DISTANCE).max(self.levels / 4.0);
        let middle = match best {
            [Some(bid), Some(ask)] => (bid as f64 + ask as f64) * 0.5,
            [Some(one), None] | [None, Some(one)] => one as f64,
            [None, None] => reference,
        };
        let wide = matches!(best, [Some(bid), Some(ask)] if ask - bid > WIDE);
        View { best, reference, distance, gap: PULL * (reference - middle) / distance, wide }
    }

    /// Returns a new order, close to the other side's best price or at a distance. The price stays near the reference
    /// even where accounts have moved the book. While the spread is wide, most new orders close it.
    fn place(&mut self, rules: &InstrumentRules, side: Side, view: &View) -> Option<Command> {
        let close = self.random.chance(if view.wide { CLOSE_SHARE_WIDE } else { CLOSE_SHARE });
        let distance =
            1 + if close { self.random.heads() } else { (self.random.exponential() * view.distance) as i64 };
        let size = if view.wide && close { Size::Uniform } else { Size::Small };
        let away = if side == Side::Buy { -1 } else { 1 };
        let slack = 2.0 * view.distance;
        let (low, high) = (view.reference - slack, view.reference + slack);
        let other = view.best[1 - side as usize];
        let anchor = other.map_or(view.reference, |other| match side {
            _ if !close => (other as f64).clamp(low, high),
            Side::Buy => (other as f64).min(high),
            Side::Sell => (other as f64).max(low),
        });
        let price = (anchor as i64 + away * distance).max(1) * rules.tick_size;
        let quantity = self.quantity(rules, price, size, 1.0)?;
        let tag = self.reserve(side);
        Some(order(side, quantity, OrderKind::Limit { price, time_in_force: TimeInForce::Gtc }, tag))
    }

    /// Returns an order that takes, most likely towards the reference price. Far from the reference it takes more, at
    /// most up to the reference, and its remainder rests.
    fn take(&mut self, engine: &Engine, view: &View) -> Option<Command> {
        let again = if self.last_taker == Side::Buy { 0.12 } else { -0.12 };
        let buys = (0.5 + again + 0.4 * view.gap).clamp(0.05, 0.95);
        let side = if self.random.chance(buys) { Side::Buy } else { Side::Sell };
        self.last_taker = side;
        self.widened = true;
        let rules = engine.rules();
        let other = if side == Side::Buy { Side::Sell } else { Side::Buy };
        let Some(worst) = engine.levels(other).take(self.width).last() else {
            return self.place(rules, side, view);
        };
        let best = view.best[other as usize].unwrap_or(0) as f64;
        let leans = if side == Side::Buy { view.reference - best } else { best - view.reference };
        if leans < 0.0 {
            let quantity = self.quantity(rules, worst.price, Size::VerySmall, 1.0)?;
            let kind = OrderKind::Limit { price: worst.price, time_in_force: TimeInForce::Ioc };
            return Some(order(side, quantity, kind, NO_SLOT));
        }
        let reference = (view.reference as i64).max(1) * rules.tick_size;
        let price = match side {
            Side::Buy => reference.min(worst.price),
            Side::Sell => reference.max(worst.price),
        };
        let quantity = self.quantity(rules, price, Size::VerySmall, 1.0 + 4.0 * leans / view.distance)?;
        let tag = self.reserve(side);
        Some(order(side, quantity, OrderKind::Limit { price, time_in_force: TimeInForce::Gtc }, tag))
    }

    /// Returns a cancellation: of an order that the reference has passed, or of any order.
    fn cancel(&mut self, engine: &Engine, view: &View) -> Option<Command> {
        if self.random.chance(view.gap.abs()) {
            let stale = if view.gap > 0.0 { Side::Sell } else { Side::Buy };
            let best = engine.orders(stale).next();
            if let Some(best) = best.filter(|best| best.account == AccountId::OUTSIDE) {
                self.widened = true;
                return Some(Command::Cancel(best.order));
            }
        }
        let from = self.random.below(self.slots.len().max(1) as u64) as usize;
        let (before, after) = self.slots.split_at_checked(from)?;
        let (order, _) = after.iter().chain(before).find_map(|slot| *slot)?;
        Some(Command::Cancel(order))
    }

    /// Draws a quantity in whole lots whose notional at `price` is sufficient.
    fn quantity(&mut self, rules: &InstrumentRules, price: i64, size: Size, times: f64) -> Option<i64> {
        let (least, more) = self.lots;
        let unit = self.random.unit();
        let cube = unit * unit * unit;
        let part = match size {
            Size::Uniform => unit,
            Size::Small => cube,
            Size::VerySmall => cube * cube * unit * unit,
        };
        let lots = least as f64 + more * part;
        let lots = ((lots * times) as i64).min(rules.max_quantity / rules.lot_size);
        let lot = i128::from(rules.lot_size) * i128::from(price);
        let worth = (rules.min_notional + lot - 1) / lot;
        let quantity = i128::from(lots.max(1)).max(worth) * i128::from(rules.lot_size);
        let quantity = i64::try_from(quantity).ok()?.max(rules.min_quantity);
        (quantity <= rules.max_quantity).then_some(quantity)
    }

    fn reserve(&mut self, side: Side) -> u64 {
        self.resting[side as usize] += 1;
        let slot = Some((OrderId(0), side));
        if let Some(free) = self.free.pop() {
            self.slots[free as usize] = slot;
            return u64::from(free);
        }
        self.slots.push(slot);
        self.slots.len() as u64 - 1
    }
}

fn order(side: Side, quantity: i64, kind: OrderKind, tag: u64) -> Command {
    let account = AccountId::OUTSIDE;
    Command::New(NewOrder { side, quantity, kind, account, self_trade: None, tag })
}
