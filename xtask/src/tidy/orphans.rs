//! Rust files that no module names: they are not compiled, so nothing in them is true.

use super::{Complaint, Source};
use std::collections::HashMap;

/// Files that cargo or a `#[path]` finds without a `mod`.
const ROOTS: [&str; 3] = ["lib.rs", "main.rs", "build.rs"];

/// Every orphan.
pub(super) fn check(files: &[Source]) -> Vec<Complaint> {
    let texts: HashMap<&str, &str> =
        files.iter().filter(|f| f.is_rust()).map(|f| (f.path.as_str(), f.text.as_str())).collect();
    let manifests: Vec<&Source> = files.iter().filter(|f| f.path.ends_with("Cargo.toml")).collect();
    let orphans = files.iter().filter(|f| {
        f.is_rust()
            && !is_root(&f.path)
            && !is_target(&f.path, &manifests)
            && !is_named(&f.path, &texts, &manifests)
    });
    orphans.map(|f| f.complaint(1, "no `mod` names this file: name it, or remove it")).collect()
}

/// The root of a crate, a test, a benchmark or an example.
fn is_root(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let target = ["tests", "benches", "examples", "bin", "fuzz_targets"]
        .iter()
        .any(|kind| folder.ends_with(&format!("/{kind}")));
    ROOTS.contains(&name) || target
}

/// Whether the manifest of its crate names it.
fn is_target(path: &str, manifests: &[&Source]) -> bool {
    manifests.iter().any(|manifest| {
        let crate_folder = manifest.path.trim_end_matches("Cargo.toml");
        path.strip_prefix(crate_folder)
            .is_some_and(|own| manifest.text.contains(&format!("path = \"{own}\"")))
    })
}

fn is_named(path: &str, texts: &HashMap<&str, &str>, manifests: &[&Source]) -> bool {
    let (mut folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut module = name.trim_end_matches(".rs");
    if module == "mod" {
        (folder, module) = folder.rsplit_once('/').unwrap_or(("", folder));
    }
    let (above, last) = folder.rsplit_once('/').unwrap_or(("", folder));
    let mut parents: Vec<String> =
        ["lib.rs", "main.rs", "mod.rs"].iter().map(|n| format!("{folder}/{n}")).collect();
    parents.push(format!("{above}/{last}.rs"));
    let declares = |text: &str| text.lines().any(|line| declared(line) == Some(module));
    let by_parent =
        parents.iter().any(|parent| texts.get(parent.as_str()).is_some_and(|text| declares(text)));
    // Tests that share a module, and modules with a path of their own.
    let by_path = texts.values().any(|text| {
        text.lines()
            .any(|line| line.trim_start().starts_with("#[path") && line.contains(&format!("{module}.rs\"")))
    });
    let by_root = texts.iter().any(|(root, text)| {
        (is_root(root) || is_target(root, manifests))
            && root.starts_with(&format!("{folder}/"))
            && declares(text)
    });
    by_parent || by_path || by_root
}

/// The module that a line like `pub(crate) mod name;` declares.
fn declared(line: &str) -> Option<&str> {
    let line = line.trim().strip_suffix(';')?;
    let (before, name) = line.rsplit_once("mod ")?;
    (before.is_empty() || before.starts_with("pub") || before.ends_with("] ")).then_some(name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_nothing_names_are_orphans() {
        let file = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
        let files = [
            file("a/src/lib.rs", "pub mod one;\nmod two;\n"),
            file("a/src/one.rs", ""),
            file("a/src/two/mod.rs", "pub(crate) mod deep;\n#[path = \"elsewhere.rs\"]\nmod b;\n"),
            file("a/src/two/deep.rs", ""),
            file("a/src/two/lost.rs", ""),
            file("a/src/elsewhere.rs", ""),
            file("a/tests/story.rs", "mod common;\n"),
            file("a/tests/common/mod.rs", ""),
            file("a/src/three.rs", "// mod three;\n"),
            file("a/Cargo.toml", "[[bin]]\npath = \"src/four.rs\"\n"),
            file("a/src/four.rs", ""),
        ];
        let orphans: Vec<String> = check(&files).iter().map(|c| c.path.clone()).collect();
        assert_eq!(orphans, ["a/src/two/lost.rs", "a/src/three.rs"]);
    }
}
