//! Compact copies of JSON values: as a writer would write what a parser has read.

use crate::duplicates::{distinct, has_duplicates};
use crate::number::put_number;
use crate::plain::{is_ascii, plain_run, run};
use crate::scan::{Document, TokenKind, unicode_escape};

/// Texts up to this size are copied with what is behind them, which takes no call.
const SHORT_BYTES: usize = 32;

/// Add the first bytes of a text.
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

/// Add the characters that the inside of a JSON string stands for.
pub fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    loop {
        let stop = plain_run(raw, at);
        out.extend_from_slice(&raw[at..stop]);
        let Some(&byte) = raw.get(stop + 1) else { return };
        at = stop + 2;
        out.push(match byte {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                // The scan has checked the escapes.
                let (character, size) = unicode_escape(&raw[stop..]).unwrap_or(('\u{fffd}', 6));
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                at = stop + size;
                continue;
            }
            itself => itself,
        });
    }
}

/// Add the inside of the JSON string of a text.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut at = 0;
    loop {
        let stop = plain_run(text, at);
        out.extend_from_slice(&text[at..stop]);
        let Some(&byte) = text.get(stop) else { return };
        let short = match byte {
            b'"' | b'\\' => byte,
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => b'u',
        };
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            out.extend_from_slice(&[b'0', b'0', HEX[byte as usize >> 4], HEX[byte as usize & 15]]);
        }
        at = stop + 1;
    }
}

/// Add a JSON string.
pub fn put_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text, out);
    out.push(b'"');
}

/// Add a JSON string of the first bytes of a text, which may not be UTF-8; return whether they are.
#[inline(always)]
pub fn put_checked_string(whole: &[u8], size: usize, out: &mut Vec<u8>) -> bool {
    let text = &whole[..size];
    let mut seen = 0;
    let end = run(text, 0, &mut seen);
    let is_plain = end == text.len();
    if !(is_plain && is_ascii(seen)) && str::from_utf8(text).is_err() {
        return false;
    }
    out.push(b'"');
    if is_plain {
        put_start(whole, size, out);
    } else {
        escape(text, out);
    }
    out.push(b'"');
    true
}

/// Add a compact copy of a value.
pub fn copy(document: Document, at: usize, out: &mut Vec<u8>) {
    let token = document.tape[at];
    let raw = document.raw(token);
    match token.kind {
        TokenKind::Plain | TokenKind::Escaped => {
            out.push(b'"');
            put_start(&document.text[token.start as usize..], raw.len(), out);
            out.push(b'"');
        }
        TokenKind::Odd => {
            let mut plain = Vec::with_capacity(raw.len());
            unescape(raw, &mut plain);
            put_string(&plain, out);
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
        for entry in distinct(document, at) {
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
