//! JSON text to wire bytes.

use std::borrow::Cow;
use std::ops::Range;

use crate::duplicates::{distinct, has_duplicates};
use crate::guess::Guesses;
use crate::handover::{Handover, Outcome};
use crate::number::{integer, is_exact, nearest_double};
use crate::plan::{Field, Fill, Form, Kind, Member, Members, Message, NO_MEMBER, Plan, bits};
use crate::scan::{Document, Limits, Token, TokenKind, scan_names};
use crate::text::{copy, copy_from, name_of, put_start, unescape};
use crate::wire::{EXTRA_TAG, MEMBERS_TAG, NOTE_TAGS, Open, close, close_around, open, put_varint};

/// Memory that is reused for the next document.
#[derive(Default)]
pub struct Scratch {
    pub tape: Vec<Token>,
    pub out: Vec<u8>,
    followers: Vec<u16>,
    slots: Vec<Slot>,
    kept: Vec<Kept>,
    gaps: Vec<Gap>,
}

impl Scratch {
    pub const fn new() -> Scratch {
        Scratch {
            tape: Vec::new(),
            out: Vec::new(),
            followers: Vec::new(),
            slots: Vec::new(),
            kept: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// Return the size of the output with the texts of its gaps.
    pub fn size(&self) -> usize {
        self.out.len() + self.gaps.iter().map(|gap| gap.range().len()).sum::<usize>()
    }

    /// Pass on the output and the texts of its gaps, piece by piece, in their order.
    pub fn pieces(&self, text: &[u8], mut put: impl FnMut(&[u8])) {
        let mut from = 0;
        for gap in &self.gaps {
            put(&self.out[from..gap.at]);
            put(&text[gap.range()]);
            from = gap.at;
        }
        put(&self.out[from..]);
    }

    /// Release the memory of a long document.
    #[inline]
    pub fn shrink(&mut self, kept_bytes: usize) {
        let tape = self.tape.capacity() * size_of::<Token>();
        let others = self.slots.capacity() * size_of::<Slot>() + self.kept.capacity() * size_of::<Kept>();
        if self.out.capacity().max(tape).max(others) > kept_bytes {
            *self = Scratch::default();
        }
    }
}

/// How to convert a document.
#[derive(Clone, Copy)]
pub struct Mode {
    pub validate: bool,
    pub limits: Limits,
    /// Strings of this size are not copied, but leave gaps in the output.
    pub gap_bytes: usize,
}

/// A place in the output where a long string of the text belongs.
struct Gap {
    at: usize,
    start: u32,
    end: u32,
}

impl Gap {
    fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Convert a document into the output of the scratch memory, in which long strings are left out.
pub fn read(plan: &Plan, root: usize, text: &[u8], mode: Mode, scratch: &mut Scratch) -> Outcome {
    let Scratch { tape, out, followers, slots, kept, gaps } = scratch;
    tape.clear();
    out.clear();
    kept.clear();
    gaps.clear();
    let (_, is_compact) = scan_names(text, tape, mode.limits, Guesses::new(&plan.vocabulary, followers))?;
    if tape[0].kind != TokenKind::Object {
        return Err(Handover::NotJson);
    }
    let document = Document { text, tape };
    out.try_reserve(text.len() - left_out(document, mode.gap_bytes))?;
    let Mode { validate, gap_bytes, .. } = mode;
    Reader { plan, document, is_compact, validate, out, gaps, gap_bytes, left_out: 0, slots, top: 0, kept }
        .object(root, 0)
}

/// Return the size of all strings that may leave gaps, so that no memory is allocated for them.
fn left_out(document: Document, gap_bytes: usize) -> usize {
    if document.text.len() < gap_bytes {
        return 0;
    }
    let plain = document.tape.iter().filter(|token| token.kind == TokenKind::Plain);
    plain.map(|token| document.raw(*token).len()).filter(|size| *size >= gap_bytes).sum()
}

/// The value of one member: its token, or the number of an enum's string; and the position of its field.
#[derive(Clone, Copy, Default)]
struct Slot {
    value: u32,
    field: u16,
    is_number: bool,
}

/// The members of an object that have a value, by how the value is stored.
#[derive(Default)]
struct Places {
    seen: Members,
    /// A field holds it.
    held: Members,
    /// Null, or an empty array, which JsonExtra notes.
    nulls: Members,
    empties: Members,
}

/// A member of JsonExtra.members: the token of its name, or a member whose name it has; and its value's token.
#[derive(Clone, Copy)]
struct Kept {
    name: KeptName,
    value: u32,
}

#[derive(Clone, Copy)]
enum KeptName {
    Token(u32),
    Member(u32),
}

/// Whether a field holds a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// No: the value has another JSON type.
    OtherType,
    /// No, which breaks the contract.
    Misfit,
    /// No, which the contract allows.
    Aside,
    /// Yes, as the number for a string that the enum does not list.
    Unlisted,
    /// Yes, as the nearest double.
    Nearest,
    /// Yes, as the number of a string that the enum lists.
    Listed(u32),
    /// An alternative of a union would need a note.
    Odd,
    Good,
}

struct Reader<'a> {
    plan: &'a Plan,
    document: Document<'a>,
    is_compact: bool,
    validate: bool,
    out: &'a mut Vec<u8>,
    gaps: &'a mut Vec<Gap>,
    gap_bytes: usize,
    /// The size of the texts of all gaps.
    left_out: usize,
    /// The slots of the open objects, innermost last.
    slots: &'a mut Vec<Slot>,
    top: usize,
    kept: &'a mut Vec<Kept>,
}

impl<'a> Reader<'a> {
    #[inline(always)]
    fn token(&self, at: usize) -> Token {
        self.document.tape[at]
    }

    #[inline(always)]
    fn raw(&self, token: Token) -> &'a [u8] {
        self.document.raw(token)
    }

    /// Return the characters of a string.
    #[inline(always)]
    fn string(&self, at: usize) -> Cow<'a, [u8]> {
        name_of(self.document, at)
    }

    fn object(&mut self, message: usize, at: usize) -> Outcome {
        let plan = self.plan;
        let message = &plan.messages[message];
        let (base, first) = (self.top, self.kept.len());
        self.top += message.members.len();
        if self.slots.len() < self.top {
            self.slots.resize(self.top, Slot::default());
        }
        let mut places = Places::default();
        // The violation may be in the first value of a duplicate name, whose last value counts.
        if !self.place_all(message, base, first, at, &mut places).unwrap_or(false) {
            self.kept.truncate(first);
            places = Places::default();
            self.place_distinct(message, base, at, &mut places)?;
        }
        if self.validate && message.required & !places.seen != 0 {
            return Err(Handover::Violation);
        }
        let absents = message.filled & !places.seen;
        if places.nulls | places.empties | absents != 0 || self.kept.len() > first {
            self.extra(message, first, &places, absents, self.token(at));
            self.kept.truncate(first);
        }
        if message.interleaved {
            self.put_interleaved(message, base, &places)?;
        } else {
            for m in bits(places.held) {
                self.put(message, base, m)?;
            }
        }
        self.top = base;
        Ok(())
    }

    /// Write the value of a member.
    #[inline(always)]
    fn put(&mut self, message: &Message, base: usize, m: usize) -> Outcome {
        let Slot { value, field, is_number } = self.slots[base + m];
        let field = &message.members[m].fields[usize::from(field)];
        if is_number {
            put_varint(self.out, field.tag.into());
            put_varint(self.out, value.into());
            Ok(())
        } else if field.repeated {
            self.elements(field, value as usize)
        } else {
            self.value(field, value as usize)
        }
    }

    /// Write the values of members whose field numbers are not in the order of the members.
    #[cold]
    fn put_interleaved(&mut self, message: &Message, base: usize, places: &Places) -> Outcome {
        let number = |m: &usize| message.members[*m].fields[usize::from(self.slots[base + m].field)].number;
        let mut members: Vec<usize> = bits(places.held).collect();
        members.sort_by_key(number);
        members.into_iter().try_for_each(|m| self.put(message, base, m))
    }

    /// Find the field of each member; false if a name has unusual escapes, or occurs twice or in both spellings.
    #[inline(always)]
    fn place_all(
        &mut self,
        message: &Message,
        base: usize,
        first: usize,
        at: usize,
        places: &mut Places,
    ) -> Outcome<bool> {
        let mut unknown = 0;
        for (name, token, value) in self.document.members(at) {
            let m = usize::from(message.named.get(token.next as usize).copied().unwrap_or(NO_MEMBER));
            if m < message.members.len() {
                if places.seen >> m & 1 != 0 {
                    return Ok(false);
                }
                self.place(message, base, m, (name + 1, value), places)?;
            } else if matches!(token.kind, TokenKind::Odd | TokenKind::Lone) {
                return Ok(false);
            } else {
                unknown += 1;
                self.keep(KeptName::Token(name as u32), name + 1);
            }
        }
        if unknown < 2 {
            return Ok(true);
        }
        let names = self.kept[first..].iter().filter_map(|kept| match kept.name {
            KeptName::Token(name) => Some(name as usize),
            KeptName::Member(_) => None,
        });
        Ok(!has_duplicates(self.document, names))
    }

    /// Find the field of each member of any object.
    #[cold]
    fn place_distinct(&mut self, message: &Message, base: usize, at: usize, places: &mut Places) -> Outcome {
        let mut unescaped = Vec::new();
        let entries = distinct(self.document, at, &mut unescaped);
        let mut plain: Members = 0;
        for entry in &entries {
            if let Some(known) = message.names.find(entry.text) {
                plain |= Members::from(!known.camel) << known.member;
            }
        }
        for entry in &entries {
            match message.names.find(entry.text) {
                Some(known) if known.camel && plain >> known.member & 1 != 0 => {
                    if self.validate {
                        return Err(Handover::Violation);
                    }
                    self.keep(KeptName::Token(entry.name as u32), entry.value);
                }
                Some(known) => {
                    let value = (entry.value, self.token(entry.value));
                    self.place(message, base, known.member as usize, value, places)?
                }
                None => self.keep(KeptName::Token(entry.name as u32), entry.value),
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn keep(&mut self, name: KeptName, value: usize) {
        self.kept.push(Kept { name, value: value as u32 });
    }

    /// Decide how a member's value is stored.
    #[inline(always)]
    fn place(
        &mut self,
        message: &Message,
        base: usize,
        m: usize,
        (value, token): (usize, Token),
        places: &mut Places,
    ) -> Outcome {
        let member = &message.members[m];
        let bit = 1 << m;
        places.seen |= bit;
        if let Some(field) = member.certain.field(token) {
            self.slots[base + m] = Slot { value: value as u32, field, is_number: false };
            places.held |= bit;
            return Ok(());
        }
        if token.kind == TokenKind::Null {
            if self.validate && member.required && !member.nullable {
                return Err(Handover::Violation);
            }
            if member.fill != Some(Fill::Null) {
                places.nulls |= bit;
            }
            return Ok(());
        }
        if token.kind == TokenKind::Array && member.fields[0].repeated && self.document.is_empty(value) {
            if member.fill != Some(Fill::Array) {
                places.empties |= bit;
            }
            return Ok(());
        }
        let (field, fit) = self.choose(member, value);
        let number = match fit {
            Fit::Unlisted => Some(self.plan.unlisted),
            Fit::Listed(number) if member.fields[field].kind == Kind::Enum => Some(number),
            _ => None,
        };
        self.slots[base + m] =
            Slot { value: number.unwrap_or(value as u32), field: field as u16, is_number: number.is_some() };
        match fit {
            Fit::Good | Fit::Listed(_) => {
                places.held |= bit;
                return Ok(());
            }
            Fit::OtherType | Fit::Misfit if self.validate => return Err(Handover::Violation),
            Fit::OtherType | Fit::Misfit | Fit::Aside => {}
            Fit::Unlisted | Fit::Nearest => places.held |= bit,
            Fit::Odd => return Err(Handover::Union),
        }
        self.keep(KeptName::Member(m as u32), value);
        Ok(())
    }

    /// Return the first field of a value's JSON type, and whether it holds the value.
    #[inline(always)]
    fn choose(&self, member: &Member, value: usize) -> (usize, Fit) {
        for (f, field) in member.fields.iter().enumerate() {
            let fit = if field.repeated { self.fit_elements(field, value) } else { self.fit(field, value) };
            if fit != Fit::OtherType {
                return (f, fit);
            }
        }
        (0, Fit::OtherType)
    }

    #[inline(always)]
    fn fit(&self, field: &Field, at: usize) -> Fit {
        let token = self.token(at);
        if field.sure >> token.class() & 1 != 0 {
            return Fit::Good;
        }
        match field.kind {
            Kind::String if token.kind == TokenKind::Lone => Fit::Misfit,
            Kind::Integer if token.kind.is_number() => {
                let held = integer(token.kind, self.raw(token), field.bits).is_some();
                if held { Fit::Good } else { Fit::Misfit }
            }
            Kind::Number if token.kind.is_number() => self.fit_number(token),
            Kind::Enum if token.kind.is_string() => {
                self.enum_number(field, at).map_or(Fit::Unlisted, Fit::Listed)
            }
            Kind::Message => self.fit_message(field, at),
            Kind::TextAny => Fit::Good,
            _ => Fit::OtherType,
        }
    }

    #[inline(always)]
    fn enum_number(&self, field: &Field, at: usize) -> Option<u32> {
        let token = self.token(at);
        if token.kind == TokenKind::Plain {
            field.enum_number(self.raw(token))
        } else {
            field.enum_number(&self.string(at))
        }
    }

    fn fit_number(&self, token: Token) -> Fit {
        let raw = self.raw(token);
        if is_exact(token.kind, raw) {
            Fit::Good
        } else if nearest_double(raw).is_finite() {
            Fit::Nearest
        } else {
            Fit::Misfit
        }
    }

    #[inline(always)]
    fn fit_message(&self, field: &Field, at: usize) -> Fit {
        let message = &self.plan.messages[field.message];
        match (message.form, &message.item) {
            (Form::Array, Some(item)) => self.fit_elements(item, at),
            (Form::Union, _) if message.discriminator.is_empty() => {
                let mut fits = message.alternatives.iter().map(|field| self.fit(field, at));
                match fits.find(|fit| *fit != Fit::OtherType) {
                    Some(Fit::Unlisted | Fit::Nearest) => Fit::Odd,
                    fit => fit.unwrap_or(Fit::OtherType),
                }
            }
            _ => Fit::OtherType,
        }
    }

    /// Return whether a repeated field holds all elements of an array.
    fn fit_elements(&self, field: &Field, at: usize) -> Fit {
        if self.token(at).kind != TokenKind::Array {
            return Fit::OtherType;
        }
        let mut whole = Fit::Good;
        for element in self.document.elements(at) {
            match self.fit(field, element) {
                Fit::Good | Fit::Listed(_) => {}
                Fit::Unlisted | Fit::Aside => whole = Fit::Aside,
                Fit::OtherType | Fit::Misfit | Fit::Nearest => return Fit::Misfit,
                Fit::Odd => return Fit::Odd,
            }
        }
        whole
    }

    fn extra(&mut self, message: &Message, first: usize, places: &Places, absents: Members, object: Token) {
        let size = (object.end - object.start) as usize / 4;
        let has_members = self.kept.len() > first;
        self.out.push(EXTRA_TAG);
        let extra = open(self.out, if has_members { size } else { 8 });
        if has_members {
            self.out.push(MEMBERS_TAG);
            let members = open(self.out, size);
            self.members(message, first);
            close(self.out, members);
        }
        for (tag, noted) in NOTE_TAGS.into_iter().zip([places.nulls, places.empties, absents]) {
            if noted != 0 {
                self.out.push(tag);
                let numbers = open(self.out, 1);
                for m in bits(noted) {
                    put_varint(self.out, message.members[m].number.into());
                }
                close(self.out, numbers);
            }
        }
        close(self.out, extra);
    }

    /// Write the JSON object of the members that are kept.
    fn members(&mut self, message: &Message, first: usize) {
        for at in first..self.kept.len() {
            let Kept { name, value } = self.kept[at];
            self.out.push(if at == first { b'{' } else { b',' });
            match name {
                KeptName::Member(m) => {
                    let key = &message.members[m as usize].keys[0];
                    put_start(&key.bytes[1..], key.size - 1, self.out);
                }
                KeptName::Token(name) => {
                    copy(self.document, name as usize, self.out);
                    self.out.push(b':');
                }
            }
            copy_from(self.document, value as usize, self.is_compact, self.out);
        }
        self.out.push(b'}');
    }

    /// Write the elements of an array that a repeated field holds.
    fn elements(&mut self, field: &Field, at: usize) -> Outcome {
        if field.kind.wire_type() == 2 {
            for element in self.document.elements(at) {
                self.value(field, element)?;
            }
        } else if !self.document.is_empty(at) {
            put_varint(self.out, field.tag.into());
            let token = self.token(at);
            let packed = open(self.out, (token.end - token.start) as usize / 2);
            for element in self.document.elements(at) {
                self.scalar(field, element)?;
            }
            close(self.out, packed);
        }
        Ok(())
    }

    /// Write a value that a field holds.
    #[inline(always)]
    fn value(&mut self, field: &Field, at: usize) -> Outcome {
        put_varint(self.out, field.tag.into());
        let token = self.token(at);
        let raw = self.raw(token);
        match field.kind {
            Kind::String => {
                if let (Some(constant), true) = (&field.constant, self.validate)
                    && **constant != *self.string(at)
                {
                    return Err(Handover::Violation);
                }
                if token.kind == TokenKind::Plain {
                    put_varint(self.out, raw.len() as u64);
                    if raw.len() < self.gap_bytes {
                        put_start(&self.document.text[token.start as usize..], raw.len(), self.out);
                    } else {
                        self.leave_gap(token);
                    }
                } else {
                    let string = open(self.out, raw.len());
                    unescape(raw, self.out);
                    close(self.out, string);
                }
            }
            Kind::TextAny | Kind::TextObject => {
                let text = open(self.out, raw.len());
                copy_from(self.document, at, self.is_compact, self.out);
                close(self.out, text);
            }
            Kind::Message => {
                let (message, left_out) = (open(self.out, raw.len()), self.left_out);
                self.message(field.message, at)?;
                if left_out == self.left_out {
                    close(self.out, message);
                } else {
                    self.close_around(message, left_out);
                }
            }
            _ => self.scalar(field, at)?,
        }
        Ok(())
    }

    #[cold]
    fn leave_gap(&mut self, token: Token) {
        self.gaps.push(Gap { at: self.out.len(), start: token.start, end: token.end });
        self.left_out += (token.end - token.start) as usize;
    }

    /// End a message with gaps, before which strings of this size were left out.
    #[cold]
    fn close_around(&mut self, message: Open, left_out: usize) {
        let before = self.out.len();
        close_around(self.out, message, self.left_out - left_out);
        let after = self.out.len();
        for gap in self.gaps.iter_mut().rev().take_while(|gap| gap.at > message.at) {
            gap.at = gap.at + after - before;
        }
    }

    /// Write a value of a fixed size or a varint, without its tag.
    #[inline(always)]
    fn scalar(&mut self, field: &Field, at: usize) -> Outcome {
        let token = self.token(at);
        let raw = self.raw(token);
        match field.kind {
            Kind::Integer => {
                let value = integer(token.kind, raw, field.bits).ok_or(Handover::Violation)?;
                put_varint(self.out, value as u64);
            }
            // The integer -0 is 0, the double is not.
            Kind::Number if token.kind == TokenKind::Integer => {
                self.out.extend_from_slice(&(nearest_double(raw) + 0.0).to_le_bytes());
            }
            Kind::Number => self.out.extend_from_slice(&nearest_double(raw).to_le_bytes()),
            Kind::Boolean => self.out.push((token.kind == TokenKind::True).into()),
            _ => {
                let number = self.enum_number(field, at).ok_or(Handover::Union)?;
                put_varint(self.out, number.into());
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn message(&mut self, index: usize, at: usize) -> Outcome {
        let plan = self.plan;
        let message = &plan.messages[index];
        if message.form == Form::Object { self.object(index, at) } else { self.array_or_union(message, at) }
    }

    fn array_or_union(&mut self, message: &Message, at: usize) -> Outcome {
        match &message.item {
            Some(item) => self.elements(item, at),
            None if message.discriminator.is_empty() => {
                let fits = |field: &&Field| matches!(self.fit(field, at), Fit::Good | Fit::Listed(_));
                let field = match message.certain.field(self.token(at)) {
                    Some(certain) => &message.alternatives[certain as usize],
                    None => message.alternatives.iter().find(fits).ok_or(Handover::Union)?,
                };
                self.value(field, at)
            }
            None => {
                let alternative = self.alternative(message, at)?.ok_or(Handover::Union)?;
                self.value(&message.alternatives[alternative], at)
            }
        }
    }

    /// Return the alternative of a union of objects for an object.
    fn alternative(&self, message: &Message, at: usize) -> Outcome<Option<usize>> {
        let is_tag = |name: &usize| {
            let token = self.token(*name);
            if token.kind == TokenKind::Plain {
                *self.raw(token) == *message.discriminator
            } else {
                *self.string(*name) == *message.discriminator
            }
        };
        let found = match self.document.names(at).filter(is_tag).last() {
            None => message.untagged,
            Some(name) => match self.token(name + 1).kind {
                TokenKind::Null => message.untagged,
                kind if kind.is_string() => {
                    let tag = self.string(name + 1);
                    message.tags.iter().find(|known| *known.text == *tag).map(|known| known.alternative)
                }
                _ if self.validate => return Err(Handover::Violation),
                _ => None,
            },
        };
        Ok(found.or(message.unknown))
    }
}
