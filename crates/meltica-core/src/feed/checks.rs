//! The checksums of a feed's books.

use super::FeedStats;
use crate::book::BookAssembler;
use crate::book::checksum::{Checker, Scales, Verified};
use crate::codec::{ChecksumRule, Depth, MessageInfo};
use crate::instrument::Instrument;
use crate::names::SymbolId;
use std::collections::HashMap;

/// The snapshots in a row without their checksum that show a fault of the declaration or of the scales.
const FAILED_SNAPSHOTS: u32 = 3;

/// Verifies the checksums of books.
pub(super) struct Checks {
    /// Whether checksums are verified.
    pub enabled: bool,
    scales: HashMap<SymbolId, Scales, foldhash::fast::RandomState>,
    checker: Checker,
}

impl Default for Checks {
    fn default() -> Self {
        Self { enabled: true, scales: HashMap::default(), checker: Checker::default() }
    }
}

/// What a message says of its book.
pub(super) struct Check<'f> {
    checks: &'f mut Checks,
    stats: &'f FeedStats,
    symbol: SymbolId,
    rule: Option<&'f ChecksumRule>,
    /// The window of levels that the venue sends.
    pub depth: Option<Depth>,
    expected: Option<u32>,
}

impl Checks {
    /// Takes the scales of an instrument.
    pub fn list(&mut self, symbol: SymbolId, instrument: &Instrument) {
        if let (Some(price), Some(quantity)) = (instrument.price_precision, instrument.quantity_precision) {
            self.scales.insert(symbol, Scales { price, quantity });
        }
    }

    /// Returns the check of a book message.
    pub fn of<'f>(
        &'f mut self,
        stats: &'f FeedStats,
        info: &'f MessageInfo,
        symbol: SymbolId,
        expected: Option<u32>,
    ) -> Check<'f> {
        Check { checks: self, stats, symbol, rule: info.checksum.as_ref(), depth: info.depth, expected }
    }
}

impl Check<'_> {
    /// Returns whether a book does not have the checksum of the message.
    #[inline]
    pub fn has_failed(&mut self, book: &mut BookAssembler, is_snapshot: bool) -> bool {
        match (self.rule, self.expected) {
            (Some(rule), Some(expected)) => self.verify(book, rule, expected, is_snapshot),
            _ => false,
        }
    }

    fn verify(
        &mut self,
        book: &mut BookAssembler,
        rule: &ChecksumRule,
        expected: u32,
        is_snapshot: bool,
    ) -> bool {
        let Checks { enabled, scales, checker } = &mut *self.checks;
        let scales = scales.get(&self.symbol).copied();
        let verified =
            if *enabled { checker.verify(book, rule, scales, expected) } else { Verified::Unknown };
        match verified {
            Verified::Same => {
                self.stats.checksums_verified.bump(1);
                book.count_failed(false);
                false
            }
            Verified::Unknown => {
                self.stats.checksums_unverified.bump(1);
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
