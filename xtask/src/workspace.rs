//! Where things are.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// A cargo command at the root.
pub(crate) fn cargo() -> Command {
    let mut command = lb_tests::command::cargo();
    command.current_dir(root());
    command
}

/// Where the collected messages are that some tests read.
pub(crate) fn corpus() -> PathBuf {
    let given = env::var_os("SIPSTEER_CORPUS").map(PathBuf::from);
    given.unwrap_or_else(|| root().join("../shared/corpus"))
}
