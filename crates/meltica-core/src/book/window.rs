//! The window of levels that a venue sends: levels that fall out of it are not deleted.
//!
//! Unless the venue has confirmed its size, that is a guess, as a thin market fills no window. Then the levels that fall out of it are kept apart, until
//! something shows whether the venue dropped them:
//! 1. A level that a message sets behind a full window, not counting the other levels of the message, shows a larger one.
//! 2. A checksum that the book has with levels that were kept apart shows a larger one.
//! 3. A checksum that it has without such levels, where they would count, shows that the guess is right.
//!
//! Until then, the levels behind the best one that was kept apart are not known.

use super::BookAssembler;
use super::ladder::Ladder;
use crate::codec::{Depth, Levels};
use crate::event::PriceLevel;

/// The window of a book.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The levels per side; `None` if the venue sends all.
    size: Option<usize>,
    /// What a larger window has beside the smaller ones, the next larger one last.
    larger: Vec<Fallen>,
    /// Whether a message has shown that it is larger.
    is_larger: bool,
}

/// The levels of a larger window that are not in the next smaller one.
#[derive(Debug)]
struct Fallen {
    levels: usize,
    bids: Ladder<false>,
    asks: Ladder<true>,
}

impl Window {
    fn new(depth: Option<&Depth>, snapshot: usize) -> Self {
        let size = depth.map(|depth| depth.of(snapshot));
        let mut smaller = size.unwrap_or_default();
        let sizes = depth.map(|depth| depth.larger(smaller)).unwrap_or_default();
        let mut larger = Vec::with_capacity(sizes.len());
        for size in sizes {
            larger.push(Fallen { levels: size - smaller, bids: Ladder::default(), asks: Ladder::default() });
            smaller = size;
        }
        larger.reverse();
        Self { size, larger, is_larger: false }
    }

    /// Cuts a book to the window after a message.
    pub fn cut(&mut self, bids: &mut Ladder<false>, asks: &mut Ladder<true>, message: &Levels) {
        let Some(size) = self.size else { return };
        if self.larger.is_empty() {
            bids.cut(size);
            asks.cut(size);
            return;
        }
        let fallen = self.larger.iter_mut().rev().map(|fallen| (fallen.levels, &mut fallen.bids));
        self.is_larger |= cut(size, bids, fallen, &message.bids);
        let fallen = self.larger.iter_mut().rev().map(|fallen| (fallen.levels, &mut fallen.asks));
        self.is_larger |= cut(size, asks, fallen, &message.asks);
    }

    /// Returns the levels that were kept apart, with keys in place of prices.
    pub fn fallen(&mut self) -> impl Iterator<Item = &mut [PriceLevel]> {
        self.larger.iter_mut().flat_map(|fallen| [fallen.bids.live(), fallen.asks.live()])
    }

    fn best_fallen(&self) -> [Option<i64>; 2] {
        let bids = self.larger.iter().filter_map(|fallen| fallen.bids.best());
        let asks = self.larger.iter().filter_map(|fallen| fallen.asks.best());
        [bids.max(), asks.min()]
    }

    /// Returns the prices up to which a book is known, given those up to which it would be if the venue sent all levels.
    #[inline]
    pub fn bound(
        &self,
        [bid, ask]: [Option<i64>; 2],
        bids: &Ladder<false>,
        asks: &Ladder<true>,
    ) -> [Option<i64>; 2] {
        if self.size.is_none() {
            return [bid, ask];
        }
        let [fallen_bid, fallen_ask] = self.best_fallen();
        let bids = [bid, bids.worst(), fallen_bid.map(|price| price + 1)];
        let asks = [ask, asks.worst(), fallen_ask.map(|price| price - 1)];
        [bids.into_iter().flatten().max(), asks.into_iter().flatten().min()]
    }
}

/// Cuts a side to the window, and moves what falls out of each window to the larger ones. Returns whether the message has
/// a level behind a full window.
fn cut<'f, const ASKS: bool>(
    size: usize,
    side: &mut Ladder<ASKS>,
    fallen: impl Iterator<Item = (usize, &'f mut Ladder<ASKS>)>,
    message: &[PriceLevel],
) -> bool {
    let sets = || message.iter().filter(|level| level.quantity != 0);
    let others = |level: &PriceLevel| sets().filter(|other| Ladder::<ASKS>::is_better(other, level)).count();
    let is_larger = side.len() > size && sets().any(|level| side.rank(level.price) >= size + others(level));
    let (mut size, mut side) = (size, side);
    for (levels, next) in fallen {
        next.remove(message);
        side.cut_into(size, next);
        (size, side) = (levels, next);
    }
    side.cut(size);
    is_larger
}

/// Returns whether the best `levels` of a side would have a level of this price.
fn would_count<const ASKS: bool>(side: &Ladder<ASKS>, price: Option<i64>, levels: usize) -> bool {
    let Some(price) = price else { return false };
    let level = PriceLevel { price, quantity: 0 };
    match side.best_first(levels).enumerate().last() {
        Some((n, worst)) => n + 1 < levels || Ladder::<ASKS>::is_better(&level, &worst),
        None => levels > 0,
    }
}

impl BookAssembler {
    /// Sets the window of levels that the venue sends, of a snapshot with so many levels on its longer side.
    pub fn set_window(&mut self, depth: Option<&Depth>, snapshot: usize) {
        self.window = Window::new(depth, snapshot);
    }

    /// Sets the window that the venue has confirmed since the snapshot.
    pub fn confirm_window(&mut self, levels: usize) {
        while self.window.size.is_some_and(|size| size < levels) && !self.window.larger.is_empty() {
            self.grow();
        }
        if self.window.size.is_some() {
            (self.window.size, self.window.larger) = (Some(levels), Vec::new());
        }
    }

    /// Returns whether levels that were kept apart would be among the best ones, which a checksum covers.
    fn is_doubted(&self, levels: usize) -> bool {
        let [bid, ask] = self.window.best_fallen();
        would_count(&self.bids, bid, levels) || would_count(&self.asks, ask, levels)
    }

    /// Takes the next larger window if levels of it would be among the best ones, which a checksum covers. Returns whether
    /// it did.
    pub fn widen(&mut self, levels: usize) -> bool {
        let is_doubted = self.is_doubted(levels);
        if is_doubted {
            self.grow();
        }
        is_doubted
    }

    /// Takes what a message has shown about the window, given the number of levels that its checksum has proved.
    #[inline]
    pub fn prove_window(&mut self, levels: usize) {
        if self.window.larger.is_empty() {
            return;
        }
        if self.window.is_larger {
            self.grow(); // 1
        } else if self.is_doubted(levels) {
            self.window.larger.clear(); // 3
        }
    }

    #[cold]
    fn grow(&mut self) {
        let window = &mut self.window;
        window.is_larger = false;
        if let Some(mut fallen) = window.larger.pop() {
            self.bids.take(&mut fallen.bids);
            self.asks.take(&mut fallen.asks);
            window.size = window.size.map(|size| size + fallen.levels);
        }
    }
}
