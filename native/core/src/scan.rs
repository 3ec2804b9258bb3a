//! JSON text to a tape of tokens, checked against the grammar and the limits in one pass.

use crate::duplicates::distinct;
use crate::handover::{Handover, Outcome};
use crate::plain::{is_ascii, run};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum TokenKind {
    Object,
    Array,
    /// A string without escapes.
    Plain,
    /// A string whose escapes are just those that a writer would write.
    Escaped,
    /// A string with other escapes.
    Odd,
    /// A string that escapes a surrogate without its other half, so that UTF-8 can't hold it.
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

/// One value of a document, or one name.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// Where its text starts and ends; of a string, without the quotes.
    pub start: u32,
    pub end: u32,
    /// The token behind it and everything in it.
    pub next: u32,
    pub kind: TokenKind,
}

impl Token {
    /// Return whether it is an integer that surely fits into 32 bits.
    #[inline(always)]
    pub fn is_short_integer(&self) -> bool {
        self.kind == TokenKind::Integer && self.end - self.start < 10
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

    /// Return the indices of an object's names; each value stands behind its name.
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

/// Do as `scan` does, and return whether each part of the text is as a writer writes it: without spaces, its
/// strings with the shortest escapes, and no number that needs a closer look. Names may stand there twice.
pub fn scan_for_copy(text: &[u8], tape: &mut Vec<Token>, limits: Limits) -> Outcome<(usize, bool)> {
    if u32::try_from(text.len()).is_err() {
        return Err(Handover::Limit);
    }
    let root = tape.len();
    let mut scan = Scan { text, tape, limits, values: 0, is_compact: true, seen: 0 };
    let (start, first) = scan.next(0);
    let end = scan.value(start, first, 0)?;
    let (end, _) = scan.next(end);
    // Outside strings, no byte has its highest bit.
    let is_text = is_ascii(scan.seen) || str::from_utf8(text).is_ok();
    if is_text && end == text.len() { Ok((root, scan.is_compact)) } else { Err(Handover::NotJson) }
}

struct Scan<'a, 'b> {
    text: &'a [u8],
    tape: &'b mut Vec<Token>,
    limits: Limits,
    values: usize,
    is_compact: bool,
    /// The bits of the bytes of all strings.
    seen: u64,
}

/// The steps take the place where they start, and return the place behind what they have read.
impl Scan<'_, '_> {
    /// Return a byte; 0 at the end, which is no part of JSON either.
    #[inline(always)]
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    /// Return the place of the next byte that is no space, and the byte.
    #[inline(always)]
    fn next(&mut self, mut at: usize) -> (usize, u8) {
        loop {
            let byte = self.byte(at);
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return (at, byte);
            }
            at += 1;
            self.is_compact = false;
        }
    }

    #[inline(always)]
    fn push(&mut self, kind: TokenKind, start: usize, end: usize) -> Outcome {
        if self.tape.len() == self.tape.capacity() {
            self.grow()?;
        }
        let next = self.tape.len() as u32 + 1;
        self.tape.push(Token { start: start as u32, end: end as u32, next, kind });
        Ok(())
    }

    #[cold]
    fn grow(&mut self) -> Outcome {
        Ok(self.tape.try_reserve(1)?)
    }

    fn value(&mut self, at: usize, first: u8, depth: usize) -> Outcome<usize> {
        match first {
            b'"' => self.string(at),
            b'{' => self.object(at, depth + 1),
            b'[' => self.array(at, depth + 1),
            b't' => self.word(at, b"true", TokenKind::True),
            b'f' => self.word(at, b"false", TokenKind::False),
            b'n' => self.word(at, b"null", TokenKind::Null),
            _ => self.number(at),
        }
    }

    #[inline(always)]
    fn string(&mut self, at: usize) -> Outcome<usize> {
        let start = at + 1;
        let end = run(self.text, start, &mut self.seen);
        if self.byte(end) != b'"' {
            return self.escapes(start, end);
        }
        self.push(TokenKind::Plain, start, end)?;
        Ok(end + 1)
    }

    fn escapes(&mut self, start: usize, mut at: usize) -> Outcome<usize> {
        let mut kind = TokenKind::Escaped;
        loop {
            match self.byte(at) {
                b'"' => {
                    self.is_compact &= kind == TokenKind::Escaped;
                    self.push(kind, start, at)?;
                    return Ok(at + 1);
                }
                b'\\' => match self.byte(at + 1) {
                    b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                    b'/' => {
                        kind = kind.max(TokenKind::Odd);
                        at += 2;
                    }
                    b'u' => {
                        let (code, size) = unicode_escape(&self.text[at..]).ok_or(Handover::NotJson)?;
                        kind = kind.max(if is_surrogate(code) { TokenKind::Lone } else { TokenKind::Odd });
                        at += size;
                    }
                    _ => return Err(Handover::NotJson),
                },
                _ => return Err(Handover::NotJson),
            }
            at = run(self.text, at, &mut self.seen);
        }
    }

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
        self.push(kind, start, at)?;
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
        self.push(kind, at, at + word.len())?;
        Ok(at + word.len())
    }

    /// Count a value, and go over what stands behind it: return the place of the next value of the container and
    /// its first byte, or the place behind the container and 0.
    #[inline(always)]
    fn between(&mut self, at: usize, close: u8) -> Outcome<(usize, u8)> {
        self.values += 1;
        if self.values > self.limits.values {
            return Err(Handover::Limit);
        }
        let (at, byte) = self.next(at);
        if byte == close {
            return Ok((at + 1, 0));
        }
        let next = self.next(at + 1);
        if byte == b',' && next.1 != 0 { Ok(next) } else { Err(Handover::NotJson) }
    }

    /// Begin a container: return its token, and as `between` does.
    #[inline(always)]
    fn enter(&mut self, kind: TokenKind, at: usize, close: u8, depth: usize) -> Outcome<(usize, usize, u8)> {
        if depth > self.limits.depth {
            return Err(Handover::Limit);
        }
        let container = self.tape.len();
        self.push(kind, at, at)?;
        match self.next(at + 1) {
            (_, 0) => Err(Handover::NotJson),
            (at, byte) if byte == close => Ok((container, at + 1, 0)),
            (at, byte) => Ok((container, at, byte)),
        }
    }

    #[inline(always)]
    fn leave(&mut self, container: usize, at: usize) {
        let next = self.tape.len() as u32;
        let token = &mut self.tape[container];
        token.end = at as u32;
        token.next = next;
    }

    fn object(&mut self, at: usize, depth: usize) -> Outcome<usize> {
        let (container, mut at, mut first) = self.enter(TokenKind::Object, at, b'}', depth)?;
        let mut count = 0;
        while first != 0 {
            if first != b'"' {
                return Err(Handover::NotJson);
            }
            let (colon, byte) = {
                let end = self.string(at)?;
                self.next(end)
            };
            if byte != b':' {
                return Err(Handover::NotJson);
            }
            let (start, byte) = self.next(colon + 1);
            let end = if byte == b'"' { self.string(start)? } else { self.value(start, byte, depth)? };
            count += 1;
            (at, first) = self.between(end, b'}')?;
        }
        self.leave(container, at);
        if count > self.limits.members && self.distinct_names(container) > self.limits.members {
            return Err(Handover::Limit);
        }
        Ok(at)
    }

    #[cold]
    fn distinct_names(&self, object: usize) -> usize {
        distinct(Document { text: self.text, tape: self.tape }, object, &mut Vec::new()).len()
    }

    fn array(&mut self, at: usize, depth: usize) -> Outcome<usize> {
        let (container, mut at, mut first) = self.enter(TokenKind::Array, at, b']', depth)?;
        while first != 0 {
            let end = self.value(at, first, depth)?;
            (at, first) = self.between(end, b']')?;
        }
        self.leave(container, at);
        Ok(at)
    }
}

/// Return the code point of a `\u` escape at the start of a text, or of two that are a pair of surrogates; and how
/// many bytes that takes. Half of a pair stands for itself.
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

    const LIMITS: Limits = Limits { depth: 3, members: 4, values: 8 };

    fn outcome(text: &[u8]) -> Outcome<usize> {
        scan(text, &mut Vec::new(), LIMITS)
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
