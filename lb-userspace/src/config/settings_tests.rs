//! Every key of a file is told of: as a setting, or by what the maps are to hold.

use super::*;
use crate::core::{
    model::{Circumstances, Model},
    plan::Plan,
    summary::Summary,
};

const API: &str = "[api]\nlisten = \"127.0.0.1:9470\"\ntoken_file = \"/etc/sipsteer/token\"\n";

fn whole() -> String {
    format!("{API}{}", include_str!("../../tests/whole.toml"))
}

fn config(text: &str) -> Config {
    parse(text, "whole.toml").unwrap_or_else(|complaints| panic!("{complaints}\n{text}")).config
}

/// What a reload from one file to another tells.
fn told(old: &str, new: &str) -> Summary {
    let (old, new) = (config(old), config(new));
    let before = Model::from_config(&old, &Circumstances::default()).unwrap();
    let after = before.next(&new, &Circumstances::default()).unwrap();
    Plan::between(&before, &after).summary.with_settings(&old.settings(), &new.settings())
}

#[test]
fn what_no_map_holds_is_told_by_its_key() {
    let whole = whole();
    for (from, to, expected) in [
        ("\"front\"", "\"front\", \"back\"", "~node.interfaces"),
        ("xdp_mode = \"native\"", "", "~node.xdp_mode"),
        ("zone = \"uk\"\n[dialogs]", "[dialogs]", "-node.zone"),
        ("answered = \"12h\"", "answered = \"11h\"", "~dialogs.answered"),
        ("per_source = 50", "per_source = 51", "~answers.per_source"),
        ("[metrics]\nlisten = \"127.0.0.1:9464\"\n", "", "-metrics.listen"),
        (API, "", "-api.listen -api.token_file"),
        ("9470", "9471", "~api.listen"),
        ("fall = 3", "fall = 4", "~backend.sw1.health ~backend.sw2.health"),
        ("health = { probe = \"tcp\"", "health = { probe = \"none\"", "-backend.sw1.health"),
        ("warm_up = \"20s\"", "warm_up = \"21s\"", "~controller.warm_up"),
        ("valid = \"10s\"", "valid = \"11s\"", "~telemetry.metrics"),
        ("name = \"feedback\"", "name = \"words\"", "+telemetry.words -telemetry.feedback"),
        ("retry_after = [1, 5]\n", "", "-service.trunks.retry_after"),
        ("203.0.113.99", "203.0.113.98", "~zone.germany.address"),
    ] {
        assert_eq!(whole.matches(from).count(), 1, "{from}");
        let summary = told(&whole, &whole.replace(from, to));
        assert_eq!(summary.details(), [format!("settings: {expected}")], "{from} -> {to}");
        let count = expected.split(' ').count();
        let told = summary.to_string();
        assert!(told.contains(if count == 1 { "1 setting, " } else { " setting" }), "{told}");
        assert!(told.ends_with("0 live calls move"), "{told}");
    }
}

#[test]
fn nothing_is_told_twice_and_nothing_is_left_out() {
    let whole = whole();
    assert!(told(&whole, &whole).is_empty());
    // What the maps hold has lines of its own.
    for (from, to, expected) in [
        ("weight = 100", "weight = 99", "backends: ~sw1"),
        ("bound = 1.25", "bound = 1.5", "services: ~trunks"),
        ("retry_refused = true", "retry_refused = false", "services: ~trunks"),
        ("options = \"answer\"", "options = \"forward\"", "services: ~trunks"),
        ("full_after_refusal = 3", "full_after_refusal = 4", "services: ~trunks"),
        ("overflow = \"redirect\"", "overflow = \"forward\"", "services: ~trunks"),
    ] {
        assert_eq!(whole.matches(from).count(), 1, "{from}");
        assert_eq!(told(&whole, &whole.replace(from, to)).details(), [expected], "{from}");
    }
    // Whatever line is left out of the file: if it may be, something is told, unless it says what holds anyway.
    let lines: Vec<&str> = whole.lines().collect();
    let (mut said, mut silent) = (0, Vec::new());
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let rest: Vec<&str> = [&lines[..number], &lines[number + 1..]].concat();
        let rest = rest.join("\n");
        let Ok(loaded) = parse(&rest, "whole.toml") else { continue };
        match told(&whole, &rest).is_empty() {
            false => said += 1,
            true if loaded.config != config(&whole) => silent.push(*line),
            true => {}
        }
    }
    assert!(said > 20, "{said}");
    assert_eq!(silent, ["cps_burst = 20"], "it is a tenth of the pace anyway");
}
