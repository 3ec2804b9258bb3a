//! Guesses the next name of an object: similar documents have their names in the same order.

use std::collections::BTreeSet;

use crate::plain::plain_run;
use crate::plan::Names;

/// The names of all members of a plan, numbered from 1; 0 stands for all other names.
#[derive(Debug, Default)]
pub struct Vocabulary {
    names: Names,
    /// By number; None of number 0 and of names that JSON escapes, which are never guessed.
    quoted: Vec<Option<Quoted>>,
}

/// A name in compact text: `"name":`.
#[derive(Debug)]
struct Quoted {
    text: Box<[u8]>,
    /// Its first sixteen bytes, and which bits of them belong to it.
    start: u128,
    mask: u128,
}

impl Quoted {
    fn new(name: &[u8]) -> Quoted {
        let text = [b"\"", name, b"\":"].concat();
        let (mut start, mut mask) = ([0; 16], [0; 16]);
        for (at, byte) in text.iter().take(16).enumerate() {
            (start[at], mask[at]) = (*byte, 0xff);
        }
        Quoted { text: text.into(), start: u128::from_le_bytes(start), mask: u128::from_le_bytes(mask) }
    }

    /// Return whether a text starts with it.
    #[inline(always)]
    fn begins(&self, text: &[u8]) -> bool {
        match text.first_chunk() {
            Some(chunk) if (u128::from_le_bytes(*chunk) ^ self.start) & self.mask != 0 => false,
            Some(_) if self.text.len() <= 16 => true,
            _ => text.starts_with(&self.text),
        }
    }
}

impl Vocabulary {
    pub fn new<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vocabulary {
        let names: Vec<&[u8]> = names.collect::<BTreeSet<_>>().into_iter().collect();
        let numbered: Vec<_> = names.iter().zip(1..).map(|(name, number)| (*name, number, false)).collect();
        let is_plain = |name: &&[u8]| plain_run(name, 0) == name.len();
        let quoted = names.iter().map(|name| Some(*name).filter(is_plain).map(Quoted::new));
        let quoted = std::iter::once(None).chain(quoted).collect();
        Vocabulary { names: Names::new(&numbered), quoted }
    }

    pub fn number(&self, name: &[u8]) -> usize {
        self.names.find(name).map_or(0, |known| known.member.into())
    }

    /// Return how many numbers there are.
    pub fn count(&self) -> usize {
        self.quoted.len()
    }
}

/// Guesses the names of a document from those of previous documents.
pub struct Guesses<'a> {
    vocabulary: &'a Vocabulary,
    /// For each name, the one that followed it last time.
    followers: &'a mut [u16],
    last: usize,
}

impl<'a> Guesses<'a> {
    pub fn new(vocabulary: &'a Vocabulary, followers: &'a mut Vec<u16>) -> Guesses<'a> {
        followers.resize(vocabulary.count(), 0);
        Guesses { vocabulary, followers, last: 0 }
    }

    /// If a text starts with the guessed name in quotes and a colon, return the name's number and
    /// the size of that text.
    #[inline(always)]
    pub fn guess(&mut self, text: &[u8]) -> Option<(usize, usize)> {
        let number = usize::from(*self.followers.get(self.last)?);
        let quoted = self.vocabulary.quoted.get(number)?.as_ref()?;
        if !quoted.begins(text) {
            return None;
        }
        self.last = number;
        Some((number, quoted.text.len()))
    }

    /// Return the number of a name after a wrong guess.
    pub fn learn(&mut self, name: &[u8]) -> usize {
        let number = self.vocabulary.number(name);
        if let Some(follower) = self.followers.get_mut(self.last) {
            *follower = number as u16;
        }
        self.last = number;
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_guessed_once_they_were_seen() {
        let names = ["id", "finish_reason", "completion_tokens", "completion_token_"];
        let vocabulary = Vocabulary::new(names.iter().map(|name| name.as_bytes()));
        let mut followers = Vec::new();
        for round in 0..2 {
            let mut guesses = Guesses::new(&vocabulary, &mut followers);
            for name in names {
                for behind in ["", "1, and much more text behind it"] {
                    let text = format!("\"{name}\":{behind}");
                    let number = vocabulary.number(name.as_bytes());
                    let mut again = Guesses { followers: &mut guesses.followers.to_vec(), ..guesses };
                    let expected = (round > 0).then_some((number, name.len() + 3));
                    assert_eq!(again.guess(text.as_bytes()), expected, "{text}");
                    assert_eq!(again.guess(&text.as_bytes()[..text.len() - 1 - behind.len()]), None);
                }
                let number = guesses.learn(name.as_bytes());
                assert!(number > 0);
            }
            assert_eq!(guesses.learn(b"other"), 0);
            assert_eq!(guesses.guess(b"\"other\":"), None);
        }
    }

    #[test]
    fn names_that_json_escapes_are_not_guessed() {
        let vocabulary = Vocabulary::new([&b"a\"b"[..]].into_iter());
        let mut followers = Vec::new();
        let mut guesses = Guesses::new(&vocabulary, &mut followers);
        assert_eq!(guesses.learn(b"a\"b"), 1);
        guesses.last = 0;
        assert_eq!(guesses.guess(b"\"a\"b\":1"), None);
    }
}
