//! The scanner in the kernel against its native self, on generated messages.

use anyhow::Result;
use lb_common::hash::HashKey;
use lb_tests::{
    agreement, messages, needs_bpf,
    probes::{MAX_DATAGRAM, Probes, SCAN},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};

const KEY: HashKey = HashKey { k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908 };

#[test]
fn kernel_and_native_scanner_agree() -> Result<()> {
    needs_bpf!();
    let probes = std::cell::RefCell::new(Probes::load(&SCAN, KEY)?);
    let mut runner =
        TestRunner::new(Config { cases: 20_000, failure_persistence: None, ..Config::default() });
    let message = prop_oneof![
        messages::message(),
        messages::damaged(),
        messages::cut(),
        messages::dense(),
        messages::bytes()
    ];
    let fitting = message.prop_map(|mut message| {
        message.truncate(MAX_DATAGRAM);
        message
    });
    runner.run(&fitting, |message| {
        let kernel = probes.borrow_mut().scan(&message).map_err(|e| TestCaseError::fail(format!("{e:#}")))?;
        prop_assert_eq!(kernel, agreement::scan(&message, &KEY));
        Ok(())
    })?;
    Ok(())
}
