//! Scanner against reference parser, on generated and on mutated messages.

use lb_common::hash::HashKey;
use lb_tests::{agreement, messages};
use proptest::prelude::*;

const KEY: HashKey = HashKey { k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908 };

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn they_agree_on_messages(message in messages::message()) {
        agreement::check(&message, &KEY);
    }

    #[test]
    fn they_agree_on_damaged_messages(message in messages::damaged()) {
        agreement::check(&message, &KEY);
    }

    #[test]
    fn they_agree_on_headers_at_the_end_of_a_datagram(message in messages::cut()) {
        agreement::check(&message, &KEY);
    }

    #[test]
    fn they_agree_on_bytes(message in messages::bytes()) {
        agreement::check(&message, &KEY);
    }
}
