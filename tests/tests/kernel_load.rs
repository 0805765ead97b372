//! The verifier accepts every program, within the recorded number of instructions.

use lb_tests::bench::Bench;

#[test]
fn every_program_loads() {
    let mut bench = Bench::load(sipsteer::OBJECT, 1024).expect("object");
    for program in ["expire", "clock", "pass", "sipsteer"] {
        let instructions =
            bench.verified_instructions(program).unwrap_or_else(|e| panic!("{program}: {e:#}"));
        println!("{program}: {instructions} verified instructions");
    }
}
