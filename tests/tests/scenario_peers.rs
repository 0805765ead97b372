//! Real SIP servers as backends.

use anyhow::Result;
use lb_tests::{
    daemon::{Config, Node},
    kamailio::{Kamailio, Role},
    needs_bpf,
    sipp::{Caller, Load, scenario::Scenario},
    topology::{Forwarding, Lab},
};

#[test]
fn kamailio_answers_through_nat_and_l2() -> Result<()> {
    needs_bpf!();
    for forwarding in [Forwarding::Nat, Forwarding::L2] {
        let lab = Lab::new(forwarding, 2)?;
        let _servers = Kamailio::start_all(&lab, Role::Busy)?;
        let node = Node::new(&lab, &Config::of(&lab))?;
        let _daemon = node.start(&["--ephemeral"])?;
        for scenario in [Scenario::Register, Scenario::Refused] {
            let made = Caller::start(&lab, &Load::calls(200, 200).of(scenario))?.wait()?;
            assert_eq!((made.ok, made.failed), (200, 0), "{forwarding} {scenario:?}: {:?}", node.verdicts()?);
        }
        let list = node.json(&["backend", "list"])?;
        for backend in list["backends"].as_array().into_iter().flatten() {
            assert!(backend["transactions"].as_u64() > Some(50), "registrations are spread: {list}");
            assert!(backend["calls"].as_u64() > Some(50), "calls are spread: {list}");
        }
    }
    Ok(())
}
