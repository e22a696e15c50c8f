//! The limit order book: price-time priority, and nothing of money.
//!
//! Orders lie in one array, one cache line each, linked to their neighbours in their level's queue; levels lie in
//! another; a [`Ladder`] a side sorts the prices. Places are used again, last freed first, so a book that has been as
//! full as it gets allocates no more.
//!
//! Invariants: a level has orders; its quantity is the sum of theirs; a side's quantity is the sum of its levels'.

use super::ladder::{Ladder, flip};
use super::ledger::AccountId;
use super::order::{BookLevel, LevelChange, OpenOrder, OrderId, SelfTrade};
use crate::event::{Nanos, Side};

/// No place.
const NIL: u32 = u32::MAX;

/// An order that arrives: what it is and how far it has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub id: OrderId,
    pub remaining: i64,
    pub quantity: i64,
    pub tag: u64,
    pub since: Nanos,
    pub account: AccountId,
    /// What its fees so far were rounded up by ([`super::fees`]).
    pub carry: u32,
    pub side: Side,
    pub post_only: bool,
    pub self_trade: SelfTrade,
}

/// An [`Order`] in its place. A free place has id 0, and `next` leads to the next free one.
#[repr(align(64))]
#[derive(Debug, Clone, Copy)]
pub(super) struct Resting {
    pub id: OrderId,
    pub remaining: i64,
    pub quantity: i64,
    pub tag: u64,
    pub since: Nanos,
    pub account: AccountId,
    pub carry: u32,
    next: u32,
    prev: u32,
    level: u32,
    pub side: Side,
    pub post_only: bool,
    pub self_trade: SelfTrade,
}

const _: () = assert!(size_of::<Resting>() == 64);

impl Resting {
    /// Returns the order as one that arrives.
    pub fn order(&self) -> Order {
        let Self { id, remaining, quantity, tag, since, account, carry, side, post_only, self_trade, .. } =
            *self;
        Order { id, remaining, quantity, tag, since, account, carry, side, post_only, self_trade }
    }
}

#[derive(Debug, Clone, Copy)]
struct Level {
    price: i64,
    quantity: i64,
    /// The oldest order; of a free place, the next free one.
    head: u32,
    tail: u32,
    orders: u32,
    side: Side,
}

/// One instrument's orders.
#[derive(Debug, Clone)]
pub(super) struct Book {
    orders: Vec<Resting>,
    free_order: u32,
    levels: Vec<Level>,
    free_level: u32,
    ladders: [Ladder; 2],
    quantities: [i64; 2],
    update_id: u64,
}

impl Book {
    /// Returns an empty book with room for so many orders, and a quarter as many levels a side.
    pub fn with_capacity(orders: usize) -> Self {
        let ladder = Ladder::with_capacity(orders / 4);
        Self {
            orders: Vec::with_capacity(orders),
            free_order: NIL,
            levels: Vec::with_capacity(orders / 2),
            free_level: NIL,
            ladders: [ladder.clone(), ladder],
            quantities: [0; 2],
            update_id: 0,
        }
    }

    /// Returns the id of the last change.
    #[inline]
    pub fn update_id(&self) -> u64 {
        self.update_id
    }

    /// Returns the sum of what a side's orders still want.
    #[inline]
    pub fn quantity(&self, side: Side) -> i64 {
        self.quantities[side as usize]
    }

    /// Returns a side's prices.
    #[inline]
    pub fn ladder(&self, side: Side) -> &Ladder {
        &self.ladders[side as usize]
    }

    /// Returns the best price and its level's place.
    #[inline]
    pub fn best(&self, side: Side) -> Option<(i64, u32)> {
        self.ladders[side as usize].best().map(|(key, level)| (flip(side, key), level))
    }

    /// Returns the level at a place.
    #[inline]
    pub fn level(&self, level: u32) -> BookLevel {
        let Level { price, quantity, orders, side, .. } = self.levels[level as usize];
        BookLevel { side, price, quantity, orders }
    }

    /// Returns where an open order lies.
    #[inline]
    pub fn find(&self, id: OrderId) -> Option<u32> {
        let order = self.orders.get(id.place())?;
        (order.id == id && id.0 != 0).then_some(id.place() as u32)
    }

    /// Returns the order at a place.
    #[inline]
    pub fn order(&self, place: u32) -> &Resting {
        &self.orders[place as usize]
    }

    /// Returns the order at a place.
    #[inline]
    pub fn order_mut(&mut self, place: u32) -> &mut Resting {
        &mut self.orders[place as usize]
    }

    /// Returns the price of the order at a place.
    #[inline]
    pub fn price_of(&self, place: u32) -> i64 {
        self.levels[self.orders[place as usize].level as usize].price
    }

    /// Returns the oldest order of a level.
    #[inline]
    pub fn front(&self, level: u32) -> Option<u32> {
        let head = self.levels[level as usize].head;
        (head != NIL).then_some(head)
    }

    /// Returns the places of a level's orders, oldest first.
    pub fn queue(&self, level: u32) -> impl Iterator<Item = u32> {
        let next = |place: &u32| {
            let next = self.orders[*place as usize].next;
            (next != NIL).then_some(next)
        };
        std::iter::successors(self.front(level), next)
    }

    /// Returns what anybody may know of the order at a place.
    pub fn describe(&self, place: u32) -> OpenOrder {
        let Resting { id, remaining, quantity, tag, since, account, side, post_only, .. } =
            *self.order(place);
        let price = self.price_of(place);
        OpenOrder { order: id, tag, account, side, price, quantity, remaining, post_only, since }
    }

    /// Whether a place is free for one more order.
    #[inline]
    pub const fn has_place(&self) -> bool {
        self.free_order != NIL || self.orders.len() < OrderId::MAX_PLACES
    }

    /// Sets a place aside.
    #[inline]
    pub fn allocate(&mut self) -> u32 {
        let place = self.free_order;
        if place != NIL {
            self.free_order = self.orders[place as usize].next;
            return place;
        }
        self.orders.push(Resting {
            id: OrderId(0),
            remaining: 0,
            quantity: 0,
            tag: 0,
            since: 0,
            account: AccountId::OUTSIDE,
            carry: 0,
            next: NIL,
            prev: NIL,
            level: NIL,
            side: Side::Buy,
            post_only: false,
            self_trade: SelfTrade::Allow,
        });
        self.orders.len() as u32 - 1
    }

    /// Puts an order into its place and that at the end of its price's queue.
    #[inline]
    pub fn rest(&mut self, place: u32, order: &Order, price: i64) -> LevelChange {
        let Order { id, remaining, quantity, tag, since, account, carry, side, post_only, self_trade } =
            *order;
        let key = flip(side, price);
        let level = match self.ladders[side as usize].find(key) {
            Ok(level) => level,
            Err(at) => {
                let level =
                    self.new_level(Level { price, quantity: 0, head: NIL, tail: NIL, orders: 0, side });
                self.ladders[side as usize].insert(at, key, level);
                level
            }
        };
        self.orders[place as usize] = Resting {
            id,
            remaining,
            quantity,
            tag,
            since,
            account,
            carry,
            next: NIL,
            prev: NIL,
            level,
            side,
            post_only,
            self_trade,
        };
        self.append(place, level);
        self.levels[level as usize].orders += 1;
        self.add_quantity(level, remaining);
        self.changed(level)
    }

    /// Takes an order out of its queue and keeps its place. The level is left, perhaps empty, to [`Self::changed`].
    #[inline]
    pub fn unlink(&mut self, place: u32) -> u32 {
        let Resting { level, remaining, .. } = self.orders[place as usize];
        self.detach(place);
        self.levels[level as usize].orders -= 1;
        self.add_quantity(level, -remaining);
        level
    }

    /// Takes an order away. The level is left, perhaps empty, to [`Self::changed`].
    #[inline]
    pub fn remove(&mut self, place: u32) -> u32 {
        let level = self.unlink(place);
        self.free(place);
        level
    }

    /// Gives back a place that is in no queue.
    #[inline]
    pub fn free(&mut self, place: u32) {
        let order = &mut self.orders[place as usize];
        order.id = OrderId(0);
        order.next = self.free_order;
        self.free_order = place;
    }

    /// Changes what an order still wants, in its place.
    #[inline]
    pub fn add_remaining(&mut self, place: u32, difference: i64) -> u32 {
        let order = &mut self.orders[place as usize];
        order.remaining += difference;
        let level = order.level;
        self.add_quantity(level, difference);
        level
    }

    /// Puts an order at the end of its own queue.
    pub fn requeue(&mut self, place: u32) {
        let level = self.orders[place as usize].level;
        self.detach(place);
        self.append(place, level);
    }

    /// Numbers a change of a level, and removes the level when it is empty.
    #[inline]
    pub fn changed(&mut self, at: u32) -> LevelChange {
        let level = self.level(at);
        if level.orders == 0 {
            self.ladders[level.side as usize].remove(flip(level.side, level.price));
            self.levels[at as usize].head = self.free_level;
            self.free_level = at;
        }
        self.update_id += 1;
        LevelChange { update_id: self.update_id, level }
    }

    /// Returns how much fits into each vector without allocating.
    #[cfg(test)]
    pub fn capacities(&self) -> [usize; 4] {
        let [bids, asks] = [0, 1].map(|side| self.ladders[side].capacity());
        [self.orders.capacity(), self.levels.capacity(), bids, asks]
    }

    #[inline]
    fn new_level(&mut self, level: Level) -> u32 {
        if self.free_level == NIL {
            self.levels.push(level);
            return self.levels.len() as u32 - 1;
        }
        let at = self.free_level;
        self.free_level = std::mem::replace(&mut self.levels[at as usize], level).head;
        at
    }

    #[inline]
    fn add_quantity(&mut self, level: u32, difference: i64) {
        let level = &mut self.levels[level as usize];
        level.quantity += difference;
        self.quantities[level.side as usize] += difference;
    }

    #[inline]
    fn append(&mut self, place: u32, at: u32) {
        let level = &mut self.levels[at as usize];
        let tail = std::mem::replace(&mut level.tail, place);
        if tail == NIL {
            level.head = place;
        } else {
            self.orders[tail as usize].next = place;
        }
        let order = &mut self.orders[place as usize];
        (order.prev, order.next, order.level) = (tail, NIL, at);
    }

    #[inline]
    fn detach(&mut self, place: u32) {
        let Resting { next, prev, level, .. } = self.orders[place as usize];
        if prev == NIL {
            self.levels[level as usize].head = next;
        } else {
            self.orders[prev as usize].next = next;
        }
        if next == NIL {
            self.levels[level as usize].tail = prev;
        } else {
            self.orders[next as usize].prev = prev;
        }
    }
}
