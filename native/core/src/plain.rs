//! Runs of characters that JSON strings do not escape, found eight bytes at a time.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Mark the bytes of a word that need an escape; a borrow may mark others after the first.
#[inline(always)]
fn marks(word: u64) -> u64 {
    let quotes = (word ^ (ONES * 0x22)).wrapping_sub(ONES);
    let backslashes = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    let controls = word.wrapping_sub(ONES * 0x20);
    (quotes | backslashes | controls) & !word & HIGHS
}

/// A run of this many bytes is likely to go on for many more.
const LONG_BYTES: usize = 128;
const BLOCK_BYTES: usize = 64;

/// Do what `run` does block by block, of which the compiler makes vectors.
#[cold]
#[inline(never)]
fn long_run(text: &[u8], at: usize, seen: &mut u64) -> usize {
    let (blocks, _) = text[at..].as_chunks::<BLOCK_BYTES>();
    let plain = blocks.iter().take_while(|block| {
        let (mut bits, mut is_plain) = (0, true);
        for byte in *block {
            bits |= byte;
            is_plain &= *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
        }
        *seen |= u64::from(bits);
        is_plain
    });
    let next = at + plain.count() * BLOCK_BYTES;
    short_run::<false>(text, next, seen)
}

/// Return the end of the run of characters without escapes; add the bits of its bytes, and maybe of others.
#[inline(always)]
pub fn run(text: &[u8], at: usize, seen: &mut u64) -> usize {
    if text.len() < LONG_BYTES { short_run::<false>(text, at, seen) } else { long_run(text, at, seen) }
}

/// Do what `run` does word by word.
#[inline(always)]
fn short_run<const MAY_BE_LONG: bool>(text: &[u8], mut at: usize, seen: &mut u64) -> usize {
    let long = at + LONG_BYTES;
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*chunk);
        *seen |= word;
        let found = marks(word);
        if found != 0 {
            return at + (found.trailing_zeros() >> 3) as usize;
        }
        at += 8;
        if MAY_BE_LONG && at == long {
            return long_run(text, at, seen);
        }
    }
    let rest = text.len() - at;
    if let (Some(chunk), true) = (text.last_chunk::<8>(), rest > 0) {
        // The last eight bytes, without those that were looked at.
        let looked_at = 8 * (8 - rest as u32);
        let word = u64::from_le_bytes(*chunk) >> looked_at;
        *seen |= word;
        let found = marks(word | (ONES << 5).unbounded_shl(64 - looked_at));
        return at + ((found.trailing_zeros() >> 3) as usize).min(rest);
    }
    while at < text.len() && text[at] >= 0x20 && text[at] != b'"' && text[at] != b'\\' {
        *seen |= u64::from(text[at]);
        at += 1;
    }
    at
}

/// Return the end of the run of characters without escapes.
#[inline(always)]
pub fn plain_run(text: &[u8], at: usize) -> usize {
    short_run::<true>(text, at, &mut 0)
}

/// Return whether no byte had its highest bit set, from the bits that `run` added.
#[inline(always)]
pub fn is_ascii(seen: u64) -> bool {
    seen & HIGHS == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_run_ends_where_it_does_byte_by_byte() {
        let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        let mut state = 1u32;
        for at in 0..20_000 {
            let (size, rarity) = [(40, 28), (400, 24)][at % 2];
            let text: Vec<u8> = (0..size)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if state >> rarity == 0 { (state >> 8) as u8 } else { 0x23 + (state >> 9) as u8 % 4 }
                })
                .collect();
            let expected = text.iter().position(|byte| !is_plain(*byte)).unwrap_or(text.len());
            assert_eq!(plain_run(&text, 0), expected, "{text:?}");
            assert_eq!(run(&text, 0, &mut 0), expected, "{text:?}");
        }
    }

    #[test]
    fn a_byte_with_its_highest_bit_is_seen() {
        for size in (0..40).chain(120..270) {
            let mut text = vec![b'a'; size];
            let mut seen = 0;
            assert_eq!(run(&text, 0, &mut seen), size);
            assert!(is_ascii(seen));
            for at in 0..size {
                text[at] = 0x80;
                let mut seen = 0;
                assert_eq!(run(&text, 0, &mut seen), size);
                assert!(!is_ascii(seen), "{size} {at}");
                text[at] = b'a';
            }
        }
    }
}
