//! What the maps of an object look like, from its type information (BTF): see `Documentation/bpf/btf.rst` of the kernel.
//!
//! aya reads BTF to hand it to the kernel and shows no one what is in it.

use super::description::{Description, Elements, Leaf, Shape, Side};
use nom::{
    IResult, Parser,
    bytes::complete::take,
    multi::count,
    number::complete::{le_u8, le_u16, le_u32},
};

/// The number at the begin of all BTF.
const MAGIC: u16 = 0xeb9f;
/// Bytes of the part of the header that is read here.
const HEADER: usize = 24;
/// The section that declares maps.
const MAPS: &str = ".maps";
/// Types within types, at most; and typedefs of typedefs.
const DEPTH: usize = 32;
/// Numbers in one key or value, at most.
const LEAVES: usize = 10_000;

/// BTF that cannot be read, or maps that cannot be described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

fn unreadable(why: impl Into<String>) -> Unreadable {
    Unreadable(why.into())
}

/// A type; of those that stand for another one, the number of that.
#[derive(Clone, Debug)]
enum Type {
    Integer { size: usize },
    Pointer(u32),
    Array { element: u32, count: usize },
    Struct { size: usize, members: Vec<Member> },
    Alias(u32),
    Variable(u32),
    Section(Vec<u32>),
    Other,
}

#[derive(Clone, Debug)]
struct Member {
    name: u32,
    kind: u32,
    bits: u32,
    is_bit_field: bool,
}

/// The types of an object.
struct Types<'a> {
    /// The first is `void`.
    types: Vec<(u32, Type)>,
    strings: &'a [u8],
}

/// Describes the maps that are declared in BTF.
///
/// # Errors
/// When it is none, or a map has a key or a value without a size.
pub fn describe(btf: &[u8]) -> Result<Description, Unreadable> {
    let types = Types::read(btf)?;
    let mut description = Description::default();
    let maps = types.types.iter().find_map(|(name, kind)| match kind {
        Type::Section(variables) if types.string(*name) == Some(MAPS) => Some(variables),
        _ => None,
    });
    for variable in maps.ok_or_else(|| unreadable("it declares no maps"))? {
        let (name, Type::Variable(declared)) = types.get(*variable)? else {
            return Err(unreadable("it declares a map that is no variable"));
        };
        let map = types.string(*name).ok_or_else(|| unreadable("it declares a map without a name"))?;
        let Type::Struct { members, .. } = types.resolve(*declared)? else {
            return Err(unreadable(format!("{map} is not declared by a struct")));
        };
        for (side, word) in [(Side::Key, "key"), (Side::Value, "value")] {
            let Some(member) = members.iter().find(|m| types.string(m.name) == Some(word)) else { continue };
            let Type::Pointer(kind) = types.resolve(member.kind)? else {
                return Err(unreadable(format!("the {word} of {map} is not declared by a pointer")));
            };
            let shape = types.shape(*kind).map_err(|e| unreadable(format!("the {word} of {map}: {e}")))?;
            description.insert(map, side, shape);
        }
    }
    Ok(description)
}

impl<'a> Types<'a> {
    fn read(btf: &'a [u8]) -> Result<Types<'a>, Unreadable> {
        let (_, header) = header(btf).map_err(|_| unreadable("it is shorter than its header"))?;
        if header.magic != MAGIC {
            return Err(unreadable("it does not begin like BTF of this machine's byte order"));
        }
        let section = |(at, length): (u32, u32)| {
            let begin = (header.length as usize).checked_add(at as usize)?;
            btf.get(begin..begin.checked_add(length as usize)?)
        };
        let (Some(mut bytes), Some(strings)) = (section(header.types), section(header.strings)) else {
            return Err(unreadable("it is shorter than its header says"));
        };
        let mut types = vec![(0, Type::Other)];
        while !bytes.is_empty() {
            let (rest, found) =
                a_type(bytes).map_err(|_| unreadable(format!("type {} is broken", types.len())))?;
            types.push(found);
            bytes = rest;
        }
        Ok(Types { types, strings })
    }

    fn get(&self, number: u32) -> Result<&(u32, Type), Unreadable> {
        self.types.get(number as usize).ok_or_else(|| unreadable(format!("there is no type {number}")))
    }

    /// The type that one is or stands for.
    fn resolve(&self, mut number: u32) -> Result<&Type, Unreadable> {
        for _ in 0..DEPTH {
            match &self.get(number)?.1 {
                Type::Alias(other) => number = *other,
                kind => return Ok(kind),
            }
        }
        Err(unreadable(format!("type {number} stands for itself")))
    }

    fn string(&self, at: u32) -> Option<&'a str> {
        let bytes = self.strings.get(at as usize..)?.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())
    }

    fn size(&self, number: u32, depth: usize) -> Result<usize, Unreadable> {
        match self.resolve(number)? {
            Type::Integer { size } | Type::Struct { size, .. } => Ok(*size),
            Type::Array { element, count } if depth < DEPTH => {
                let size = self.size(*element, depth + 1)?.checked_mul(*count);
                size.ok_or_else(|| unreadable("an array is longer than memory"))
            }
            _ => Err(unreadable("it has no size")),
        }
    }

    fn shape(&self, number: u32) -> Result<Shape, Unreadable> {
        let mut shape = Shape { size: self.size(number, 0)?, leaves: Vec::new() };
        let whole = Leaf { path: String::new(), arrays: Vec::new(), at: 0, size: 0 };
        self.add_leaves(number, whole, &mut shape.leaves, 0)?;
        Ok(shape)
    }

    /// Adds the numbers in what begins at `above`, but for those in unions and in part of a byte.
    fn add_leaves(
        &self,
        number: u32,
        above: Leaf,
        leaves: &mut Vec<Leaf>,
        depth: usize,
    ) -> Result<(), Unreadable> {
        if depth > DEPTH || leaves.len() > LEAVES {
            return Err(unreadable("it is too large"));
        }
        match self.resolve(number)? {
            Type::Integer { size: size @ (1 | 2 | 4 | 8) } => {
                let path = if above.path.is_empty() { "-".to_owned() } else { above.path };
                leaves.push(Leaf { path, size: *size, ..above });
                Ok(())
            }
            Type::Array { element, count } => {
                let stride = self.size(*element, 0)?;
                let mut below = above;
                below.path.push_str("[]");
                below.arrays.push(Elements { count: *count, stride });
                self.add_leaves(*element, below, leaves, depth + 1)
            }
            Type::Struct { members, .. } => {
                for member in members {
                    let Some(name) = self.string(member.name) else { continue };
                    // Padding is nobody's.
                    if name.starts_with('_') || member.is_bit_field || member.bits % 8 != 0 {
                        continue;
                    }
                    let mut below = above.clone();
                    if !below.path.is_empty() {
                        below.path.push('.');
                    }
                    below.path.push_str(name);
                    below.at = below
                        .at
                        .checked_add(member.bits as usize / 8)
                        .ok_or_else(|| unreadable("a field lies outside"))?;
                    self.add_leaves(member.kind, below, leaves, depth + 1)?;
                }
                Ok(())
            }
            // Nobody reads it. Whoever needs it finds that it is not there.
            _ => Ok(()),
        }
    }
}

struct Header {
    magic: u16,
    length: u32,
    types: (u32, u32),
    strings: (u32, u32),
}

fn header(bytes: &[u8]) -> IResult<&[u8], Header> {
    let (rest, bytes) = take(HEADER)(bytes)?;
    let (_, (magic, _version, _flags, length, types_at, types, strings_at, strings)) =
        (le_u16, le_u8, le_u8, le_u32, le_u32, le_u32, le_u32, le_u32).parse(bytes)?;
    Ok((rest, Header { magic, length, types: (types_at, types), strings: (strings_at, strings) }))
}

/// A type and the place of its name.
fn a_type(bytes: &[u8]) -> IResult<&[u8], (u32, Type)> {
    let (bytes, (name, info, third)) = (le_u32, le_u32, le_u32).parse(bytes)?;
    // Three numbers for each of the things in it, or two.
    let many = (info & 0xffff) as usize;
    let has_bit_fields = info >> 31 != 0;
    let three = |bytes| count((le_u32, le_u32, le_u32), many).parse(bytes);
    let skip = |bytes, length| take(length).map(|_: &[u8]| Type::Other).parse(bytes);
    let size = third as usize;
    let (rest, kind) = match info >> 24 & 0x1f {
        1 => take(4_usize).map(|_: &[u8]| Type::Integer { size }).parse(bytes)?,
        2 => (bytes, Type::Pointer(third)),
        3 => {
            let (rest, (element, _index, count)) = (le_u32, le_u32, le_u32).parse(bytes)?;
            (rest, Type::Array { element, count: count as usize })
        }
        4 => {
            let (rest, members) = three(bytes)?;
            let member = |(name, kind, bits): (u32, u32, u32)| Member {
                name,
                kind,
                bits: if has_bit_fields { bits & 0xff_ffff } else { bits },
                is_bit_field: has_bit_fields && bits >> 24 != 0,
            };
            (rest, Type::Struct { size, members: members.into_iter().map(member).collect() })
        }
        // Union.
        5 => take(many * 12).map(|_: &[u8]| Type::Struct { size, members: Vec::new() }).parse(bytes)?,
        // Enum of 64 bits.
        19 => take(many * 12).map(|_: &[u8]| Type::Integer { size }).parse(bytes)?,
        // Enum: a number of the size that it says.
        6 => take(many * 8).map(|_: &[u8]| Type::Integer { size }).parse(bytes)?,
        // Typedef, volatile, const, restrict, type tag.
        8..=11 | 18 => (bytes, Type::Alias(third)),
        // Forward declaration, function, float.
        7 | 12 | 16 => (bytes, Type::Other),
        // Function prototype.
        13 => skip(bytes, many * 8)?,
        14 => take(4_usize).map(|_: &[u8]| Type::Variable(third)).parse(bytes)?,
        15 => {
            let (rest, variables) = three(bytes)?;
            (rest, Type::Section(variables.into_iter().map(|(variable, ..)| variable).collect()))
        }
        // Declaration tag.
        17 => skip(bytes, 4)?,
        _ => return Err(nom::Err::Error(nom::error::Error::new(bytes, nom::error::ErrorKind::Switch))),
    };
    Ok((rest, (name, kind)))
}

#[cfg(test)]
#[path = "btf_tests.rs"]
mod tests;
