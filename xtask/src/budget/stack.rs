//! Stack of a program, read from its instructions: no kernel tells it.

use anyhow::{Context, Result};
use aya_obj::{Object, generated::bpf_insn};

const FRAME_POINTER: u8 = 10;
/// `dst = src`, 64 bit.
const MOVE: u8 = 0xbf;
/// `dst += imm`, 64 bit.
const ADD: u8 = 0x07;

/// Bytes of stack of the deepest function of an object.
pub(crate) fn deepest(object: &[u8]) -> Result<u64> {
    let object = Object::parse(object).context("the object cannot be read")?;
    object.functions.values().map(|f| depth(&f.instructions)).max().context("the object has no functions")
}

/// The lowest address below the frame pointer that instructions touch or compute. LLVM addresses the frame either
/// directly, or by a copy of the frame pointer to which it adds a constant at once.
fn depth(instructions: &[bpf_insn]) -> u64 {
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

    fn instruction(code: u8, target: u8, source: u8, off: i16, imm: i32) -> bpf_insn {
        let mut i = bpf_insn { code, _bitfield_align_1: [], _bitfield_1: bpf_insn::new_bitfield_1(0, 0), off, imm };
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
        assert_eq!(depth(&[]), 0);
        assert_eq!(depth(&[store]), 16);
        assert_eq!(depth(&[store, load]), 40);
        assert_eq!(depth(&[store, copy, add]), 72);
        // An ordinary subtraction from a register that holds no stack address.
        assert_eq!(depth(&[store, add]), 16);
    }
}
