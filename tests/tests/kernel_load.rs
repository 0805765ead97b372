//! Every program of the object loads under the kernel that runs this.

use anyhow::{Context, Result};
use aya::programs::Program;
use lb_tests::{
    needs_bpf,
    program::{facts_of, object_with_small_maps},
};
use std::io::{Write, stdout};

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
