//! The object's own types are described, and nothing else makes this stumble.

use super::*;
use crate::dataplane::OBJECT;
use lb_common::map::{Kind, TABLE, name};
use proptest::prelude::*;
use std::sync::LazyLock;

static BTF: LazyLock<Vec<u8>> =
    LazyLock::new(|| aya_obj::Object::parse(OBJECT).unwrap().btf.unwrap().to_bytes());

#[test]
fn all_maps_of_the_object_are_described_as_they_are() {
    let description = describe(&BTF).unwrap();
    for spec in TABLE {
        // Those of other maps and of interfaces have no values of ours.
        if matches!(spec.kind, Kind::ArrayOfMaps | Kind::DevMapHash) {
            continue;
        }
        for (side, size) in [(Side::Key, spec.key_size), (Side::Value, spec.value_size)] {
            let shape = description.shape(spec.name, side);
            assert_eq!(shape.map(|s| s.size), Some(size as usize), "{} {side:?}", spec.name);
            assert!(!shape.unwrap().leaves.is_empty(), "{} {side:?}", spec.name);
        }
    }
    assert_eq!(Description::read(description.to_string().as_bytes()), Ok(description));
}

#[test]
fn fields_stand_where_they_stand() {
    let description = describe(&BTF).unwrap();
    let line = |map: &str, path: &str| {
        let shape = description.shape(map, Side::Value).unwrap();
        shape.leaves.iter().find(|leaf| leaf.path == path).map(|leaf| leaf.to_string())
    };
    assert_eq!(line(name::DIALOGS, "slots[].call_key").as_deref(), Some("slots[4*32].call_key 0 8"));
    assert_eq!(line(name::DIALOGS, "slots[].state.phase").as_deref(), Some("slots[4*32].state.phase 26 1"));
    assert_eq!(line(name::DIALOGS, "slots[].evidence._pad"), None);
    assert_eq!(line(name::SETTINGS, "abi").as_deref(), Some("abi 24 4"));
    assert_eq!(line(name::WRITE_ERRORS, "-").as_deref(), Some("- 0 8"));
    assert_eq!(
        line(name::BACKENDS, "next_hop.source_mac[]").as_deref(),
        Some("next_hop.source_mac[6*1] 32 1")
    );
}

/// BTF with types and strings, and what stands in its header of their lengths.
fn btf(types: &[u32], strings: &[u8], lengths: (u32, u32)) -> Vec<u8> {
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    let at = types.len() as u32 * 4;
    for word in [24, 0, lengths.0, at, lengths.1].iter().chain(types) {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(strings);
    bytes
}

/// A map `m` whose value is of type 1.
fn with_value(value: &[u32]) -> Result<Description, Unreadable> {
    // 1 m, 3 value, 9 .maps, 15 x, 17 _
    let strings = b"\0m\0value\0.maps\0x\0_\0";
    let mut types = value.to_vec();
    types.extend([0, 2 << 24, 1]);
    types.extend([0, 4 << 24 | 1, 8, 3, 2, 0]);
    types.extend([1, 14 << 24, 3, 1]);
    types.extend([9, 15 << 24 | 1, 0, 4, 0, 8]);
    describe(&btf(&types, strings, (types.len() as u32 * 4, strings.len() as u32)))
}

fn why(result: Result<Description, Unreadable>) -> String {
    result.map(|d| d.to_string()).unwrap_or_else(|e| e.to_string())
}

#[test]
fn numbers_are_described_and_nothing_else() {
    assert_eq!(why(with_value(&[0, 1 << 24, 8, 0])), "layout 1\nm value 8\n  - 0 8\n");
    assert_eq!(why(with_value(&[0, 6 << 24, 4])), "layout 1\nm value 4\n  - 0 4\n");
    // A number of 16 bytes, a union, fields without a name, of bits, and inside a byte, padding.
    let without_numbers: [&[u32]; 6] = [
        &[0, 1 << 24, 16, 0],
        &[0, 5 << 24 | 1, 16, 15, 1, 0],
        &[0, 4 << 24 | 1, 16, 0, 1, 0],
        &[0, 1 << 31 | 4 << 24 | 1, 16, 15, 1, 3 << 24],
        &[0, 4 << 24 | 1, 16, 15, 1, 4],
        &[0, 4 << 24 | 1, 16, 17, 1, 0],
    ];
    for value in without_numbers {
        assert_eq!(why(with_value(value)), "layout 1\nm value 16\n", "{value:?}");
    }
    // What has no size; an array, a typedef and a struct of itself; a type that is not there.
    let without_size: [&[u32]; 6] = [
        &[0, 2 << 24, 1],
        &[0, 7 << 24, 0],
        &[0, 3 << 24, 0, 1, 1, 2],
        &[0, 8 << 24, 1],
        &[0, 4 << 24 | 1, 8, 15, 1, 0],
        &[0, 8 << 24, 99],
    ];
    for value in without_size {
        assert!(why(with_value(value)).starts_with("the value of m: "), "{value:?}");
    }
}

#[test]
fn what_is_no_btf_is_refused() {
    let whole = btf(&[0, 1 << 24, 4, 0], b"\0", (16, 1));
    assert_eq!(why(describe(&whole)), "it declares no maps");
    for length in 0..24 {
        assert_eq!(why(describe(&whole[..length])), "it is shorter than its header");
    }
    for length in 24..whole.len() {
        assert_eq!(why(describe(&whole[..length])), "it is shorter than its header says");
    }
    assert_eq!(why(describe(&btf(&[0, 1 << 24, 4, 0], b"\0", (12, 1)))), "type 1 is broken");
    assert_eq!(why(describe(&btf(&[0, 31 << 24, 4, 0], b"\0", (16, 1)))), "type 1 is broken");
    assert_eq!(why(describe(&btf(&[], b"", (u32::MAX, u32::MAX)))), "it is shorter than its header says");
    let mut swapped = whole;
    swapped.swap(0, 1);
    assert!(why(describe(&swapped)).contains("byte order"));
}

proptest! {
    #[test]
    fn damaged_btf_is_described_or_refused(damage in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..20)) {
        let mut bytes = BTF.clone();
        for (at, byte) in damage {
            // Most of it in the header and the types; source lines come behind.
            let at = usize::from(at) % bytes.len().min(16_000);
            bytes[at] = byte;
        }
        let _ = describe(&bytes);
    }

    #[test]
    fn any_types_are_described_or_refused(words in proptest::collection::vec(0_u32..30, 0..60)) {
        let types: Vec<u32> = words.iter().enumerate().map(|(n, w)| if n % 3 == 1 { w << 24 | 1 } else { *w }).collect();
        let _ = with_value(&types);
        let _ = describe(&btf(&words, b"\0.maps\0key\0value\0", (words.len() as u32 * 4, 17)));
    }
}
