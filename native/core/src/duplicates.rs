//! Duplicate names in an object: the last value counts, at the position of the first.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

use crate::plan::head_of;
use crate::scan::{Document, TokenKind};
use crate::text::unescape;

/// Up to this many names, comparing all pairs is faster than a set.
const FEW: usize = 16;
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// A member of an object: its name's token, its value's token, and the name itself.
pub struct Entry<'a> {
    pub name: usize,
    pub value: usize,
    pub text: &'a [u8],
}

/// Hashes names faster than the standard library; the seed keeps senders from finding names that collide.
#[derive(Clone, Copy)]
struct NameHasher(u64);

impl NameHasher {
    fn with_random_seed() -> NameHasher {
        NameHasher(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for NameHasher {
    type Hasher = NameHasher;

    fn build_hasher(&self) -> NameHasher {
        *self
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            self.write_u64(head_of(chunk));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_usize(&mut self, size: usize) {
        self.write_u64(size as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Return whether a name has only one spelling, this one.
#[inline(always)]
fn is_unambiguous(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Plain | TokenKind::Escaped)
}

/// Return whether names may contain duplicates; those with unusual escapes need a closer look.
#[inline]
pub fn has_duplicates(document: Document, names: impl Iterator<Item = usize> + Clone) -> bool {
    let mut marks = 0u64;
    for name in names.clone() {
        let token = document.tape[name];
        if !is_unambiguous(token.kind) {
            return true;
        }
        // Few names share a mark; only then are they compared.
        let mark = 1 << (head_of(document.raw(token)).wrapping_mul(MULTIPLIER) >> 58);
        if marks & mark != 0 {
            return has_equal(document, names);
        }
        marks |= mark;
    }
    false
}

fn has_equal(document: Document, names: impl Iterator<Item = usize> + Clone) -> bool {
    let texts = names.clone().map(|name| document.raw(document.tape[name]));
    let count = texts.clone().count();
    if count <= FEW {
        let mut seen = [&b""[..]; FEW];
        for (at, text) in texts.enumerate() {
            if seen[..at].contains(&text) {
                return true;
            }
            seen[at] = text;
        }
        return names.into_iter().any(|name| !is_unambiguous(document.tape[name].kind));
    }
    let mut all = HashSet::with_capacity_and_hasher(count, NameHasher::with_random_seed());
    !names.into_iter().all(|name| {
        let token = document.tape[name];
        is_unambiguous(token.kind) && all.insert(document.raw(token))
    })
}

/// Return whether any object in a range of tokens may have duplicate names.
pub fn has_duplicates_among(document: Document, mut tokens: Range<usize>) -> bool {
    tokens
        .any(|at| document.tape[at].kind == TokenKind::Object && has_duplicates(document, document.names(at)))
}

/// Return the members of an object, each name once; names with escapes are stored in `unescaped`.
pub fn distinct<'a>(document: Document<'a>, object: usize, unescaped: &'a mut Vec<u8>) -> Vec<Entry<'a>> {
    unescaped.clear();
    let ends: Vec<usize> = document
        .names(object)
        .map(|name| {
            let token = document.tape[name];
            if token.kind != TokenKind::Plain {
                unescape(document.raw(token), unescaped);
            }
            unescaped.len()
        })
        .collect();
    let unescaped: &'a [u8] = unescaped;
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let named = document.names(object).zip(starts.zip(&ends)).map(|(name, (start, end))| {
        let token = document.tape[name];
        let text = if token.kind == TokenKind::Plain { document.raw(token) } else { &unescaped[start..*end] };
        Entry { name, value: name + 1, text }
    });
    let mut entries: Vec<Entry> = Vec::new();
    let mut places = HashMap::with_hasher(NameHasher::with_random_seed());
    for entry in named {
        let place = if ends.len() <= FEW {
            entries.iter().position(|known| known.text == entry.text).unwrap_or(entries.len())
        } else {
            *places.entry(entry.text).or_insert(entries.len())
        };
        match entries.get_mut(place) {
            Some(known) => known.value = entry.value,
            None => entries.push(entry),
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{Limits, scan};

    const LIMITS: Limits = Limits { depth: 9, members: 1_000, values: 1_000 };

    fn found(names: &[String]) -> (bool, Vec<String>) {
        let members: Vec<_> = names.iter().map(|name| format!("\"{name}\":1")).collect();
        let text = format!("{{{}}}", members.join(","));
        let mut tape = Vec::new();
        scan(text.as_bytes(), &mut tape, LIMITS).unwrap();
        let document = Document { text: text.as_bytes(), tape: &tape };
        let mut unescaped = Vec::new();
        let entries = distinct(document, 0, &mut unescaped);
        let texts = entries.iter().map(|entry| String::from_utf8(entry.text.to_vec()).unwrap());
        (has_duplicates(document, document.names(0)), texts.collect())
    }

    #[test]
    fn names_given_twice_are_found_among_few_and_many() {
        for count in [1, 2, 3, 15, 16, 17, 18, 40, 200] {
            for size in [0, 5, 8, 30] {
                let mut names: Vec<_> = (0..count).map(|at| format!("{}{at}", "n".repeat(size))).collect();
                assert_eq!(found(&names), (false, names.clone()));
                names.push(names[count / 2].clone());
                assert_eq!(found(&names), (true, names[..count].to_vec()));
                names[count] = format!("\\u006e{}", &names[count / 2][1.min(size)..]);
                let (may_be, texts) = found(&names);
                assert!(may_be);
                assert_eq!(texts.len(), if size > 0 { count } else { count + 1 });
            }
        }
    }
}
