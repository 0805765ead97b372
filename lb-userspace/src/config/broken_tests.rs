//! Broken files: one line of a good file is replaced, and exactly the expected complaints come, each at its line.

use super::{Code, Code::*, Complaints, Overflow, Severity, api_tests, parse, telemetry_tests};

/// A good file; the tables below name its lines.
pub(super) const GOOD: [&str; 22] = [
    "[node]",
    "name = 'lb1'",
    "interfaces = ['eth0']",
    "[dialogs]",
    "ended = '32s'",
    "[[service]]",
    "name = 'trunks'",
    "listen = ['203.0.113.10:5060/udp']",
    "forwarding = 'nat'",
    "zones = ['uk']",
    "[[zone]]",
    "name = 'uk'",
    "[[backend]]",
    "name = 'sw1'",
    "zone = 'uk'",
    "address = '10.0.0.11:5060'",
    "[[backend]]",
    "name = 'sw2'",
    "zone = 'uk'",
    "address = '10.0.0.12:5060'",
    "[health]",
    "probe = 'options'",
];

/// Which line is replaced, what by, and which complaints come at which lines.
pub(super) type Case = (usize, &'static str, &'static [(Code, usize)]);

/// Text that is not TOML.
const SYNTAX: &[Case] = &[
    (1, "[node", &[(Syntax, 1)]),
    (1, "node]", &[(UnknownKey, 2), (UnknownKey, 3), (Syntax, 1)]),
    (2, "name = lb1", &[(Syntax, 2)]),
    (2, "name = 'lb1", &[(Syntax, 2)]),
    (2, "name = \"lb1\\q\"", &[(Syntax, 2)]),
    (2, "name 'lb1'", &[(Syntax, 2)]),
    (2, "name =", &[(Syntax, 2)]),
    (2, "= 'lb1'", &[(Syntax, 2)]),
    (2, "name = 'lb1' # comment\nwhat is this", &[(Syntax, 3)]),
    (3, "interfaces = ['eth0'", &[(Syntax, 3)]),
    (3, "interfaces = ['eth0' 'eth1']", &[(Syntax, 3)]),
    (3, "interfaces = [\n 'eth0'\n 'eth1'\n]", &[(Syntax, 5)]),
    (5, "ended = 32s", &[(Syntax, 5)]),
    (5, "max = 0099", &[(Syntax, 5)]),
    (5, "max = 99999999999999999999", &[(Syntax, 5)]),
    (16, "address = 10.0.0.11:5060", &[(Syntax, 16)]),
    (2, "name = 'lb1'\nname = 'lb2'", &[(DuplicateKey, 3)]),
    (4, "[node]\nzone = 'uk'\n[dialogs]", &[(DuplicateKey, 4)]),
    (13, "", &[(DuplicateKey, 14), (UnknownKey, 15)]),
    (17, "[backend]", &[(DuplicateKey, 17)]),
    // Two mistakes of syntax, and two others between them.
    (
        8,
        "listen = [203.0.113.10:5060/udp]\npolicy = 'x'\nnonsense = 1\noverflow = forward",
        &[(Syntax, 8), (UnknownValue, 9), (UnknownKey, 10), (Syntax, 11)],
    ),
];

/// Keys that are unknown, missing or of the wrong type.
const KEYS: &[Case] = &[
    (2, "name = 'lb1'\nintefaces = 1", &[(UnknownKey, 3)]),
    (4, "[dialog]", &[(UnknownKey, 4)]),
    (
        6,
        "[[services]]",
        &[(MissingKey, 1), (UnknownKey, 6), (BackendInNoService, 15), (BackendInNoService, 19)],
    ),
    (7, "name = 'trunks'\nweight = 5", &[(UnknownKey, 8)]),
    (12, "name = 'uk'\nzone = 'uk'", &[(UnknownKey, 13)]),
    (14, "name = 'sw1'\nport = 5060", &[(UnknownKey, 15)]),
    (14, "name.first = 'sw1'", &[(WrongType, 14)]),
    (1, "[node]\n[node.deeper]", &[(MissingKey, 1), (MissingKey, 1), (UnknownKey, 2)]),
    (2, "", &[(MissingKey, 1)]),
    (3, "", &[(MissingKey, 1)]),
    (3, "interfaces = []", &[(MissingKey, 3)]),
    (7, "", &[(MissingKey, 6)]),
    (8, "", &[(MissingKey, 6)]),
    (10, "", &[(MissingKey, 6), (BackendInNoService, 15), (BackendInNoService, 19)]),
    (12, "", &[(MissingKey, 11)]),
    (14, "", &[(MissingKey, 13)]),
    (15, "", &[(MissingKey, 13)]),
    (16, "", &[(MissingKey, 13)]),
    (1, "[[node]]", &[(WrongType, 1)]),
    (2, "name = 5", &[(WrongType, 2)]),
    (3, "interfaces = 'eth0'", &[(WrongType, 3)]),
    (3, "interfaces = ['eth0', 1]", &[(WrongType, 3)]),
    (4, "dialogs = 'x'", &[(UnknownKey, 4), (UnknownKey, 5)]),
    (5, "ended = 32", &[(WrongType, 5)]),
    (5, "max = '5000'", &[(WrongType, 5)]),
    (5, "shortened = 'true'", &[(WrongType, 5)]),
    (8, "listen = '203.0.113.10:5060/udp'", &[(WrongType, 8)]),
    (14, "name = 'sw1'\nweight = 1.5", &[(WrongType, 15)]),
    (14, "name = 'sw1'\nmax_cps = '100'", &[(WrongType, 15)]),
    (14, "name = 'sw1'\nmax_channels = true", &[(WrongType, 15)]),
    (14, "name = 'sw1'\nmax_channels = 'endless'", &[(UnknownValue, 15)]),
    (14, "name = 'sw1'\ncps_burst = 'unlimited'", &[(WrongType, 15)]),
    (9, "bound = '1.25'", &[(WrongType, 9)]),
    (9, "target_utilisation = 'half'", &[(WrongType, 9)]),
    (9, "retry_after = 'soon'", &[(WrongType, 9)]),
    (9, "retry_after = [1]", &[(WrongType, 9)]),
    (9, "retry_after = [1, 2, 3]", &[(WrongType, 9)]),
    (9, "retry_after = ['a', 31]", &[(WrongType, 9), (OutOfRange, 9)]),
    (9, "retry_refused = 1", &[(WrongType, 9)]),
    (9, "full_after_refusal = '3s'", &[(UnknownValue, 9)]),
    (9, "full_after_refusal = 'Retry-After'", &[(UnknownValue, 9)]),
    (9, "full_after_refusal = 1.5", &[(WrongType, 9)]),
    (9, "options = true", &[(WrongType, 9)]),
    (10, "zones = 'uk'", &[(WrongType, 10), (BackendInNoService, 15), (BackendInNoService, 19)]),
    (10, "zones = ['uk', 1]", &[(WrongType, 10)]),
    (10, "zones = ['uk', { overflow = 'redirect' }]", &[(MissingKey, 10)]),
    (10, "zones = ['uk', { zone = 'x', overflows = 'redirect' }]", &[(UnknownKey, 10), (EmptyService, 10)]),
];

/// Values by themselves.
const VALUES: &[Case] = &[
    (2, "name = ''", &[(BadName, 2)]),
    (2, "name = 'lb 1'", &[(BadName, 2)]),
    (2, "name = 'ünicode'", &[(BadName, 2)]),
    (14, "name = 'a23456789012345678901234567890123'", &[(BadName, 14)]),
    (3, "interfaces = ['a234567890123456']", &[(BadName, 3)]),
    (3, "interfaces = ['eth/0']", &[(BadName, 3)]),
    (3, "interfaces = ['eth0', 'eth0']", &[(DuplicateItem, 3)]),
    (2, "name = 'lb1'\nxdp_mode = 'nativ'", &[(UnknownValue, 3)]),
    (2, "name = 'lb1'\nhash_key_file = 'hash.key'", &[(BadPath, 3)]),
    (2, "name = 'lb1'\nhash_key_file = '/etc/'", &[(BadPath, 3)]),
    (2, "name = 'lb1'\nzone = 'france'", &[(UnknownZone, 3)]),
    (5, "ended = '32'", &[(BadDuration, 5)]),
    (5, "ended = 'soon'", &[(BadDuration, 5)]),
    (5, "ended = '99999999999999999999s'", &[(BadDuration, 5)]),
    (5, "ended = '31s'", &[(OutOfRange, 5)]),
    (5, "answered = '14h'", &[(OutOfRange, 5)]),
    (5, "unanswered = '20s'", &[(Lifetimes, 5)]),
    (5, "ended = '4m'\nunanswered = '3m'", &[(Lifetimes, 6)]),
    (5, "max = 1000", &[(OutOfRange, 5)]),
    (5, "max = 1048577", &[(OutOfRange, 5)]),
    (5, "max = -1", &[(OutOfRange, 5)]),
    (5, "shortened = true\nended = '50ms'", &[(Lifetimes, 5), (Shortened, 5), (OutOfRange, 6)]),
    (5, "shortened = true\nended = '1s'", &[(Lifetimes, 5), (Shortened, 5)]),
    (8, "listen = ['203.0.113.10:5060']", &[(BadAddress, 8)]),
    (8, "listen = ['203.0.113.10/udp']", &[(BadAddress, 8)]),
    (8, "listen = ['203.0.113.10:0/udp']", &[(BadAddress, 8)]),
    (8, "listen = ['0.0.0.0:5060/udp']", &[(BadAddress, 8)]),
    (8, "listen = ['127.0.0.1:5060/udp']", &[(BadAddress, 8)]),
    (8, "listen = ['203.0.113.10:5060/tcp']", &[(NotYet, 8)]),
    (8, "listen = ['203.0.113.10:5060/dup']", &[(UnknownValue, 8)]),
    (8, "listen = ['[2001:db8::1]:5060/udp']", &[(NotYet, 8)]),
    (8, "listen = ['203.0.113.10:5060/udp',\n'203.0.113.10:x/tls']", &[(BadAddress, 9), (NotYet, 9)]),
    (8, "listen = []", &[(EmptyService, 8)]),
    (9, "forwarding = 'ipip'", &[(NotYet, 9)]),
    (9, "forwarding = 'l3'", &[(UnknownValue, 9)]),
    (9, "policy = 'least-laoded'", &[(UnknownValue, 9)]),
    (9, "hash_by = 'from'", &[(UnknownValue, 9)]),
    (9, "overflow = 'reject'", &[(UnknownValue, 9)]),
    (9, "options = 'ignore'", &[(UnknownValue, 9)]),
    (10, "zones = ['uk', { zone = 'uk', overflow = 'drop' }]", &[(DuplicateItem, 10), (UnknownValue, 10)]),
    (10, "zones = [{ zone = 'u k' }, 'uk']", &[(BadName, 10)]),
    (12, "name = 'uk'\naddress = 'a b'", &[(BadAddress, 13)]),
    (12, "name = 'uk'\naddress = 'a.example.com:0'", &[(BadAddress, 13)]),
    (16, "address = '10.0.0.11'", &[(BadAddress, 16)]),
    (16, "address = '10.0.0.11:0'", &[(BadAddress, 16)]),
    (16, "address = '10.0.0.11:65536'", &[(BadAddress, 16)]),
    (16, "address = '10.0.0.11:5060/udp'", &[(BadAddress, 16)]),
    (16, "address = '2001:db8::1'", &[(NotYet, 16)]),
    (16, "address = 'sw1.example.com:5060'", &[(BadAddress, 16)]),
    (16, "address = '127.0.0.1:5060'", &[(BadAddress, 16)]),
    (16, "address = '224.0.0.1:5060'", &[(BadAddress, 16)]),
    (16, "address = '255.255.255.255:5060'", &[(BadAddress, 16)]),
    (16, "address = '0.0.0.0:5060'", &[(BadAddress, 16)]),
    (14, "name = 'sw1'\nweight = 0", &[(OutOfRange, 15)]),
    (14, "name = 'sw1'\nweight = 1001", &[(OutOfRange, 15)]),
    (14, "name = 'sw1'\nmax_cps = -1", &[(OutOfRange, 15)]),
];

/// How backends are probed.
const HEALTH: &[Case] = &[
    (21, "health = 5", &[(NotProbed, 1), (WrongType, 21), (UnknownKey, 22)]),
    (21, "[[health]]", &[(WrongType, 21)]),
    (22, "probes = 'options'", &[(UnknownKey, 22)]),
    (22, "probe = true", &[(WrongType, 22)]),
    (22, "probe = 'ping'", &[(UnknownValue, 22)]),
    (22, "interval = 1", &[(WrongType, 22)]),
    (22, "interval = '1'", &[(BadDuration, 22)]),
    (22, "interval = '999ms'", &[(OutOfRange, 22)]),
    (22, "interval = '301s'", &[(OutOfRange, 22)]),
    (22, "timeout = '49ms'", &[(OutOfRange, 22)]),
    (22, "interval = '2m'\ntimeout = '31s'", &[(OutOfRange, 23)]),
    (22, "timeout = '1001ms'", &[(OutOfRange, 22)]),
    (22, "interval = '5s'\ntimeout = '6s'", &[(OutOfRange, 23)]),
    (22, "rise = 0", &[(OutOfRange, 22)]),
    (22, "rise = '2'", &[(WrongType, 22)]),
    (22, "fall = 101", &[(OutOfRange, 22)]),
    (22, "accept = 200", &[(WrongType, 22)]),
    (22, "accept = []", &[(OutOfRange, 22)]),
    (22, "accept = [100]", &[(OutOfRange, 22)]),
    (22, "accept = [200, 700]", &[(OutOfRange, 22)]),
    (22, "accept = ['200']", &[(UnknownValue, 22)]),
    (22, "accept = ['1xx', '7xx']", &[(UnknownValue, 22), (UnknownValue, 22)]),
    (22, "accept = [true]", &[(WrongType, 22)]),
    (22, "user = 'a b'", &[(BadName, 22)]),
    (22, "user = ''", &[(BadName, 22)]),
    (22, "user = 'a@b'", &[(BadName, 22)]),
    (22, "user = 5", &[(WrongType, 22)]),
    (22, "from = 'a b'", &[(BadAddress, 22)]),
    (16, "address = '10.0.0.11:5060'\nhealth = 'none'", &[(WrongType, 17)]),
    (16, "address = '10.0.0.11:5060'\nhealth = { probe = 'pong' }", &[(UnknownValue, 17)]),
    (16, "address = '10.0.0.11:5060'\n[backend.health]\ntimeout = '2s'", &[(OutOfRange, 18)]),
    (20, "address = '10.0.0.12:5060'\nhealth = { intervall = '2s' }", &[(UnknownKey, 21)]),
];

/// Values that do not go together.
const TOGETHER: &[Case] = &[
    (18, "name = 'sw1'", &[(DuplicateName, 18)]),
    (11, "[[zone]]\nname = 'uk'\n[[zone]]", &[(DuplicateName, 14)]),
    (
        6,
        "[[service]]\nname = 'trunks'\nlisten = ['203.0.113.11:5060/udp']\nzones = ['uk']\n[[service]]",
        &[(DuplicateName, 11)],
    ),
    (20, "address = '10.0.0.11:5060'", &[(DuplicateAddress, 20)]),
    (20, "address = '203.0.113.10:5060'", &[(DuplicateAddress, 20)]),
    (8, "listen = ['203.0.113.10:5060/udp', '203.0.113.10:5060/udp']", &[(DuplicateAddress, 8)]),
    (
        6,
        "[[service]]\nname = 'x'\nlisten = ['203.0.113.10:5060/udp']\nzones = ['uk']\n[[service]]",
        &[(DuplicateAddress, 12)],
    ),
    (19, "zone = 'france'", &[(BackendInNoService, 19)]),
    (10, "zones = []", &[(EmptyService, 10), (BackendInNoService, 15), (BackendInNoService, 19)]),
    (10, "zones = ['uk', 'france']", &[(EmptyService, 10)]),
    (10, "zones = ['uk', 'uk']", &[(DuplicateItem, 10)]),
    (10, "overflow = 'redirect'\nzones = ['france', 'uk']", &[(EmptyService, 11), (NoAddress, 11)]),
    (
        10,
        "overflow = 'redirect'\nzones = ['uk', 'x']\n[[zone]]\nname = 'x'\naddress = '203.0.113.10'",
        &[(RedirectLoop, 11)],
    ),
    (
        10,
        "zones = ['uk', { zone = 'x', overflow = 'redirect' }]\n[[zone]]\nname = 'x'\naddress = '203.0.113.10:5060'",
        &[(RedirectLoop, 10)],
    ),
];

/// What is only warned about.
const WARNINGS: &[Case] = &[
    (22, "", &[]),
    (22, "probe = 'none'", &[]),
    (22, "interval = '1s'\ntimeout = '1s'", &[]),
    (22, "interval = '300s'\ntimeout = '30s'\nrise = 100\nfall = 1", &[]),
    (22, "timeout = '50ms'\naccept = [200, '3xx', 699]\nuser = 'ping+1'\nfrom = 'lb1.example.com'", &[]),
    (
        22,
        "probe = 'tcp'\naccept = [200]\nuser = 'a'\nfrom = 'b'",
        &[(NoEffect, 23), (NoEffect, 24), (NoEffect, 25)],
    ),
    (16, "address = '10.0.0.11:5060'\nhealth = { probe = 'tcp', user = 'a' }", &[(NoEffect, 17)]),
    (16, "address = '10.0.0.11:5060'\nhealth = { probe = 'none', user = 'a' }", &[]),
    (12, "name = 'france'", &[(Unused, 12)]),
    (12, "name = 'uk'\naddress = '203.0.113.10:5060'", &[]),
    (14, "name = 'sw1'\nmax_cps = 100\ncps_burst = 0", &[]),
    (18, "name = 'sw2'\nmax_channels = 5", &[]),
    (14, "name = 'sw1'\nmax_cps = 'unlimited'", &[]),
    (14, "name = 'sw1'\nmax_cps = 0", &[]),
    (14, "name = 'sw1'\ncps_burst = 5\nmax_cps = 'unlimited'", &[(NoEffect, 15)]),
    (14, "name = 'sw1'\ncps_burst = 5\nmax_cps = 0", &[(NoEffect, 15)]),
    (9, "policy = 'consistent'\nbound = 2\noverflow = 'redirect'", &[]),
    (9, "policy = 'least-loaded'\nbound = 2", &[(NoEffect, 10)]),
    (9, "policy = 'primary-secondary'\nbound = 'none'", &[(NoEffect, 10)]),
    (9, "retry_refused = false\nfull_after_refusal = 5", &[(NoEffect, 10)]),
    (9, "retry_refused = true\nfull_after_refusal = 5", &[]),
    (9, "full_after_refusal = 'retry-after'", &[]),
    (9, "forwarding = 'l2'\nfull_after_refusal = 'retry-after'", &[(NoEffect, 10)]),
    (
        9,
        "forwarding = 'l2'\nretry_refused = false\nfull_after_refusal = 5",
        &[(NoEffect, 10), (NoEffect, 11)],
    ),
    (10, "zones = [{ zone = 'uk', overflow = 'redirect' }]", &[(NoEffect, 10)]),
    (10, "zones = [{ zone = 'uk', overflow = 'forward' }]", &[]),
    (10, "overflow = 'redirect'\nzones = ['uk', 'x']", &[(EmptyService, 11)]),
    (10, "overflow = 'redirect'\nzones = ['uk', 'x']\n[[zone]]\nname = 'x'\naddress = '203.0.113.11'", &[]),
    (
        10,
        "overflow = 'redirect'\nzones = ['uk', 'x']\n[[zone]]\nname = 'x'\naddress = 'sip.example.com'",
        &[],
    ),
    (
        5,
        "shortened = true\nended = '1s'\nunanswered = '2s'\nanswered = '500s'\nsubscribed = '2s'",
        &[(Shortened, 5)],
    ),
];

/// The good file with one line replaced.
pub(super) fn replaced((line, text, _): &Case) -> String {
    let lines = GOOD.iter().enumerate().map(|(i, good)| if i + 1 == *line { text } else { good });
    lines.fold(String::new(), |file, line| file + line + "\n")
}

pub(super) fn codes_and_lines(complaints: &Complaints) -> Vec<(Code, usize)> {
    let mut found: Vec<_> = complaints.complaints.iter().map(|c| (c.code, c.line)).collect();
    found.sort_by_key(|(code, line)| (*line, code.name()));
    found
}

fn sorted(expected: &[(Code, usize)]) -> Vec<(Code, usize)> {
    let mut expected = expected.to_vec();
    expected.sort_by_key(|(code, line)| (*line, code.name()));
    expected
}

#[track_caller]
fn assert_refused(cases: &[Case]) {
    for case in cases {
        let file = replaced(case);
        let complaints = parse(&file, "f.toml").map(|loaded| loaded.warnings).expect_err(case.1);
        assert_eq!(codes_and_lines(&complaints), sorted(case.2), "{}\n{complaints}", case.1);
        assert!(complaints.refuse());
        for complaint in &complaints.complaints {
            assert!(
                !complaint.message.is_empty() && !complaint.reason.is_empty() && !complaint.remedy.is_empty()
            );
            let shown = complaints.render(false);
            assert!(shown.contains(&format!("f.toml:{}:{}", complaint.line, complaint.column)), "{shown}");
            assert!(shown.contains(complaint.remedy.as_str()), "{shown}");
        }
    }
}

#[test]
fn text_that_is_not_toml() {
    assert_refused(SYNTAX);
}

#[test]
fn unknown_missing_and_mistyped_keys() {
    assert_refused(KEYS);
}

#[test]
fn wrong_values() {
    assert_refused(VALUES);
}

#[test]
fn wrong_probes() {
    assert_refused(HEALTH);
}

#[test]
fn values_that_do_not_go_together() {
    assert_refused(TOGETHER);
}

#[test]
fn warnings_do_not_refuse() {
    for case in WARNINGS {
        let warnings =
            parse(&replaced(case), "f.toml").map(|loaded| loaded.warnings).unwrap_or_else(|c| panic!("{c}"));
        assert_eq!(codes_and_lines(&warnings), case.2, "{}\n{warnings}", case.1);
        assert!(warnings.complaints.iter().all(|c| c.severity == Severity::Warning));
    }
}

/// The example of the design, as it stands there.
#[test]
fn a_file_with_a_zone_that_is_not_built_yet_is_taken() {
    let file = r#"
[node]
name = "lb1"                       # this balancer
interfaces = ["eth0"]              # where XDP attaches
xdp_mode = "auto"                  # auto | native | generic
hash_key_file = "/etc/sipsteer/hash.key"   # 16 bytes hex; same on every balancer of a cluster
zone = "uk"
[[service]]
name = "trunks"
listen = ["203.0.113.10:5060/udp"]
forwarding = "nat"                 # nat | l2 | ipip
policy = "consistent"              # consistent | least-loaded | primary-secondary
zones = ["uk", "germany"]          # tiers, in order
overflow = "redirect"              # what a remote tier means: redirect (302) | forward
[[zone]]
name = "uk"
address = "sip.uk.example.com:5060"    # what a 302 from elsewhere names
[[backend]]
name = "sw1"
zone = "uk"
address = "10.0.0.11:5060"
max_cps = 100                      # default 100; 0 = no new calls; "unlimited" is spelt out
max_channels = 1000                # default 1000
weight = 100
"#;
    let loaded = parse(file, "f.toml").unwrap_or_else(|c| panic!("{c}"));
    assert_eq!(
        codes_and_lines(&loaded.warnings),
        [(NotProbed, 1), (EmptyService, 13)],
        "{}",
        loaded.warnings
    );
    let overflows: Vec<Overflow> = loaded.config.services[0].tiers.iter().map(|t| t.overflow).collect();
    assert_eq!(overflows, [Overflow::Forward, Overflow::Redirect]);
}

#[test]
fn backends_that_callers_reach_themselves_need_no_address_for_a_redirect() {
    let two_zones = replaced(&(19, "zone = 'france'", &[]));
    let lists = two_zones.replace("zones = ['uk']", "zones = ['uk', 'france']\noverflow = 'redirect'");
    let refused = parse(&lists, "f.toml").expect_err("nat");
    assert_eq!(codes_and_lines(&refused), [(NoAddress, 10)]);
    assert!(refused.render(false).contains("overflow = \"forward\""), "{refused}");
    for taken in [
        lists.replace("'nat'", "'l2'"),
        lists.replace("overflow = 'redirect'", "overflow = 'forward'"),
        lists.replace("[[zone]]", "[[zone]]\nname = 'france'\naddress = 'sip.fr.example.com'\n[[zone]]"),
    ] {
        let warnings = parse(&taken, "f.toml").unwrap_or_else(|c| panic!("{c}")).warnings;
        assert!(warnings.is_empty(), "{warnings}");
    }
}

#[test]
fn one_tier_may_differ_from_the_others() {
    let zones =
        "zones = ['uk', { zone = 'x', overflow = 'forward' }, 'y', { zone = 'z' }]\noverflow = 'redirect'";
    let mut file = replaced(&(10, zones, &[]));
    for zone in ["x", "y", "z"] {
        file.push_str(&format!("[[zone]]\nname = '{zone}'\naddress = '{zone}.example.com'\n"));
    }
    file.push_str("[[backend]]\nname = 'sw3'\nzone = 'x'\naddress = '10.0.0.13:5060'\n");
    let service = parse(&file, "f.toml").unwrap_or_else(|c| panic!("{c}")).config.services.remove(0);
    use Overflow::{Forward, Redirect};
    let tiers: Vec<_> = service.tiers.iter().map(|t| (t.zone.as_str(), t.overflow)).collect();
    assert_eq!(tiers, [("uk", Forward), ("x", Forward), ("y", Redirect), ("z", Redirect)]);
}

#[test]
fn the_good_file_is_good_also_with_windows_line_ends_and_a_mark() {
    let good = replaced(&(0, "", &[]));
    let config = parse(&good, "f.toml").expect("good").config;
    for variant in [good.replace('\n', "\r\n"), format!("\u{feff}{good}"), good.trim_end().to_owned()] {
        assert_eq!(parse(&variant, "f.toml").map(|l| l.config), Ok(config.clone()));
    }
}

#[test]
fn a_complaint_shows_its_place_reason_and_remedy() {
    let file = replaced(&(16, "address = 'sw1.example.com:5060'  # ü", &[]));
    let complaints = parse(&file, "/etc/f.toml").expect_err("a name is no address");
    let expected = "\
error[bad-address]: \"sw1.example.com:5060\" is not an address and port
  --> /etc/f.toml:16:12
   |
16 | address = 'sw1.example.com:5060'  # ü
   |            ^^^^^^^^^^^^^^^^^^^^ names are not looked up: they could mean another machine tomorrow
   |
   = help: write the IPv4 address itself, as in \"10.0.0.11:5060\"
";
    assert_eq!(complaints.render(false), expected);
    assert!(complaints.render(true).contains("\u{1b}["));
    let json = serde_json::to_value(&complaints).expect("plain data");
    assert_eq!(json["complaints"][0]["line"], 16);
    assert_eq!(json["complaints"][0]["column"], 12);
    assert_eq!(json["complaints"][0]["code"], "bad-address");
    assert_eq!(json["complaints"][0]["severity"], "error");
}

#[test]
fn mistakes_of_every_kind_come_at_once_in_the_order_of_the_file() {
    let file = "[node]\nname = 'a b'\n[[service]]\nlisten = [5060]\n[[backend]]\naddress = x\nweight = 0\n";
    let complaints = parse(file, "f.toml").expect_err("broken");
    let lines: Vec<usize> = complaints.complaints.iter().map(|c| c.line).collect();
    assert!(lines.is_sorted(), "{lines:?}");
    assert_eq!(codes_and_lines(&complaints), [(BadName, 2), (WrongType, 4), (Syntax, 6), (OutOfRange, 7)]);
}

#[test]
fn every_code_is_met_by_a_file_or_is_about_reading_one() {
    let cases = [SYNTAX, KEYS, VALUES, HEALTH, TOGETHER, WARNINGS].concat();
    for code in Code::ALL {
        let others = telemetry_tests::BROKEN.iter().chain(api_tests::BROKEN).map(|case| case.1);
        let mut all = cases.iter().map(|case| case.2).chain(others);
        let met = all.any(|complaints| complaints.iter().any(|(c, _)| c == code));
        assert!(met || matches!(code, Unreadable | BadFile | Untimely | TooMany), "{}", code.name());
    }
    assert!(cases.len() >= 100);
}
