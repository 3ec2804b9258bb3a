//! The building blocks of the protobuf wire format.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>

use crate::handover::{Handover, Outcome};

/// JsonExtra is field 1 of every message; its own fields are members, and null_fields, empty_fields and
/// absent_fields, which are the notes.
pub const EXTRA_TAG: u8 = 1 << 3 | 2;
pub const MEMBERS_TAG: u8 = 1 << 3 | 2;
pub const NOTE_TAGS: [u8; 3] = [2 << 3 | 2, 3 << 3 | 2, 4 << 3 | 2];

#[inline(always)]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline(always)]
fn varint_size(value: usize) -> usize {
    (64 - (value as u64 | 1).leading_zeros() as usize).div_ceil(7)
}

/// A length-delimited field whose length is not known yet: the position of its length, and the room for it.
#[derive(Clone, Copy)]
pub struct Open {
    pub at: usize,
    room: usize,
}

/// Begin a length-delimited field, with room for a guessed length.
#[inline(always)]
pub fn open(out: &mut Vec<u8>, guess: usize) -> Open {
    let (at, room) = (out.len(), varint_size(guess));
    match room {
        1 => out.push(0),
        _ => out.resize(at + room, 0),
    }
    Open { at, room }
}

/// End a length-delimited field: write its length.
#[inline(always)]
pub fn close(out: &mut Vec<u8>, field: Open) {
    close_around(out, field, 0);
}

/// End a field that has so many bytes besides those in the output.
#[inline(always)]
pub fn close_around(out: &mut Vec<u8>, Open { at, room }: Open, others: usize) {
    let held = out.len() - at - room;
    let size = held + others;
    if size < 0x80 && room == 1 {
        out[at] = size as u8;
        return;
    }
    let needed = varint_size(size);
    if needed != room {
        if needed > room {
            out.resize(out.len() + needed - room, 0);
        }
        out.copy_within(at + room..at + room + held, at + needed);
        out.truncate(at + needed + held);
    }
    let mut rest = size;
    for byte in &mut out[at..at + needed - 1] {
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    out[at + needed - 1] = rest as u8;
}

/// Wire bytes, read from the front.
#[derive(Clone, Copy)]
pub struct Wire<'a> {
    pub data: &'a [u8],
}

impl<'a> Wire<'a> {
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    #[inline(always)]
    pub fn varint(&mut self) -> Outcome<u64> {
        if let Some((&first, rest)) = self.data.split_first()
            && first < 0x80
        {
            self.data = rest;
            return Ok(u64::from(first));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Outcome<u64> {
        let mut value = 0u64;
        for (at, &byte) in self.data.iter().take(10).enumerate() {
            if at == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.data = &self.data[at + 1..];
                return Ok(value);
            }
        }
        Err(Handover::Wire)
    }

    /// Read the bytes of a length-delimited field; return them with everything after them, and their size.
    #[inline(always)]
    pub fn start(&mut self) -> Outcome<(&'a [u8], usize)> {
        let size = self.varint()? as usize;
        let whole = self.data;
        self.data = whole.get(size..).ok_or(Handover::Wire)?;
        Ok((whole, size))
    }

    /// Read the bytes of a length-delimited field.
    #[inline(always)]
    pub fn bytes(&mut self) -> Outcome<&'a [u8]> {
        let size = self.varint()? as usize;
        let (bytes, rest) = self.data.split_at_checked(size).ok_or(Handover::Wire)?;
        self.data = rest;
        Ok(bytes)
    }

    /// Skip the value of a tag.
    pub fn skip(&mut self, tag: u32) -> Outcome {
        match tag & 7 {
            0 => self.varint().map(|_| ()),
            1 => self.double().map(|_| ()),
            _ => self.bytes().map(|_| ()),
        }
    }

    pub fn double(&mut self) -> Outcome<f64> {
        let (bytes, rest) = self.data.split_first_chunk().ok_or(Handover::Wire)?;
        self.data = rest;
        Ok(f64::from_le_bytes(*bytes))
    }

    /// Read a tag if it is the next one.
    #[inline(always)]
    pub fn tag(&mut self, tag: &[u8]) -> bool {
        if self.data.first() != tag.first() {
            return false;
        }
        let rest = self.data.strip_prefix(tag);
        self.data = rest.unwrap_or(self.data);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back() {
        for value in [0, 1, 127, 128, 300, 1 << 35, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut wire = Wire { data: &out };
            assert_eq!(wire.varint(), Ok(value));
            assert!(wire.is_empty());
            for end in 0..out.len() {
                assert_eq!(Wire { data: &out[..end] }.varint(), Err(Handover::Wire));
            }
        }
        assert_eq!(Wire { data: &[0xff; 10] }.varint(), Err(Handover::Wire));
        assert_eq!(Wire { data: &[0x80; 11] }.varint(), Err(Handover::Wire));
    }

    #[test]
    fn lengths_are_right_whatever_was_guessed() {
        for guess in [0, 100, 200, 20_000, 3_000_000] {
            for size in [0, 1, 127, 128, 16_383, 16_384, 70_000] {
                let mut out = vec![9];
                let opened = open(&mut out, guess);
                out.resize(out.len() + size, 7);
                close(&mut out, opened);
                let mut wire = Wire { data: &out[1..] };
                assert_eq!(wire.bytes().map(|bytes| bytes == vec![7; size]), Ok(true));
                assert!(wire.is_empty());
            }
        }
    }

    #[test]
    fn what_ends_early_is_handed_over() {
        assert_eq!(Wire { data: &[3, 1, 2] }.bytes(), Err(Handover::Wire));
        assert_eq!(Wire { data: &[0; 7] }.double(), Err(Handover::Wire));
    }
}
