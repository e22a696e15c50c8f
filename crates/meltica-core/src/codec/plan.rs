//! A compiled declaration: tables that map keys to slots, and the conversions of the slots.

use super::spec::{IdMode, Role, Sign, TimeUnit};
use crate::event::Side;

/// Maximum number of paths of a codec, as the slots of a frame are bits of one word.
pub(super) const MAX_SLOTS: usize = 64;

/// The index of a path in a frame's field map.
pub(super) type Slot = u8;

/// What the decoder does with the value of a key.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The [`word`] of the key; 0 in a free place of the table.
    pub word: u64,
    /// The key, if it is longer than eight bytes.
    pub long: Box<[u8]>,
    pub slot: Slot,
    /// The node of the keys of an object; 0 if no path continues here.
    pub child: u8,
    /// The side of a book that an array here holds: `Some(true)` for asks.
    pub side: Option<bool>,
    /// Whether the key is the payload of the envelope.
    pub payload: bool,
}

/// The keys of one object, as a hash table without collisions.
#[derive(Debug)]
pub(super) struct Node {
    factor: u64,
    shift: u32,
    table: Box<[Entry]>,
}

/// Returns a key of up to eight bytes as a number, and a longer key as a mix of its ends and its length.
#[inline(always)]
pub(super) fn word(key: &[u8]) -> u64 {
    match (key.first_chunk(), key.last_chunk()) {
        (Some(first), Some(last)) if key.len() > 8 => {
            let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            first ^ last.rotate_left(29) ^ key.len() as u64
        }
        _ => key.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

impl Node {
    /// Returns a table of entries whose words differ.
    pub fn new(entries: &[Entry]) -> Self {
        let free = Entry { word: 0, long: Box::default(), slot: 0, child: 0, side: None, payload: false };
        let mut factor = 0x9E37_79B9_7F4A_7C15_u64;
        for bits in entries.len().next_power_of_two().ilog2() + 1.. {
            for _ in 0..1000 {
                factor = factor.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(2) | 1;
                let mut node = Self { factor, shift: 64 - bits, table: vec![free.clone(); 1 << bits].into() };
                let fits = entries.iter().all(|entry| {
                    let place = node.place(entry.word);
                    let empty = node.table[place].word == 0;
                    node.table[place] = entry.clone();
                    empty
                });
                if fits {
                    return node;
                }
            }
        }
        unreachable!("Invariant: some factor separates distinct words")
    }

    #[inline(always)]
    fn place(&self, word: u64) -> usize {
        (word.wrapping_mul(self.factor) >> self.shift) as usize
    }

    /// Returns the entry of a key and its word.
    #[inline(always)]
    pub fn find(&self, word: u64, key: &[u8]) -> Option<&Entry> {
        let entry = self.table.get(self.place(word))?;
        let same = entry.word == word && word != 0;
        (same && if key.len() > 8 { *entry.long == *key } else { entry.long.is_empty() }).then_some(entry)
    }
}

/// A compiled [`FieldSpec`](super::FieldSpec).
#[derive(Debug)]
pub(super) struct Field {
    pub slot: Slot,
    pub required: bool,
    pub convert: Conversion,
}

/// A compiled [`Convert`](super::Convert).
#[derive(Debug)]
pub(super) enum Conversion {
    Decimal(Sign),
    Side(Vec<(Box<[u8]>, Side)>),
    Id,
    Time(TimeUnit),
    Text,
    Bool,
}

/// A compiled [`SequenceSpec`](super::SequenceSpec).
#[derive(Debug)]
pub(super) enum Sequence {
    Range { first: Option<Slot>, last: Slot, prev: Option<Slot> },
    Chain { last: Slot, prev: Option<Slot> },
    Unnumbered,
}

/// A compiled [`LevelsSpec`](super::LevelsSpec).
#[derive(Debug)]
pub(super) struct LevelsPlan {
    pub bids: Slot,
    pub asks: Slot,
    pub sequence: Sequence,
    pub checksum: Option<Slot>,
}

/// A compiled [`MessageSpec`](super::MessageSpec).
#[derive(Debug)]
pub(super) struct Message {
    /// The slots that must hold a value, as bits.
    pub present: u64,
    /// The slots that must not hold a value, as bits.
    pub absent: u64,
    /// The slots whose value must be this text.
    pub equals: Vec<(Slot, Box<[u8]>)>,
    pub role: Role,
    pub symbol: Option<Slot>,
    pub venue_time: Option<(Slot, TimeUnit)>,
    pub id: Option<(Slot, IdMode)>,
    /// The fields in the order of the schema of the role.
    pub fields: Vec<Option<Field>>,
    pub levels: Option<LevelsPlan>,
}
