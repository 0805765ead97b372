//! What each command asks of the daemon, and which commands ask nothing: what the CLI does, the API does.

/// How a command gets its work done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// Method and path of the API.
    Route(&'static str, &'static str),
    /// It works on this host without a daemon; why.
    Here(&'static str),
}

use Means::{Here, Route};

/// Every command.
const COMMANDS: &[(&str, Means)] = &[
    ("run", Here("it is the daemon")),
    ("init", Here("it writes a file on this host")),
    ("check", Here("it looks at a file on this host; `reload --dry-run` has the daemon look at its own")),
    ("reload", Route("post", "/v1/reload")),
    ("confirm", Route("post", "/v1/confirm")),
    ("undo", Route("post", "/v1/undo")),
    ("status", Route("get", "/v1/status")),
    ("backend-list", Route("get", "/v1/backends")),
    ("backend-show", Route("get", "/v1/backends/{name}")),
    ("backend-drain", Route("post", "/v1/change")),
    ("backend-enable", Route("post", "/v1/change")),
    ("backend-disable", Route("post", "/v1/change")),
    ("backend-limit", Route("post", "/v1/change")),
    ("backend-weight", Route("post", "/v1/change")),
    ("zone-list", Route("get", "/v1/zones")),
    ("zone-disable", Route("post", "/v1/change")),
    ("zone-enable", Route("post", "/v1/change")),
    ("service-list", Route("get", "/v1/services")),
    ("dialog-show", Route("get", "/v1/dialogs/{call_id}")),
    ("counters", Route("get", "/v1/counters")),
    ("detach", Here("it takes the program off when no daemon runs")),
    ("schema", Here("it prints what this version says; /v1/openapi.json is the daemon's")),
    ("completions", Here("it prints a script for this host's shell")),
];

/// Why a command does not ask a daemon; `None`: it does.
pub(super) fn stays_here(command: &str) -> Option<&'static str> {
    COMMANDS.iter().find_map(|(name, means)| match means {
        Here(why) if *name == command => Some(*why),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::Cli, control::openapi};
    use clap::CommandFactory;

    /// Names of all commands without commands below them, as `schema` in documents has them.
    fn commands(above: &str, command: &clap::Command) -> Vec<String> {
        let below = command.get_subcommands().flat_map(|below| {
            let name = if above.is_empty() {
                below.get_name().to_owned()
            } else {
                format!("{above}-{}", below.get_name())
            };
            if below.has_subcommands() { commands(&name, below) } else { vec![name] }
        });
        below.collect()
    }

    #[test]
    fn every_command_has_a_route_or_a_reason() {
        let listed: Vec<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
        assert_eq!(commands("", &Cli::command()), listed, "give the command its line in COMMANDS");
    }

    #[test]
    fn every_route_of_a_command_is_one_of_the_api() {
        let document = openapi::document();
        for (name, means) in COMMANDS {
            match means {
                Route(method, path) => {
                    assert!(document["paths"][path][method].is_object(), "{name}: {method} {path}");
                    assert_eq!(stays_here(name), None);
                }
                Here(why) => assert_eq!(stays_here(name), Some(*why)),
            }
        }
    }
}
