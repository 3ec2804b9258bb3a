//! JSON text to wire bytes.

use std::borrow::Cow;

use crate::duplicates::{distinct, has_duplicates, name_of};
use crate::handover::{Handover, Outcome};
use crate::number::{integer, is_exact, nearest_double};
use crate::plan::{Field, Fill, Form, Kind, Member, Message, Plan};
use crate::scan::{Document, Limits, Token, TokenKind, scan};
use crate::text::{copy, unescape};
use crate::wire::{close, open, put_varint};

// JsonExtra is field 1 of every message; its own fields are members, null_fields, empty_fields, absent_fields.
const EXTRA_TAG: u8 = 1 << 3 | 2;
const MEMBERS_TAG: u8 = 1 << 3 | 2;
const NULLS_TAG: u8 = 2 << 3 | 2;
const EMPTIES_TAG: u8 = 3 << 3 | 2;
const ABSENTS_TAG: u8 = 4 << 3 | 2;

/// Memory that is used again for the next document.
#[derive(Default)]
pub struct Scratch {
    pub tape: Vec<Token>,
    pub out: Vec<u8>,
    slots: Vec<Slot>,
    kept: Vec<Kept>,
}

impl Scratch {
    /// Give back the memory of a long document.
    #[inline]
    pub fn shrink(&mut self, kept_bytes: usize) {
        let tape = self.tape.capacity() * size_of::<Token>();
        let others = self.slots.capacity() * size_of::<Slot>() + self.kept.capacity() * size_of::<Kept>();
        if self.out.capacity().max(tape).max(others) > kept_bytes {
            *self = Scratch::default();
        }
    }
}

/// How a document is read.
#[derive(Clone, Copy)]
pub struct Mode {
    pub validate: bool,
    pub limits: Limits,
}

/// Read a document, which must be UTF-8, into the output of the scratch memory.
pub fn read(plan: &Plan, root: usize, text: &[u8], mode: Mode, scratch: &mut Scratch) -> Outcome {
    let Scratch { tape, out, slots, kept } = scratch;
    tape.clear();
    out.clear();
    slots.clear();
    kept.clear();
    scan(text, tape, mode.limits)?;
    if tape[0].kind != TokenKind::Object {
        return Err(Handover::NotJson);
    }
    out.reserve(text.len());
    let document = Document { text, tape };
    Reader { plan, document, validate: mode.validate, out, slots, kept }.object(root, 0)
}

/// What is to be done with the value of a member.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is none.
    Absent,
    /// It is null or an empty array.
    Noted,
    /// No field can hold it.
    Aside,
    /// The field holds it.
    Held,
    /// The enum does not list it.
    Unlisted,
}

/// The value of one member: its token, and the position of its field.
#[derive(Clone, Copy)]
struct Slot {
    value: u32,
    field: u16,
    state: State,
}

const NO_VALUE: Slot = Slot { value: 0, field: 0, state: State::Absent };

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
    /// Its JSON type is another.
    OtherType,
    /// It does not, which breaks the contract.
    Misfit,
    /// It does not, which the contract allows.
    Aside,
    /// It stands for a string that the enum does not list.
    Unlisted,
    /// It holds the nearest double.
    Nearest,
    /// An alternative of a union would need a note.
    Odd,
    Good,
}

struct Reader<'a> {
    plan: &'a Plan,
    document: Document<'a>,
    validate: bool,
    out: &'a mut Vec<u8>,
    slots: &'a mut Vec<Slot>,
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
        let (base, first) = (self.slots.len(), self.kept.len());
        self.slots.resize(base + message.members.len(), NO_VALUE);
        let noted = match self.place_all(message, base, first, at)? {
            Some(noted) => noted,
            None => {
                self.kept.truncate(first);
                self.slots[base..].fill(NO_VALUE);
                self.place_distinct(message, base, at)?
            }
        };
        if self.validate && message.required.iter().any(|&m| self.slots[base + m].state == State::Absent) {
            return Err(Handover::Violation);
        }
        let absent = message.filled.iter().any(|&m| self.slots[base + m].state == State::Absent);
        if noted || absent || self.kept.len() > first {
            self.extra(message, base, first, noted, absent, self.token(at));
        }
        self.kept.truncate(first);
        for &(m, f) in &message.order {
            let slot = self.slots[base + m];
            if slot.field as usize == f {
                let field = &message.members[m].fields[f];
                match slot.state {
                    State::Held if field.repeated => self.elements(field, slot.value as usize)?,
                    State::Held => self.value(field, slot.value as usize)?,
                    State::Unlisted => {
                        self.out.extend_from_slice(&field.tag_bytes);
                        put_varint(self.out, plan.unlisted.into());
                    }
                    _ => {}
                }
            }
        }
        self.slots.truncate(base);
        Ok(())
    }

    /// Find the place of each member; None if a name has escapes, or stands there twice or in two spellings.
    #[inline(always)]
    fn place_all(
        &mut self,
        message: &Message,
        base: usize,
        first: usize,
        at: usize,
    ) -> Outcome<Option<bool>> {
        let mut noted = false;
        let mut unknown = 0;
        for name in self.document.names(at) {
            let token = self.token(name);
            if token.kind != TokenKind::Plain {
                return Ok(None);
            }
            match message.find(self.raw(token)) {
                None => {
                    unknown += 1;
                    self.keep(KeptName::Token(name as u32), name + 1);
                }
                Some(known) => {
                    if self.slots[base + known.member].state != State::Absent {
                        return Ok(None);
                    }
                    noted |= self.place(message, base, known.member, name + 1)?;
                }
            }
        }
        if unknown > 1 {
            let kept = self.kept[first..].iter();
            let names = kept.filter_map(|kept| match kept.name {
                KeptName::Token(name) => Some(name as usize),
                KeptName::Member(_) => None,
            });
            if has_duplicates(self.document, names) {
                return Ok(None);
            }
        }
        Ok(Some(noted))
    }

    /// Find the place of each member of any object.
    #[cold]
    fn place_distinct(&mut self, message: &Message, base: usize, at: usize) -> Outcome<bool> {
        let entries = distinct(self.document, at);
        let mut plain = vec![false; message.members.len()];
        for entry in &entries {
            if let Some(known) = message.find(&entry.text) {
                plain[known.member] |= !known.camel;
            }
        }
        let mut noted = false;
        for entry in &entries {
            match message.find(&entry.text) {
                Some(known) if known.camel && plain[known.member] => {
                    if self.validate {
                        return Err(Handover::Violation);
                    }
                    self.keep(KeptName::Token(entry.name as u32), entry.value);
                }
                Some(known) => noted |= self.place(message, base, known.member, entry.value)?,
                None => self.keep(KeptName::Token(entry.name as u32), entry.value),
            }
        }
        Ok(noted)
    }

    #[inline(always)]
    fn keep(&mut self, name: KeptName, value: usize) {
        self.kept.push(Kept { name, value: value as u32 });
    }

    /// Say what is to be done with a member's value; return whether it is to be noted.
    #[inline(always)]
    fn place(&mut self, message: &Message, base: usize, m: usize, value: usize) -> Outcome<bool> {
        let member = &message.members[m];
        let token = self.token(value);
        if token.kind == TokenKind::Null {
            if self.validate && member.required && !member.nullable {
                return Err(Handover::Violation);
            }
            self.slots[base + m] = Slot { value: value as u32, field: 0, state: State::Noted };
            return Ok(member.fill != Some(Fill::Null));
        }
        if member.fields[0].repeated && token.kind == TokenKind::Array && self.document.is_empty(value) {
            self.slots[base + m] = Slot { value: value as u32, field: 0, state: State::Noted };
            return Ok(member.fill != Some(Fill::Array));
        }
        let (field, fit) = self.choose(member, value);
        let state = match fit {
            Fit::OtherType | Fit::Misfit if self.validate => return Err(Handover::Violation),
            Fit::OtherType | Fit::Misfit | Fit::Aside => State::Aside,
            Fit::Unlisted => State::Unlisted,
            Fit::Nearest | Fit::Good => State::Held,
            Fit::Odd => return Err(Handover::Union),
        };
        if fit != Fit::Good {
            self.keep(KeptName::Member(m as u32), value);
        }
        self.slots[base + m] = Slot { value: value as u32, field: field as u16, state };
        Ok(false)
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
        let good = match field.kind {
            Kind::String => token.kind.is_string(),
            Kind::Boolean => matches!(token.kind, TokenKind::True | TokenKind::False),
            Kind::TextAny => true,
            Kind::TextObject => token.kind == TokenKind::Object,
            Kind::Integer if token.kind.is_number() => {
                let held = integer(token.kind, self.raw(token), field.bits).is_some();
                return if held { Fit::Good } else { Fit::Misfit };
            }
            Kind::Number if token.kind.is_number() => return self.fit_number(token),
            Kind::Enum if token.kind.is_string() => {
                let listed = field.enum_number(&self.string(at)).is_some();
                return if listed { Fit::Good } else { Fit::Unlisted };
            }
            Kind::Message => return self.fit_message(field, at, token),
            Kind::Integer | Kind::Number | Kind::Enum => false,
        };
        if good { Fit::Good } else { Fit::OtherType }
    }

    fn fit_number(&self, token: Token) -> Fit {
        let raw = self.raw(token);
        let nearest = nearest_double(raw);
        if !nearest.is_finite() {
            Fit::Misfit
        } else if is_exact(token.kind, raw, nearest) {
            Fit::Good
        } else {
            Fit::Nearest
        }
    }

    #[inline(always)]
    fn fit_message(&self, field: &Field, at: usize, token: Token) -> Fit {
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
            _ if token.kind == TokenKind::Object => Fit::Good,
            _ => Fit::OtherType,
        }
    }

    /// Return whether a repeated field holds the elements of an array, all of them.
    fn fit_elements(&self, field: &Field, at: usize) -> Fit {
        if self.token(at).kind != TokenKind::Array {
            return Fit::OtherType;
        }
        let mut whole = Fit::Good;
        for element in self.document.elements(at) {
            match self.fit(field, element) {
                Fit::Good => {}
                Fit::Unlisted | Fit::Aside => whole = Fit::Aside,
                Fit::OtherType | Fit::Misfit | Fit::Nearest => return Fit::Misfit,
                Fit::Odd => return Fit::Odd,
            }
        }
        whole
    }

    fn extra(
        &mut self,
        message: &Message,
        base: usize,
        first: usize,
        noted: bool,
        absent: bool,
        object: Token,
    ) {
        let size = (object.end - object.start) as usize / 4;
        let has_members = self.kept.len() > first;
        self.out.push(EXTRA_TAG);
        let extra = open(self.out, if has_members { size } else { 8 });
        if has_members {
            self.out.push(MEMBERS_TAG);
            let members = open(self.out, size);
            for at in first..self.kept.len() {
                let Kept { name, value } = self.kept[at];
                self.out.push(if at == first { b'{' } else { b',' });
                match name {
                    KeptName::Member(m) => self.out.extend_from_slice(&message.members[m as usize].keys[0]),
                    KeptName::Token(name) => {
                        copy(self.document, name as usize, self.out);
                        self.out.push(b':');
                    }
                }
                copy(self.document, value as usize, self.out);
            }
            self.out.push(b'}');
            close(self.out, members);
        }
        let is_null = |slot: Slot, tape: &[Token]| tape[slot.value as usize].kind == TokenKind::Null;
        if noted {
            self.notes(message, base, NULLS_TAG, |member, slot, tape| {
                slot.state == State::Noted && is_null(slot, tape) && member.fill != Some(Fill::Null)
            });
            self.notes(message, base, EMPTIES_TAG, |member, slot, tape| {
                slot.state == State::Noted && !is_null(slot, tape) && member.fill != Some(Fill::Array)
            });
        }
        if absent {
            self.notes(message, base, ABSENTS_TAG, |member, slot, _| {
                slot.state == State::Absent && member.fill.is_some()
            });
        }
        close(self.out, extra);
    }

    /// Put the numbers of the members that a condition holds for.
    #[inline(always)]
    fn notes(
        &mut self,
        message: &Message,
        base: usize,
        tag: u8,
        holds: impl Fn(&Member, Slot, &[Token]) -> bool,
    ) {
        let mut numbers = None;
        for (m, member) in message.members.iter().enumerate() {
            if holds(member, self.slots[base + m], self.document.tape) {
                if numbers.is_none() {
                    self.out.push(tag);
                    numbers = Some(open(self.out, 1));
                }
                put_varint(self.out, member.number.into());
            }
        }
        if let Some(numbers) = numbers {
            close(self.out, numbers);
        }
    }

    /// Put the elements of an array that a repeated field holds.
    fn elements(&mut self, field: &Field, at: usize) -> Outcome {
        if field.kind.wire_type() == 2 {
            for element in self.document.elements(at) {
                self.value(field, element)?;
            }
        } else if !self.document.is_empty(at) {
            self.out.extend_from_slice(&field.tag_bytes);
            let token = self.token(at);
            let packed = open(self.out, (token.end - token.start) as usize / 2);
            for element in self.document.elements(at) {
                self.scalar(field, element)?;
            }
            close(self.out, packed);
        }
        Ok(())
    }

    /// Put a value that a field holds.
    #[inline(always)]
    fn value(&mut self, field: &Field, at: usize) -> Outcome {
        self.out.extend_from_slice(&field.tag_bytes);
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
                    self.out.extend_from_slice(raw);
                } else {
                    let string = open(self.out, raw.len());
                    unescape(raw, self.out);
                    close(self.out, string);
                }
            }
            Kind::TextAny | Kind::TextObject => {
                let text = open(self.out, raw.len());
                copy(self.document, at, self.out);
                close(self.out, text);
            }
            Kind::Message => {
                let message = open(self.out, raw.len());
                self.message(field.message, at)?;
                close(self.out, message);
            }
            _ => self.scalar(field, at)?,
        }
        Ok(())
    }

    /// Put a value of a fixed size or a varint, without its tag.
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
                let number = field.enum_number(&self.string(at)).ok_or(Handover::Union)?;
                put_varint(self.out, number.into());
            }
        }
        Ok(())
    }

    fn message(&mut self, index: usize, at: usize) -> Outcome {
        let plan = self.plan;
        let message = &plan.messages[index];
        match (message.form, &message.item) {
            (Form::Array, Some(item)) => self.elements(item, at),
            (Form::Union, _) if message.discriminator.is_empty() => {
                let fits = |field: &&Field| self.fit(field, at) == Fit::Good;
                let field = message.alternatives.iter().find(fits).ok_or(Handover::Union)?;
                self.value(field, at)
            }
            (Form::Union, _) => {
                let alternative = self.alternative(message, at)?.ok_or(Handover::Union)?;
                self.value(&message.alternatives[alternative], at)
            }
            _ => self.object(index, at),
        }
    }

    /// Return the alternative of a union of objects that an object belongs to.
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
