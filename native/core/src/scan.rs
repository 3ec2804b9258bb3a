//! JSON text to a tape of tokens, checked against the grammar and the limits in one pass.

use crate::handover::{Handover, Outcome};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// A number without fraction and exponent.
    Integer,
    Float,
    True,
    False,
    Null,
}

impl TokenKind {
    #[inline(always)]
    pub fn is_string(self) -> bool {
        matches!(self, TokenKind::Plain | TokenKind::Escaped | TokenKind::Odd)
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
    let mut scan = Scan { text, at: 0, tape, limits, values: 0, is_compact: true, seen: 0 };
    scan.skip_space();
    scan.value(0)?;
    scan.skip_space();
    // Outside strings, no byte has its highest bit.
    let is_text = is_ascii(scan.seen) || str::from_utf8(text).is_ok();
    if is_text && scan.at == text.len() { Ok((root, scan.is_compact)) } else { Err(Handover::NotJson) }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Mark the bytes of a word that need an escape; a borrow may mark others behind the first.
#[inline(always)]
fn marks(word: u64) -> u64 {
    let quotes = word ^ (ONES * 0x22);
    let backslashes = word ^ (ONES * 0x5c);
    ((quotes.wrapping_sub(ONES) & !quotes)
        | (backslashes.wrapping_sub(ONES) & !backslashes)
        | (word.wrapping_sub(ONES * 0x20) & !word))
        & HIGHS
}

/// Return where the run of characters that need no escape ends.
#[inline(always)]
pub fn plain_run(text: &[u8], at: usize) -> usize {
    run(text, at, &mut 0)
}

/// Return where the run of characters that need no escape ends; add the bits of its bytes, and maybe of others.
#[inline(always)]
pub fn run(text: &[u8], mut at: usize, seen: &mut u64) -> usize {
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        *seen |= word;
        let found = marks(word);
        if found != 0 {
            return at + (found.trailing_zeros() >> 3) as usize;
        }
        at += 8;
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
    while at < text.len() {
        let byte = text[at];
        if byte < 0x20 || byte == b'"' || byte == b'\\' {
            break;
        }
        *seen |= u64::from(byte);
        at += 1;
    }
    at
}

/// Return whether no byte has its highest bit, of bits that `run` has added.
#[inline(always)]
pub fn is_ascii(seen: u64) -> bool {
    seen & HIGHS == 0
}

struct Scan<'a, 'b> {
    text: &'a [u8],
    at: usize,
    tape: &'b mut Vec<Token>,
    limits: Limits,
    values: usize,
    is_compact: bool,
    /// The bits of the bytes of all strings.
    seen: u64,
}

impl Scan<'_, '_> {
    /// Return the next byte; 0 at the end, which is no part of JSON either.
    #[inline(always)]
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn skip_space(&mut self) {
        while self.peek() <= b' ' && matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
            self.is_compact = false;
        }
    }

    #[inline(always)]
    fn push(&mut self, kind: TokenKind, start: usize) {
        let next = self.tape.len() as u32 + 1;
        self.tape.push(Token { start: start as u32, end: self.at as u32, next, kind });
    }

    fn value(&mut self, depth: usize) -> Outcome {
        match self.peek() {
            b'"' => self.string(),
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b't' => self.word(b"true", TokenKind::True),
            b'f' => self.word(b"false", TokenKind::False),
            b'n' => self.word(b"null", TokenKind::Null),
            _ => self.number(),
        }
    }

    #[inline(always)]
    fn string(&mut self) -> Outcome {
        self.at += 1;
        let start = self.at;
        self.at = run(self.text, start, &mut self.seen);
        let kind = if self.peek() == b'"' { TokenKind::Plain } else { self.escapes()? };
        self.push(kind, start);
        self.at += 1;
        Ok(())
    }

    fn escapes(&mut self) -> Outcome<TokenKind> {
        let mut kind = TokenKind::Escaped;
        loop {
            match self.peek() {
                b'"' => {
                    self.is_compact &= kind == TokenKind::Escaped;
                    return Ok(kind);
                }
                b'\\' => match self.text.get(self.at + 1) {
                    Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
                    Some(b'/') => {
                        kind = TokenKind::Odd;
                        self.at += 2;
                    }
                    Some(b'u') => {
                        kind = TokenKind::Odd;
                        self.at += unicode_escape(&self.text[self.at..])?.1;
                    }
                    _ => return Err(Handover::NotJson),
                },
                _ => return Err(Handover::NotJson),
            }
            self.at = run(self.text, self.at, &mut self.seen);
        }
    }

    fn number(&mut self) -> Outcome {
        let start = self.at;
        let mut kind = TokenKind::Integer;
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            kind = TokenKind::Float;
            self.at += 1;
            self.digits()?;
        }
        if self.peek() | 0x20 == b'e' {
            kind = TokenKind::Float;
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        self.is_compact &= kind == TokenKind::Integer && self.text[start..self.at] != *b"-0";
        self.push(kind, start);
        Ok(())
    }

    #[inline(always)]
    fn digits(&mut self) -> Outcome {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Handover::NotJson) }
    }

    fn word(&mut self, word: &[u8], kind: TokenKind) -> Outcome {
        if !self.text[self.at..].starts_with(word) {
            return Err(Handover::NotJson);
        }
        let start = self.at;
        self.at += word.len();
        self.push(kind, start);
        Ok(())
    }

    /// Begin a container; return its token, and whether it is empty.
    #[inline(always)]
    fn enter(&mut self, kind: TokenKind, close: u8, depth: usize) -> Outcome<(usize, bool)> {
        if depth > self.limits.depth {
            return Err(Handover::Limit);
        }
        let container = self.tape.len();
        self.push(kind, self.at);
        self.at += 1;
        self.skip_space();
        let is_empty = self.peek() == close;
        if is_empty {
            self.at += 1;
        }
        Ok((container, is_empty))
    }

    /// Go over what stands between two elements; return whether the container ends.
    #[inline(always)]
    fn ends(&mut self, close: u8) -> Outcome<bool> {
        self.values += 1;
        if self.values > self.limits.values {
            return Err(Handover::Limit);
        }
        self.skip_space();
        let byte = self.peek();
        self.at += 1;
        if byte == b',' {
            self.skip_space();
            Ok(false)
        } else if byte == close {
            Ok(true)
        } else {
            Err(Handover::NotJson)
        }
    }

    #[inline(always)]
    fn leave(&mut self, container: usize) {
        let next = self.tape.len() as u32;
        let token = &mut self.tape[container];
        token.end = self.at as u32;
        token.next = next;
    }

    fn object(&mut self, depth: usize) -> Outcome {
        let (container, mut ended) = self.enter(TokenKind::Object, b'}', depth)?;
        let mut count = 0;
        while !ended {
            if self.peek() != b'"' {
                return Err(Handover::NotJson);
            }
            self.string()?;
            self.skip_space();
            if self.peek() != b':' {
                return Err(Handover::NotJson);
            }
            self.at += 1;
            self.skip_space();
            if self.peek() == b'"' {
                self.string()?
            } else {
                self.value(depth)?
            }
            count += 1;
            ended = self.ends(b'}')?;
        }
        if count > self.limits.members {
            return Err(Handover::Limit);
        }
        self.leave(container);
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Outcome {
        let (container, mut ended) = self.enter(TokenKind::Array, b']', depth)?;
        while !ended {
            self.value(depth)?;
            ended = self.ends(b']')?;
        }
        self.leave(container);
        Ok(())
    }
}

/// Return the character of a `\u` escape at the start of a text, and how many bytes it takes.
pub fn unicode_escape(text: &[u8]) -> Outcome<(char, usize)> {
    let first = code_unit(text).ok_or(Handover::NotJson)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    let second = code_unit(&text[6..]).filter(|unit| (0xdc00..0xe000).contains(unit));
    let pair =
        second.filter(|_| first < 0xdc00).map(|low| 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00));
    Ok((pair.and_then(char::from_u32).ok_or(Handover::LoneSurrogate)?, 12))
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
    fn lone_surrogates_are_handed_over() {
        for text in ["\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\udc00\\ud800\"", "\"\\ud800x\""]
        {
            assert!(outcome(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(outcome(b"\"\\ud800\\udc00\""), Ok(0));
    }

    #[test]
    fn limits_count_while_the_text_is_scanned() {
        for (text, within) in [
            ("[[[]]]", true),
            ("[[[[]]]]", false),
            ("{\"a\":1,\"b\":1,\"c\":1,\"d\":1}", true),
            ("{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1}", false),
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
    fn a_plain_run_ends_where_it_does_byte_by_byte() {
        let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        let mut state = 1u32;
        for _ in 0..20_000 {
            let text: Vec<u8> = (0..24)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if state >> 28 == 0 { (state >> 8) as u8 } else { 0x20 + (state >> 9) as u8 % 4 }
                })
                .collect();
            let expected = text.iter().position(|byte| !is_plain(*byte)).unwrap_or(text.len());
            assert_eq!(plain_run(&text, 0), expected, "{text:?}");
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
