//! Random damage: whatever stands in a file, there is a configuration or a complaint, and no panic.

use super::parse;
use proptest::{collection::vec, prelude::*, sample::Index};

/// Every key there is. A daemon that is given `[api]` wants its files, so that stands here only.
const FILE: &str = concat!(
    include_str!("../../tests/whole.toml"),
    r#"[api]
listen = "198.51.100.1:9443"
token_file = "/etc/sipsteer/api.token"
read_token_file = "/etc/sipsteer/api-read.token"
certificate = "/etc/sipsteer/api.pem"
key = "/etc/sipsteer/api.key"
"#
);

/// Pieces that hurt.
const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "=",
    ".",
    ",",
    "{",
    "}",
    "#",
    "\n",
    "\r\n",
    "\r",
    "\\",
    "\0",
    "é",
    "\u{feff}",
    "\u{202e}",
    "0",
    "-1",
    "99999999999999999999",
    "1e400",
    "nan",
    "true",
    "[node]",
    "[[service]]",
    "[node.x]",
    "node = 1",
    "a.b.c = 1",
    "name = 'x'",
    "zones = []",
    "0.5",
    "[1, 2]",
    "{ zone = 'uk' }",
    "overflow = 'redirect'",
    "\u{1b}[31m",
];

/// One act of damage.
#[derive(Clone, Debug)]
enum Damage {
    Insert(Index, &'static str),
    Delete(Index, usize),
    SwapLines(Index, Index),
    RepeatLine(Index),
    DropLine(Index),
    Truncate(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    prop_oneof![
        (index(), prop::sample::select(PIECES)).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        (index(), 1_usize..12).prop_map(|(at, length)| Damage::Delete(at, length)),
        (index(), index()).prop_map(|(a, b)| Damage::SwapLines(a, b)),
        index().prop_map(Damage::RepeatLine),
        index().prop_map(Damage::DropLine),
        index().prop_map(Damage::Truncate),
    ]
}

fn damaged(text: &str, damage: &Damage) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let mut lines: Vec<&str> = text.lines().collect();
    if chars.is_empty() || lines.is_empty() {
        return text.to_owned();
    }
    match damage {
        Damage::Insert(at, piece) => {
            let at = at.index(chars.len());
            chars.splice(at..at, piece.chars());
        }
        Damage::Delete(at, length) => {
            let at = at.index(chars.len());
            chars.drain(at..(at + length).min(chars.len()));
        }
        Damage::Truncate(at) => chars.truncate(at.index(chars.len())),
        Damage::SwapLines(a, b) => {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
            return lines.join("\n");
        }
        Damage::RepeatLine(at) => {
            let at = at.index(lines.len());
            lines.insert(at, lines[at]);
            return lines.join("\n");
        }
        Damage::DropLine(at) => {
            lines.remove(at.index(lines.len()));
            return lines.join("\n");
        }
    }
    chars.into_iter().collect()
}

fn assert_config_or_complaints(text: &str) -> Result<(), TestCaseError> {
    let lines = text.matches('\n').count() + 1;
    let complaints = match parse(text, "f.toml") {
        Ok(loaded) => {
            prop_assert!(!loaded.warnings.refuse());
            loaded.warnings
        }
        Err(complaints) => {
            prop_assert!(complaints.refuse());
            complaints
        }
    };
    for complaint in &complaints.complaints {
        prop_assert!((1..=lines).contains(&complaint.line), "line {} of {lines}", complaint.line);
        prop_assert!(complaint.column >= 1);
    }
    let shown = complaints.render(false);
    prop_assert!(!shown.contains(['\u{1b}', '\0', '\u{202e}']), "{shown:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_read_or_complained_about(damages in vec(damage(), 1..6)) {
        let text = damages.iter().fold(FILE.to_owned(), |text, d| damaged(&text, d));
        assert_config_or_complaints(&text)?;
    }

    #[test]
    fn any_text_is_read_or_complained_about(text in ".{0,200}", pieces in vec(prop::sample::select(PIECES), 0..30)) {
        assert_config_or_complaints(&text)?;
        assert_config_or_complaints(&pieces.concat())?;
    }
}

#[test]
fn the_file_is_good_before_it_is_damaged() {
    assert!(parse(FILE, "f.toml").is_ok());
}
