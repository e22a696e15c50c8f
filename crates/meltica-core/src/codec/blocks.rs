//! Finds the end of an array, 64 bytes at a time.

use super::scan::{Scan, byte, string};

const BLOCK: usize = 64;

/// Bits of the bytes of a block, the first in the lowest bit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Masks {
    quotes: u64,
    escapes: u64,
    opens: u64,
    closes: u64,
}

impl Masks {
    #[inline(always)]
    fn of(block: &[u8; BLOCK]) -> Self {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: Each processor of this architecture has SSE2.
        return unsafe { Self::by_sixteen(block) };
        #[cfg(not(target_arch = "x86_64"))]
        return Self::by_byte(block);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "sse2")]
    #[inline]
    fn by_sixteen(block: &[u8; BLOCK]) -> Self {
        use std::arch::x86_64::{
            _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
        };
        let mut masks = Self::default();
        let (parts, _) = block.as_chunks::<16>();
        for (i, part) in parts.iter().enumerate() {
            let [low, high] = part.as_chunks::<8>().0 else { continue };
            let bytes = _mm_set_epi64x(i64::from_le_bytes(*high), i64::from_le_bytes(*low));
            // Brackets and braces differ in one bit.
            let folded = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
            let equal = |bytes, byte: u8| {
                let same = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
                u64::from(_mm_movemask_epi8(same).cast_unsigned()) << (16 * i)
            };
            masks.quotes |= equal(bytes, b'"');
            masks.escapes |= equal(bytes, b'\\');
            masks.opens |= equal(folded, b'{');
            masks.closes |= equal(folded, b'}');
        }
        masks
    }

    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn by_byte(block: &[u8; BLOCK]) -> Self {
        let mut masks = Self::default();
        for (i, byte) in block.iter().enumerate() {
            masks.quotes |= u64::from(*byte == b'"') << i;
            masks.escapes |= u64::from(*byte == b'\\') << i;
            masks.opens |= u64::from(matches!(byte, b'{' | b'[')) << i;
            masks.closes |= u64::from(matches!(byte, b'}' | b']')) << i;
        }
        masks
    }
}

/// Returns the end of the array or object at `at` by its brackets. What is inside may be malformed.
pub(super) fn close(frame: &[u8], mut at: usize) -> Scan {
    let mut depth = 0;
    // All bits are set if the block starts in a text.
    let mut inside = 0;
    while let Some(block) = frame.get(at..).and_then(|rest| rest.first_chunk()) {
        let masks = Masks::of(block);
        if masks.escapes != 0 {
            break;
        }
        let text = parity(masks.quotes) ^ inside;
        let (opens, mut closes) = (masks.opens & !text, masks.closes & !text);
        if depth <= closes.count_ones() {
            for closed in 1..=closes.count_ones() {
                let end = closes.trailing_zeros();
                if depth + (opens & ((1 << end) - 1)).count_ones() == closed {
                    return Ok(at + end as usize + 1);
                }
                closes &= closes - 1;
            }
            closes = masks.closes & !text;
        }
        depth = depth + opens.count_ones() - closes.count_ones();
        inside = (text.cast_signed() >> 63).cast_unsigned();
        at += BLOCK;
    }
    if inside != 0 {
        at = string(frame, at)?.0 + 1;
    }
    close_by_byte(frame, at, depth)
}

/// Returns a mask whose bits say whether the number of bits in `mask` up to them is odd.
#[inline(always)]
const fn parity(mut mask: u64) -> u64 {
    let mut shift = 1;
    while shift < 64 {
        mask ^= mask << shift;
        shift *= 2;
    }
    mask
}

/// Returns the end of the outermost of `depth` open arrays and objects.
fn close_by_byte(frame: &[u8], mut at: usize, mut depth: u32) -> Scan {
    loop {
        match byte(frame, at)? {
            b'"' => at = string(frame, at + 1)?.0,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Ok(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prop_a_block_is_read_as_its_bytes_are(block in any::<[u8; 32]>(), chosen in "[\\[\\]{}\"\\\\;z\u{1}|]{32}") {
            let mut bytes = [0; BLOCK];
            bytes[..32].copy_from_slice(&block);
            bytes[32..].copy_from_slice(chosen.as_bytes());
            prop_assert_eq!(Masks::of(&bytes), Masks::by_byte(&bytes));
        }

        #[test]
        fn prop_the_end_by_blocks_is_the_end_by_bytes(text in "[\\[\\]{}\"a,:]{0,400}", escape in 0..800usize) {
            let mut frame = format!("[{text}]}}]}}").into_bytes();
            if let Some(at) = frame.get_mut(escape..escape + 2).filter(|at| at[0] != b'[') {
                at.copy_from_slice(b"\\\"");
            }
            prop_assert_eq!(close(&frame, 0), close_by_byte(&frame, 0, 0));
        }

        #[test]
        fn prop_the_end_of_long_arrays_is_found(
            texts in proptest::collection::vec("[a-z\\[\\]{}]{0,40}", 0..40), cut in 0..2000usize,
        ) {
            let array = format!("{texts:?}").replace(' ', "");
            let frame = format!("{array},[{array}]]");
            prop_assert_eq!(close(frame.as_bytes(), 0), Ok(array.len()));
            let frame = &array.as_bytes()[..cut.min(array.len() - 1)];
            prop_assert_eq!(close(frame, 0).map_err(|fail| fail.at as usize), Err(frame.len()));
        }
    }
}
