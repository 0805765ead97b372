//! How the keys and values of maps lie in memory, as a text: what the map LAYOUT holds, and what another version reads there.
//!
//! ```text
//! layout 1
//! DIALOGS key 4
//!   - 0 4
//! DIALOGS value 128
//!   slots[4*32].call_key 0 8
//!   slots[4*32].state.phase 26 1
//! ```
//!
//! A line that is not indented names a map, its key or its value, and how many bytes that has. Below it are its numbers: the
//! names on the way to each, where it begins and how many bytes it has, little endian. `[4*32]` are four, one every 32 bytes;
//! then it is the first that begins there. `-` is a key or value that is a number itself. Versions of all times read this text:
//! what it says may grow, how it says it may not.

use std::{collections::BTreeMap, fmt};

/// The first line.
const TITLE: &str = "layout 1";

/// Keys and values of maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    shapes: BTreeMap<(String, Side), Shape>,
}

/// Key or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The key.
    Key,
    /// The value; that of one CPU in per-CPU maps.
    Value,
}

/// A key or a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Its bytes.
    pub size: usize,
    /// The numbers in it.
    pub leaves: Vec<Leaf>,
}

/// A number in a key or a value, or as many of them as the arrays on the way to it have elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The names on the way to it, `slots[].state.phase` for instance.
    pub path: String,
    /// The arrays on the way to it, one for each `[]`.
    pub arrays: Vec<Elements>,
    /// Where the first begins.
    pub at: usize,
    /// Bytes of one: 1, 2, 4 or 8.
    pub size: usize,
}

/// The elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elements {
    /// How many.
    pub count: usize,
    /// Bytes from one to the next.
    pub stride: usize,
}

/// A text that is no description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Broken {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong about it.
    pub why: &'static str,
}

impl Side {
    const ALL: [Side; 2] = [Side::Key, Side::Value];

    /// `key` or `value`.
    pub const fn word(self) -> &'static str {
        match self {
            Side::Key => "key",
            Side::Value => "value",
        }
    }
}

impl Leaf {
    /// Bytes from its begin to the end of its last element; `None`: it has none, or elements lie in each other.
    fn span(&self) -> Option<usize> {
        self.arrays.iter().rev().try_fold(self.size, |inner, Elements { count, stride }| {
            (*stride >= inner).then_some(())?;
            count.checked_sub(1)?.checked_mul(*stride)?.checked_add(inner)
        })
    }

    fn read(line: &str) -> Option<Leaf> {
        let mut words = line.split(' ');
        let (names, at, size) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let known = words.next().is_none() && matches!(size, 1 | 2 | 4 | 8);
        let mut leaf = Leaf { path: String::new(), arrays: Vec::new(), at, size };
        let mut rest = names;
        while let Some((before, after)) = rest.split_once('[') {
            let (elements, after) = after.split_once(']')?;
            let (count, stride) = elements.split_once('*')?;
            leaf.arrays.push(Elements { count: count.parse().ok()?, stride: stride.parse().ok()? });
            leaf.path.push_str(before);
            leaf.path.push_str("[]");
            rest = after;
        }
        leaf.path.push_str(rest);
        (known && !names.is_empty() && !rest.contains(']')).then_some(leaf)
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pieces = self.path.split("[]");
        f.write_str(pieces.next().unwrap_or_default())?;
        for (Elements { count, stride }, piece) in self.arrays.iter().zip(pieces) {
            write!(f, "[{count}*{stride}]{piece}")?;
        }
        write!(f, " {} {}", self.at, self.size)
    }
}

impl Description {
    /// Reads a text, up to its first zero.
    ///
    /// # Errors
    /// Where it is none.
    pub fn read(text: &[u8]) -> Result<Description, Broken> {
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| Broken { line: 1, why: "this is no text" })?;
        let mut lines = (1..).zip(text.lines());
        if lines.next().is_none_or(|(_, line)| line != TITLE) {
            return Err(Broken { line: 1, why: "it does not begin with `layout 1`" });
        }
        let mut description = Description::default();
        let mut last = None;
        for (line, text) in lines {
            let broken = |why| Broken { line, why };
            match (text.strip_prefix("  "), &mut last) {
                (Some(text), Some(key)) => {
                    let leaf = Leaf::read(text).ok_or_else(|| broken("this is no number's place"))?;
                    let shape = description.shapes.entry(Clone::clone(key)).or_default();
                    let end = leaf.span().and_then(|span| span.checked_add(leaf.at));
                    if end.is_none_or(|end| end > shape.size) {
                        return Err(broken("the number lies outside"));
                    }
                    if shape.leaves.iter().any(|other| other.path == leaf.path) {
                        return Err(broken("the number is there twice"));
                    }
                    shape.leaves.push(leaf);
                }
                (Some(_), None) => return Err(broken("whose number is this?")),
                (None, last) => {
                    let (key, size) = heading(text).ok_or_else(|| broken("this names no key or value"))?;
                    if description.shapes.contains_key(&key) {
                        return Err(broken("this is there twice"));
                    }
                    description.shapes.insert(key.clone(), Shape { size, leaves: Vec::new() });
                    *last = Some(key);
                }
            }
        }
        Ok(description)
    }

    /// Adds a key or a value.
    pub fn insert(&mut self, map: &str, side: Side, shape: Shape) {
        self.shapes.insert((map.to_owned(), side), shape);
    }

    /// The key or value of a map.
    pub fn shape(&self, map: &str, side: Side) -> Option<&Shape> {
        self.shapes.get(&(map.to_owned(), side))
    }

    /// Names of the maps.
    pub fn maps(&self) -> impl Iterator<Item = &str> {
        self.shapes.keys().filter(|(_, side)| *side == Side::Value).map(|(map, _)| map.as_str())
    }
}

/// What stands above numbers: whose they are, and how many bytes that has.
fn heading(line: &str) -> Option<((String, Side), usize)> {
    let mut words = line.split(' ');
    let (map, side, size) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
    let side = Side::ALL.into_iter().find(|s| s.word() == side)?;
    // It is the name of a file, too.
    let good = !map.is_empty() && map.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (good && words.next().is_none()).then(|| ((map.to_owned(), side), size))
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}")?;
        for ((map, side), shape) in &self.shapes {
            writeln!(f, "{map} {} {}", side.word(), shape.size)?;
            for leaf in &shape.leaves {
                writeln!(f, "  {leaf}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "description_tests.rs"]
mod tests;
