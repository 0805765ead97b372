//! The text says what it was made of, and nothing else is taken for one.

use super::*;
use lb_common::map::name;
use proptest::prelude::*;

const TEXT: &str = "layout 1
DIALOGS value 128
  slots[4*32].call_key 0 8
  slots[4*32].tags[2*4].hash 16 4
SWEEP key 4
  - 0 4
";

fn read(text: &str) -> Result<Description, Broken> {
    Description::read(text.as_bytes())
}

#[test]
fn a_text_is_read_and_written() -> Result<(), Broken> {
    let description = read(TEXT)?;
    assert_eq!(description.to_string(), TEXT);
    let slots = description.shape(name::DIALOGS, Side::Value).unwrap();
    assert_eq!((slots.size, slots.leaves.len()), (128, 2));
    let tags = &slots.leaves[1];
    assert_eq!((tags.path.as_str(), tags.at, tags.size), ("slots[].tags[].hash", 16, 4));
    assert_eq!(tags.arrays, [Elements { count: 4, stride: 32 }, Elements { count: 2, stride: 4 }]);
    assert_eq!(description.shape(name::DIALOGS, Side::Key), None);
    assert_eq!(description.maps().collect::<Vec<_>>(), [name::DIALOGS]);
    let padded = [TEXT.as_bytes(), &[0; 40], b"whatever"].concat();
    assert_eq!(Description::read(&padded)?, description);
    Ok(())
}

#[test]
fn a_number_may_end_where_its_value_ends_and_not_behind() {
    let with = |line: &str| read(&format!("layout 1\nM value 32\n  {line}\n"));
    for good in ["a 28 4", "a[4*8] 0 8", "a[3*8] 8 8", "a[2*16].b[2*8] 0 8", "a[1*1] 31 1", "a[4*8] 4 4"] {
        assert!(with(good).is_ok(), "{good}");
    }
    let outside = ["a 29 4", "a[4*8] 1 8", "a[5*8] 0 8", "a[2*16].b[2*8] 1 8", "a[0*8] 0 8", "a[4*7] 0 8"];
    let huge = ["a 18446744073709551615 8", "a[18446744073709551615*8] 0 8", "a[2*8].b[2*8] 0 8"];
    for bad in outside.iter().chain(&huge) {
        assert_eq!(with(bad), Err(Broken { line: 3, why: "the number lies outside" }), "{bad}");
    }
    for bad in ["a 0 3", "a 0 16", "a 0", "a 0 4 4", " 0 4", "a[4] 0 4", "a[4*4 0 4", "a4*4] 0 4", "a -1 4"] {
        assert_eq!(with(bad), Err(Broken { line: 3, why: "this is no number's place" }), "{bad}");
    }
}

#[test]
fn what_is_no_description_is_told_by_its_line() {
    let why = |text: &str| read(text).map(|_| ()).map_err(|broken| (broken.line, broken.why));
    assert_eq!(why(""), Err((1, "it does not begin with `layout 1`")));
    assert_eq!(why("layout 2\n"), Err((1, "it does not begin with `layout 1`")));
    assert_eq!(why("layout 1\n"), Ok(()));
    assert_eq!(why("layout 1\n  a 0 4\n"), Err((2, "whose number is this?")));
    for bad in ["M", "M value", "M value x", "M side 4", " value 4", "../M value 4", "M value 4 4"] {
        assert_eq!(why(&format!("layout 1\n{bad}\n")), Err((2, "this names no key or value")), "{bad}");
    }
    assert_eq!(why("layout 1\nM value 4\nM value 4\n"), Err((3, "this is there twice")));
    assert_eq!(why("layout 1\nM value 4\n  a 0 4\n  a 0 4\n"), Err((4, "the number is there twice")));
    assert_eq!(Description::read(&[0xff, 0xfe]), Err(Broken { line: 1, why: "this is no text" }));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Description::read(&bytes);
    }

    #[test]
    fn what_is_taken_of_a_damaged_text_is_written_as_it_was_taken(
        at in 0..TEXT.len(), byte in any::<u8>(), cut in 0..TEXT.len()
    ) {
        let mut text = TEXT.as_bytes().to_vec();
        text[at] = byte;
        text.truncate(cut);
        if let Ok(description) = Description::read(&text) {
            prop_assert_eq!(Description::read(description.to_string().as_bytes()), Ok(description));
        }
    }
}
