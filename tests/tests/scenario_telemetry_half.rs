//! One of two servers says that it has half of its capacity: it gets half as many new calls within seconds, and no call that
//! is up moves. Once from a source made for the test, once from Kamailio itself.

use anyhow::{Context, Result};
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        outcome::Outcome,
        server::{Habits, Server},
    },
    configuration::fix_hash_key,
    daemon::{Config, Limits, Node},
    kamailio::{Kamailio, METRICS_PORT, Role},
    needs_bpf,
    process::wait_until,
    sipp,
    telemetry::{PORT, Says, Source, page, told},
    topology::{Forwarding, Lab},
};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
/// The mark.
const SOON: Duration = Duration::from_secs(5);

/// Waits until a backend has half of its weight, and says how long that took.
fn until_half(node: &Node<'_>, name: &str) -> Result<Duration> {
    let begun = Instant::now();
    wait_until(&format!("{name} has half of its weight"), PATIENCE, || Ok(told(node, name)?.weight == 50))
        .with_context(|| told(node, name).map_or(String::new(), |told| told.because))?;
    Ok(begun.elapsed())
}

#[test]
fn half_of_the_capacity_is_half_of_the_new_calls_and_those_that_are_up_stay() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    fix_hash_key(&lab)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    let source = Source::start(&lab.backends[0], Says::Line("up 100%\n".to_owned()))?;
    let config = Config::of(&lab).trunks("bound = \"none\"").with(&format!(
        "[[telemetry]]\nname = \"agent\"\ntype = \"agent\"\nbackends = [\"sw1\"]\naddress = \"{{host}}:{PORT}\"\n\
         interval = \"1s\"\n"
    ));
    let node = Node::new(&lab, &config)?;
    let daemon = node.start(&["--ephemeral"])?;
    let brief = |name| Plan::calls(name, 1200, 150).holding(Duration::ZERO);
    let before = Caller::start(&lab, &brief("before"))?.wait()?;
    let held = Caller::start(&lab, &Plan::calls("held", 100, 100).until_told())?;
    wait_until("the held calls are up", PATIENCE, || Ok(held.so_far().up == 100))?;

    source.say(Says::Line("50%\n".to_owned()));
    let took = until_half(&node, "sw1")?;
    println!("half of the weight after {} ms", took.as_millis());
    assert!(took < SOON, "{took:?}");
    let after = Caller::start(&lab, &brief("after"))?.wait()?;

    let shares = |calls: &lb_tests::calls::outcome::Calls| {
        assert_eq!(calls.count(&Outcome::Completed), 1200, "{:?}", calls.outcomes());
        let by = calls.completed_by();
        f64::from(by["sw1"] as u32) / f64::from(by["sw2"] as u32)
    };
    let (before, after) = (shares(&before), shares(&after));
    println!("calls of sw1 to one of sw2: {before:.2} before, {after:.2} after");
    assert!((0.85..1.15).contains(&before), "{before}");
    assert!((0.42..0.58).contains(&after), "{after}");
    let held = held.wait()?;
    assert_eq!(held.count(&Outcome::Completed), 100, "{:?}; {}", held.outcomes(), daemon.last_words());
    let strangers: u64 = Server::stop_all(servers)?.iter().map(|record| record.strangers).sum();
    assert_eq!(strangers, 0, "no call that was up moved");
    Ok(())
}

#[test]
fn kamailio_tells_of_its_dialogs_and_of_its_capacity() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let _servers = Kamailio::start_all(&lab, Role::Counts)?;
    for backend in &lab.backends {
        page(backend, METRICS_PORT, "/max/1000")?;
    }
    let config = Config::of(&lab).limited(Limits::channels(1000)).with(&format!(
        "[[telemetry]]\nname = \"kamailio\"\ntype = \"prometheus\"\nzone = \"{}\"\nprofile = \"kamailio\"\n\
         url = \"http://{{host}}:{METRICS_PORT}/metrics\"\nmap = {{ max_channels = \"kamailio_max_channels\" }}\n\
         interval = \"1s\"\ntimeout = \"1s\"\n",
        lab.backends[0].zone
    ));
    let node = Node::new(&lab, &config)?;
    let daemon = node.start(&["--ephemeral"])?;
    let load = sipp::Load::calls(60, 20).holding(Duration::from_secs(8));
    let caller = sipp::Caller::start(&lab, &load)?;
    // What it counts is what we count: none of these calls are somebody else's.
    wait_until("Kamailio tells of all calls", PATIENCE, || {
        let told = [told(&node, "sw1")?, told(&node, "sw2")?];
        let dialogs = told.iter().filter_map(|told| {
            let text = told.because.split_once("kamailio: ")?.1;
            text.lines()
                .find_map(|line| line.split_once(" channels, ")?.0.rsplit(' ').next()?.parse::<u64>().ok())
        });
        Ok(dialogs.sum::<u64>() == 60)
    })
    .with_context(|| told(&node, "sw1").map_or(String::new(), |told| told.because))?;
    assert!(!told(&node, "sw1")?.because.contains("contradictory"));

    page(&lab.backends[0], METRICS_PORT, "/max/500")?;
    let took = until_half(&node, "sw1")?;
    println!("half of the weight after {} ms", took.as_millis());
    assert!(took < SOON, "{took:?}");
    assert_eq!(told(&node, "sw2")?.weight, 100);
    let made = caller.wait()?;
    assert_eq!((made.ok, made.failed), (60, 0), "{}", daemon.last_words());
    Ok(())
}
