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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;
    use std::collections::BTreeSet;

    /// The dependencies of a selection, each with its features.
    fn dependencies(selection: &[&str]) -> Result<BTreeSet<String>> {
        let tree = ["tree", "--locked", "--prefix", "none", "--format", "{p} {f}"];
        let text = lb_tests::command::run(cargo().args(tree).args(selection))?;
        // A mark says that what is below stands elsewhere.
        Ok(text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect())
    }

    #[test]
    fn nothing_is_built_again_with_other_features() -> Result<()> {
        let tests = dependencies(&["--workspace"])?;
        let built = ["--edges", "normal,build"];
        for packages in
            [["-p", "xtask"].as_slice(), &["-p", "sipsteer", "-p", "lb-tests"], &["-p", "lb-tests"]]
        {
            let ours = dependencies(&[packages, &built].concat())?;
            let again: Vec<_> = ours.difference(&tests).collect();
            assert!(
                again.is_empty(),
                "{packages:?} and the workspace's tests build these with different features, so they and all above them are \
                 built twice; what asks for more in dev-dependencies belongs to lb-tests: {again:#?}"
            );
        }
        Ok(())
    }
}
