//! `[api]`: what is taken, what is complained about at which line, and the same for the files that it names.

use super::{
    Access, Api, Code,
    Code::*,
    Complaints, Identity, Loaded, Severity, access, parse,
    telemetry_tests::{Case, FILE},
    token,
};
use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd, generate_simple_self_signed};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

fn loaded(text: &str) -> Loaded {
    parse(&format!("{FILE}{text}"), "f.toml").unwrap_or_else(|complaints| panic!("{complaints}"))
}

#[test]
fn the_least_and_the_most_of_it() {
    assert_eq!(loaded("").config.api, None);
    for listen in ["127.0.0.1:9443", "127.9.9.9:1", "[::1]:9443"] {
        let text = format!("[api]\nlisten = '{listen}'\ntoken_file = '/etc/t'\n");
        let api = Api {
            listen: listen.parse().unwrap(),
            token_file: "/etc/t".into(),
            read_token_file: None,
            identity: None,
        };
        assert_eq!(loaded(&text).config.api, Some(api));
    }
    let most = loaded(
        "[api]\nlisten = '0.0.0.0:9443'\ntoken_file = '/etc/t'\nread_token_file = '/etc/r'\ncertificate = '/etc/c'\n\
         key = '/etc/k'\n",
    );
    let api = most.config.api.unwrap();
    assert_eq!(api.read_token_file, Some("/etc/r".into()));
    assert_eq!(api.identity, Some(Identity { certificate: "/etc/c".into(), key: "/etc/k".into() }));
}

pub(super) const BROKEN: &[Case] = &[
    ("[api]\n", &[(MissingKey, 20), (MissingKey, 20)]),
    ("[[api]]\nlisten = '127.0.0.1:1'\ntoken_file = '/t'\n", &[(WrongType, 20)]),
    ("[api]\nlisten = 'localhost:9443'\ntoken_file = '/t'\n", &[(BadAddress, 21)]),
    ("[api]\nlisten = '127.0.0.1:0'\ntoken_file = '/t'\n", &[(BadAddress, 21)]),
    ("[api]\nlisten = 9443\ntoken_file = '/t'\n", &[(WrongType, 21)]),
    ("[api]\nlisten = '127.0.0.1:1'\ntoken_file = 't'\n", &[(BadPath, 22)]),
    ("[api]\nlisten = '127.0.0.1:1'\ntoken = 'x'\ntoken_file = '/t'\n", &[(UnknownKey, 22)]),
    ("[api]\nlisten = '10.0.0.1:9443'\ntoken_file = '/t'\n", &[(NotEncrypted, 21)]),
    ("[api]\nlisten = '0.0.0.0:9443'\ntoken_file = '/t'\n", &[(NotEncrypted, 21)]),
    ("[api]\nlisten = '[::]:9443'\ntoken_file = '/t'\n", &[(NotEncrypted, 21)]),
    ("[api]\nlisten = '10.0.0.1:9443'\ntoken_file = '/t'\ncertificate = '/c'\n", &[(MissingKey, 23)]),
    ("[api]\nlisten = '127.0.0.1:9443'\ntoken_file = '/t'\nkey = '/k'\n", &[(MissingKey, 23)]),
    (
        "[api]\nlisten = '10.0.0.1:1'\ntoken_file = '/t'\ncertificate = 'c'\nkey = '/k/'\n",
        &[(BadPath, 23), (BadPath, 24)],
    ),
    ("[api]\nlisten = '127.0.0.1:1'\ntoken_file = '/t'\nread_token_file = '/t'\n", &[(DuplicateItem, 23)]),
    (
        "[metrics]\nlisten = '127.0.0.1:1'\n[api]\nlisten = '127.0.0.1:1'\ntoken_file = '/t'\n",
        &[(DuplicateAddress, 23)],
    ),
];

fn codes_and_lines(complaints: &Complaints) -> Vec<(Code, usize)> {
    let errors = complaints.complaints.iter().filter(|c| c.severity == Severity::Error);
    errors.map(|c| (c.code, c.line)).collect()
}

#[test]
fn what_is_wrong_is_told_with_line_reason_and_remedy() {
    for (text, expected) in BROKEN {
        let complaints = parse(&format!("{FILE}{text}"), "f.toml").expect_err(text);
        assert_eq!(codes_and_lines(&complaints), *expected, "{text}\n{complaints}");
        assert!(complaints.complaints.iter().all(|c| !c.reason.is_empty() && !c.remedy.is_empty()));
    }
}

/// Four files that are right, and a configuration with them.
struct Files {
    folder: TempDir,
    loaded: Loaded,
}

const TOKEN: &str = "0123456789abcdef0123456789ABCDEF";
const READ_TOKEN: &str = "a-token.of_other~signs+than/those=";

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let text = format!(
            "[api]\nlisten = '10.0.0.1:9443'\ntoken_file = '{}'\nread_token_file = '{}'\ncertificate = '{}'\nkey = '{}'\n",
            at("token"),
            at("read"),
            at("cert"),
            at("key")
        );
        let files = Files { loaded: loaded(&text), folder };
        files.write("token", 0o600, &format!("{TOKEN}\n"));
        files.write("read", 0o640, READ_TOKEN);
        let CertifiedKey { cert, signing_key } = made();
        files.write("cert", 0o644, &cert.pem());
        files.write("key", 0o600, &signing_key.serialize_pem());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, mode: u32, text: &str) {
        fs::write(self.path(name), text).expect("a file");
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).expect("a mode");
    }

    /// The complaints, which must be about one file.
    fn only(&self) -> super::Complaint {
        let complaints = read(&self.loaded).expect_err("a file is wrong");
        assert_eq!(complaints.len(), 1, "{complaints}");
        let complaint = complaints.complaints[0].clone();
        assert!(complaint.code == BadFile && !complaint.reason.is_empty(), "{complaint:?}");
        complaint
    }
}

/// What the files open, at some time in the year 2026.
fn read(loaded: &Loaded) -> Result<(Option<Access>, Complaints), Complaints> {
    access(loaded, "f.toml", "2026-06-01T12:00:00Z".parse().expect("a time"))
}

fn made() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["lb1.example.com".to_owned()]).expect("a certificate")
}

#[test]
fn files_that_are_right_are_read() {
    let files = Files::new();
    let (access, warnings) = read(&files.loaded).unwrap();
    let access = access.unwrap();
    assert!(warnings.is_empty(), "{warnings}");
    assert_eq!((access.token.as_str(), access.read_token.as_deref()), (TOKEN, Some(READ_TOKEN)));
    assert!(access.tls.is_some());
    assert!(!format!("{access:?}").contains(TOKEN), "{access:?}");
    assert!(read(&loaded("")).unwrap().0.is_none());
}

#[test]
fn a_certificate_whose_time_is_not_now_is_taken_with_a_warning() {
    let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2026, 6, 1));
    let files = Files::new();
    files.write("cert", 0o644, &params.self_signed(&key).unwrap().pem());
    files.write("key", 0o600, &key.serialize_pem());
    let (access, warnings) = read(&files.loaded).unwrap();
    let access = access.unwrap();
    assert!(access.tls.is_some() && access.expires == Some("2026-06-01T00:00:00Z".parse().unwrap()));
    let [warning] = &warnings.complaints[..] else { panic!("{warnings}") };
    assert_eq!((warning.severity, warning.code, warning.line), (Severity::Warning, Untimely, 24));
    assert!(warning.message.ends_with(" expired on 2026-06-01T00:00:00Z"), "{warning:?}");
}

/// File, mode, contents; the line complained about, and words of the complaint.
type Wrong = (&'static str, u32, &'static str, usize, [&'static str; 2]);

#[test]
fn a_file_that_is_wrong_is_told_with_line_and_remedy() {
    const ANOTHER: &str = "another one of thirty-two letters";
    let cases: &[Wrong] = &[
        ("token", 0o644, TOKEN, 22, ["its mode is 0644", "chmod 0640 "]),
        ("token", 0o604, TOKEN, 22, ["its mode is 0604", "chmod 0640 "]),
        ("token", 0o660, TOKEN, 22, ["its mode is 0660", "chmod 0640 "]),
        ("token", 0o601, TOKEN, 22, ["its mode is 0601", "chmod 0640 "]),
        ("token", 0o600, &TOKEN[1..], 22, ["31 characters", "openssl rand"]),
        ("token", 0o600, "", 22, ["0 characters", "openssl rand"]),
        ("token", 0o600, ANOTHER, 22, ["one line of letters", "openssl rand"]),
        ("read", 0o600, TOKEN, 23, ["is the one in `token_file`", "openssl rand"]),
        ("read", 0o644, READ_TOKEN, 23, ["its mode is 0644", "chmod 0640 "]),
        ("cert", 0o644, "", 24, ["holds no certificate", "name a PEM file"]),
        ("cert", 0o644, "-----BEGIN CERTIFICATE-----\n?", 24, ["is no certificate", "name a PEM file"]),
        ("key", 0o600, "", 25, ["holds no private key", "without a passphrase"]),
    ];
    for (name, mode, text, line, words) in cases {
        let files = Files::new();
        files.write(name, *mode, text);
        let complaint = files.only();
        let said = format!("{complaint:?}");
        assert_eq!(complaint.line, *line, "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} in {said}");
        assert!(!said.contains(TOKEN), "{said}");
    }
}

#[test]
fn files_that_cannot_be_read_or_do_not_go_together_are_told_all_at_once() {
    let files = Files::new();
    files.write("cert", 0o666, &fs::read_to_string(files.path("cert")).unwrap());
    assert!(files.only().remedy.contains("chmod 0644 "));

    let files = Files::new();
    files.write("key", 0o600, &made().signing_key.serialize_pem());
    let complaint = files.only();
    assert!(complaint.line == 25 && complaint.message.contains("is not the key"), "{complaint:?}");

    let files = Files::new();
    for name in ["token", "read", "cert"] {
        fs::remove_file(files.path(name)).unwrap();
    }
    fs::create_dir(files.path("read")).unwrap();
    make_pipe(&files.path("cert"));
    files.write("key", 0o644, "");
    let complaints = read(&files.loaded).expect_err("nothing is right");
    let lines: Vec<usize> = complaints.complaints.iter().map(|c| c.line).collect();
    assert_eq!(lines, [22, 23, 24, 25], "{complaints}");
    assert!(complaints.render(false).contains("f.toml:22:"), "{complaints}");
}

/// A pipe that nobody writes to: whoever reads it waits.
fn make_pipe(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
}

#[test]
fn the_bounds_of_a_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    for (length, right) in [(31, false), (32, true), (512, true), (513, false)] {
        fs::write(&path, "x".repeat(length)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert_eq!(token(&path).is_ok(), right, "{length}");
        fs::remove_file(&path).unwrap();
    }
}
