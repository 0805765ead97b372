//! `[controller]` and `[[telemetry]]`: what is taken, and what is complained about at which line.

use super::{
    Algorithm,
    Code::{self, *},
    Config, Control, Login, Severity, Source, Telemetry, parse,
};
use std::time::Duration;

/// A file without telemetry; what is tried stands from line 20 on.
pub(super) const FILE: &str = "[node]\nname = 'lb1'\ninterfaces = ['eth0']\n[[service]]\nname = 'trunks'\n\
                    listen = ['203.0.113.10:5060/udp']\nzones = ['uk', 'germany']\n\
                    [[backend]]\nname = 'sw1'\nzone = 'uk'\naddress = '10.0.0.11:5060'\n\
                    [[backend]]\nname = 'sw2'\nzone = 'germany'\naddress = '10.0.0.12:5060'\n\
                    [[backend]]\nname = 'sw3'\nzone = 'germany'\naddress = '10.0.0.13:5060'\n";

fn config(text: &str) -> Config {
    parse(&format!("{FILE}{text}"), "f.toml").unwrap_or_else(|complaints| panic!("{complaints}")).config
}

fn only(text: &str) -> Telemetry {
    let [telemetry] = config(&format!("[[telemetry]]\nname = 'a'\n{text}")).telemetry.try_into().unwrap();
    telemetry
}

fn overload(algorithms: &[Algorithm]) -> Source {
    Source::OverloadControl { algorithms: algorithms.to_vec() }
}

#[test]
fn every_type_has_its_defaults() {
    let seconds = Duration::from_secs;
    let metrics =
        only("type = 'prometheus'\nzone = 'germany'\nurl = 'http://{host}/metrics'\nprofile = 'kamailio'\n");
    assert_eq!(metrics.backends, ["sw2", "sw3"]);
    assert_eq!((metrics.interval, metrics.timeout, metrics.valid), (seconds(5), seconds(2), seconds(15)));
    assert_eq!(metrics.legs, 1);
    let agent = only("type = 'agent'\nbackends = ['sw1']\naddress = '{host}:9707'\n");
    assert_eq!((agent.interval, agent.timeout, agent.valid), (seconds(2), seconds(1), seconds(6)));
    assert_eq!(agent.source.word(), "agent");
    let freeswitch = only(
        "type = 'freeswitch'\nbackends = ['sw1']\naddress = '10.0.0.99:8021'\npassword_file = '/etc/p'\nlegs = 2\n",
    );
    assert_eq!((freeswitch.valid, freeswitch.legs), (seconds(60), 2));
    assert_eq!(only("type = 'push'\nzone = 'uk'\nvalid = '2s'\n").source, Source::Push);
    assert_eq!(only("type = 'overload-control'\nzone = 'uk'\n").source, overload(&[Algorithm::Loss]));
    assert_eq!(config("").control, Control::default());
    let control = config("[controller]\nwarm_up = '0s'\ncpu_target = 0.5\npanic_threshold = 0\n").control;
    assert_eq!(control, Control { warm_up: Duration::ZERO, cpu_target: 512, panic_threshold: 0 });
    assert_eq!(config("[controller]\npanic_threshold = 1\n").control.panic_threshold, 1024);
}

#[test]
fn a_map_goes_over_a_profile_and_a_login_has_both_halves() {
    let own = only(
        "type = 'prometheus'\nzone = 'uk'\nurl = 'https://{host}/m'\nprofile = 'asterisk'\nusername = 'u'\n\
         password_file = '/etc/p'\nca_file = '/etc/ca.pem'\n\
         map = { cpu = 'idle_percent(idle)', channels = 'calls' }\n",
    );
    let Source::Prometheus { mapping, login, ca_file, .. } = own.source else { panic!("{:?}", own.source) };
    let names: Vec<String> = mapping.values().map(ToString::to_string).collect();
    assert_eq!(names, ["calls", "rate(asterisk_calls_sum)", "idle_percent(idle)"]);
    assert_eq!(login, Some(Login { username: "u".into(), password_file: "/etc/p".into() }));
    assert_eq!(ca_file, Some("/etc/ca.pem".into()));
}

#[test]
fn algorithms_are_offered_in_the_order_of_the_file_to_the_backends_that_are_named() {
    use Algorithm::{Loss, Rate};
    for (written, algorithms) in
        [("['loss']", &[Loss][..]), ("['loss', 'rate']", &[Loss, Rate]), ("['rate', 'loss']", &[Rate, Loss])]
    {
        let text = format!("type = 'overload-control'\nzone = 'uk'\nalgorithms = {written}\n");
        assert_eq!(only(&text).source, overload(algorithms), "{written}");
    }
    let source = |name: &str, kind: &str, more: &str| {
        format!("[[telemetry]]\nname = '{name}'\ntype = '{kind}'\nzone = 'germany'\n{more}")
    };
    let both = config(
        &(source("p", "push", "")
            + &source("a", "overload-control", "algorithms = ['loss', 'rate']\n")
            + &source("b", "overload-control", "")),
    );
    let (first, offered) = both.overload_control("sw2").unwrap();
    assert_eq!((first.name.as_str(), offered), ("a", &[Loss, Rate][..]), "the first counts");
    assert_eq!(both.overload_control("sw1"), None);
}

/// What stands from line 20 on, and which complaints come at which lines.
pub(super) type Case = (&'static str, &'static [(Code, usize)]);

pub(super) const BROKEN: &[Case] = &[
    ("[controller]\nwarm_up = '2h'\n", &[(OutOfRange, 21)]),
    ("[controller]\nwarm_up = 5\n", &[(WrongType, 21)]),
    ("[controller]\ncpu_target = 1.1\n", &[(OutOfRange, 21)]),
    ("[controller]\npanic_threshold = 1.5\n", &[(OutOfRange, 21)]),
    ("[controller]\npanic_threshold = -0.1\n", &[(OutOfRange, 21)]),
    ("[controller]\npanic_threshold = 'half'\n", &[(WrongType, 21)]),
    ("[controller]\nwarmup = '1s'\n", &[(UnknownKey, 21)]),
    ("[[controller]]\n", &[(WrongType, 20)]),
    ("[telemetry]\nname = 'a'\ntype = 'push'\nzone = 'uk'\n", &[(WrongType, 20)]),
    ("[[telemetry]]\n", &[(MissingKey, 20), (MissingKey, 20), (MissingKey, 20)]),
    ("[[telemetry]]\nname = 'a'\ntype = 'snmp'\nzone = 'uk'\n", &[(UnknownValue, 22)]),
    ("[[telemetry]]\nname = 'a b'\ntype = 'push'\nzone = 'uk'\n", &[(BadName, 21)]),
    ("[[telemetry]]\nname = 'a'\ntype = 'push'\n", &[(MissingKey, 20)]),
    ("[[telemetry]]\nname = 'a'\ntype = 'push'\nzone = 'uk'\nbackends = ['sw1']\n", &[(MissingKey, 20)]),
    ("[[telemetry]]\nname = 'a'\ntype = 'push'\nzone = 'france'\n", &[(UnknownName, 23)]),
    ("[[telemetry]]\nname = 'a'\ntype = 'push'\nbackends = ['sw1', 'sw9']\n", &[(UnknownName, 23)]),
    ("[[telemetry]]\nname = 'a'\ntype = 'push'\nbackends = []\n", &[(UnknownName, 23)]),
    ("[[telemetry]]\nname = 'a'\ntype = 'push'\nzone = 'uk'\nlegs = 0\n", &[(OutOfRange, 24)]),
    ("[[telemetry]]\nname = 'a'\ntype = 'push'\nzone = 'uk'\nvalid = '10m'\n", &[(OutOfRange, 24)]),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'push'\nzone = 'uk'\n[[telemetry]]\nname = 'a'\ntype = 'push'\nzone = 'uk'\n",
        &[(DuplicateName, 25)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'overload-control'\nzone = 'uk'\nalgorithms = 'loss'\n",
        &[(WrongType, 24)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'overload-control'\nzone = 'uk'\nalgorithms = []\n",
        &[(UnknownValue, 24)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'overload-control'\nzone = 'uk'\nalgorithms = ['rate']\n",
        &[(UnknownValue, 24)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'overload-control'\nzone = 'uk'\nalgorithms = ['loss',\n'rates', 3]\n",
        &[(UnknownValue, 25), (WrongType, 25)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'overload-control'\nzone = 'uk'\nalgorithms = ['loss',\n'rate',\n'rate']\n",
        &[(DuplicateItem, 26)],
    ),
    ("[[telemetry]]\nname = 'a'\ntype = 'agent'\nzone = 'uk'\n", &[(MissingKey, 20)]),
    ("[[telemetry]]\nname = 'a'\ntype = 'agent'\nzone = 'uk'\naddress = '{host}'\n", &[(BadAddress, 24)]),
    ("[[telemetry]]\nname = 'a'\ntype = 'agent'\nzone = 'uk'\naddress = '{host}:0'\n", &[(BadAddress, 24)]),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'agent'\nzone = 'uk'\naddress = '{host}:1'\ninterval = '100ms'\n",
        &[(OutOfRange, 25)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'agent'\nzone = 'uk'\naddress = '{host}:1'\ntimeout = '3s'\n",
        &[(OutOfRange, 25)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'agent'\nzone = 'uk'\naddress = '{host}:1'\nvalid = '1s'\n",
        &[(OutOfRange, 25)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'freeswitch'\nzone = 'uk'\naddress = '{host}:8021'\n",
        &[(MissingKey, 20)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'freeswitch'\nzone = 'uk'\naddress = '{host}:8021'\npassword_file = 'p'\n",
        &[(BadPath, 25)],
    ),
    ("[[telemetry]]\nname = 'a'\ntype = 'prometheus'\nzone = 'uk'\n", &[(MissingKey, 20), (MissingKey, 20)]),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'prometheus'\nzone = 'uk'\nprofile = 'kamailio'\nurl = '{host}/metrics'\n",
        &[(BadAddress, 25)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'prometheus'\nzone = 'uk'\nprofile = 'yate'\nurl = 'http://{host}/'\n",
        &[(UnknownValue, 24)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'prometheus'\nzone = 'uk'\nmap = { calls = 'x' }\nurl = 'http://{host}/'\n",
        &[(MissingKey, 20), (UnknownKey, 24)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'prometheus'\nzone = 'uk'\nmap = { cps = 'max(x)' }\nurl = 'http://{host}/'\n\
         profile = 'asterisk'\n",
        &[(UnknownValue, 24)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'prometheus'\nzone = 'uk'\nprofile = 'asterisk'\n\
         url = 'http://{host}/'\nusername = 'u'\n",
        &[(MissingKey, 26)],
    ),
    (
        "[[telemetry]]\nname = 'a'\ntype = 'prometheus'\nzone = 'uk'\nprofile = 'asterisk'\n\
         url = 'http://{host}/'\nusername = 'u:v'\npassword_file = '/p'\n",
        &[(BadName, 26)],
    ),
];

#[test]
fn what_is_wrong_is_told_with_line_reason_and_remedy() {
    for (text, expected) in BROKEN {
        let complaints = parse(&format!("{FILE}{text}"), "f.toml").expect_err(text);
        let errors = complaints.complaints.iter().filter(|c| c.severity == Severity::Error);
        let found: Vec<(Code, usize)> = errors.map(|c| (c.code, c.line)).collect();
        assert_eq!(found, *expected, "{text}\n{complaints}");
        assert!(complaints.complaints.iter().all(|c| !c.reason.is_empty() && !c.remedy.is_empty()));
    }
}

#[test]
fn keys_of_another_type_are_warned_about() {
    let text = "[[telemetry]]\nname = 'a'\ntype = 'push'\nzone = 'uk'\ninterval = '1h'\nurl = 'x'\n\
                algorithms = ['rate']\n";
    let warnings = parse(&format!("{FILE}{text}"), "f.toml").unwrap().warnings;
    let found = warnings.complaints.iter().filter(|c| c.code == NoEffect);
    let found: Vec<_> = found.map(|c| (c.severity, c.code, c.line)).collect();
    assert_eq!(found, [24, 25, 26].map(|line| (Severity::Warning, NoEffect, line)));
}
