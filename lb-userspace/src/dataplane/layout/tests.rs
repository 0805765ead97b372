//! Descriptions of other versions, good ones and those that lack something.

use super::*;
use lb_common::map::dialog::{BUCKET_SLOTS, Evidence, Phase, State};

fn described(text: &str) -> Result<Layout, String> {
    Layout::new(ABI + 1, Description::read(text.as_bytes()).map_err(|e| e.to_string())?)
}

fn own_text() -> String {
    own().unwrap().to_string()
}

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
fn this_version_reads_itself() {
    let layout = described(&own_text()).unwrap();
    assert_eq!((layout.slots(), layout.maps_of_its_own().count()), (BUCKET_SLOTS as usize, 0));
    for phase in (1..=8).map(|n| Phase::from_number(n).unwrap()) {
        let there = of_phase(phase as u8, 2, 2);
        let bytes = bucket(&[Dialog::default(), there, Dialog::default(), Dialog::default()]);
        assert_eq!(layout.dialog(&bytes, 1), Some(there), "{phase:?}");
        assert_eq!(layout.dialog(&bytes, 0), None);
    }
}

#[test]
fn what_is_dead_claimed_or_torn_is_no_dialog() {
    let layout = described(&own_text()).unwrap();
    for other in [of_phase(0, 2, 2), of_phase(Phase::Claimed as u8, 2, 2), of_phase(10, 2, 2)] {
        assert_eq!(layout.dialog(&bucket(&[other; 4]), 0), None);
    }
    assert_eq!(layout.dialog(&bucket(&[of_phase(2, 3, 2); 4]), 0), None, "of two lives");
    let whole = bucket(&[of_phase(2, 3, 3); 4]);
    assert!(layout.dialog(&whole, 3).is_some());
    for slot in [4, usize::MAX] {
        assert_eq!(layout.dialog(&whole, slot), None, "behind the end");
    }
    assert_eq!(layout.dialog(&whole[..32], 1), None, "behind the end of what was read");
}

/// The text with the numbers of a key or value exchanged for others.
fn exchanged(text: &str, heading: &str, with: &str) -> String {
    let (before, rest) = text.split_once(&format!("{heading} ")).unwrap();
    let end = rest.lines().skip(1).take_while(|line| line.starts_with("  ")).count() + 1;
    let after: String = rest.lines().skip(end).map(|line| format!("{line}\n")).collect();
    format!("{before}{with}{after}")
}

#[test]
fn dialogs_that_lie_otherwise_are_read() {
    let other = "DIALOGS value 120
  slots[3*40].new 0 8
  slots[3*40].state.phase 8 1
  slots[3*40].state.generation 10 2
  slots[3*40].state.backend 12 4
  slots[3*40].state.seen 16 2
  slots[3*40].state.listener 18 1
  slots[3*40].evidence.hash 20 4
  slots[3*40].evidence.generation 24 2
  slots[3*40].peer 28 4
  slots[3*40].call_key 32 8
";
    let text = exchanged(&own_text(), "DIALOGS value", other);
    assert_eq!(described(&text).unwrap_err(), "their DIALOGS has no service");
    let text = text.replace("  slots[3*40].new 0 8\n", "  slots[3*40].new 0 2\n  slots[3*40].service 4 4\n");
    let layout = described(&text).unwrap();
    assert_eq!(layout.slots(), 3);
    let mut value = vec![0; 120];
    let put = |value: &mut [u8], backend: u32| {
        for (at, bytes) in
            [(0, &[7, 7, 0, 0][..]), (4, &[3]), (8, &[2, 0, 5, 0]), (12, &backend.to_le_bytes())]
        {
            value[at..at + bytes.len()].copy_from_slice(bytes);
        }
        for (at, bytes) in
            [(16, &[9, 0, 1, 0, 5, 0, 0, 0, 5, 0][..]), (28, &[4, 0, 0, 0x80]), (32, &[7, 0, 0, 0, 0, 1])]
        {
            value[at..at + bytes.len()].copy_from_slice(bytes);
        }
    };
    put(&mut value[80..], 6);
    let expected = of_phase(Phase::Answered as u8, 5, 5);
    assert_eq!([0, 1, 2, 3].map(|slot| layout.dialog(&value, slot)), [None, None, Some(expected), None]);
    // An id for which there is no room is that of no backend here.
    put(&mut value[80..], 0x1_0006);
    assert_eq!(layout.dialog(&value, 2), None);
}

#[test]
fn every_number_of_a_dialog_is_needed() {
    let text = own_text();
    let slots = text.lines().filter(|line| line.starts_with("  slots[4*32]"));
    assert_eq!(slots.clone().count(), 10);
    for line in slots {
        let path = line.split_once("].").unwrap().1.split(' ').next().unwrap();
        let why = described(&text.replace(line, "  slots[4*32].other 0 1")).unwrap_err();
        assert_eq!(why, format!("their DIALOGS has no {path}"));
    }
    let other = "DIALOGS value 128\n  places[4*32].call_key 0 8\n";
    assert_eq!(
        described(&exchanged(&text, "DIALOGS value", other)).unwrap_err(),
        "their DIALOGS has no slots[]"
    );
    let apart = text.replace("  slots[4*32].peer 12 4", "  slots[3*32].peer 12 4");
    assert_eq!(described(&apart).unwrap_err(), "the slots of their DIALOGS are not of one kind");
}

#[test]
fn some_numbers_of_other_maps_are_needed_and_some_are_not() {
    let text = own_text();
    let without = |line: &str| {
        assert_eq!(text.matches(line).count(), 1, "{line}");
        described(&text.replace(line, "")).map(drop)
    };
    assert_eq!(without("  tick_shift 28 4\n"), Err("their SETTINGS has no tick_shift".to_owned()));
    assert_eq!(without("  hash_key.k1 8 8\n"), Err("their SETTINGS has no hash_key.k1".to_owned()));
    assert_eq!(without("  readable_from 68 4\n"), Ok(()));
    assert_eq!(without("  limits.max_cps 48 4\n"), Ok(()));
    assert_eq!(without("  health 19 1\n"), Ok(()));
    // Of keys all are.
    for map in [name::SERVICES, name::BACKEND_ADDRESSES] {
        let other = format!("{map} key 20\n  address[16*1] 0 1\n  port 16 2\n");
        let why = described(&exchanged(&text, &format!("{map} key"), &other)).unwrap_err();
        assert_eq!(why, format!("their {map} has no transport"));
    }
    let why = described(&text.replace("ZONE_MEMBERS value", "MEMBERS value")).unwrap_err();
    assert_eq!(why, "they have no description of the value of ZONE_MEMBERS");
}

#[test]
fn maps_that_only_the_other_has_are_known_by_name() {
    let text = own_text() + "NEWER key 4\n  - 0 4\nNEWER value 8\n  - 0 8\n";
    assert_eq!(described(&text).unwrap().maps_of_its_own().collect::<Vec<_>>(), ["NEWER"]);
}

#[test]
fn abi_3_is_read() {
    let layout = described(ABI_3).unwrap();
    assert_eq!((layout.slots(), layout.maps_of_its_own().count()), (4, 0));
}

#[test]
fn the_description_leaves_room_for_more() {
    assert!(own_text().len() < TEXT_LEN * 3 / 4, "{}", own_text().len());
}

#[test]
fn numbers_that_are_not_read_are_told_with_those_that_would_be() {
    let why = |abi, readable_from| unreadable_numbers(Numbers { abi, readable_from });
    assert_eq!(why(1000, 0), "versions of ABI 1000 alone read them");
    assert_eq!(why(1000, 5), "versions of ABI 5 or higher read them");
    assert_eq!(why(2, 0), "this version reads layouts of ABI 3 or higher");
}
