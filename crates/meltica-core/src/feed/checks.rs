//! The checksums of a feed's books.

use super::FeedStats;
use crate::book::BookAssembler;
use crate::book::checksum::{Checker, Scales, Verified};
use crate::codec::{ChecksumRule, Depth, Digits, Levels, MessageInfo};
use crate::instrument::Instrument;
use crate::names::SymbolId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The snapshots in a row without their checksum that show a fault of the declaration or of the scales. As many checksums
/// that no scale gives have failed, although no scale is known.
pub(super) const FAILED_SNAPSHOTS: u32 = 3;

/// Verifies the checksums of books.
pub(super) struct Checks {
    /// Whether checksums are verified.
    pub enabled: Arc<AtomicBool>,
    symbols: HashMap<SymbolId, Known, foldhash::fast::RandomState>,
    /// The levels per side that the venue has confirmed, by connection.
    depths: BTreeMap<(u32, SymbolId), u32>,
    checker: Checker,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            enabled: Arc::new(true.into()),
            symbols: HashMap::default(),
            depths: BTreeMap::new(),
            checker: Checker::default(),
        }
    }
}

/// What is known of a symbol whose messages have checksums.
#[derive(Default)]
struct Known {
    /// The scales of its instrument.
    listed: Option<Scales>,
    /// Those, or the ones that gave the checksum of a message.
    scales: Option<Scales>,
    /// The most digits of a message.
    seen: Option<Scales>,
    /// The checksums that no scale gave while none was known.
    unproved: u32,
    /// The checksums that were not verified.
    unverified: u64,
    /// Whether any was verified.
    verified: bool,
}

/// What a message says of its book.
pub(super) struct Check<'f> {
    checks: &'f mut Checks,
    stats: &'f FeedStats,
    symbol: SymbolId,
    rule: Option<&'f ChecksumRule>,
    /// The declared window of levels that the venue sends.
    depth: Option<&'f Depth>,
    /// The checksum of the book after the message.
    pub expected: Option<u32>,
    /// The digits of the message; `None` if it has no levels.
    scales: Option<Scales>,
}

impl Checks {
    /// Takes the scales of an instrument.
    pub fn list(&mut self, symbol: SymbolId, instrument: &Instrument) {
        if let (Some(price), Some(quantity)) = (instrument.price_precision, instrument.quantity_precision) {
            let (known, listed) = (self.symbols.entry(symbol).or_default(), Some(Scales { price, quantity }));
            // A list that says the same again does not replace the scales that were proved since.
            if known.listed != listed {
                (known.listed, known.scales) = (listed, listed);
            }
        }
    }

    /// Returns the symbols whose checksums have other scales than the instrument list.
    pub fn scale_faults(&self) -> impl Iterator<Item = SymbolId> {
        self.symbols.iter().filter(|(_, known)| known.has_scale_fault()).map(|(symbol, _)| *symbol)
    }

    /// Returns the symbols with checksums that were not verified, their number, and whether others of them were verified.
    pub fn unverified(&self) -> BTreeMap<SymbolId, (u64, bool)> {
        let counts = self.symbols.iter().map(|(symbol, known)| (*symbol, (known.unverified, known.verified)));
        counts.filter(|(_, (n, _))| *n > 0).collect()
    }

    /// Takes the levels per side that the venue confirms for a book of a connection.
    pub fn confirm(&mut self, connection: u32, symbol: SymbolId, levels: u32) {
        self.depths.insert((connection, symbol), levels);
    }

    /// Forgets what was confirmed on a connection, or on all.
    pub fn lose(&mut self, connection: Option<u32>) {
        self.depths.retain(|(other, _), _| connection.is_some_and(|connection| connection != *other));
    }

    /// Returns the check of a book message.
    pub fn of<'f>(
        &'f mut self,
        stats: &'f FeedStats,
        info: &'f MessageInfo,
        symbol: SymbolId,
        levels: &Levels,
        expected: Option<u32>,
    ) -> Check<'f> {
        let has_levels = !(levels.bids.is_empty() && levels.asks.is_empty());
        let scales =
            has_levels.then_some(Scales { price: levels.price_scale, quantity: levels.quantity_scale });
        let rule = info.checksum.as_ref();
        Check { checks: self, stats, symbol, rule, depth: info.depth.as_ref(), expected, scales }
    }
}

impl Known {
    /// Returns whether checksums proved other scales than the listed ones.
    fn has_scale_fault(&self) -> bool {
        self.listed.is_some() && self.scales != self.listed
    }

    /// Compares a book with the checksum of a message, on the scales that are known or on others that may be right.
    ///
    /// 1. Scales that give the checksum are proved.
    /// 2. The venue may have changed the scales, which messages show: snapshots also that they are coarser.
    /// 3. Scales that do not have all digits of the book are wrong, and say nothing. Then all others are tried.
    /// 4. A checksum that none of them gives is wrong. While no scale is known, the first ones are only unverified.
    fn verify(
        &mut self,
        message: Option<Scales>,
        is_snapshot: bool,
        mut verify: impl FnMut(Scales) -> Verified,
    ) -> Verified {
        if let Some(message) = message {
            let seen = self.seen.get_or_insert(message);
            seen.price = seen.price.max(message.price);
            seen.quantity = seen.quantity.max(message.quantity);
        }
        let known = self.scales.map_or(Verified::Unknown, &mut verify);
        if known == Verified::Same {
            return known; // 1
        }
        let shown = [self.seen, message.filter(|_| is_snapshot)].into_iter().flatten(); // 2
        let others = Scales::all().filter(|_| known == Verified::Unknown); // 3
        if let Some(proved) = shown.chain(others).find(|scales| verify(*scales) == Verified::Same) {
            (self.scales, self.seen, self.unproved) = (Some(proved), Some(proved), 0);
            return Verified::Same;
        }
        if self.scales.is_none() {
            self.unproved += 1;
        }
        if self.scales.is_none() && self.unproved < FAILED_SNAPSHOTS {
            return Verified::Unknown; // 4
        }
        Verified::Different
    }
}

impl Check<'_> {
    /// Returns the window of levels that the venue sends on a connection.
    pub fn depth(&self, connection: u32) -> Option<Depth> {
        let confirmed = self.checks.depths.get(&(connection, self.symbol));
        self.depth.map(|declared| confirmed.map_or_else(|| declared.clone(), |levels| Depth::Levels(*levels)))
    }

    /// Returns whether a book does not have the checksum of the message.
    #[inline]
    pub fn has_failed(&mut self, book: &mut BookAssembler, is_snapshot: bool) -> bool {
        if let (Some(rule), Some(expected)) = (self.rule, self.expected) {
            return self.verify(book, rule, expected, is_snapshot);
        }
        book.prove_window(0);
        false
    }

    fn verify(
        &mut self,
        book: &mut BookAssembler,
        rule: &ChecksumRule,
        expected: u32,
        is_snapshot: bool,
    ) -> bool {
        let Checks { enabled, symbols, checker, .. } = &mut *self.checks;
        let known = symbols.entry(self.symbol).or_default();
        let mut compare = |book: &BookAssembler| match rule.digits {
            _ if !enabled.load(Ordering::Relaxed) => Verified::Unknown,
            // The text of an empty book does not depend on the scales.
            Digits::Mantissa if !book.is_empty() => {
                let had_fault = known.has_scale_fault();
                let verified = known
                    .verify(self.scales, is_snapshot, |scales| checker.verify(book, rule, scales, expected));
                self.stats.scale_faults.bump(u64::from(!had_fault && known.has_scale_fault()));
                verified
            }
            _ => checker.verify(book, rule, Scales::default(), expected),
        };
        let mut verified = compare(book);
        while verified == Verified::Different && book.widen(rule.levels) {
            verified = compare(book);
        }
        match verified {
            Verified::Same => {
                book.prove_window(rule.levels);
                self.stats.checksums_verified.bump(1);
                known.verified = true;
                book.count_failed(false);
                false
            }
            Verified::Unknown => {
                book.prove_window(0);
                self.stats.checksums_unverified.bump(1);
                known.unverified += 1;
                book.count_failed(false);
                false
            }
            Verified::Different => {
                self.stats.checksums_failed.bump(1);
                // A diff that fails shows nothing about the rule, as its book may have missed changes.
                if is_snapshot && book.count_failed(true) == FAILED_SNAPSHOTS {
                    self.stats.checksum_faults.bump(1);
                }
                true
            }
        }
    }
}
