//! Rules that look at the text of one file.

use super::{Complaint, Source};
use lb_common::map::TABLE;

/// Longest Rust file, in lines.
const FILE_LINES: usize = 500;
/// Longest function, in lines: a screen and a half.
const FUNCTION_LINES: usize = 80;
/// Longest line of anything people read.
const LINE_WIDTH: usize = 130;

/// The files that may hold unsafe code.
const DOORS: [&str; 6] = [
    "lb-ebpf/src/packet.rs",
    "lb-ebpf/src/maps.rs",
    "lb-ebpf/src/maps/capacity.rs",
    "lb-ebpf/src/maps/scratch.rs",
    "lb-common/src/map/pod.rs",
    "lb-userspace/src/dataplane/sys.rs",
];

/// Files that may give their functions names for the linker, which counts as unsafe, but hold no unsafe code.
const NAMERS: [&str; 2] = ["lb-ebpf/src/apart.rs", "lb-ebpf/src/racing.rs"];

/// What marks unfinished work. Split, so that this file does not complain about itself.
const UNFINISHED: [&str; 3] = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];

/// Paths that exist on one machine only.
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];

/// Everything wrong with one file.
pub(super) fn check(file: &Source) -> Vec<Complaint> {
    // Written by cargo, or by lawyers.
    if file.path.ends_with("Cargo.lock") || file.path.starts_with("LICENSE") {
        return Vec::new();
    }
    let mut complaints = words(file);
    if file.is_rust() {
        complaints.extend(head(file));
        complaints.extend(length(file));
        complaints.extend(functions(file));
        complaints.extend(unsafety(file));
        complaints.extend(map_names(file));
    }
    complaints
}

fn words(file: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (number, line) in file.lines() {
        for word in UNFINISHED.iter().filter(|word| line.contains(*word)) {
            complaints.push(file.complaint(number, format!("{word}: do it, or open an issue")));
        }
        for path in MACHINE_PATHS.iter().filter(|path| line.contains(*path)) {
            complaints.push(file.complaint(number, format!("{path} exists on one machine only")));
        }
        if file.is_rust() && line.chars().count() > LINE_WIDTH {
            complaints.push(file.complaint(number, format!("longer than {LINE_WIDTH} characters: break it")));
        }
        if file.is_rust() && line.trim_start().starts_with("#[ignore") {
            complaints.push(file.complaint(number, "a test that never runs: make it run, or remove it"));
        }
    }
    complaints
}

fn head(file: &Source) -> Option<Complaint> {
    let first = file.text.lines().next().unwrap_or_default();
    (!first.starts_with("//!")).then(|| file.complaint(1, "does not say what it is for: begin with //!"))
}

fn length(file: &Source) -> Option<Complaint> {
    let lines = file.text.lines().count();
    (lines > FILE_LINES)
        .then(|| file.complaint(lines, format!("more than {FILE_LINES} lines: give a part its own file")))
}

/// Relies on rustfmt: a function ends at the first closing brace with its own indentation.
fn functions(file: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut open: Option<(usize, &str)> = None;
    for (number, line) in file.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        match open {
            None if begins_function(line.trim_start()) && !line.ends_with([';', '}']) => {
                open = Some((number, indent));
            }
            Some((start, own)) if indent == own && matches!(line.trim_start(), "}" | "};") => {
                if number - start >= FUNCTION_LINES {
                    let what = format!("a function of more than {FUNCTION_LINES} lines: name a part of it");
                    complaints.push(file.complaint(start, what));
                }
                open = None;
            }
            // A declaration in a trait that rustfmt broke over lines.
            Some((_, own)) if indent == own && line.trim_end().ends_with(';') => open = None,
            _ => {}
        }
    }
    complaints
}

fn begins_function(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| {
        matches!(*word, "pub" | "const" | "async" | "unsafe" | "extern" | "\"C\"") || word.starts_with("pub(")
    });
    words.next() == Some("fn")
}

fn unsafety(file: &Source) -> Vec<Complaint> {
    if DOORS.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let mut forms = vec!["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"];
    if !NAMERS.contains(&file.path.as_str()) {
        forms.push("unsafe_code");
    }
    let opens = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        forms.iter().any(|form| code.contains(form) && !code.contains(&format!("\"{form}")))
    };
    let lines = file.lines().filter(|(_, line)| opens(line));
    lines.map(|(n, _)| file.complaint(n, format!("unsafe code belongs into {}", DOORS.join(", ")))).collect()
}

fn map_names(file: &Source) -> Vec<Complaint> {
    // Where they are defined, and where the headings of tables look the same.
    if ["lb-common/src/map/", "lb-userspace/src/cli/"].iter().any(|room| file.path.starts_with(room)) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (number, line) in file.lines() {
        for map in TABLE.iter().filter(|map| line.contains(&format!("\"{}\"", map.name))) {
            complaints
                .push(file.complaint(number, format!("use lb_common::map::name::{} for the name", map.name)));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<String> {
        check(&Source { path: path.into(), text: text.into() }).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_rule_finds_its_sin_and_spares_its_neighbour() {
        let long_function = format!("//! x\nfn f() {{\n{}}}\n", "    a();\n".repeat(FUNCTION_LINES));
        let two_functions =
            format!("//! x\n{}", format!("fn f() {{\n{}}}\n", "    a();\n".repeat(50)).repeat(2));
        let door = format!("//! x\nlet a = {} {{ b }};\n", "unsafe");
        let name = format!("//! x\nf(\"{}\");\n", TABLE[0].name);
        for (path, text, sins) in [
            ("a.rs", "//! Fine.\n", 0),
            ("a.rs", "fn f() {}\n", 1),
            ("a.rs", &"//! x\n".repeat(FILE_LINES + 1), 1),
            ("a.rs", &"//! x\n".repeat(FILE_LINES), 0),
            ("a.rs", &long_function, 1),
            ("a.rs", &two_functions, 0),
            ("a.md", &format!("later: {}\n", UNFINISHED[0]), 1),
            ("a.sh", &format!("cd {}x\n", MACHINE_PATHS[0]), 1),
            ("a.rs", &door, 1),
            (DOORS[0], &door, 0),
            ("a.rs", "//! x\n// unsafe { in a comment }\n", 0),
            ("a.rs", &name, 1),
            ("lb-common/src/map/mod.rs", &name, 0),
            (NAMERS[0], &door, 1),
            (NAMERS[0], &format!("//! x\n#![allow({}_code)]\n", "unsafe"), 0),
            ("a.rs", &format!("//! x\n#![allow({}_code)]\n", "unsafe"), 1),
            ("a.rs", &format!("//! {}\n", "x".repeat(LINE_WIDTH)), 1),
            ("LICENSE-MIT", UNFINISHED[0], 0),
        ] {
            let found = complaints(path, text);
            assert_eq!(found.len(), sins, "{path} {text:?}: {found:?}");
        }
    }
}
