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
    fn they_agree_on_where_to_give_up(message in messages::dense()) {
        agreement::check(&message, &KEY);
    }

    #[test]
    fn they_agree_on_bytes(message in messages::bytes()) {
        agreement::check(&message, &KEY);
    }
}

/// What `cargo xtask fuzz` learnt, replayed without its instrumentation.
#[test]
fn they_agree_on_the_fuzz_corpus() -> std::io::Result<()> {
    let mut replayed = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus"))? {
        agreement::check(&std::fs::read(entry?.path())?, &KEY);
        replayed += 1;
    }
    assert!(replayed > 100, "{replayed} inputs are not the corpus");
    Ok(())
}

/// The properties above would hold for messages that say nothing.
#[test]
fn generated_messages_say_something() {
    use lb_tests::agreement::Found;
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    const ROUNDS: usize = 2000;
    let mut runner = TestRunner::deterministic();
    let mut counts = [0; 10];
    for _ in 0..ROUNDS {
        let message =
            messages::message().new_tree(&mut runner).expect("the generators never reject").current();
        let scan = agreement::scan(&message, &KEY);
        let is = [
            matches!(scan.call_id, Found::Value { .. }),
            scan.call_id == Found::Empty,
            scan.call_id == Found::Absent,
            scan.to_tag != 0,
            scan.branch != 0,
            scan.to_tag == 0 && scan.branch == 0,
            scan.users[0].is_some(),
            scan.users[1].is_some(),
            scan.users[2].is_some(),
            scan.retry_after.is_some(),
        ];
        for (count, is) in counts.iter_mut().zip(is) {
            *count += usize::from(is);
        }
    }
    let [value, empty, absent, to_tag, branch, neither, from, to, request, retry_after] = counts;
    let told = format!(
        "{value} values, {empty} empty, {absent} absent, {to_tag} To tags, {branch} branches, {neither} without either, \
         users: {from} in From, {to} in To, {request} in request lines, {retry_after} Retry-Afters"
    );
    let least = ROUNDS / 50;
    assert!(counts.iter().all(|count| *count > least), "{told}");
    println!("{told}");
}
