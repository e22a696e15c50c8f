//! A compiled declaration: tables that map keys to slots, and the conversions of the slots.

use super::interval::Interval;
use super::spec::{IdMode, Role, Sign, TimeUnit};
use crate::event::{ShortText, Side};

/// Maximum number of paths of a codec, as the slots of a frame are bits of [`Bits`].
pub(super) const MAX_SLOTS: usize = 128;

/// The index of a path in a frame's field map.
pub(super) type Slot = u8;

/// A set of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bits([u64; 2]);

impl Bits {
    #[inline(always)]
    pub fn has(&self, slot: Slot) -> bool {
        self.0[usize::from(slot >> 6 & 1)] >> (slot & 63) & 1 == 1
    }

    #[inline(always)]
    pub fn insert(&mut self, slot: Slot) {
        self.0[usize::from(slot >> 6 & 1)] |= 1 << (slot & 63);
    }

    #[inline(always)]
    pub fn contains(self, other: Self) -> bool {
        self.0[0] & other.0[0] == other.0[0] && self.0[1] & other.0[1] == other.0[1]
    }

    #[inline(always)]
    pub fn intersects(self, other: Self) -> bool {
        self.0[0] & other.0[0] | self.0[1] & other.0[1] != 0
    }

    pub fn clear(&mut self, slot: Slot) {
        self.0[usize::from(slot >> 6 & 1)] &= !(1 << (slot & 63));
    }

    pub fn remove(&mut self, other: Self) {
        self.0[0] &= !other.0[0];
        self.0[1] &= !other.0[1];
    }
}

/// What the decoder does with an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Array {
    #[default]
    Skip,
    Levels(LevelArray),
    /// The index of its [`Positions`].
    Positions(u8),
    /// The index of its [`Each`].
    Each(u8),
    /// The index of its [`Several`].
    Several(u8),
}

/// The levels that an array holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LevelArray {
    pub list: List,
    /// The index of the [`RowPlan`]; 0 is price and quantity.
    pub row: u8,
}

/// A list of levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Bids = 0,
    Asks = 1,
    /// Levels of both sides, with the side in each row.
    Changes = 2,
}

/// What the decoder does with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub slot: Slot,
    /// The node of the keys of an object; 0 if no path continues here.
    pub child: u8,
    pub array: Array,
}

/// The places of an array's elements.
#[derive(Debug)]
pub(super) struct Positions {
    pub forward: Vec<Option<Place>>,
    /// The slots of elements counted from the end; 1 is the last.
    pub back: Vec<(usize, Slot)>,
}

/// An array that different messages read in different ways.
#[derive(Debug)]
pub(super) struct Several {
    /// The index of its [`Positions`].
    pub positions: Option<u8>,
    /// What reads the array to its end: messages of its elements before levels.
    pub whole: Vec<Array>,
}

/// The messages of a frame itself, or of each element of an array, by their indices.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Of these, the first whose conditions hold is read.
    pub first: Vec<u16>,
    /// All of these whose conditions hold are read as well.
    pub also: Vec<u16>,
}

impl Group {
    pub fn all(&self) -> impl Iterator<Item = u16> {
        self.first.iter().chain(&self.also).copied()
    }
}

/// An array whose elements are messages.
#[derive(Debug)]
pub(super) struct Each {
    pub element: Place,
    /// The array whose elements hold this one.
    pub parent: Option<u8>,
    /// The slots of an element.
    pub below: Bits,
    /// The messages of its elements.
    pub group: Group,
    /// The arrays in its elements whose elements are messages.
    pub inner: Vec<u8>,
}

/// Where the parts of a level are.
#[derive(Debug)]
pub(super) enum RowKeys {
    /// The part at each position: price, quantity, side or time.
    Positions([Option<u8>; 8]),
    /// The key of each part.
    Keys([Option<PartKey>; 4]),
}

/// The key of a part of a level.
#[derive(Debug)]
pub(super) struct PartKey {
    pub word: u64,
    pub text: Box<[u8]>,
}

/// A compiled [`RowSpec`](super::RowSpec).
#[derive(Debug)]
pub(super) struct RowPlan {
    pub keys: RowKeys,
    /// The texts of the sides, and whether they are asks.
    pub sides: Vec<(Box<[u8]>, bool)>,
    pub time: Option<TimeUnit>,
}

/// What the decoder does with the value of a key.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The [`word`] of the key; [`FREE`] in a free place of the table.
    pub word: u64,
    /// The key, if it is longer than eight bytes.
    pub long: Box<[u8]>,
    pub place: Place,
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

/// The word of a free place, whose eight bytes are not UTF-8 and so not the key of an entry.
const FREE: u64 = u64::MAX;

/// Returns a key of up to eight bytes as a number, and a longer key as a mix of its ends and its length. No longer key
/// has the word of one of up to seven bytes.
#[inline(always)]
pub(super) fn word(key: &[u8]) -> u64 {
    match (key.first_chunk(), key.last_chunk()) {
        (Some(first), Some(last)) if key.len() > 8 => {
            let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            first ^ last.rotate_left(29) ^ key.len() as u64 | 1 << 63
        }
        _ => key.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

impl Node {
    /// Returns a table of entries whose words differ.
    pub fn new(entries: &[Entry]) -> Self {
        let free = Entry { word: FREE, long: Box::default(), place: Place::default(), payload: false };
        let mut factor = 0x9E37_79B9_7F4A_7C15_u64;
        for bits in entries.len().next_power_of_two().ilog2() + 1.. {
            for _ in 0..1000 {
                factor = factor.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(2) | 1;
                let mut node = Self { factor, shift: 64 - bits, table: vec![free.clone(); 1 << bits].into() };
                let fits = entries.iter().all(|entry| {
                    let place = node.place(entry.word);
                    let empty = node.table[place].word == FREE;
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

    /// Returns the entry of a key of up to seven bytes by its word.
    #[inline(always)]
    pub fn find_short(&self, word: u64) -> Option<&Entry> {
        self.table.get(self.place(word)).filter(|entry| entry.word == word)
    }

    /// Returns the entry of any key.
    pub fn find(&self, key: &[u8]) -> Option<&Entry> {
        let entry = self.find_short(word(key)).filter(|entry| entry.word != FREE)?;
        (if key.len() > 8 { *entry.long == *key } else { entry.long.is_empty() }).then_some(entry)
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
    /// Of the fields of an extension.
    Names(Vec<(Box<[u8]>, Box<str>)>),
    Id,
    Time(TimeUnit),
    Text,
    /// The venue's texts, and whether each means that trading is halted.
    Status(Vec<(Box<[u8]>, bool)>),
    /// The venue's texts, and the name and length of each interval.
    Interval(Vec<(Box<[u8]>, ShortText, Interval)>),
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
    /// The slots of the lists.
    pub lists: Vec<(Slot, List)>,
    pub sequence: Sequence,
    /// The slot of the checksum, and whether 0 is none.
    pub checksum: Option<(Slot, bool)>,
}

/// A text, or a part of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextAt {
    pub slot: Slot,
    /// The separator and the position of the part, counted from the end if negative.
    pub part: Option<(u8, i32)>,
}

impl TextAt {
    /// Returns the start and end of the part in a text, or `None` if it has too few parts.
    pub fn range(&self, text: &[u8]) -> Option<(usize, usize)> {
        let Some((separator, index)) = self.part else { return Some((0, text.len())) };
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == separator).map(|(at, _)| at);
        let count = ends.clone().count() as i32 + 1;
        let index = usize::try_from(if index < 0 { count + index } else { index }).ok()?;
        let start = if index == 0 { 0 } else { ends.clone().nth(index - 1)? + 1 };
        (index < count as usize).then(|| (start, ends.clone().nth(index).unwrap_or(text.len())))
    }
}

/// A condition on a text.
#[derive(Debug)]
pub(super) enum TextMatch {
    Equals(Box<[u8]>),
    Prefix(Box<[u8]>),
    OneOf(Vec<Box<[u8]>>),
    /// A condition on a part of the text; the slot of the [`TextAt`] is that of the condition.
    Part(TextAt, Box<Self>),
}

impl TextMatch {
    /// Returns whether the condition holds for a text.
    pub fn holds(&self, text: &[u8]) -> bool {
        match self {
            Self::Equals(expected) => *text == **expected,
            Self::Prefix(expected) => text.starts_with(expected),
            Self::OneOf(expected) => expected.iter().any(|expected| *text == **expected),
            Self::Part(at, inner) => {
                at.range(text).is_some_and(|(start, end)| inner.holds(&text[start..end]))
            }
        }
    }
}

/// The place of a message's time.
#[derive(Debug, Clone, Copy)]
pub(super) enum TimeAt {
    Slot(Slot, TimeUnit),
    NewestLevel,
}

/// A compiled [`MessageSpec`](super::MessageSpec).
#[derive(Debug)]
pub(super) struct Message {
    /// The slots that must hold a value.
    pub present: Bits,
    /// Those of them that are not of an element.
    pub outer: Bits,
    /// The slots that must not hold a value.
    pub absent: Bits,
    /// The slots whose value must match, those of elements last.
    pub texts: Vec<(Slot, TextMatch)>,
    /// The number of texts that are not of an element.
    pub outer_texts: usize,
    pub role: Role,
    pub symbol: Option<TextAt>,
    pub venue_time: Option<TimeAt>,
    pub id: Option<(Slot, IdMode)>,
    /// Whether to note which fields the message has.
    pub keep: bool,
    /// The number of levels that a control message confirms.
    pub depth: Option<Slot>,
    /// The fields in the order of the schema of the role, or of `keys`.
    pub fields: Vec<Option<Field>>,
    /// The names of the fields of an extension.
    pub keys: Vec<Box<str>>,
    pub levels: Option<LevelsPlan>,
}
