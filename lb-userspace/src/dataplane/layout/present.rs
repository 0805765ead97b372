//! The layout of this version.

use super::{Layout, Old, array, hash};
use crate::{core::model::Found, dataplane::pins::PinDir, failure::Failure};
use lb_common::{
    abi::ABI,
    map::{
        TABLE,
        backend::{Backend, will},
        dialog::{BUCKET_SLOTS, Dialog, Evidence, State},
        load::Load,
        name,
        service::Listener,
        zone::{Members, Zone},
    },
};

/// The layout of this version.
pub const PRESENT: Layout =
    Layout { abi: ABI, maps: || TABLE.to_vec(), slots: BUCKET_SLOTS as usize, dialog, read };

/// The dialog in a slot of a bucket.
pub(super) fn dialog(bucket: &[u8], slot: usize) -> Option<Dialog> {
    let at = slot * size_of::<Dialog>();
    let slot = bucket.get(at..at + size_of::<Dialog>())?;
    let word = |index: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&slot[index * 8..index * 8 + 8]);
        u64::from_le_bytes(bytes)
    };
    let dialog = Dialog {
        call_key: word(0),
        service: word(1) as u32,
        peer: (word(1) >> 32) as u32,
        evidence: Evidence::from_word(word(2)),
        state: State::from_word(word(3)),
    };
    // With two generations it was read while a CPU wrote it: the next look sees the whole.
    let whole = dialog.evidence.generation == dialog.state.generation;
    (dialog.state.is_live() && whole).then_some(dialog)
}

fn read(pins: &PinDir) -> Result<Old, Failure> {
    let settings = array(pins, name::SETTINGS)?.into_iter().next().unwrap_or_default();
    let backends: Vec<Backend> = array(pins, name::BACKENDS)?;
    let listeners: Vec<Listener> = array(pins, name::LISTENERS)?;
    let zones: Vec<Zone> = array(pins, name::ZONES)?;
    let members: Vec<Members> = array(pins, name::ZONE_MEMBERS)?;
    let loads = |name| Ok::<Vec<(u16, Load)>, Failure>((0..).zip(array(pins, name)?).collect());
    Ok(Old {
        settings,
        found: Found {
            services: hash(pins, name::SERVICES)?,
            listeners: (0..).zip(listeners).collect(),
            backends: (0..).zip(backends).filter(|(_, b)| b.will != will::ABSENT).collect(),
            backend_addresses: hash(pins, name::BACKEND_ADDRESSES)?,
            zones: (0..)
                .zip(zones)
                .zip(members)
                .map(|((id, zone), members)| {
                    (id, zone, members.ids.into_iter().take(members.count as usize).collect())
                })
                .collect(),
            ..Found::default()
        },
        backend_loads: loads(name::BACKEND_LOADS)?,
        zone_loads: loads(name::ZONE_LOADS)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::map::dialog::Phase;

    fn bucket(slots: &[Dialog]) -> Vec<u8> {
        let word = |d: &Dialog| u64::from(d.service) | u64::from(d.peer) << 32;
        let words = slots.iter().flat_map(|d| [d.call_key, word(d), d.evidence.to_word(), d.state.to_word()]);
        words.flat_map(u64::to_le_bytes).collect()
    }

    fn of_phase(phase: u8, generation: u16, of_evidence: u16) -> Dialog {
        Dialog {
            call_key: 1 << 40 | 7,
            service: 3,
            peer: 0x8000_0004,
            evidence: Evidence { hash: 5, generation: of_evidence, _pad: 0 },
            state: State { backend: 6, phase, listener: 1, seen: 9, generation },
        }
    }

    #[test]
    fn a_slot_is_read_as_it_was_written() {
        for phase in (1..=8).map(|n| Phase::from_number(n).unwrap()) {
            let there = of_phase(phase as u8, 2, 2);
            let bytes = bucket(&[Dialog::default(), there, Dialog::default(), Dialog::default()]);
            assert_eq!(dialog(&bytes, 1), Some(there), "{phase:?}");
            assert_eq!(dialog(&bytes, 0), None);
        }
    }

    #[test]
    fn what_is_dead_claimed_or_torn_is_no_dialog() {
        for other in [of_phase(0, 2, 2), of_phase(Phase::Claimed as u8, 2, 2), of_phase(10, 2, 2)] {
            assert_eq!(dialog(&bucket(&[other]), 0), None);
        }
        assert_eq!(dialog(&bucket(&[of_phase(2, 3, 2)]), 0), None, "of two lives");
        assert_eq!(dialog(&bucket(&[of_phase(2, 3, 3)]), 1), None, "behind the end");
    }
}
