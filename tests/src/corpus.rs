//! Collected messages: the folder `SIPSTEER_CORPUS` with its `manifest.json`, and the messages of this project.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::{
    env, fs,
    io::{Write, stderr},
    path::{Path, PathBuf},
};

/// A message and what an independent parser, written in another language, found in it.
pub struct Message {
    /// Path below the corpus.
    pub file: String,
    /// The datagram.
    pub bytes: Vec<u8>,
    /// What it is: `request`, `response` or `garbage`.
    pub kind: String,
    /// A request's method.
    pub method: Option<String>,
    /// A response's status.
    pub status: Option<i64>,
    /// The first Call-ID header's value without white space around it, folds within it turned into a space.
    pub call_id: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Manifest {
    messages: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    file: String,
    size: usize,
    kind: String,
    method: Option<String>,
    status: Option<i64>,
    call_id_dgram: Option<Value>,
}

#[derive(Deserialize)]
struct Value {
    hex: String,
}

/// The messages that belong to this project: made for edge cases, see their names.
///
/// # Errors
/// If a file is missing or the manifest is damaged.
pub fn own() -> Result<Vec<Message>> {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"))
}

/// The messages collected from RFCs and other projects, which are not part of this repository. Where they are not there, `None`,
/// and says loudly that `test` is skipped.
///
/// # Errors
/// If the manifest is damaged, or if the folder is missing where `CI` is set to something other than `false`, 0 or nothing.
pub fn collected(test: &str) -> Result<Option<Vec<Message>>> {
    let folder = env::var_os("SIPSTEER_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"), PathBuf::from);
    if folder.join("manifest.json").exists() {
        return load(&folder).map(Some);
    }
    let reason =
        format!("no manifest.json in {}: set SIPSTEER_CORPUS to the folder of messages", folder.display());
    let ci = env::var("CI").unwrap_or_default();
    ensure!(
        matches!(ci.as_str(), "" | "0" | "false"),
        "{test} cannot run, and CI={ci} forbids skipping: {reason}"
    );
    // Not eprintln, which the test harness swallows.
    let _ = writeln!(stderr(), "SKIPPED {test}: {reason}");
    Ok(None)
}

fn load(folder: &Path) -> Result<Vec<Message>> {
    let manifest = folder.join("manifest.json");
    let text = fs::read(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let manifest: Manifest = serde_json::from_slice(&text).context("manifest.json is not as expected")?;
    manifest.messages.into_iter().map(|entry| entry.load(folder)).collect()
}

impl Entry {
    fn load(self, folder: &Path) -> Result<Message> {
        let bytes =
            fs::read(folder.join(&self.file)).with_context(|| format!("cannot read {}", self.file))?;
        ensure!(
            bytes.len() == self.size,
            "{} has {} bytes, the manifest says {}",
            self.file,
            bytes.len(),
            self.size
        );
        let call_id = self.call_id_dgram.map(|value| unhex(&value.hex)).transpose()?;
        let Entry { file, kind, method, status, .. } = self;
        Ok(Message { file, bytes, kind, method, status, call_id })
    }
}

fn unhex(hex: &str) -> Result<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).context("not ASCII"));
    digits.map(|pair| u8::from_str_radix(pair?, 16).context("not hexadecimal")).collect()
}
