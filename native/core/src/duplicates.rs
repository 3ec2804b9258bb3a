//! Names that an object has twice: the last value counts, in the place of the first.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::scan::{Document, TokenKind};
use crate::text::unescape;

/// Up to so many names, comparing each with each is faster than a set.
const FEW: usize = 16;

/// A member of an object: its name's token, its value's token, and the name itself.
pub struct Entry<'a> {
    pub name: usize,
    pub value: usize,
    pub text: Cow<'a, [u8]>,
}

/// Return a name without its escapes.
pub fn name_of<'a>(document: Document<'a>, name: usize) -> Cow<'a, [u8]> {
    let token = document.tape[name];
    let raw = document.raw(token);
    if token.kind == TokenKind::Plain {
        return Cow::Borrowed(raw);
    }
    let mut text = Vec::with_capacity(raw.len());
    unescape(raw, &mut text);
    Cow::Owned(text)
}

/// Return whether names may contain one twice; those with escapes need a closer look.
#[inline]
pub fn has_duplicates(document: Document, names: impl Iterator<Item = usize> + Clone) -> bool {
    let mut few = names.clone().take(2);
    match (few.next(), few.next()) {
        (None, _) => return false,
        (Some(only), None) => return document.tape[only].kind != TokenKind::Plain,
        _ => {}
    }
    let mut seen = [(0u64, &b""[..]); FEW];
    for (count, name) in names.clone().enumerate() {
        let token = document.tape[name];
        if token.kind != TokenKind::Plain {
            return true;
        }
        if count == FEW {
            let mut all = HashSet::new();
            return !names.into_iter().all(|name| {
                let token = document.tape[name];
                token.kind == TokenKind::Plain && all.insert(document.raw(token))
            });
        }
        let raw = document.raw(token);
        let head = head_of(raw);
        if seen[..count].iter().any(|(other, text)| *other == head && *text == raw) {
            return true;
        }
        seen[count] = (head, raw);
    }
    false
}

/// Return whether names may stand twice in any object of a value.
pub fn has_duplicates_inside(document: Document, root: usize) -> bool {
    let objects =
        (root..document.tape[root].next as usize).filter(|at| document.tape[*at].kind == TokenKind::Object);
    objects.into_iter().any(|object| has_duplicates(document, document.names(object)))
}

#[inline(always)]
fn head_of(name: &[u8]) -> u64 {
    if let Some(first) = name.first_chunk::<8>() {
        return u64::from_le_bytes(*first);
    }
    name.iter().fold(0, |head, byte| head << 8 | u64::from(*byte))
}

/// Return the members of an object, each name once.
pub fn distinct<'a>(document: Document<'a>, object: usize) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut places = HashMap::new();
    for name in document.names(object) {
        let text = name_of(document, name);
        let place = *places.entry(text.clone()).or_insert(entries.len());
        match entries.get_mut(place) {
            Some(entry) => entry.value = name + 1,
            None => entries.push(Entry { name, value: name + 1, text }),
        }
    }
    entries
}
