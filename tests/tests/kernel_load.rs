//! Every program of the object loads under the kernel that runs this, and it takes what the daemon writes into the maps.

use anyhow::{Context, Result};
use aya::programs::Program;
use lb_common::{map::service::forwarding::NAT, verdict::Verdict};
use lb_tests::{
    bench::{action, with_backends},
    needs_bpf,
    packet::{self, Request},
    program::{facts_of, object_with_small_maps},
};
use std::{
    io::{Write, stdout},
    net::{Ipv4Addr, SocketAddrV4},
};

#[test]
fn every_program_loads() -> Result<()> {
    needs_bpf!();
    let mut object = object_with_small_maps()?;
    let mut programs = 0;
    for (name, program) in object.programs_mut() {
        let Program::Xdp(program) = program else { anyhow::bail!("{name} is no XDP program") };
        program.load().with_context(|| format!("the verifier refuses {name}"))?;
        let verified = facts_of(&program.info()?)?.verified_instructions;
        // Not println, which the test harness swallows: `cargo xtask kernel` reads this line.
        writeln!(stdout(), "VERIFIED {name} {verified}")?;
        programs += 1;
    }
    assert!(programs > 0, "the object has no programs");
    Ok(())
}

/// With services, backends and a ring in place: some kernels load a program whose maps they then refuse to fill.
#[test]
fn a_call_is_steered() -> Result<()> {
    needs_bpf!();
    let service = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 5060);
    let caller = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 5060);
    let mut bench = with_backends(service, NAT, 3)?;
    for (method, verdict) in [("INVITE", Verdict::SteeredNew), ("BYE", Verdict::SteeredPinned)] {
        let frame = packet::udp(caller, service, &Request::new(method, "a").bytes());
        assert_eq!(bench.run("sipsteer", &frame)?.action, action::TX, "{method}");
        assert_eq!(bench.verdict(verdict)?, 1, "{method}");
    }
    Ok(())
}
