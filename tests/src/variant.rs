//! Other versions of the `sipsteer` under test: the same daemon with another XDP program inside, that does the same.
//!
//! What makes them differ are two stores next to each other, to different places of the stack, that change places. That is
//! another program to the kernel, with another tag, and no other behaviour.

use anyhow::{Context, Result, ensure};
use aya_obj::{Function, Object};
use sipsteer::dataplane::OBJECT;
use std::{
    fs,
    ops::Range,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Bytes of an instruction.
const LEN: usize = 8;
/// Stores a register of 64 bits.
const STORE: u8 = 0x7b;
/// The register that points to the stack.
const STACK: u8 = 10;

/// Writes `count` different versions of `binary` into `folder`.
///
/// # Errors
/// When the binary does not hold the object that these tests know, or no pair of stores is left.
pub fn variants(binary: &Path, folder: &Path, count: usize) -> Result<Vec<PathBuf>> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let start = bytes.windows(OBJECT.len()).position(|window| window == OBJECT);
    let start = start.with_context(|| format!("{} holds another object", binary.display()))?;
    let steering = steering()?;
    let mut places = swappable(OBJECT);
    places.retain(|place| steering.iter().any(|function| function.contains(place)));
    ensure!(places.len() >= count, "only {} pairs of stores can change places", places.len());
    // Spread over the program.
    let chosen = places.iter().step_by((places.len() / count).max(1)).take(count);
    let mut made = Vec::new();
    for (number, place) in chosen.enumerate() {
        let mut other = bytes.clone();
        let at = start + place;
        let (first, second) = other[at..at + 2 * LEN].split_at_mut(LEN);
        first.swap_with_slice(second);
        let path = folder.join(format!("sipsteer-{number}"));
        fs::write(&path, other)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        made.push(path);
    }
    Ok(made)
}

/// Where the functions of the program stand that steers, in the object: the others are not the kernel's program of that name.
fn steering() -> Result<Vec<Range<usize>>> {
    let object = Object::parse(OBJECT)?;
    let is_of_it = |name: &str| name.starts_with("sipsteer") && name != "sipsteer_carry";
    let functions = object.functions.values().filter(|function| is_of_it(&function.name));
    functions.map(|function| place(function).with_context(|| format!("no {}", function.name))).collect()
}

/// Where a function stands in the object.
fn place(function: &Function) -> Option<Range<usize>> {
    let code: Vec<u8> = function
        .instructions
        .iter()
        .flat_map(|i| {
            let ([low, high], [a, b, c, d]) = (i.off.to_le_bytes(), i.imm.to_le_bytes());
            [i.code, i.dst_reg() | i.src_reg() << 4, low, high, a, b, c, d]
        })
        .collect();
    let start = OBJECT.windows(code.len()).position(|window| window == code)?;
    Some(start..start + code.len())
}

/// Where pairs of stores stand that may change places: to the stack, not overlapping, and no jump leads between them.
fn swappable(object: &[u8]) -> Vec<usize> {
    let instructions: Vec<&[u8]> = object.chunks_exact(LEN).collect();
    let offset = |i: &[u8]| i16::from_le_bytes([i[2], i[3]]);
    let targets: Vec<usize> = (0..)
        .zip(&instructions)
        .filter(|(_, i)| matches!(i[0] & 7, 5 | 6))
        .filter_map(|(at, i)| isize::checked_add(at + 1, offset(i).into())?.try_into().ok())
        .collect();
    let targets: std::collections::BTreeSet<usize> = targets.into_iter().collect();
    let stores = |i: &[u8]| i[0] == STORE && i[1] & 15 == STACK && i[4..] == [0; 4];
    let apart = |a: &[u8], b: &[u8]| (i32::from(offset(a)) - i32::from(offset(b))).abs() >= 8;
    let pairs = instructions.windows(2).enumerate();
    pairs
        .filter(|(at, pair)| {
            stores(pair[0]) && stores(pair[1]) && apart(pair[0], pair[1]) && !targets.contains(&(at + 1))
        })
        .map(|(at, _)| at * LEN)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stores_that_do_not_meet_change_places() {
        let store = |register: u8, offset: i16| {
            let [low, high] = offset.to_le_bytes();
            [STORE, register << 4 | STACK, low, high, 0, 0, 0, 0]
        };
        let jump = |over: i16| {
            let [low, high] = over.to_le_bytes();
            [0x05, 0, low, high, 0, 0, 0, 0]
        };
        let program = |instructions: &[[u8; 8]]| instructions.concat();
        assert_eq!(swappable(&program(&[store(1, -8), store(2, -16)])), [0]);
        assert_eq!(swappable(&program(&[store(1, -8), store(2, -12)])), [] as [usize; 0], "they overlap");
        assert_eq!(swappable(&program(&[jump(1), store(1, -8), store(2, -16)])), [] as [usize; 0]);
        assert_eq!(swappable(&program(&[jump(0), store(1, -8), store(2, -16)])), [8]);
        let elsewhere = [STORE, 1 << 4 | 2, 0, 0, 0, 0, 0, 0];
        assert_eq!(swappable(&program(&[store(1, -8), elsewhere])), [] as [usize; 0], "not the stack");
    }
}
