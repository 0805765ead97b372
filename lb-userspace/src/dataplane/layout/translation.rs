//! A value of one version's map as another version's, number by number, by the names on the way to them.

use super::description::{Elements, Leaf, Shape};

/// How a key or a value of the other version becomes one of this version. What the other has not is 0; what only the other has is
/// left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    from: usize,
    to: usize,
    runs: Vec<Run>,
    numbers: Vec<Number>,
    /// Elements of the other version's arrays beyond the end of this version's: they must be 0.
    beyond: Vec<Number>,
    missing: Vec<String>,
    paths: Vec<String>,
}

/// Bytes that are the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    from: usize,
    to: usize,
    length: usize,
}

/// A number that has more bytes in one than in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    from: usize,
    from_size: usize,
    to: usize,
    to_size: usize,
    path: usize,
}

/// A number of the other version for which this one has no room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} is {value}, for which this version has no room")]
pub struct NoRoom {
    /// The names on the way to it.
    pub path: String,
    /// What it is.
    pub value: u64,
}

impl Translation {
    /// From values of the shape `other` to those of the shape `own`.
    pub fn between(other: &Shape, own: &Shape) -> Translation {
        let mut translation = Translation { from: other.size, to: own.size, ..Translation::default() };
        for leaf in &own.leaves {
            match other.leaves.iter().find(|l| l.path == leaf.path) {
                Some(found) => translation.add(found, leaf),
                None => translation.missing.push(leaf.path.clone()),
            }
        }
        translation.merge();
        translation
    }

    fn add(&mut self, other: &Leaf, own: &Leaf) {
        let path = self.paths.len();
        self.paths.push(own.path.clone());
        let mut pending = vec![(other.at, Some(own.at), 0)];
        while let Some((from, to, depth)) = pending.pop() {
            let (Some(theirs), Some(ours)) = (other.arrays.get(depth), own.arrays.get(depth)) else {
                let number = Number {
                    from,
                    from_size: other.size,
                    to: to.unwrap_or_default(),
                    to_size: own.size,
                    path,
                };
                match to {
                    None => self.beyond.push(number),
                    Some(to) if other.size == own.size => self.runs.push(Run { from, to, length: own.size }),
                    Some(_) => self.numbers.push(number),
                }
                continue;
            };
            let place = |base: usize, elements: &Elements, index| base + index * elements.stride;
            pending.extend((0..theirs.count).rev().map(|index| {
                let to = to.filter(|_| index < ours.count).map(|to| place(to, ours, index));
                (place(from, theirs, index), to, depth + 1)
            }));
        }
    }

    /// Makes one run of those that lie one behind the other in both.
    fn merge(&mut self) {
        self.runs.sort_by_key(|run| run.from);
        let mut merged: Vec<Run> = Vec::new();
        for run in self.runs.drain(..) {
            match merged.last_mut() {
                Some(last) if last.from + last.length == run.from && last.to + last.length == run.to => {
                    last.length += run.length;
                }
                _ => merged.push(run),
            }
        }
        self.runs = merged;
    }

    /// Which numbers of this version the other has not.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Bytes of what comes out of it.
    pub fn length(&self) -> usize {
        self.to
    }

    /// Translates; `to` is as long as [`Translation::length`] says. Bytes of `from` that are not there count as 0.
    ///
    /// # Errors
    /// When a number does not fit. What does fit stands in `to`.
    pub fn apply(&self, from: &[u8], to: &mut [u8]) -> Result<(), NoRoom> {
        to.fill(0);
        for Run { from: at, to: into, length } in &self.runs {
            if let (Some(from), Some(to)) = (from.get(*at..at + length), to.get_mut(*into..into + length)) {
                to.copy_from_slice(from);
            }
        }
        let mut fits = Ok(());
        for number in &self.numbers {
            let value = number.value(from);
            let bytes = value.to_le_bytes();
            if bytes[number.to_size..].iter().any(|byte| *byte != 0) {
                fits = Err(self.no_room(number, value));
            } else if let Some(to) = to.get_mut(number.to..number.to + number.to_size) {
                to.copy_from_slice(&bytes[..number.to_size]);
            }
        }
        for number in &self.beyond {
            let value = number.value(from);
            if value != 0 {
                fits = Err(self.no_room(number, value));
            }
        }
        fits
    }

    fn no_room(&self, number: &Number, value: u64) -> NoRoom {
        NoRoom { path: self.paths.get(number.path).cloned().unwrap_or_default(), value }
    }
}

impl Number {
    fn value(&self, from: &[u8]) -> u64 {
        let mut bytes = [0; 8];
        if let Some(from) = from.get(self.from..self.from + self.from_size) {
            bytes[..self.from_size].copy_from_slice(from);
        }
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
#[path = "translation_tests.rs"]
mod tests;
