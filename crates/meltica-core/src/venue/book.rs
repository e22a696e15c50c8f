//! The limit order book: price-time priority, without balances.
//!
//! Orders are in one array, one cache line each, linked to their neighbours in the queue of their level. Levels are in
//! another array. One [`Ladder`] per side sorts the prices. Freed slots are reused, last freed first, so a book that
//! has been as full before allocates nothing.
//!
//! Invariants: a level has at least one order; its quantity is the sum of its orders' open quantities; the quantity of
//! a side is the sum over its levels.

use super::ladder::{Ladder, flip};
use super::ledger::AccountId;
use super::order::{BookLevel, LevelChange, OpenOrder, OrderId, SelfTrade};
use crate::event::{Nanos, Side};

/// No slot.
const NIL: u32 = u32::MAX;

/// An arriving order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub id: OrderId,
    pub remaining: i64,
    pub quantity: i64,
    pub tag: u64,
    pub since: Nanos,
    pub account: AccountId,
    /// What rounding up has charged in advance ([`super::fees`]).
    pub carry: u32,
    pub side: Side,
    pub post_only: bool,
    pub self_trade: SelfTrade,
}

/// An [`Order`] in its slot. A free slot has id 0, and `next` is the next free slot.
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
    /// Returns the order as an arriving order.
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
    /// The oldest order; in a free slot, the next free slot.
    head: u32,
    tail: u32,
    orders: u32,
    side: Side,
}

/// The orders of one instrument.
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
    /// Returns an empty book with capacity for `orders`, and a quarter as many levels per side.
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

    /// Returns the open quantity of a side.
    #[inline]
    pub fn quantity(&self, side: Side) -> i64 {
        self.quantities[side as usize]
    }

    /// Returns the prices of a side.
    #[inline]
    pub fn ladder(&self, side: Side) -> &Ladder {
        &self.ladders[side as usize]
    }

    /// Returns the best price and the slot of its level.
    #[inline]
    pub fn best(&self, side: Side) -> Option<(i64, u32)> {
        self.ladders[side as usize].best().map(|(key, level)| (flip(side, key), level))
    }

    /// Returns the level in a slot.
    #[inline]
    pub fn level(&self, level: u32) -> BookLevel {
        let Level { price, quantity, orders, side, .. } = self.levels[level as usize];
        BookLevel { side, price, quantity, orders }
    }

    /// Returns the slot of an open order.
    #[inline]
    pub fn find(&self, id: OrderId) -> Option<u32> {
        let order = self.orders.get(id.slot())?;
        (order.id == id && id.0 != 0).then_some(id.slot() as u32)
    }

    /// Returns the order in a slot.
    #[inline]
    pub fn order(&self, slot: u32) -> &Resting {
        &self.orders[slot as usize]
    }

    /// Returns the order in a slot.
    #[inline]
    pub fn order_mut(&mut self, slot: u32) -> &mut Resting {
        &mut self.orders[slot as usize]
    }

    /// Returns the price of the order in a slot.
    #[inline]
    pub fn price_of(&self, slot: u32) -> i64 {
        self.levels[self.orders[slot as usize].level as usize].price
    }

    /// Returns the slot of a level's oldest order.
    #[inline]
    pub fn front(&self, level: u32) -> Option<u32> {
        let head = self.levels[level as usize].head;
        (head != NIL).then_some(head)
    }

    /// Returns the slots of a level's orders, oldest first.
    pub fn queue(&self, level: u32) -> impl Iterator<Item = u32> {
        let next = |slot: &u32| {
            let next = self.orders[*slot as usize].next;
            (next != NIL).then_some(next)
        };
        std::iter::successors(self.front(level), next)
    }

    /// Returns the public data of the order in a slot.
    pub fn describe(&self, slot: u32) -> OpenOrder {
        let Resting { id, remaining, quantity, tag, since, account, side, post_only, .. } = *self.order(slot);
        let price = self.price_of(slot);
        OpenOrder { order: id, tag, account, side, price, quantity, remaining, post_only, since }
    }

    /// Whether a slot is left for one more order.
    #[inline]
    pub const fn has_slot(&self) -> bool {
        self.free_order != NIL || self.orders.len() < OrderId::MAX_SLOTS
    }

    /// Allocates a slot.
    #[inline]
    pub fn allocate(&mut self) -> u32 {
        let slot = self.free_order;
        if slot != NIL {
            self.free_order = self.orders[slot as usize].next;
            return slot;
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

    /// Puts an order into its slot, at the end of the queue of its price.
    #[inline]
    pub fn rest(&mut self, slot: u32, order: &Order, price: i64) -> LevelChange {
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
        self.orders[slot as usize] = Resting {
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
        self.append(slot, level);
        self.levels[level as usize].orders += 1;
        self.add_quantity(level, remaining);
        self.changed(level)
    }

    /// Removes an order from its queue and keeps its slot. The caller must pass the returned level, perhaps empty, to
    /// [`Self::changed`].
    #[inline]
    pub fn unlink(&mut self, slot: u32) -> u32 {
        let Resting { level, remaining, .. } = self.orders[slot as usize];
        self.detach(slot);
        self.levels[level as usize].orders -= 1;
        self.add_quantity(level, -remaining);
        level
    }

    /// Removes an order. The caller must pass the returned level, perhaps empty, to [`Self::changed`].
    #[inline]
    pub fn remove(&mut self, slot: u32) -> u32 {
        let level = self.unlink(slot);
        self.free(slot);
        level
    }

    /// Frees the slot of an order that is not in a queue.
    #[inline]
    pub fn free(&mut self, slot: u32) {
        let order = &mut self.orders[slot as usize];
        order.id = OrderId(0);
        order.next = self.free_order;
        self.free_order = slot;
    }

    /// Changes the open quantity of an order without moving it.
    #[inline]
    pub fn add_remaining(&mut self, slot: u32, difference: i64) -> u32 {
        let order = &mut self.orders[slot as usize];
        order.remaining += difference;
        let level = order.level;
        self.add_quantity(level, difference);
        level
    }

    /// Moves an order to the end of its queue.
    pub fn requeue(&mut self, slot: u32) {
        let level = self.orders[slot as usize].level;
        self.detach(slot);
        self.append(slot, level);
    }

    /// Assigns the next update id to a change of a level, and removes an empty level.
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

    /// Returns the capacity of each vector.
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
    fn append(&mut self, slot: u32, at: u32) {
        let level = &mut self.levels[at as usize];
        let tail = std::mem::replace(&mut level.tail, slot);
        if tail == NIL {
            level.head = slot;
        } else {
            self.orders[tail as usize].next = slot;
        }
        let order = &mut self.orders[slot as usize];
        (order.prev, order.next, order.level) = (tail, NIL, at);
    }

    #[inline]
    fn detach(&mut self, slot: u32) {
        let Resting { next, prev, level, .. } = self.orders[slot as usize];
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
