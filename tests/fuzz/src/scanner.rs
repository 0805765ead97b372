//! Fuzz target: the scanner and the reference parser must agree on every datagram. Run it by `cargo xtask fuzz`.
#![no_main]

#[path = "../../src/agreement.rs"]
mod agreement;
// By path, because depending on the daemon would build all of it, instrumented.
#[path = "../../../lb-userspace/src/reference.rs"]
mod reference;

use lb_common::hash::HashKey;
use libfuzzer_sys::fuzz_target;

const KEY: HashKey = HashKey { k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908 };

fuzz_target!(|datagram: &[u8]| agreement::check(datagram, &KEY));
