//! Plans: what JSON and wire form of each message are.

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

/// What is written for a member that has neither a value nor a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    Null,
    Array,
    Object,
}

impl Fill {
    pub fn text(self) -> &'static [u8] {
        match self {
            Fill::Null => b"null",
            Fill::Array => b"[]",
            Fill::Object => b"{}",
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
    /// Of an integer: 32 or 64.
    pub bits: u32,
    /// The only string allowed.
    pub constant: Option<Box<[u8]>>,
    /// Of an enum: its strings and their numbers.
    pub enum_values: Vec<(Box<[u8]>, u32)>,
    /// What stands before a value on the wire.
    pub tag: u32,
    pub tag_bytes: Box<[u8]>,
}

impl Field {
    pub fn enum_number(&self, string: &[u8]) -> Option<u32> {
        self.enum_values.iter().find(|(known, _)| **known == *string).map(|(_, number)| *number)
    }

    pub fn enum_string(&self, number: u64) -> Option<&[u8]> {
        self.enum_values.iter().find(|(_, known)| u64::from(*known) == number).map(|(string, _)| &**string)
    }
}

/// One member of a JSON object.
#[derive(Debug)]
pub struct Member {
    /// Lowest number of its fields, under which notes speak of it.
    pub number: u32,
    pub required: bool,
    pub nullable: bool,
    pub fill: Option<Fill>,
    pub fields: Vec<Field>,
    /// `"name":` in snake_case and in lowerCamelCase.
    pub keys: [Box<[u8]>; 2],
}

/// A name of a member.
#[derive(Debug)]
pub struct Name {
    pub text: Box<[u8]>,
    pub member: usize,
    /// Whether it is the lowerCamelCase spelling, where the spellings differ.
    pub camel: bool,
}

/// One alternative of a union of objects that has a tag.
#[derive(Debug)]
pub struct Tag {
    pub text: Box<[u8]>,
    pub alternative: usize,
    /// The member of its message that holds the tag.
    pub member: usize,
}

/// One message.
#[derive(Debug, Default)]
pub struct Message {
    pub form: Form,
    pub members: Vec<Member>,
    /// Members that are required, and members with a fill.
    pub required: Vec<usize>,
    pub filled: Vec<usize>,
    /// Member and position among its fields, in the order of the field numbers.
    pub order: Vec<(usize, usize)>,
    pub names: Vec<Name>,
    pub table: Vec<u16>,
    /// Member and position among its fields, by field number.
    pub by_number: Vec<Option<(usize, usize)>>,
    /// Of an array: its field.
    pub item: Option<Field>,
    /// Of a union: its fields.
    pub alternatives: Vec<Field>,
    /// Of a union of objects: the name that holds the tag; empty otherwise.
    pub discriminator: Box<[u8]>,
    pub tags: Vec<Tag>,
    pub untagged: Option<usize>,
    pub unknown: Option<usize>,
}

/// The plans of all messages.
#[derive(Debug)]
pub struct Plan {
    pub messages: Vec<Message>,
    /// Number of the enum value that stands for a string that the enum does not list.
    pub unlisted: u32,
}

#[inline(always)]
pub fn hash(name: &[u8]) -> usize {
    let size = name.len();
    let word = if let (Some(first), true) = (name.first_chunk::<8>(), size >= 8) {
        u64::from_le_bytes(*first) ^ u64::from(name[size - 1]) << 17 ^ u64::from(name[size - 4]) << 29
    } else if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
    } else if size > 0 {
        u64::from(name[0]) | u64::from(name[size / 2]) << 8 | u64::from(name[size - 1]) << 16
    } else {
        0
    };
    ((word ^ (size as u64) << 56).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
}

impl Message {
    /// Return the name of a member, in either spelling.
    #[inline(always)]
    pub fn find(&self, name: &[u8]) -> Option<&Name> {
        let mask = self.table.len().wrapping_sub(1);
        let mut at = hash(name) & mask;
        loop {
            let entry = *self.table.get(at)?;
            if entry == 0 {
                return None;
            }
            let known = &self.names[entry as usize - 1];
            if *known.text == *name {
                return Some(known);
            }
            at = (at + 1) & mask;
        }
    }

    #[inline(always)]
    pub fn field_of(&self, number: u32) -> Option<(usize, usize)> {
        *self.by_number.get(number as usize)?
    }

    pub fn alternative_of(&self, tag: u64) -> Option<usize> {
        self.alternatives.iter().position(|field| u64::from(field.tag) == tag)
    }
}
