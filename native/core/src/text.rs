//! Compact copies of JSON values in their canonical form.

use std::borrow::Cow;

use crate::duplicates::{distinct, has_duplicates, has_duplicates_among};
use crate::number::put_number;
use crate::plain::{is_ascii, plain_run, run};
use crate::scan::{Document, TokenKind, is_surrogate, unicode_escape};

/// Texts up to this size are copied with the bytes after them, which is faster than a call.
pub const SHORT_BYTES: usize = 32;

/// A short word with padding, and its size.
pub type Word = ([u8; 8], usize);

pub const NULL: Word = (*b"null    ", 4);
pub const TRUE: Word = (*b"true    ", 4);
pub const FALSE: Word = (*b"false   ", 5);
pub const EMPTY_ARRAY: Word = (*b"[]      ", 2);
pub const EMPTY_OBJECT: Word = (*b"{}      ", 2);

#[inline(always)]
pub fn put_word((bytes, size): &Word, out: &mut Vec<u8>) {
    let end = out.len() + size;
    out.extend_from_slice(bytes);
    out.truncate(end);
}

/// Append the first bytes of a text.
#[inline(always)]
pub fn put_start(text: &[u8], size: usize, out: &mut Vec<u8>) {
    match text.first_chunk::<SHORT_BYTES>() {
        Some(chunk) if size <= SHORT_BYTES => {
            let end = out.len() + size;
            out.extend_from_slice(chunk);
            out.truncate(end);
        }
        _ => out.extend_from_slice(&text[..size]),
    }
}

/// Return the code point of an escape in a scanned string, and the place after it.
fn escape_at(raw: &[u8], at: usize) -> (u32, usize) {
    let code = match raw.get(at + 1) {
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'u') => {
            let (code, size) = unicode_escape(&raw[at..]).unwrap_or((0xfffd, 6));
            return (code, at + size);
        }
        itself => itself.copied().unwrap_or(b'\\'),
    };
    (code.into(), at + 2)
}

/// Append the UTF-8 form of a code point; a lone surrogate takes three bytes that are not UTF-8.
fn put_code(code: u32, out: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out
            .extend([0xe0 | code >> 12, 0x80 | code >> 6 & 0x3f, 0x80 | code & 0x3f].map(|byte| byte as u8)),
    }
}

/// Append the characters of the content of a JSON string.
pub fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    loop {
        let stop = plain_run(raw, at);
        out.extend_from_slice(&raw[at..stop]);
        if stop == raw.len() {
            return;
        }
        let (code, next) = escape_at(raw, stop);
        put_code(code, out);
        at = next;
    }
}

fn put_hex(unit: u32, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u32| HEX[(unit >> shift & 15) as usize];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// Append the shortest escape of a character that needs one.
fn put_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        8 => b'b',
        12 => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => return put_hex(byte.into(), out),
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Append a text as the content of a JSON string.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    loop {
        let stop = plain_run(text, at);
        out.extend_from_slice(&text[at..stop]);
        let Some(&byte) = text.get(stop) else { return };
        put_escape(byte, out);
        at = stop + 1;
    }
}

/// Append the content of a JSON string with the shortest escapes; a lone surrogate keeps its own.
fn respell(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    loop {
        let stop = plain_run(raw, at);
        out.extend_from_slice(&raw[at..stop]);
        if stop == raw.len() {
            return;
        }
        let (code, next) = escape_at(raw, stop);
        match u8::try_from(code) {
            Ok(byte) if byte < b' ' || byte == b'"' || byte == b'\\' => put_escape(byte, out),
            _ if is_surrogate(code) => put_hex(code, out),
            _ => put_code(code, out),
        }
        at = next;
    }
}

/// Append a JSON string.
pub fn put_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text, out);
    out.push(b'"');
}

/// Append the first bytes of a text as a JSON string without its first quote; return whether they are UTF-8.
#[inline(always)]
pub fn put_checked_string(whole: &[u8], size: usize, out: &mut Vec<u8>) -> bool {
    let text = &whole[..size];
    let mut seen = 0;
    let end = run(text, 0, &mut seen);
    let is_plain = end == text.len();
    if !(is_plain && is_ascii(seen)) && str::from_utf8(text).is_err() {
        return false;
    }
    if is_plain {
        put_start(whole, size, out);
    } else {
        escape(text, out);
    }
    out.push(b'"');
    true
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

/// Append a compact copy of a value from a text that may be compact already.
#[inline]
pub fn copy_from(document: Document, at: usize, is_compact: bool, out: &mut Vec<u8>) {
    let token = document.tape[at];
    let is_container = matches!(token.kind, TokenKind::Object | TokenKind::Array);
    if is_compact && is_container && !has_duplicates_among(document, at..token.next as usize) {
        out.extend_from_slice(document.raw(token));
    } else {
        copy(document, at, out);
    }
}

/// Append a compact copy of a value.
pub fn copy(document: Document, at: usize, out: &mut Vec<u8>) {
    let token = document.tape[at];
    let raw = document.raw(token);
    match token.kind {
        TokenKind::Plain | TokenKind::Escaped => {
            out.push(b'"');
            put_start(&document.text[token.start as usize..], raw.len(), out);
            out.push(b'"');
        }
        TokenKind::Odd | TokenKind::Lone => {
            out.push(b'"');
            respell(raw, out);
            out.push(b'"');
        }
        TokenKind::Integer | TokenKind::Float => put_number(token.kind, raw, out),
        TokenKind::Array => {
            out.push(b'[');
            for (count, element) in document.elements(at).enumerate() {
                if count > 0 {
                    out.push(b',');
                }
                copy(document, element, out);
            }
            out.push(b']');
        }
        TokenKind::Object => copy_object(document, at, out),
        TokenKind::True | TokenKind::False | TokenKind::Null => out.extend_from_slice(raw),
    }
}

fn copy_object(document: Document, at: usize, out: &mut Vec<u8>) {
    let mut separator = b'{';
    let mut copy_member = |name: usize, value: usize, out: &mut Vec<u8>| {
        out.push(separator);
        separator = b',';
        copy(document, name, out);
        out.push(b':');
        copy(document, value, out);
    };
    if document.is_empty(at) {
        out.push(b'{');
    } else if has_duplicates(document, document.names(at)) {
        for entry in distinct(document, at, &mut Vec::new()) {
            copy_member(entry.name, entry.value, out);
        }
    } else {
        for name in document.names(at) {
            copy_member(name, name + 1, out);
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{Limits, scan};

    fn copied(text: &str) -> String {
        let mut tape = Vec::new();
        let limits = Limits { depth: 200, members: 1_000, values: 1_000 };
        scan(text.as_bytes(), &mut tape, limits).unwrap();
        let mut out = Vec::new();
        copy(Document { text: text.as_bytes(), tape: &tape }, 0, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_copy_is_compact_and_its_escapes_are_the_shortest() {
        for (text, expected) in [
            (" [ 1 , true , null , { } ] ", "[1,true,null,{}]"),
            (r#"{"a" : -0, "b" : 1.50}"#, r#"{"a":0,"b":1.5}"#),
            (r#""\u0041\u00e9\ud83d\ude00\/""#, "\"Aé😀/\""),
            (r#""\u0000\u001F\u0008\u000a\u0022\u005c\u007f""#, "\"\\u0000\\u001f\\b\\n\\\"\\\\\u{7f}\""),
            (r#""\"\\\b\f\n\r\t""#, r#""\"\\\b\f\n\r\t""#),
            (r#""\uD800é😀\u00E9\n\/\"\u0041\u0001""#, r#""\ud800é😀é\n/\"A\u0001""#),
            (r#"{"\uDC00":"\ud83d\ude00\ud83d"}"#, r#"{"\udc00":"😀\ud83d"}"#),
        ] {
            assert_eq!(copied(text), expected);
        }
    }

    #[test]
    fn of_a_name_given_twice_the_last_value_counts_in_the_place_of_the_first() {
        assert_eq!(copied(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":3,"b":2}"#);
        assert_eq!(
            copied(r#"{"a":{"x":1,"x":2},"\u0061":5,"b":[{"c":1,"c":2}]}"#),
            r#"{"a":5,"b":[{"c":2}]}"#
        );
        let many: Vec<_> = (0..40).map(|n| format!("\"n{n}\":{n}")).collect();
        let text = format!("{{{}}}", many.join(","));
        assert_eq!(copied(&text), text);
        assert_eq!(copied(&format!("{{{},\"n3\":0}}", many.join(","))), text.replace(":3,", ":0,"));
    }
}
