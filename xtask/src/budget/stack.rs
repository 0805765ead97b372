//! Stack of a program, read from its instructions: no kernel tells it.
//!
//! The kernel adds up the frames along every chain of calls, each rounded up, and refuses more than 512 bytes.

use anyhow::{Context, Result};
use aya_obj::{Object, generated::bpf_insn};
use std::collections::{BTreeMap, BTreeSet};

/// What the kernel rounds a frame up to (6.1: 32 bytes, newer ones 16 or 32).
const ROUNDED: u64 = 32;
const FRAME_POINTER: u8 = 10;
/// `dst = src`, 64 bit.
const MOVE: u8 = 0xbf;
/// `dst += imm`, 64 bit.
const ADD: u8 = 0x07;
/// A call; of a function of the program when the source is 1.
const CALL: u8 = 0x85;
/// A 64-bit constant; the address of a function of the program when the source is 4.
const CONSTANT: u8 = 0x18;

/// The program with the deepest chain of calls, and its bytes of stack.
pub(super) fn deepest(object: &[u8]) -> Result<(String, u64)> {
    let mut object = Object::parse(object).context("the object cannot be read")?;
    let sections = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_calls(&sections).context("the calls of the object cannot be resolved")?;
    let programs = object.programs.iter().filter_map(|(name, program)| {
        let function = object.functions.get(&program.function_key())?;
        Some((name.clone(), chain(&function.instructions)))
    });
    programs.max_by_key(|(_, depth)| *depth).context("the object has no programs")
}

/// Bytes of the deepest chain of calls in a linked program, which begins at its first instruction.
fn chain(program: &[bpf_insn]) -> u64 {
    let callees = |range: &[bpf_insn], start: usize| -> BTreeSet<usize> {
        let target = |(at, i): (usize, &bpf_insn)| {
            let calls = matches!((i.code, i.src_reg()), (CALL, 1) | (CONSTANT, 4));
            calls.then(|| (start + at + 1).checked_add_signed(i.imm as isize)).flatten()
        };
        range.iter().enumerate().filter_map(target).collect()
    };
    let mut starts = callees(program, 0);
    starts.insert(0);
    let ends = starts.iter().skip(1).copied().chain([program.len()]);
    // From the last function to the first; what a call needs is known unless it goes back, so look until nothing changes.
    let functions: Vec<(usize, &[bpf_insn])> = starts
        .iter()
        .copied()
        .zip(ends)
        .filter_map(|(start, end)| Some((start, program.get(start..end)?)))
        .collect();
    let mut depths: BTreeMap<usize, u64> = BTreeMap::new();
    for _ in 0..functions.len() {
        for (start, instructions) in &functions {
            let below = callees(instructions, *start).iter().filter_map(|c| depths.get(c).copied()).max();
            depths.insert(*start, frame(instructions).max(1).next_multiple_of(ROUNDED) + below.unwrap_or(0));
        }
    }
    depths.get(&0).copied().unwrap_or(0)
}

/// The lowest address below the frame pointer that a function touches or computes. LLVM addresses the frame either
/// directly, or by a copy of the frame pointer to which it adds a constant at once.
fn frame(instructions: &[bpf_insn]) -> u64 {
    let mut lowest = 0_i64;
    let mut copy: Option<u8> = None;
    for instruction in instructions {
        let (target, source) = (instruction.dst_reg(), instruction.src_reg());
        match instruction.code & 0x07 {
            // Loads address by their source, stores by their target.
            1 if source == FRAME_POINTER => lowest = lowest.min(instruction.off.into()),
            2 | 3 if target == FRAME_POINTER => lowest = lowest.min(instruction.off.into()),
            _ => {}
        }
        if instruction.code == ADD && copy == Some(target) {
            lowest = lowest.min(instruction.imm.into());
        }
        copy = (instruction.code == MOVE && source == FRAME_POINTER).then_some(target);
    }
    lowest.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT: u8 = 0x95;

    fn instruction(code: u8, target: u8, source: u8, off: i16, imm: i32) -> bpf_insn {
        let mut i =
            bpf_insn { code, _bitfield_align_1: [], _bitfield_1: bpf_insn::new_bitfield_1(0, 0), off, imm };
        i.set_dst_reg(target);
        i.set_src_reg(source);
        i
    }

    #[test]
    fn accesses_and_computed_addresses_count() {
        let store = instruction(0x7b, FRAME_POINTER, 1, -16, 0);
        let load = instruction(0x79, 1, FRAME_POINTER, -40, 0);
        let copy = instruction(MOVE, 2, FRAME_POINTER, 0, 0);
        let add = instruction(ADD, 2, 0, 0, -72);
        assert_eq!(frame(&[]), 0);
        assert_eq!(frame(&[store]), 16);
        assert_eq!(frame(&[store, load]), 40);
        assert_eq!(frame(&[store, copy, add]), 72);
        // An ordinary subtraction from a register that holds no stack address.
        assert_eq!(frame(&[store, add]), 16);
    }

    #[test]
    fn frames_add_up_along_calls_and_not_beside_them() {
        let store = |off| instruction(0x7b, FRAME_POINTER, 1, off, 0);
        let call = |imm| instruction(CALL, 0, 1, 0, imm);
        let exit = instruction(EXIT, 0, 0, 0, 0);
        // 0: first, calls 4 and 6. 4: second. 6: third.
        let program = [store(-40), call(2), call(3), exit, store(-96), exit, store(-128), exit];
        assert_eq!(chain(&program), 64 + 128);
        // 0: first, calls 2, which calls 4.
        let program = [call(1), exit, call(1), exit, store(-8), exit];
        assert_eq!(chain(&program), 32 + 32 + 32);
    }

    #[test]
    fn the_object_itself_can_be_read() -> Result<()> {
        let (program, bytes) = deepest(sipsteer::dataplane::OBJECT)?;
        assert!(bytes > 0, "{program}");
        Ok(())
    }
}
