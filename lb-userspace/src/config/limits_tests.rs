//! Both sides of every bound on how many there may be.

use super::{Code, Complaints, Config, Loaded, MAX_TRUSTED, Policy, load, parse};
use lb_common::limits;
use std::{fmt::Write, fs, path::PathBuf};

/// Numbers of things in a file.
#[derive(Clone, Copy)]
struct Sizes {
    interfaces: u32,
    services: u32,
    listeners: u32,
    zones: u32,
    backends: u32,
    declared: u32,
    forwarding: &'static str,
}

const SMALL: Sizes =
    Sizes { interfaces: 1, services: 1, listeners: 1, zones: 1, backends: 1, declared: 0, forwarding: "nat" };

/// A file in which every service lists the same zones, all of which have a backend.
fn file(sizes: Sizes) -> String {
    let list = |count: u32, item: &dyn Fn(u32) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
    let interfaces = list(sizes.interfaces, &|i| format!("'eth{i}'"));
    let zones = list(sizes.zones, &|i| format!("'z{i}'"));
    let mut file = format!("[node]\nname = 'lb1'\ninterfaces = [{interfaces}]\n[health]\n");
    for service in 0..sizes.services {
        let listen = list(sizes.listeners, &|i| format!("'203.0.{service}.{}:5060/udp'", i + 1));
        let forwarding = sizes.forwarding;
        let _ = writeln!(
            file,
            "[[service]]\nname = 's{service}'\nlisten = [{listen}]\nforwarding = '{forwarding}'"
        );
        let _ = writeln!(file, "zones = [{zones}]");
    }
    for zone in 0..sizes.declared {
        let _ = writeln!(file, "[[zone]]\nname = 'declared{zone}'");
    }
    for backend in 0..sizes.backends {
        let (zone, high, low) = (backend % sizes.zones, backend / 256, backend % 256);
        let _ = writeln!(
            file,
            "[[backend]]\nname = 'b{backend}'\nzone = 'z{zone}'\naddress = '10.0.{high}.{low}:5060'"
        );
    }
    file
}

fn config(sizes: Sizes) -> Config {
    parse(&file(sizes), "f.toml").unwrap_or_else(|c| panic!("{c}")).config
}

#[track_caller]
fn assert_too_many(sizes: Sizes, what: &str) {
    let complaints = parse(&file(sizes), "f.toml").map(|l| l.config).expect_err(what);
    let refusing: Vec<_> = complaints.complaints.iter().filter(|c| c.code != Code::Unused).collect();
    assert_eq!(refusing.len(), 1, "{complaints}");
    assert_eq!(refusing[0].code, Code::TooMany);
    assert!(refusing[0].message.contains(what), "{complaints}");
}

#[test]
fn as_many_as_there_is_room_for() {
    assert_eq!(config(Sizes { interfaces: limits::MAX_INTERFACES, ..SMALL }).node.interfaces.len(), 64);
    assert_eq!(config(Sizes { backends: limits::MAX_BACKENDS, ..SMALL }).backends.len(), 1024);
    assert_eq!(config(Sizes { listeners: limits::MAX_LISTENERS, ..SMALL }).services[0].listen.len(), 8);
    let tiers = Sizes { zones: limits::MAX_TIERS, backends: limits::MAX_TIERS, ..SMALL };
    assert_eq!(config(tiers).services[0].tiers.len(), 8);
    let services = limits::MAX_SERVICES_PER_BACKEND as u32;
    assert_eq!(config(Sizes { services, ..SMALL }).services.len(), 4);
    assert_eq!(
        config(Sizes { services: limits::MAX_SERVICES, forwarding: "l2", ..SMALL }).services.len(),
        64
    );
    assert_eq!(config(Sizes { declared: limits::MAX_ZONES - 1, ..SMALL }).zone_names().len(), 64);
}

#[test]
fn one_too_many_of_each() {
    assert_too_many(Sizes { interfaces: limits::MAX_INTERFACES + 1, ..SMALL }, "interfaces");
    assert_too_many(Sizes { backends: limits::MAX_BACKENDS + 1, ..SMALL }, "backends");
    assert_too_many(Sizes { listeners: limits::MAX_LISTENERS + 1, ..SMALL }, "addresses");
    assert_too_many(
        Sizes { zones: limits::MAX_TIERS + 1, backends: limits::MAX_TIERS + 1, ..SMALL },
        "zones",
    );
    assert_too_many(
        Sizes { services: limits::MAX_SERVICES_PER_BACKEND as u32 + 1, ..SMALL },
        "list the zone",
    );
    assert_too_many(Sizes { services: limits::MAX_SERVICES + 1, forwarding: "l2", ..SMALL }, "services");
    assert_too_many(Sizes { declared: limits::MAX_ZONES, ..SMALL }, "zones");
}

/// A file that is gone with the test.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, contents: &[u8]) -> TemporaryFile {
        let path = std::env::temp_dir().join(format!("sipsteer-config-{}-{name}", std::process::id()));
        fs::write(&path, contents).expect("the temporary directory can be written to");
        TemporaryFile(path)
    }

    fn load(&self) -> Result<Config, Complaints> {
        load(&self.0).map(|loaded| loaded.config)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[track_caller]
fn assert_one(result: Result<Config, Complaints>, code: Code, line: usize, remedy: &str) {
    let complaints = result.expect_err("refused");
    let [complaint] = complaints.complaints.as_slice() else { panic!("{complaints}") };
    assert_eq!((complaint.code, complaint.line), (code, line));
    assert!(complaint.remedy.contains(remedy), "{complaints}");
    assert!(complaints.render(false).contains(&complaint.reason));
}

#[test]
fn files_that_cannot_be_read() {
    let directory = std::env::temp_dir();
    assert_one(load(&directory.join("sipsteer-no-such-file")).map(|l| l.config), Code::Unreadable, 1, "init");
    assert_one(load(&directory).map(|l| l.config), Code::Unreadable, 1, "sipsteer.toml");
    let latin1 = TemporaryFile::new("latin1", b"[node]\nname = 'M\xfcnchen'\n");
    assert_one(latin1.load(), Code::Syntax, 2, "UTF-8");
}

#[test]
fn files_of_the_largest_size() {
    let mut contents = file(SMALL).into_bytes();
    contents.resize(super::MAX_FILE as usize, b'\n');
    assert_eq!(TemporaryFile::new("largest", &contents).load(), Ok(config(SMALL)));
    contents.push(b'\n');
    assert_one(TemporaryFile::new("too-large", &contents).load(), Code::Unreadable, 1, "one file");
}

#[test]
fn empty_files_say_what_to_write() {
    for text in ["", "\n\n", "# nothing\n"] {
        let complaints = parse(text, "f.toml").map(|l| l.config).expect_err("nothing in it");
        let codes: Vec<_> = complaints.complaints.iter().map(|c| (c.code, c.line)).collect();
        assert_eq!(codes, [(Code::MissingKey, 1); 3]);
        assert!(complaints.render(false).contains("[[backend]]"));
    }
}

/// A file with one more line in its service and one in its backend.
fn with(service: &str, backend: &str) -> Result<Config, Complaints> {
    let text = file(SMALL).replace("[[backend]]", &format!("{service}\n[[backend]]\n{backend}"));
    parse(&text, "f.toml").map(|l| l.config)
}

/// A file with these lines in its `[answers]`.
fn answering(lines: &str) -> Result<Loaded, Complaints> {
    let text = file(SMALL).replacen("[[service]]", &format!("[answers]\n{lines}\n[[service]]"), 1);
    parse(&text, "f.toml")
}

/// So many prefixes, each another one.
fn trusted(count: u32) -> String {
    let prefixes: Vec<String> = (0..count).map(|i| format!("'198.51.{i}.0/24'")).collect();
    format!("trusted = [{}]", prefixes.join(", "))
}

#[test]
fn trusted_networks_are_few_and_each_stands_once() {
    let codes = |lines: &str| -> Vec<Code> {
        let complaints = answering(lines).map_or_else(|c| c, |loaded| loaded.warnings);
        complaints.complaints.iter().map(|c| c.code).collect()
    };
    assert_eq!(codes(&trusted(MAX_TRUSTED)), []);
    assert_eq!(codes(&trusted(MAX_TRUSTED + 1)), [Code::TooMany]);
    assert_eq!(codes("trusted = ['198.51.100.0/24', '198.51.100.0/24']"), [Code::DuplicateItem]);
    assert_eq!(codes("trusted = ['203.0.113.7', '203.0.113.7/32']"), [Code::DuplicateItem]);
    assert_eq!(codes("trusted = ['128.0.0.0/1', '203.0.113.7/32']"), []);
    for bad in ["0.0.0.0/0", "10.0.0.0/33", "10.0.0.1/24", "10.0.0", "example.com"] {
        assert_eq!(codes(&format!("trusted = ['{bad}']")), [Code::BadAddress], "{bad}");
    }
    assert_eq!(codes("trusted = ['2001:db8::/32']"), [Code::NotYet]);
}

#[test]
fn answers_that_no_limit_lets_out_are_warned_about() {
    let warned = |lines: &str| -> Vec<Code> {
        let loaded = answering(lines).unwrap_or_else(|c| panic!("{c}"));
        loaded.warnings.complaints.iter().map(|c| c.code).collect()
    };
    assert_eq!(warned("per_source = 100\ntotal = 100"), []);
    assert_eq!(warned("per_source = 101\ntotal = 100"), [Code::NoEffect]);
    assert_eq!(warned("per_source = 'unlimited'\ntrusted = ['203.0.113.7']"), [Code::NoEffect]);
    let wrong = answering("per_source = '5'\ntotal = 'many'\ntrusted = ['x', 5]\nburst = 1");
    let mut codes: Vec<Code> = wrong.expect_err("five mistakes").complaints.iter().map(|c| c.code).collect();
    codes.sort();
    assert_eq!(
        codes,
        [Code::UnknownKey, Code::WrongType, Code::WrongType, Code::WrongType, Code::BadAddress]
    );
}

/// Values of keys on both sides of each of their bounds.
#[test]
fn numbers_within_their_bounds_are_taken_and_others_are_not() {
    let service = |line: &str| with(line, "");
    let backend = |line: &str| with("", line);
    let answers = |lines: &str| answering(lines).map(|l| l.config);
    for (take, good, bad) in [
        (
            &backend as &dyn Fn(&str) -> _,
            &["max_cps = 0", "max_cps = 1000000"][..],
            &["max_cps = 1000001"][..],
        ),
        (&backend, &["max_channels = 0", "max_channels = 1000000"], &["max_channels = 1000001"]),
        (&backend, &["cps_burst = 0", "cps_burst = 1000000"], &["cps_burst = -1", "cps_burst = 1000001"]),
        (&backend, &["weight = 1", "weight = 1000"], &["weight = 0", "weight = 1001"]),
        (
            &service,
            &["bound = 1", "bound = 1.0", "bound = 10.0"],
            &["bound = 0.99", "bound = 10.1", "bound = nan"],
        ),
        (
            &service,
            &["target_utilisation = 0.01", "target_utilisation = 1"],
            &["target_utilisation = 0.0", "target_utilisation = 0.009", "target_utilisation = 1.01"],
        ),
        (
            &service,
            &["retry_after = 1", "retry_after = 30", "retry_after = [1, 30]", "retry_after = [5, 5]"],
            &["retry_after = 0", "retry_after = 31", "retry_after = [0, 5]", "retry_after = [5, 4]"],
        ),
        (
            &answers,
            &["per_source = 1", "per_source = 10000", "per_source = 'unlimited'"],
            &["per_source = 0", "per_source = 10001"],
        ),
        (
            &answers,
            &["per_source = 1\ntotal = 1", "total = 100000"],
            &["per_source = 1\ntotal = 0", "total = 100001"],
        ),
        (
            &service,
            &["full_after_refusal = 0", "full_after_refusal = 3600", "full_after_refusal = 'retry-after'"],
            &["full_after_refusal = -1", "full_after_refusal = 3601"],
        ),
    ] {
        good.iter().for_each(|line| assert!(take(line).is_ok(), "{line}: {:?}", take(line)));
        for line in bad {
            let complaints = take(line).expect_err(line);
            let codes: Vec<_> = complaints.complaints.iter().map(|c| c.code).collect();
            assert_eq!(codes, [Code::OutOfRange], "{line}: {complaints}");
        }
    }
}

#[test]
fn ratios_are_kept_in_1024ths() {
    let of = |line: &str| with(line, "").unwrap_or_else(|c| panic!("{c}")).services.remove(0);
    let bound = |line: &str| of(line).policy;
    assert_eq!(bound(""), Policy::Consistent { bound: Some(1280) });
    assert_eq!(bound("bound = 10"), Policy::Consistent { bound: Some(10_240) });
    assert_eq!(bound("bound = \"none\""), Policy::Consistent { bound: None });
    assert_eq!([of("").target, of("target_utilisation = 1.0").target], [512, 1024]);
    assert_eq!(of("target_utilisation = 0.01").target, 10);
    assert_eq!([of("").retry_after, of("retry_after = 3").retry_after], [None, Some(3..=3)]);
    assert_eq!(of("retry_after = [1, 5]").retry_after, Some(1..=5));
}
