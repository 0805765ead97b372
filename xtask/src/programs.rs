//! The programs of tests that cargo builds: what selects one for cargo, and where it runs.

use crate::workspace::cargo;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A program of tests: the unit tests of a crate, or a file of `tests`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// What cargo calls its target; a file of `tests` without `.rs`.
    pub(crate) name: String,
    /// What selects it for `cargo test`.
    pub(crate) selection: String,
    /// The file to run.
    pub(crate) executable: PathBuf,
    /// The root of its package. Cargo runs it there, and the tests rely on that.
    pub(crate) package: PathBuf,
}

impl Program {
    /// Runs all of its tests as `cargo test` would.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.package).env("CARGO_MANIFEST_DIR", &self.package);
        command
    }
}

/// Builds what `cargo test` with these arguments would run.
///
/// # Errors
/// When cargo does not build it; it has said why.
pub(crate) fn build(arguments: &[&str]) -> Result<Vec<Program>> {
    let mut command = cargo();
    command.args(["test", "--no-run", "--message-format", "json-render-diagnostics"]).args(arguments);
    let built = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(built.status.success(), "the tests were not built");
    let messages = String::from_utf8(built.stdout)?;
    Ok(messages.lines().filter_map(|line| program(&serde_json::from_str(line).ok()?)).collect())
}

/// The program of tests that a message of cargo is about, if it is about one.
fn program(message: &Value) -> Option<Program> {
    if message["profile"]["test"] != true {
        return None;
    }
    let (target, executable) = (&message["target"], message["executable"].as_str()?);
    let (name, kind) = (target["name"].as_str()?, target["kind"][0].as_str()?);
    let target = match kind {
        "test" | "bin" | "example" | "bench" => format!("--{kind} {name}"),
        _ => "--lib".to_owned(),
    };
    Some(Program {
        name: name.to_owned(),
        selection: format!("-p {} {target}", package_name(message["package_id"].as_str()?)),
        executable: executable.into(),
        package: Path::new(message["manifest_path"].as_str()?).parent()?.to_owned(),
    })
}

/// The name in a package id: `path+file:///folder#name@version`, or `path+file:///name#version` where the folder bears
/// the name.
fn package_name(id: &str) -> &str {
    let (location, rest) = id.rsplit_once('#').unwrap_or((id, ""));
    match rest.split_once('@') {
        Some((name, _)) => name,
        None => location.rsplit('/').next().unwrap_or(location),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(kind: &str, package: &str) -> Value {
        json!({
            "reason": "compiler-artifact", "package_id": package, "manifest_path": "/src/tests/Cargo.toml",
            "target": { "kind": [kind], "name": "scenario_life" }, "profile": { "test": true },
            "executable": "/target/debug/deps/scenario_life-0123"
        })
    }

    #[test]
    fn a_program_is_known_with_what_selects_it() {
        let built = program(&message("test", "path+file:///src/tests#lb-tests@0.1.0")).expect("a program");
        assert_eq!(built.selection, "-p lb-tests --test scenario_life");
        assert_eq!(built.package, Path::new("/src/tests"));
        assert_eq!(built.executable, Path::new("/target/debug/deps/scenario_life-0123"));
        let selection = |kind, id| program(&message(kind, id)).map(|p| p.selection);
        let id = "path+file:///src/lb-common#0.1.0";
        assert_eq!(selection("lib", id).as_deref(), Some("-p lb-common --lib"));
        assert_eq!(selection("bin", id).as_deref(), Some("-p lb-common --bin scenario_life"));
    }

    #[test]
    fn what_is_no_program_of_tests_is_none() {
        let id = "path+file:///src/tests#lb-tests@0.1.0";
        let mut daemon = message("bin", id);
        daemon["profile"]["test"] = json!(false);
        assert_eq!(program(&daemon), None);
        let mut library = message("lib", id);
        library["executable"] = Value::Null;
        assert_eq!(program(&library), None);
        assert_eq!(program(&json!({ "reason": "build-finished", "success": true })), None);
    }
}
