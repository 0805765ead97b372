//! `sipsteer completions`.

use super::{Cli, output::Output};
use crate::failure::Failure;
use clap::CommandFactory;

/// Print a script that completes commands in a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer completions bash > /usr/share/bash-completion/completions/sipsteer
  sipsteer completions zsh > ~/.zfunc/_sipsteer
  sipsteer completions fish > ~/.config/fish/completions/sipsteer.fish")]
pub(super) struct Arguments {
    /// The shell.
    shell: clap_complete::Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "sipsteer", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Output::new("script", &script.clone(), script)
}
