//! Numbers find their places, and those that have none are told.

use super::*;
use crate::dataplane::layout::description::{Description, Side};
use proptest::prelude::*;

fn shape(size: usize, leaves: &[&str]) -> Shape {
    let lines: String = leaves.iter().map(|leaf| format!("  {leaf}\n")).collect();
    let text = format!("layout 1\nM value {size}\n{lines}");
    Description::read(text.as_bytes()).unwrap().shape("M", Side::Value).unwrap().clone()
}

fn translate(other: &Shape, own: &Shape, value: &[u8]) -> Result<Vec<u8>, NoRoom> {
    let mut bytes = vec![0xee; own.size];
    Translation::between(other, own).apply(value, &mut bytes).map(|()| bytes)
}

#[test]
fn numbers_move_to_where_their_names_stand() {
    let other = shape(12, &["new 0 4", "b 4 2", "in.a 8 4"]);
    let own = shape(8, &["in.a 0 4", "b 4 2", "c 6 2"]);
    let value = [9, 9, 9, 9, 5, 6, 9, 9, 1, 2, 3, 4];
    assert_eq!(translate(&other, &own, &value), Ok(vec![1, 2, 3, 4, 5, 6, 0, 0]));
    assert_eq!(Translation::between(&other, &own).missing(), ["c"]);
    assert_eq!(Translation::between(&own, &own).missing(), Vec::<String>::new());
}

#[test]
fn a_number_and_an_array_of_one_name_are_two_things() {
    let (number, array) = (shape(4, &["a 0 4"]), shape(4, &["a[1*4] 0 4"]));
    assert_eq!(Translation::between(&number, &array).missing(), ["a[]"]);
    assert_eq!(Translation::between(&array, &number).missing(), ["a"]);
}

#[test]
fn numbers_may_be_wider_or_narrower_as_long_as_they_fit() {
    let (narrow, wide) = (shape(2, &["a 0 2"]), shape(8, &["a 0 8"]));
    assert_eq!(translate(&narrow, &wide, &[1, 2]), Ok(vec![1, 2, 0, 0, 0, 0, 0, 0]));
    assert_eq!(translate(&wide, &narrow, &0xffff_u64.to_le_bytes()), Ok(vec![0xff, 0xff]));
    let refused = translate(&wide, &narrow, &0x1_0000_u64.to_le_bytes()).unwrap_err();
    assert_eq!(refused, NoRoom { path: "a".to_owned(), value: 0x1_0000 });
    assert_eq!(refused.to_string(), "a is 65536, for which this version has no room");
}

#[test]
fn arrays_may_be_longer_or_shorter_as_long_as_nothing_is_cut_off() {
    let (short, long) = (shape(4, &["x[2*2].a 0 1"]), shape(9, &["x[3*3].a 2 1"]));
    assert_eq!(translate(&short, &long, &[1, 9, 2, 9]), Ok(vec![0, 0, 1, 0, 0, 2, 0, 0, 0]));
    assert_eq!(translate(&long, &short, &[9, 9, 1, 9, 9, 2, 9, 9, 0]), Ok(vec![1, 0, 2, 0]));
    let refused = translate(&long, &short, &[9, 9, 1, 9, 9, 2, 9, 9, 3]);
    assert_eq!(refused, Err(NoRoom { path: "x[].a".to_owned(), value: 3 }));
}

#[test]
fn what_stays_where_it_is_is_copied_in_one_piece() {
    let own = shape(32, &["a 0 8", "b[4*2] 8 2", "c 16 8", "d 24 8"]);
    assert_eq!(Translation::between(&own, &own).runs, [Run { from: 0, to: 0, length: 32 }]);
}

/// Names of numbers in this order, with these sizes, and gaps before them.
fn laid_out(numbers: &[(usize, usize, usize)]) -> Shape {
    let mut at = 0;
    let mut leaves = Vec::new();
    for (name, size, gap) in numbers {
        at += gap;
        leaves.push(format!("n{name} {at} {size}"));
        at += size;
    }
    shape(at, &leaves.iter().map(String::as_str).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn there_and_back_nothing_is_lost(
        sizes in proptest::collection::vec((0_usize..4, 0_usize..3), 1..12),
        order in any::<u64>(),
        value in proptest::collection::vec(any::<u8>(), 200),
    ) {
        let numbers: Vec<_> = sizes.iter().enumerate().map(|(n, (s, gap))| (n, 1 << s, *gap)).collect();
        let mut others: Vec<_> = numbers.iter().map(|(n, size, gap)| (*n, (size * 2).min(8), gap + 1)).collect();
        others.sort_by_key(|(n, ..)| order.rotate_left(*n as u32 * 7));
        let (own, other) = (laid_out(&numbers), laid_out(&others));
        let there = translate(&own, &other, &value[..own.size]).unwrap();
        let back = translate(&other, &own, &there).unwrap();
        for leaf in &own.leaves {
            prop_assert_eq!(&back[leaf.at..leaf.at + leaf.size], &value[leaf.at..leaf.at + leaf.size]);
        }
    }

    #[test]
    fn any_value_of_any_length_is_translated_or_refused(value in proptest::collection::vec(any::<u8>(), 0..40)) {
        let other = shape(24, &["a 0 8", "x[3*4] 8 4"]);
        let own = shape(9, &["a 0 1", "x[2*4] 1 4"]);
        let _ = translate(&other, &own, &value);
    }
}
