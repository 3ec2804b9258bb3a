//! Compact JSON text to text with one member or element per line.

use crate::plain::plain_run;

/// Append a compact text with this many spaces per level.
pub fn indent(text: &[u8], spaces: usize, out: &mut Vec<u8>) {
    out.reserve(text.len() * 2);
    let (mut at, mut level) = (0, 0);
    let line = |level: usize, out: &mut Vec<u8>| {
        out.push(b'\n');
        out.resize(out.len() + spaces * level, b' ');
    };
    while let Some(&byte) = text.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'"' => {
                at = string_end(text, at);
                out.extend_from_slice(&text[start..at]);
            }
            b'{' | b'[' if matches!(text.get(at), Some(b'}' | b']')) => {
                at += 1;
                out.extend_from_slice(&text[start..at]);
            }
            b'{' | b'[' => {
                level += 1;
                out.push(byte);
                line(level, out);
            }
            b'}' | b']' => {
                level = level.saturating_sub(1);
                line(level, out);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(level, out);
            }
            b':' => out.extend_from_slice(b": "),
            _ => out.push(byte),
        }
    }
}

/// Return the end of a string whose content starts here, after the closing quote.
fn string_end(text: &[u8], mut at: usize) -> usize {
    loop {
        at = plain_run(text, at);
        match text.get(at) {
            Some(b'\\') => at = text.len().min(at + 2),
            Some(_) => return at + 1,
            None => return at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_its_line_and_strings_stay_as_they_are() {
        let mut out = Vec::new();
        indent(br#"{"a":[1,{"b":{}},[]],"c,{":"\":\\","d":null}"#, 3, &mut out);
        let expected = r#"{
   "a": [
      1,
      {
         "b": {}
      },
      []
   ],
   "c,{": "\":\\",
   "d": null
}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn text_that_ends_early_is_no_trouble() {
        for text in ["", "{", "[1,", "\"a", "\"a\\", "]}"] {
            indent(text.as_bytes(), 2, &mut Vec::new());
        }
    }
}
