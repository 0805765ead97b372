//! How backends are probed, by the words of `[health]` and of their own.

use super::{
    Accepted,
    Code::*,
    How, Probing,
    broken_tests::{GOOD, codes_and_lines, replaced},
    parse,
};
use std::time::Duration;

#[test]
fn whoever_has_not_decided_about_probes_is_told_once() {
    let without: String = GOOD[..20].join("\n");
    let loaded = parse(&without, "f.toml").unwrap_or_else(|c| panic!("{c}"));
    assert_eq!(codes_and_lines(&loaded.warnings), [(NotProbed, 1)]);
    assert!(loaded.warnings.render(false).contains("probe = \"options\""), "{}", loaded.warnings);
    assert!(loaded.config.backends.iter().all(|b| b.probing.is_none()));

    let own = without.replace("zone = 'uk'", "zone = 'uk'\nhealth = { interval = '2s' }");
    let loaded = parse(&own, "f.toml").unwrap_or_else(|c| panic!("{c}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let expected = Probing { interval: Duration::from_secs(2), ..Probing::DEFAULT };
    assert!(loaded.config.backends.iter().all(|b| b.probing.as_ref() == Some(&expected)));
}

#[test]
fn a_backend_may_be_probed_in_another_way_than_the_others() {
    let file = replaced(&(22, "interval = '5s'\nrise = 4\naccept = ['2xx', 404]", &[]));
    let file = file.replacen("zone = 'uk'", "zone = 'uk'\nhealth = { probe = 'tcp', rise = 1 }", 1);
    let backends = parse(&file, "f.toml").unwrap_or_else(|c| panic!("{c}")).config.backends;
    let usual = Probing {
        interval: Duration::from_secs(5),
        rise: 4,
        accept: Accepted(vec![200..=299, 404..=404]),
        ..Probing::DEFAULT
    };
    let own = Probing { how: How::Tcp, rise: 1, ..usual.clone() };
    let probing: Vec<_> = backends.into_iter().map(|b| b.probing).collect();
    assert_eq!(probing, [Some(own), Some(usual.clone())]);

    let none = file.replace("probe = 'tcp'", "probe = 'none'").replace("interval = '5s'", "probe = 'tcp'");
    let backends = parse(&none, "f.toml").unwrap_or_else(|c| panic!("{c}")).config.backends;
    let interval = Probing::DEFAULT.interval;
    let probing: Vec<_> = backends.into_iter().map(|b| b.probing).collect();
    assert_eq!(probing, [None, Some(Probing { how: How::Tcp, interval, ..usual })]);
}
