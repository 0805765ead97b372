//! The text that `sipsteer init` writes: a commented configuration to start from.

use super::{complaint::Complaints, load::parse};
use std::fmt::Write;

/// What `init` was told. All of it goes through the same checks as a file does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Name of this balancer.
    pub node: String,
    /// Interfaces, at least one.
    pub interfaces: Vec<String>,
    /// Addresses callers send to, `address:port/udp`, at least one.
    pub listen: Vec<String>,
    /// Addresses of the backends, `address:port`, at least one.
    pub backends: Vec<String>,
    /// `nat` or `l2`; `nat` if empty.
    pub forwarding: String,
    /// Name of the backends' zone; `main` if empty.
    pub zone: String,
}

/// The text of a configuration file.
///
/// # Errors
/// The complaints about the file that it would be: an answer is wrong or missing.
pub fn template(answers: &Answers) -> Result<String, Complaints> {
    let text = text(answers);
    match parse(&text, "the configuration from these answers") {
        Ok(_) => Ok(text),
        Err(complaints) => Err(complaints),
    }
}

fn text(answers: &Answers) -> String {
    let or = |answer: &str, default: &str| quoted(if answer.is_empty() { default } else { answer });
    let zone = or(&answers.zone, "main");
    let mut text = format!(
        r#"# sipsteer: which SIP calls go to which backends.
# After a change: `sipsteer check`, then `sipsteer reload`. Keys behind a `#` show their defaults.

[node]
name = {node}
# Where XDP attaches.
interfaces = {interfaces}
# auto: native, or generic with a warning if the driver cannot; native: or not at all; generic: for tests.
#xdp_mode = "auto"
# 16 bytes in hex, the same on every balancer of a cluster; made at the first start.
#hash_key_file = "/etc/sipsteer/hash.key"
# The zone this balancer stands in.
#zone = {zone}

# How long a silent dialog is remembered, and how many at most. The table is allocated at the start.
#[dialogs]
#max = 1048576
#unanswered = "180s"
#answered = "12h"
#ended = "32s"
#subscribed = "1h"

# Most answers of the balancer itself (302, 503, 200 to OPTIONS) per second: to one source address, and in all. A trunk
# that sends many calls from few addresses needs a higher per_source, or is trusted: no limit of its own, only the total.
#[answers]
#per_source = 20
#total = 10000
#trusted = []

# For Prometheus over TCP add a table [metrics] with listen = "127.0.0.1:9464". There is no login: name an address that only
# your monitoring reaches.

# For `sipsteer --api` from elsewhere add a table [api] with listen = "127.0.0.1:9443" and token_file =
# "/etc/sipsteer/api.token"; any other address needs certificate = "/etc/sipsteer/api.pem" and key = "/etc/sipsteer/api.key" too.

# Whether backends are alive. options: each is asked by SIP OPTIONS; tcp: a TCP connection must stand; none: nobody looks.
# One [backend.health] with the same keys may differ from the others.
[health]
probe = "options"
#interval = "1s"
#timeout = "500ms"
# So many good answers in a row make a backend up, so many failures end that.
#rise = 2
#fall = 2
# accept = ["2xx", 404] would take these answers for good; without it, every final answer but 408 and 5xx is.

# What backends get that came up, or are busy: from a tenth of their share to the whole in this time, and less while their
# processors are busier than this part of the time, if telemetry says how busy they are.
#[controller]
#warm_up = "30s"
#cpu_target = 0.8
# When fewer than this part of a service's backends answer probes, those whose calls are answered stay up, and so do all if all
# fell silent at once: then something eats the probes. 0: probes are always believed.
#panic_threshold = 0.5

# Who says what backends carry and can carry. It only ever lowers their limits below, and is forgotten when it is too old.
# [[telemetry]]
# name = "metrics"
# type = "prometheus", "agent", "freeswitch", "overload-control" or "push"
# zone = "main", or backends = ["sw1"]
# url = "http://{{host}}:9090/metrics"
# profile = "kamailio", "asterisk" or "freeswitch"; or map = {{ channels = "calls", cps = "rate(calls_total)" }}
# algorithms = ["loss"], or ["loss", "rate"] for servers that can say by oc how many requests they want in a second
# interval = "5s", timeout = "2s", valid = "15s"

# Addresses that callers send to, and the zones whose backends serve them.
[[service]]
name = "sip"
listen = {listen}
# nat: backends answer through this balancer, which must be their default route.
# l2: backends share this network, carry the address above on their loopback, and answer callers themselves.
forwarding = {forwarding}
# In order of preference: a zone gets the calls that find no room in those before it.
zones = [{zone}]
# How further zones get them. forward: they go there; redirect: callers are told to (302), see `address` of a [[zone]].
#overflow = "forward"
# consistent: the ring's first choice with room; least-loaded: the less utilised of its first two;
# primary-secondary: in the order of this file, each filled to its limit before the next.
#policy = "consistent"
# consistent: a backend above this multiple of its zone's mean utilisation is passed over; "none": none is.
#bound = 1.25
# What the ring is asked with: call-id, from-user, to-user, request-user or source.
#hash_by = "call-id"
# A zone above this part of its capacity is reported hot.
#target_utilisation = 0.5
# OPTIONS to the service itself. answer: it is answered here; forward: a backend gets it.
#options = "answer"
# nat only: after a backend's own 503 or 3xx the call may go elsewhere, and the backend counts as full for so many seconds, or
# with "retry-after" for as long as it says, up to a minute.
#retry_refused = true
#full_after_refusal = 0
"#,
        node = quoted(&answers.node),
        interfaces = list(&answers.interfaces),
        listen = list(&answers.listen),
        forwarding = or(&answers.forwarding, "nat"),
    );
    text.push_str(
        "\n# One block for each backend. A backend of twice the weight gets twice as many new calls, and none gets more than\n\
         # max_cps new calls per second (cps_burst may come at once beyond that pace, a tenth of it) and max_channels at a\n\
         # time: 0 is no new calls, \"unlimited\" no limit.\n",
    );
    for (number, address) in (1..).zip(&answers.backends) {
        let address = quoted(address);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[[backend]]\nname = \"sw{number}\"\nzone = {zone}\naddress = {address}\n#max_cps = 100\n\
             #max_channels = 1000\n#weight = 100\n\n"
        );
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "))
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AnswerRates, Code, Dialogs, Forwarding};

    fn answers() -> Answers {
        Answers {
            node: "lb1".into(),
            interfaces: vec!["eth0".into(), "eth1".into()],
            listen: vec!["203.0.113.10:5060/udp".into()],
            backends: vec!["10.0.0.11:5060".into(), "10.0.0.12:5060".into()],
            ..Answers::default()
        }
    }

    #[test]
    fn says_what_was_answered_without_a_complaint() {
        let text = template(&answers()).expect("the answers are right");
        let loaded = parse(&text, "sipsteer.toml").expect("it was parsed before");
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        let config = loaded.config;
        assert_eq!(config.node.interfaces, ["eth0", "eth1"]);
        assert_eq!(config.services[0].listen, ["203.0.113.10:5060".parse().unwrap()]);
        assert_eq!(config.services[0].forwarding, Forwarding::Nat);
        let names: Vec<_> =
            config.backends.iter().map(|b| (b.name.as_str(), b.address.to_string())).collect();
        assert_eq!(names, [("sw1", "10.0.0.11:5060".to_owned()), ("sw2", "10.0.0.12:5060".to_owned())]);
    }

    #[test]
    fn the_keys_behind_a_hash_show_the_defaults() {
        let text = template(&answers()).expect("the answers are right");
        let uncommented: String = text
            .lines()
            .map(|line| {
                line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned() + "\n"
            })
            .collect();
        assert_ne!(uncommented, text);
        let before = parse(&text, "sipsteer.toml").expect("the template").config;
        let mut after = parse(&uncommented, "sipsteer.toml").expect("the template without hashes").config;
        assert_eq!(after.node.zone.take().as_deref(), Some("main"));
        assert_eq!(after.dialogs, Dialogs::default());
        assert_eq!(after.answers, AnswerRates::default());
        assert_eq!(after, before);
    }

    #[test]
    fn wrong_answers_are_complained_about_all_at_once() {
        let wrong = Answers {
            node: "a\"]\n\\".into(),
            listen: vec!["203.0.113.10/udp".into()],
            backends: vec!["10.0.0.11:0".into()],
            forwarding: "l3".into(),
            ..answers()
        };
        let complaints = template(&wrong).expect_err("four mistakes");
        let codes: Vec<Code> = complaints.complaints.iter().map(|c| c.code).collect();
        assert_eq!(codes, [Code::BadName, Code::BadAddress, Code::UnknownValue, Code::BadAddress]);
        assert!(template(&Answers { backends: Vec::new(), ..answers() }).is_err());
    }
}
