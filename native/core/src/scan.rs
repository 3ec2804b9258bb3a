//! JSON text to a tape of tokens, checked against the grammar and the limits in one pass.

use crate::duplicates::distinct;
use crate::guess::Guesses;
use crate::handover::{Handover, Outcome};
use crate::plain::plain_run;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum TokenKind {
    Object,
    Array,
    /// A string without escapes.
    Plain,
    /// A string with only the escapes of the canonical form.
    Escaped,
    /// A string with other escapes.
    Odd,
    /// A string with an escaped lone surrogate, which UTF-8 can't hold.
    Lone,
    /// A number without fraction and exponent.
    Integer,
    Float,
    True,
    False,
    Null,
}

impl TokenKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [TokenKind; 11] = [
        TokenKind::Object,
        TokenKind::Array,
        TokenKind::Plain,
        TokenKind::Escaped,
        TokenKind::Odd,
        TokenKind::Lone,
        TokenKind::Integer,
        TokenKind::Float,
        TokenKind::True,
        TokenKind::False,
        TokenKind::Null,
    ];

    #[inline(always)]
    pub fn is_string(self) -> bool {
        matches!(self, TokenKind::Plain | TokenKind::Escaped | TokenKind::Odd | TokenKind::Lone)
    }

    #[inline(always)]
    pub fn is_number(self) -> bool {
        matches!(self, TokenKind::Integer | TokenKind::Float)
    }
}

/// The classes of tokens are their kinds; for integers, those that certainly fit into 32 bits, those that certainly fit
/// into 64, and all others.
pub const LONG_INTEGER: usize = TokenKind::ALL.len();
pub const WIDE_INTEGER: usize = LONG_INTEGER + 1;
pub const CLASSES: usize = WIDE_INTEGER + 1;

/// One value of a document, or one name.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// Start and end of its text; for a string, without the quotes.
    pub start: u32,
    pub end: u32,
    /// The token after it and its content; for a name, its number if names are guessed.
    pub next: u32,
    pub kind: TokenKind,
}

impl Token {
    /// Return the number of its class.
    #[inline(always)]
    pub fn class(&self) -> usize {
        match self.end - self.start {
            10..=18 if self.kind == TokenKind::Integer => LONG_INTEGER,
            19.. if self.kind == TokenKind::Integer => WIDE_INTEGER,
            _ => self.kind as usize,
        }
    }
}

/// Bounds on a document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub depth: usize,
    pub members: usize,
    pub values: usize,
}

/// A text and its tokens.
#[derive(Clone, Copy)]
pub struct Document<'a> {
    pub text: &'a [u8],
    pub tape: &'a [Token],
}

impl<'a> Document<'a> {
    #[inline(always)]
    pub fn raw(&self, token: Token) -> &'a [u8] {
        &self.text[token.start as usize..token.end as usize]
    }

    /// Return the indices of an object's names; each value follows its name.
    #[inline(always)]
    pub fn names(&self, object: usize) -> Children<'a> {
        Children { tape: self.tape, at: object + 1, end: self.tape[object].next as usize, skip: 1 }
    }

    #[inline(always)]
    pub fn members(&self, object: usize) -> Members<'a> {
        Members { tape: self.tape, at: object + 1, end: self.tape[object].next as usize }
    }

    /// Return the indices of an array's elements.
    #[inline(always)]
    pub fn elements(&self, array: usize) -> Children<'a> {
        Children { tape: self.tape, at: array + 1, end: self.tape[array].next as usize, skip: 0 }
    }

    #[inline(always)]
    pub fn is_empty(&self, container: usize) -> bool {
        self.tape[container].next as usize == container + 1
    }
}

/// The members of an object: the index of the name, its token, and the value's token.
pub struct Members<'a> {
    tape: &'a [Token],
    at: usize,
    end: usize,
}

impl Iterator for Members<'_> {
    type Item = (usize, Token, Token);

    #[inline(always)]
    fn next(&mut self) -> Option<(usize, Token, Token)> {
        if self.at >= self.end {
            return None;
        }
        let [name, value] = *self.tape.get(self.at..)?.first_chunk()?;
        let at = self.at;
        self.at = value.next as usize;
        Some((at, name, value))
    }
}

/// Indices of the tokens in a container.
#[derive(Clone)]
pub struct Children<'a> {
    tape: &'a [Token],
    at: usize,
    end: usize,
    skip: usize,
}

impl Iterator for Children<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.at >= self.end {
            return None;
        }
        let at = self.at;
        self.at = self.tape[at + self.skip].next as usize;
        Some(at)
    }
}

/// Add the tokens of a text to a tape; return the index of the first.
pub fn scan(text: &[u8], tape: &mut Vec<Token>, limits: Limits) -> Outcome<usize> {
    scan_for_copy(text, tape, limits).map(|(root, _)| root)
}

/// Scan as `scan` does, and return whether each part of the text is in canonical form: without spaces, its
/// strings with the shortest escapes, and no number that needs a closer look. There may be duplicate names.
pub fn scan_for_copy(text: &[u8], tape: &mut Vec<Token>, limits: Limits) -> Outcome<(usize, bool)> {
    scan_with(text, tape, limits, None)
}

/// Scan as `scan_for_copy` does, and number the names.
pub fn scan_names(
    text: &[u8],
    tape: &mut Vec<Token>,
    limits: Limits,
    guesses: Guesses,
) -> Outcome<(usize, bool)> {
    scan_with(text, tape, limits, Some(guesses))
}

/// The most tokens to allocate memory for at first: a long text may have few.
const TOKENS_FIRST: usize = 1 << 16;

/// Return a number of tokens that most documents stay below.
fn likely_tokens(text: &[u8]) -> usize {
    text.len() / 8 + 8
}

fn scan_with(
    text: &[u8],
    tape: &mut Vec<Token>,
    limits: Limits,
    guesses: Option<Guesses>,
) -> Outcome<(usize, bool)> {
    if u32::try_from(text.len()).is_err() {
        return Err(Handover::Limit);
    }
    let root = tape.len();
    tape.try_reserve(likely_tokens(text).min(TOKENS_FIRST))?;
    let mut scan = Scan { text, tape, root, guesses, limits, is_compact: true };
    let end = scan.document()?;
    if scan.has_too_many_values() {
        return Err(Handover::Limit);
    }
    let is_text = text.is_ascii() || str::from_utf8(text).is_ok();
    if is_text && end == text.len() { Ok((root, scan.is_compact)) } else { Err(Handover::NotJson) }
}

struct Scan<'a, 'b> {
    text: &'a [u8],
    tape: &'b mut Vec<Token>,
    guesses: Option<Guesses<'a>>,
    root: usize,
    limits: Limits,
    is_compact: bool,
}

/// Each step takes the position where it starts, and returns the position after what it has read.
impl Scan<'_, '_> {
    /// Return a byte; 0 at the end, which is not part of JSON either.
    #[inline(always)]
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    /// Return the position of the next byte that is not whitespace, and the byte.
    #[inline(always)]
    fn next(&mut self, at: usize) -> (usize, u8) {
        let byte = self.byte(at);
        if byte > b' ' {
            return (at, byte);
        }
        let next = behind_spaces(self.text, at);
        self.is_compact &= next == at;
        (next, self.byte(next))
    }

    #[inline(always)]
    fn push(&mut self, kind: TokenKind, start: usize, end: usize, next: usize) -> Outcome {
        if self.tape.len() == self.tape.capacity() {
            self.grow()?;
        }
        self.tape.push(Token { start: start as u32, end: end as u32, next: next as u32, kind });
        Ok(())
    }

    /// Add the token of a value that is not a container.
    #[inline(always)]
    fn push_scalar(&mut self, kind: TokenKind, start: usize, end: usize) -> Outcome {
        self.push(kind, start, end, self.tape.len() + 1)
    }

    /// Allocate memory for more tokens, unless there are too many even if every other one is a name.
    #[cold]
    fn grow(&mut self) -> Outcome {
        if (self.tape.len() - self.root) / 2 > self.limits.values {
            return Err(Handover::Limit);
        }
        Ok(self.tape.try_reserve(likely_tokens(self.text))?)
    }

    /// Return whether there are too many values in the root.
    fn has_too_many_values(&self) -> bool {
        let mut values = self.tape.len() - self.root - 1;
        if values > self.limits.values {
            let document = Document { text: self.text, tape: self.tape };
            let objects = (self.root..self.tape.len()).filter(|at| self.tape[*at].kind == TokenKind::Object);
            values -= objects.map(|object| document.names(object).count()).sum::<usize>();
        }
        values > self.limits.values
    }

    /// Read a value and the whitespace around it.
    #[inline(always)]
    fn document(&mut self) -> Outcome<usize> {
        let (mut at, mut first) = self.next(0);
        // The innermost open container: `next` of its token is that of the one around it.
        let (mut depth, mut container, mut close) = (0, self.root, 0);
        loop {
            if close == b'}' {
                (at, first) = self.name(at, first)?;
            }
            match first {
                b'"' => at = self.string(at)?,
                b'{' | b'[' => {
                    if depth == self.limits.depth {
                        return Err(Handover::Limit);
                    }
                    depth += 1;
                    let outer = std::mem::replace(&mut container, self.tape.len());
                    let kind = if first == b'{' { TokenKind::Object } else { TokenKind::Array };
                    self.push(kind, at, at, outer)?;
                    close = closing(kind);
                    (at, first) = self.next(at + 1);
                    if first != close {
                        continue;
                    }
                }
                b't' => at = self.word(at, b"true", TokenKind::True)?,
                b'f' => at = self.word(at, b"false", TokenKind::False)?,
                b'n' => at = self.word(at, b"null", TokenKind::Null)?,
                _ => at = self.number(at)?,
            }
            // Continue after the value, and after the containers that end there.
            loop {
                let byte;
                (at, byte) = self.next(at);
                if depth == 0 {
                    return Ok(at);
                }
                if byte == b',' {
                    (at, first) = self.next(at + 1);
                    break;
                }
                if byte != close {
                    return Err(Handover::NotJson);
                }
                at += 1;
                depth -= 1;
                container = self.leave(container, at)?;
                close = closing(self.tape[container].kind);
            }
        }
    }

    /// End a container; return the one around it.
    #[inline(always)]
    fn leave(&mut self, container: usize, end: usize) -> Outcome<usize> {
        let next = self.tape.len();
        let token = &mut self.tape[container];
        token.end = end as u32;
        let outer = std::mem::replace(&mut token.next, next as u32) as usize;
        let tokens = (next - container - 1) / 2;
        if tokens > self.limits.members
            && token.kind == TokenKind::Object
            && self.has_too_many_names(container)
        {
            return Err(Handover::Limit);
        }
        Ok(outer)
    }

    /// Return whether an object has too many names.
    #[cold]
    fn has_too_many_names(&self, object: usize) -> bool {
        let document = Document { text: self.text, tape: self.tape };
        document.names(object).count() > self.limits.members
            && distinct(document, object, &mut Vec::new()).len() > self.limits.members
    }

    /// Read a name and the colon after it; return the position of the value and its first byte.
    #[inline(always)]
    fn name(&mut self, at: usize, first: u8) -> Outcome<(usize, u8)> {
        if let Some(guesses) = &mut self.guesses
            && let Some((number, size)) = guesses.guess(&self.text[at..])
        {
            self.push(TokenKind::Plain, at + 1, at + size - 2, number)?;
            return Ok(self.next(at + size));
        }
        if first != b'"' {
            return Err(Handover::NotJson);
        }
        let end = self.string(at)?;
        if let (Some(guesses), Some(token)) = (&mut self.guesses, self.tape.last_mut()) {
            let is_plain = token.kind == TokenKind::Plain;
            token.next = if is_plain { guesses.learn(&self.text[at + 1..end - 1]) as u32 } else { 0 };
        }
        let (colon, byte) = self.next(end);
        if byte != b':' {
            return Err(Handover::NotJson);
        }
        Ok(self.next(colon + 1))
    }

    #[inline(always)]
    fn string(&mut self, at: usize) -> Outcome<usize> {
        let start = at + 1;
        let mut end = plain_run(self.text, start);
        let mut kind = TokenKind::Plain;
        if self.byte(end) != b'"' {
            (end, kind) = escapes(self.text, end)?;
            self.is_compact &= kind == TokenKind::Escaped;
        }
        self.push_scalar(kind, start, end)?;
        Ok(end + 1)
    }

    #[inline(always)]
    fn number(&mut self, start: usize) -> Outcome<usize> {
        let mut kind = TokenKind::Integer;
        let is_negative = self.byte(start) == b'-';
        let mut at = start + usize::from(is_negative);
        at = if self.byte(at) == b'0' { at + 1 } else { self.digits(at)? };
        if self.byte(at) == b'.' {
            kind = TokenKind::Float;
            at = self.digits(at + 1)?;
        }
        if self.byte(at) | 0x20 == b'e' {
            kind = TokenKind::Float;
            at += 1;
            at = self.digits(at + usize::from(matches!(self.byte(at), b'+' | b'-')))?;
        }
        let is_minus_zero = is_negative && self.text[start..at] == *b"-0";
        self.is_compact &= kind == TokenKind::Integer && !is_minus_zero;
        self.push_scalar(kind, start, at)?;
        Ok(at)
    }

    #[inline(always)]
    fn digits(&self, start: usize) -> Outcome<usize> {
        let mut at = start;
        while self.byte(at).is_ascii_digit() {
            at += 1;
        }
        if at > start { Ok(at) } else { Err(Handover::NotJson) }
    }

    #[inline(always)]
    fn word(&mut self, at: usize, word: &[u8], kind: TokenKind) -> Outcome<usize> {
        if !self.text[at..].starts_with(word) {
            return Err(Handover::NotJson);
        }
        self.push_scalar(kind, at, at + word.len())?;
        Ok(at + word.len())
    }
}

/// Return the byte that ends a container.
#[inline(always)]
fn closing(kind: TokenKind) -> u8 {
    if kind == TokenKind::Object { b'}' } else { b']' }
}

/// Return the position after whitespace: a space after a colon, or those that indent a line.
#[inline(never)]
fn behind_spaces(text: &[u8], mut at: usize) -> usize {
    const SPACES: u128 = u128::from_le_bytes([b' '; 16]);
    if let Some(&[b' ', behind]) = text.get(at..at + 2)
        && behind > b' '
    {
        return at + 1;
    }
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
        if let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk()) {
            at += ((u128::from_le_bytes(*chunk) ^ SPACES).trailing_zeros() / 8) as usize;
        }
    }
    at
}

/// Scan the rest of a string, from its first escape on; return its end and its kind.
fn escapes(text: &[u8], mut at: usize) -> Outcome<(usize, TokenKind)> {
    let mut kind = TokenKind::Escaped;
    loop {
        match text.get(at..).unwrap_or_default() {
            [b'"', ..] => return Ok((at, kind)),
            [b'\\', b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => at += 2,
            [b'\\', b'/', ..] => {
                kind = kind.max(TokenKind::Odd);
                at += 2;
            }
            rest => {
                let (code, size) = unicode_escape(rest).ok_or(Handover::NotJson)?;
                kind = kind.max(if is_surrogate(code) { TokenKind::Lone } else { TokenKind::Odd });
                at += size;
            }
        }
        at = plain_run(text, at);
    }
}

/// Return the code point of a `\u` escape at the start of a text, or of two that are a pair of surrogates, and the
/// number of its bytes. A lone surrogate stands for itself.
pub fn unicode_escape(text: &[u8]) -> Option<(u32, usize)> {
    let first = code_unit(text)?;
    if (0xd800..0xdc00).contains(&first)
        && let Some(second @ 0xdc00..0xe000) = code_unit(&text[6..])
    {
        return Some((0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12));
    }
    Some((first, 6))
}

pub fn is_surrogate(code: u32) -> bool {
    (0xd800..0xe000).contains(&code)
}

fn code_unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guess::Vocabulary;

    const LIMITS: Limits = Limits { depth: 3, members: 4, values: 8 };

    /// Scan a text; the outcome must not depend on whether and how names are guessed.
    fn outcome(text: &[u8]) -> Outcome<usize> {
        let outcome = scan(text, &mut Vec::new(), LIMITS);
        let vocabulary = Vocabulary::new([&b"a"[..], b"b", b"c"].into_iter());
        let mut followers = Vec::new();
        for _ in 0..2 {
            let guesses = Guesses::new(&vocabulary, &mut followers);
            assert_eq!(scan_names(text, &mut Vec::new(), LIMITS, guesses).map(|(root, _)| root), outcome);
        }
        outcome
    }

    #[test]
    fn all_kinds_are_listed_by_their_numbers() {
        for (number, kind) in TokenKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
        assert_eq!(TokenKind::ALL.last(), Some(&TokenKind::Null));
    }

    #[test]
    fn json_is_accepted() {
        for text in [
            "{}",
            " [ ] ",
            "0",
            "-0",
            "10.50e+07",
            "\"\"",
            "null",
            "true",
            "false",
            "{\"a\" : [1 , 2]\t,\r\n\"b\":null}",
            "\"\\u00e9\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
            "\"é😀\u{7f}\"",
            "[[[]]]",
        ] {
            assert_eq!(outcome(text.as_bytes()), Ok(0), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_handed_over() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "[,1]",
            "{\0\"\":1}",
            "{\0\"\"}",
            "{\"a\":1,\0\"b\":2}",
            "{\"a\":1,\0 and sixteen bytes or more}",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "01",
            "-",
            "+1",
            ".5",
            "1.",
            "1e",
            "1e+",
            "0x1",
            "nul",
            "nulls",
            "True",
            "NaN",
            "Infinity",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "\"\0\"",
            "1 1",
            "{}{}",
            "[1]]",
            "\u{feff}{}",
            "'a'",
            "[1}",
            "{\"a\":1]",
            "/**/1",
        ] {
            assert_eq!(outcome(text.as_bytes()), Err(Handover::NotJson), "{text}");
        }
    }

    #[test]
    fn every_prefix_of_a_document_is_not_json() {
        let text = br#"{"a":[1,-2.5e3,"x\n\u00e9"],"b":{"c":null}}"#;
        assert_eq!(outcome(text), Ok(0));
        for end in 0..text.len() {
            assert_eq!(outcome(&text[..end]), Err(Handover::NotJson));
        }
    }

    #[test]
    fn strings_with_half_a_pair_are_told_apart() {
        let lone =
            [r"\ud800", r"\udc00", r"\ud800\u0041", r"\udc00\ud800", r"\ud800x", r"\ud83d\ud83d\ude00\/"];
        for (texts, kind) in [(&lone[..], TokenKind::Lone), (&[r"\ud800\udc00", r"\u0041"], TokenKind::Odd)] {
            for text in texts {
                let mut tape = Vec::new();
                assert_eq!(scan(format!("\"{text}\"").as_bytes(), &mut tape, LIMITS), Ok(0));
                assert_eq!(tape[0].kind, kind, "{text}");
            }
        }
        assert_eq!(outcome(br#""\ud800\u00""#), Err(Handover::NotJson));
    }

    #[test]
    fn limits_count_while_the_text_is_scanned() {
        for (text, within) in [
            ("[[[]]]", true),
            ("[[[[]]]]", false),
            ("{\"a\":1,\"b\":1,\"c\":1,\"d\":1}", true),
            ("{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1}", false),
            ("{\"a\":1,\"a\":1,\"b\":1,\"b\":1,\"\\u0061\":1,\"c\":1}", true),
            ("{\"a\":1,\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1}", false),
            ("[1,2,3,4,5,6,7,8]", true),
            ("[1,2,3,4,5,6,7,8,9]", false),
            ("[[1,2,3],[4,5,6]]", true),
            ("[[1,2,3],[4,5,6,7]]", false),
        ] {
            let expected = if within { Ok(0) } else { Err(Handover::Limit) };
            assert_eq!(outcome(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_text_is_compact_if_a_writer_would_write_it_so() {
        for (text, expected) in [
            (r#"{"a":[1,"x\n",null,true],"é":{}}"#, true),
            ("0", true),
            ("-0", false),
            ("1.0", false),
            ("[1, 2]", false),
            (" {}", false),
            ("{}\n", false),
            (r#""\u0041""#, false),
            (r#"{"\/":1}"#, false),
        ] {
            let found = scan_for_copy(text.as_bytes(), &mut Vec::new(), LIMITS);
            assert_eq!(found, Ok((0, expected)), "{text}");
        }
    }

    #[test]
    fn tokens_say_where_values_are() {
        let text = br#" {"a":[1,{"b":"x"}],"c":"\n"} "#;
        let mut tape = Vec::new();
        let root = scan(text, &mut tape, LIMITS).unwrap();
        let document = Document { text, tape: &tape };
        let names: Vec<_> = document.names(root).map(|name| document.raw(tape[name])).collect();
        assert_eq!(names, [b"a", b"c"]);
        let elements: Vec<_> = document.elements(root + 2).map(|at| document.raw(tape[at])).collect();
        assert_eq!(elements, [&b"1"[..], br#"{"b":"x"}"#]);
        assert_eq!(tape.last().map(|token| token.kind), Some(TokenKind::Escaped));
    }
}
