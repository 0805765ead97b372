//! Where things are, and building them.

use anyhow::{Context, Result, ensure};
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// A cargo command at the root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Builds the daemon in this program's own profile and returns the binary. Its messages go to stderr.
pub(crate) fn daemon() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let folder = own.parent().context("this program lies in no folder")?;
    let mut command = cargo();
    command.args(["build", "--quiet", "-p", "sipsteer"]);
    if folder.file_name().is_some_and(|name| name == "release") {
        command.arg("--release");
    }
    let status = command.stdout(Stdio::null()).status().context("cannot run cargo")?;
    ensure!(status.success(), "sipsteer was not built");
    Ok(folder.join("sipsteer"))
}
