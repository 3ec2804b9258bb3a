//! Plans: the JSON and wire form of each message.

use crate::guess::Vocabulary;
use crate::scan::{CLASSES, LONG_INTEGER, Token, TokenKind};
use crate::text::{EMPTY_ARRAY, EMPTY_OBJECT, NULL, SHORT_BYTES, Word, put_string};

/// What a field holds, in JSON terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    Integer,
    Number,
    Boolean,
    Enum,
    Message,
    TextAny,
    TextObject,
}

impl Kind {
    /// Return the wire type of a single value.
    pub fn wire_type(self) -> u32 {
        match self {
            Kind::Integer | Kind::Boolean | Kind::Enum => 0,
            Kind::Number => 1,
            _ => 2,
        }
    }
}

/// The JSON of a member with neither a value nor a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    Null,
    Array,
    Object,
}

impl Fill {
    pub fn word(self) -> &'static Word {
        match self {
            Fill::Null => &NULL,
            Fill::Array => &EMPTY_ARRAY,
            Fill::Object => &EMPTY_OBJECT,
        }
    }
}

/// What a message is in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Form {
    #[default]
    Object,
    Array,
    Union,
}

/// One protobuf field.
#[derive(Debug)]
pub struct Field {
    pub number: u32,
    pub kind: Kind,
    pub repeated: bool,
    /// Index of the message that it holds.
    pub message: usize,
    /// For an integer, 32 or 64.
    pub bits: u32,
    /// The only string allowed.
    pub constant: Option<Box<[u8]>>,
    pub enum_values: Vec<EnumValue>,
    /// The tag before a value on the wire.
    pub tag: u32,
    pub tag_bytes: Box<[u8]>,
    /// The classes of tokens, one bit each, that an element of it certainly holds.
    pub sure: u16,
}

impl Field {
    pub fn enum_number(&self, string: &[u8]) -> Option<u32> {
        self.enum_values.iter().find(|value| *value.string == *string).map(|value| value.number)
    }

    #[inline(always)]
    pub fn enum_value(&self, number: u64) -> Option<&EnumValue> {
        self.enum_values.iter().find(|value| u64::from(value.number) == number)
    }
}

/// A value of an enum.
#[derive(Debug)]
pub struct EnumValue {
    pub string: Box<[u8]>,
    pub number: u32,
    /// The string as JSON.
    pub text: Padded,
}

impl EnumValue {
    pub fn new(string: &[u8], number: u32) -> EnumValue {
        let mut text = Vec::new();
        put_string(string, &mut text);
        EnumValue { string: string.into(), number, text: Padded::new(&text) }
    }
}

/// The position of a field in the plan of its message: its member, and its index among the member's fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// The field's tag; 0 if no field has this number.
    pub tag: u32,
    pub member: u16,
    pub field: u16,
}

/// A text followed by padding, which makes copying it faster.
#[derive(Debug, PartialEq, Eq)]
pub struct Padded {
    pub bytes: Box<[u8]>,
    pub size: usize,
}

impl Padded {
    fn new(text: &[u8]) -> Padded {
        Padded { bytes: [text, &[0; SHORT_BYTES]].concat().into_boxed_slice(), size: text.len() }
    }

    /// Return the text that starts a member, `,"name":`. The byte after it starts a string.
    pub fn key(name: &[u8]) -> Padded {
        let start = Padded::new(&[b",\"", name, b"\":\""].concat());
        Padded { size: start.size - 1, ..start }
    }
}

/// The fields that certainly hold values of a class, whatever their text: for each class of tokens, the position
/// of the field, or `NONE`.
#[derive(Clone, Debug)]
pub struct Certain([u8; CLASSES]);

const NONE: u8 = u8::MAX;

impl Default for Certain {
    fn default() -> Certain {
        Certain([NONE; CLASSES])
    }
}

impl Certain {
    /// Find the fields that certainly hold values, where the first field of a value's JSON type counts.
    pub fn new(fields: &[Field], messages: &[Message]) -> Certain {
        Certain(std::array::from_fn(|class| match first_holder(fields, class, messages) {
            Some((position, true)) => u8::try_from(position).unwrap_or(NONE),
            _ => NONE,
        }))
    }

    /// Return the field that certainly holds a value, if there is one.
    #[inline(always)]
    pub fn field(&self, token: Token) -> Option<u16> {
        let field = self.0[token.class()];
        (field != NONE).then_some(field.into())
    }
}

/// Return the first field that may be of the JSON type of a class, and whether it holds each value of the class.
fn first_holder(fields: &[Field], class: usize, messages: &[Message]) -> Option<(usize, bool)> {
    let mut held = fields.iter().map(|field| holds(field, class, messages)).enumerate();
    held.find_map(|(position, holds)| Some((position, holds?)))
}

/// Return the classes of tokens, one bit each, that an element of a field certainly holds.
pub fn sure_classes(field: &Field, messages: &[Message]) -> u16 {
    let is_sure = |class: &usize| element_holds(field, *class, messages) == Some(true);
    (0..CLASSES).filter(is_sure).fold(0, |classes, class| classes | 1 << class)
}

/// Return whether a field holds each value of a class; None if it holds none of them.
fn holds(field: &Field, class: usize, messages: &[Message]) -> Option<bool> {
    if field.repeated {
        return (class == TokenKind::Array as usize).then_some(false);
    }
    element_holds(field, class, messages)
}

fn element_holds(field: &Field, class: usize, messages: &[Message]) -> Option<bool> {
    let kind = TokenKind::ALL.get(class).copied().unwrap_or(TokenKind::Integer);
    let is_short = class == TokenKind::Integer as usize;
    match field.kind {
        _ if kind == TokenKind::Null => Some(false),
        Kind::String => kind.is_string().then_some(kind != TokenKind::Lone),
        Kind::Boolean => matches!(kind, TokenKind::True | TokenKind::False).then_some(true),
        Kind::Integer => kind.is_number().then_some(is_short || class == LONG_INTEGER && field.bits == 64),
        Kind::Number => kind.is_number().then_some(is_short),
        Kind::Enum => kind.is_string().then_some(false),
        Kind::TextAny => Some(true),
        Kind::TextObject => (kind == TokenKind::Object).then_some(true),
        Kind::Message => {
            let message = &messages[field.message];
            match message.form {
                Form::Array => (kind == TokenKind::Array).then_some(false),
                Form::Union if message.discriminator.is_empty() => {
                    first_holder(&message.alternatives, class, messages).map(|(_, holds)| holds)
                }
                _ => (kind == TokenKind::Object).then_some(true),
            }
        }
    }
}

/// One member of a JSON object.
#[derive(Debug)]
pub struct Member {
    /// Lowest number of its fields, by which notes refer to it.
    pub number: u32,
    pub required: bool,
    pub nullable: bool,
    pub fill: Option<Fill>,
    pub fields: Vec<Field>,
    pub certain: Certain,
    /// The name in snake_case and in lowerCamelCase.
    pub keys: [Padded; 2],
}

/// A name of a member in a hash table.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// The first eight bytes, and the size; 0 for an empty slot.
    head: u64,
    size: u32,
    pub member: u16,
    /// Whether it is the lowerCamelCase spelling, where the spellings differ.
    pub camel: bool,
}

const NO_NAME: Name = Name { head: 0, size: u32::MAX, member: 0, camel: false };

/// The names of an object's members.
#[derive(Debug, Default)]
pub struct Names {
    table: Vec<Name>,
    /// The whole names, in the order of the table.
    texts: Vec<Box<[u8]>>,
}

/// One alternative of a union of objects that has a tag.
#[derive(Debug)]
pub struct Tag {
    pub text: Box<[u8]>,
    pub alternative: usize,
    /// The member of its message that holds the tag.
    pub member: usize,
}

/// No member, in `Message::named`.
pub const NO_MEMBER: u8 = u8::MAX;

/// Members of an object, one bit each.
pub type Members = u64;

/// Return the members of a set.
#[inline(always)]
pub fn bits(mut members: Members) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let m = members.trailing_zeros();
        members &= members.wrapping_sub(1);
        (m < Members::BITS).then_some(m as usize)
    })
}

/// One message.
#[derive(Debug, Default)]
pub struct Message {
    pub form: Form,
    pub members: Vec<Member>,
    /// Members that are required, that have a fill, and whose first field is repeated.
    pub required: Members,
    pub filled: Members,
    pub repeated: Members,
    /// Whether a member has a field whose number is higher than the next member's.
    pub interleaved: bool,
    pub names: Names,
    /// The member for each number of a name in the plan's vocabulary, or `NO_MEMBER`.
    pub named: Vec<u8>,
    /// By field number.
    pub places: Vec<Place>,
    /// For an array, its field.
    pub item: Option<Field>,
    /// For a union, its fields.
    pub alternatives: Vec<Field>,
    pub certain: Certain,
    /// For a union of objects, the name of the member that holds the tag; otherwise empty.
    pub discriminator: Box<[u8]>,
    pub tags: Vec<Tag>,
    pub untagged: Option<usize>,
    pub unknown: Option<usize>,
}

/// The plans of all messages.
#[derive(Debug)]
pub struct Plan {
    pub messages: Vec<Message>,
    pub vocabulary: Vocabulary,
    /// Number of the enum value that stands for a string that the enum does not list.
    pub unlisted: u32,
}

/// Return up to eight bytes of a name, which with its size tell short names apart.
#[inline(always)]
pub fn head_of(name: &[u8]) -> u64 {
    if let Some(first) = name.first_chunk::<8>() {
        u64::from_le_bytes(*first)
    } else if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
    } else {
        name.iter().fold(0, |head, byte| head << 8 | u64::from(*byte))
    }
}

#[inline(always)]
fn hash(head: u64, name: &[u8]) -> usize {
    let end = name.last_chunk::<4>().map_or(0, |last| u64::from(u32::from_le_bytes(*last)));
    ((head ^ end << 29 ^ (name.len() as u64) << 56).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
}

impl Names {
    /// Return each name with its member.
    pub fn all(&self) -> impl Iterator<Item = (&[u8], u16)> {
        let named = self.table.iter().zip(&self.texts).filter(|(name, _)| name.size != NO_NAME.size);
        named.map(|(name, text)| (&**text, name.member))
    }

    /// Return the table of all names: each with its member, and whether it is in lowerCamelCase.
    pub fn new(names: &[(&[u8], u16, bool)]) -> Names {
        let size = (names.len() * 4).next_power_of_two().max(2);
        let mut made = Names { table: vec![NO_NAME; size], texts: vec![Box::default(); size] };
        for &(text, member, camel) in names {
            let head = head_of(text);
            let mut at = hash(head, text) & (size - 1);
            while made.table[at].size != NO_NAME.size {
                at = (at + 1) & (size - 1);
            }
            made.table[at] = Name { head, size: text.len() as u32, member, camel };
            made.texts[at] = text.into();
        }
        made
    }

    /// Return the member of a name, in either spelling.
    #[inline(always)]
    pub fn find(&self, name: &[u8]) -> Option<Name> {
        let mask = self.table.len().wrapping_sub(1);
        let head = head_of(name);
        let mut at = hash(head, name) & mask;
        loop {
            let known = self.table.get(at)?;
            if known.head == head && known.size as usize == name.len() {
                // The head and the size identify a short name.
                if name.len() <= 8 || has_rest(name, &self.texts[at]) {
                    return Some(*known);
                }
            } else if known.size == NO_NAME.size {
                return None;
            }
            at = (at + 1) & mask;
        }
    }
}

/// Compare two names of one size, of which the first eight bytes are equal.
#[inline(always)]
fn has_rest(name: &[u8], known: &[u8]) -> bool {
    match (name.last_chunk::<8>(), known.last_chunk::<8>()) {
        (Some(end), Some(known_end)) if name.len() <= 16 => end == known_end,
        _ => name == known,
    }
}

impl Message {
    /// Return the position of the field with a number.
    #[inline(always)]
    pub fn place_of(&self, number: u64) -> Option<Place> {
        self.places.get(usize::try_from(number).ok()?).copied().filter(|place| place.tag != 0)
    }

    pub fn alternative_of(&self, tag: u64) -> Option<usize> {
        self.alternatives.iter().position(|field| u64::from(field.tag) == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: Kind) -> Field {
        let constant = None;
        let (enum_values, tag_bytes) = (Vec::new(), Box::default());
        Field {
            number: 1,
            kind,
            repeated: false,
            message: 0,
            bits: 32,
            constant,
            enum_values,
            tag: 8,
            tag_bytes,
            sure: 0,
        }
    }

    fn token(kind: TokenKind, size: u32) -> Token {
        Token { start: 0, end: size, next: 1, kind }
    }

    #[test]
    fn a_value_is_certain_to_fit_the_first_field_of_its_type_if_no_text_can_misfit() {
        let union = Message {
            form: Form::Union,
            alternatives: vec![field(Kind::Integer), field(Kind::String)],
            ..Message::default()
        };
        let messages = [union];
        let certain = |kinds: &[Kind], kind: TokenKind, size: u32| {
            let fields: Vec<Field> = kinds.iter().copied().map(field).collect();
            Certain::new(&fields, &messages).field(token(kind, size))
        };
        assert_eq!(certain(&[Kind::Boolean, Kind::String], TokenKind::Plain, 3), Some(1));
        assert_eq!(certain(&[Kind::Enum, Kind::String], TokenKind::Plain, 3), None);
        assert_eq!(certain(&[Kind::String, Kind::TextAny], TokenKind::Lone, 6), None);
        assert_eq!(certain(&[Kind::String, Kind::TextAny], TokenKind::Null, 4), None);
        assert_eq!(certain(&[Kind::String, Kind::TextAny], TokenKind::Float, 3), Some(1));
        assert_eq!(certain(&[Kind::Integer], TokenKind::Integer, 9), Some(0));
        assert_eq!(certain(&[Kind::Integer], TokenKind::Integer, 10), None);
        let wide = [Field { bits: 64, ..field(Kind::Integer) }];
        assert_eq!(Certain::new(&wide, &messages).field(token(TokenKind::Integer, 18)), Some(0));
        assert_eq!(Certain::new(&wide, &messages).field(token(TokenKind::Integer, 19)), None);
        assert_eq!(certain(&[Kind::Integer], TokenKind::Float, 3), None);
        assert_eq!(certain(&[Kind::TextObject, Kind::Message], TokenKind::Odd, 3), Some(1));
        assert_eq!(certain(&[Kind::TextObject, Kind::Message], TokenKind::Array, 2), None);
        let repeated = Field { repeated: true, ..field(Kind::String) };
        let fields = [repeated, field(Kind::TextAny)];
        assert_eq!(Certain::new(&fields, &messages).field(token(TokenKind::Array, 2)), None);
        assert_eq!(Certain::new(&fields, &messages).field(token(TokenKind::True, 4)), Some(1));
    }

    #[test]
    fn names_are_found_and_no_others() {
        let texts: Vec<String> = (0..40)
            .flat_map(|n| ["x".repeat(n), format!("name_{n}"), format!("{}end", "y".repeat(n))])
            .collect();
        let mut sorted: Vec<&str> = texts.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let listed: Vec<_> =
            sorted.iter().enumerate().map(|(at, name)| (name.as_bytes(), at as u16, false)).collect();
        let names = Names::new(&listed);
        for (name, member, _) in &listed {
            assert_eq!(names.find(name).map(|found| found.member), Some(*member));
            for other in [[*name, b"z"].concat(), [b"z", *name].concat(), name.to_ascii_uppercase()] {
                if !sorted.iter().any(|known| known.as_bytes() == other) {
                    assert!(names.find(&other).is_none(), "{other:?}");
                }
            }
        }
        assert!(Names::default().find(b"x").is_none());
    }
}
