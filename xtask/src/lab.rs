//! `cargo xtask lab`: the demo's network to look around in.

use crate::demo::Mode;
use anyhow::{Result, anyhow, ensure};
use clap::Args;
use lb_tests::{
    capability,
    daemon::{Config, Node},
    sipp::{Server, scenario::Scenario},
    topology::Lab,
};
use std::{thread, time::Duration};

/// What to wire.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How packets get to the backends
    #[arg(long, value_enum, default_value_t = Mode::Nat)]
    forwarding: Mode,
    /// Number of backends
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=200))]
    backends: u8,
    /// End after this many minutes
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

/// Wires the network, starts everybody in it, says how to use it, and waits.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    capability::bpf_and_namespaces().map_err(|reason| anyhow!("the lab cannot be made: {reason}"))?;
    let lab = Lab::new(arguments.forwarding.into(), arguments.backends)?;
    let lifetime = Duration::from_secs(arguments.minutes * 60);
    let _servers = Server::start_all(&lab, Scenario::Call, lifetime)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let daemon = node.start(&["--ephemeral"])?;
    let enter = |namespace: &str| format!("nsenter --net=/run/netns/{namespace}");
    eprintln!("The service is {}. Ctrl-C ends it all. Try in another terminal:\n", lab.service());
    eprintln!("  {} sipp -sn uac {} -m 10", enter(lab.client.name()), lab.service());
    for command in ["status", "backend list", "counters"] {
        let places = format!("--pin-dir {} --run-dir {}", node.pins.display(), node.run.display());
        eprintln!("  {} {} {command} {places}", enter(lab.balancer.name()), node.binary.display());
    }
    for backend in &lab.backends {
        eprintln!("  {} bash      # {}, {}", enter(backend.namespace.name()), backend.name, backend.address);
    }
    let second = Duration::from_secs(1);
    for _ in 0..lifetime.as_secs() {
        ensure!(daemon.status()?.is_none(), "sipsteer has ended; {}", daemon.last_words());
        thread::sleep(second);
    }
    Ok(true)
}
