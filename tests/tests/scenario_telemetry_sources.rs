//! Sources that fail in every way there is: no backend keeps what they last said longer than that may be believed, none flaps,
//! and none loses its calls.

use anyhow::{Context, Result};
use lb_tests::{
    daemon::{Config, Limits, Node},
    needs_bpf,
    process::{Process, wait_until},
    telemetry::{PORT, Says, Source, Told, post, told},
    topology::{Forwarding, Lab},
};
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// How long a sample may be believed here.
const VALID: Duration = Duration::from_secs(2);

fn page(max_channels: u32) -> String {
    format!("# TYPE most gauge\nmost{{kind=\"calls\"}} {max_channels}\n")
}

/// Every backend has a page of metrics that says how many channels it has.
fn scraped(lab: &Lab) -> Config {
    Config::of(lab).limited(Limits::channels(1000)).with(&format!(
        "[controller]\nwarm_up = \"2s\"\n[[telemetry]]\nname = \"metrics\"\ntype = \"prometheus\"\nzone = \"{}\"\n\
         url = \"http://{{host}}:{PORT}/metrics\"\nmap = {{ max_channels = \"most{{kind=\\\"calls\\\"}}\" }}\n\
         interval = \"500ms\"\ntimeout = \"300ms\"\nvalid = \"{}s\"\n",
        lab.backends[0].zone,
        VALID.as_secs()
    ))
}

fn until(
    node: &Node<'_>,
    daemon: &Process,
    name: &str,
    what: &str,
    so: impl Fn(&Told) -> bool,
) -> Result<Told> {
    let mut last = None;
    wait_until(&format!("{name}: {what}"), PATIENCE, || {
        let now = told(node, name)?;
        let so = so(&now);
        last = Some(now);
        Ok(so)
    })
    .with_context(|| format!("{last:?}; {}", daemon.last_words()))?;
    last.context("it was asked")
}

#[test]
fn what_a_source_said_is_forgotten_in_time_however_it_fails() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 5)?;
    let mut sources: Vec<Source> =
        lab.backends.iter().map(|b| Source::start(b, Says::Page(page(800)))).collect::<Result<_>>()?;
    let node = Node::new(&lab, &scraped(&lab))?;
    let daemon = node.start(&["--ephemeral"])?;
    for backend in &lab.backends {
        // Both, as a change comes little by little and a weight of 80 is a rounded one: it is there before the channels are.
        let now = until(&node, &daemon, &backend.name, "is at 800 channels and a weight of 80", |told| {
            told.weight == 80 && told.max_channels == Some(800)
        })?;
        assert_eq!(now.health, "up", "{now:?}");
        assert!(now.because.contains("metrics: max_channels 800"), "{}", now.because);
    }

    // One freezes, one talks nonsense, one is late, one hangs up, one is gone.
    sources[0].say(Says::Nothing);
    sources[1].say(Says::Page("<html><body>It works!</body></html>".to_owned()));
    sources[2].say(Says::Late(Duration::from_secs(1), page(800)));
    sources[3].say(Says::Closed);
    drop(sources.remove(4));
    let failed = Instant::now();
    let reasons = [
        ("sw1", "no answer within 300ms"),
        ("sw2", "line 1 is no metric"),
        ("sw3", "no answer within 300ms"),
        ("sw4", "HTTP: "),
        ("sw5", "cannot connect to "),
    ];
    for (name, reason) in reasons {
        let now = until(&node, &daemon, name, "is stale", |told| told.because.contains("stale"))?;
        assert!(now.because.contains(reason), "{name}: {}", now.because);
        assert!(now.because.contains("fell back to own counts"), "{name}: {}", now.because);
    }
    // Not later than that: what was believed before comes back little by little, and never turns round.
    let mut weights = [0; 5];
    while weights != [100; 5] {
        for (at, (name, _)) in reasons.iter().enumerate() {
            let now = told(&node, name)?;
            assert!(now.weight >= weights[at], "{name} flaps: {} after {weights:?}", now.weight);
            assert_eq!(now.health, "up");
            weights[at] = now.weight;
        }
        assert!(failed.elapsed() < PATIENCE, "{weights:?}");
        sleep(Duration::from_millis(200));
    }
    let log = daemon.log();
    for (name, _) in reasons {
        assert_eq!(log.matches(&format!("backend {name}: metrics is stale: own counts")).count(), 1, "{log}");
        assert_eq!(log.matches(&format!("backend {name}: metrics ")).count(), 2, "one line a change: {log}");
    }

    // They come to their senses, and are believed again.
    sources[1].say(Says::Page(page(500)));
    until(&node, &daemon, "sw2", "is at half of its weight and of its channels", |told| {
        told.weight == 50 && told.max_channels == Some(500)
    })?;
    Ok(())
}

#[test]
fn an_agent_drains_a_server_and_its_silence_gives_it_back() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let agent = Source::start(&lab.backends[0], Says::Line("ready 100%\n".to_owned()))?;
    let config = Config::of(&lab).with(&format!(
        "[controller]\nwarm_up = \"3s\"\n[[telemetry]]\nname = \"agent\"\ntype = \"agent\"\nbackends = [\"sw1\"]\n\
         address = \"{{host}}:{PORT}\"\ninterval = \"500ms\"\ntimeout = \"300ms\"\nvalid = \"2s\"\n"
    ));
    let node = Node::new(&lab, &config)?;
    let daemon = node.start(&["--ephemeral"])?;
    until(&node, &daemon, "sw1", "was heard", |told| told.because.contains("agent: share 1.00"))?;
    agent.say(Says::Line("drain\n".to_owned()));
    let now = until(&node, &daemon, "sw1", "drains", |told| told.health == "draining")?;
    assert!(now.because.contains("agent: it drains"), "{}", now.because);
    assert_eq!(told(&node, "sw2")?.health, "up");
    drop(agent);
    let silent = Instant::now();
    let now = until(&node, &daemon, "sw1", "gets calls again", |told| told.health == "up")?;
    // Believed for 2 s, and 5 s more so that one word does not flap.
    assert!(silent.elapsed() >= Duration::from_secs(5), "{:?}", silent.elapsed());
    assert!(now.weight < 100 && now.because.contains("of a warm-up of 3.0 s"), "{now:?}");
    until(&node, &daemon, "sw1", "is warm", |told| told.weight == 100)?;
    Ok(())
}

#[test]
fn a_report_is_pushed_and_what_makes_no_sense_is_refused_with_words() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let config = Config::of(&lab)
        .limited(Limits::channels(1000))
        .with("[[telemetry]]\nname = \"billing\"\ntype = \"push\"\nbackends = [\"sw1\"]\nvalid = \"2s\"\n");
    let node = Node::new(&lab, &config)?;
    let daemon = node.start(&["--ephemeral"])?;
    let push = |body: &str| post(&node.run, "/v1/telemetry", body);
    let (status, body) = push(r#"{"backend":"sw1","max_channels":500,"channels":40}"#)?;
    assert_eq!((status, body.as_str()), (200, r#"{"backend":"sw1","source":"billing","valid_seconds":2.0}"#));
    let now = until(&node, &daemon, "sw1", "has channels of others", |told| {
        told.because.contains("40 channels of others")
    })?;
    assert!(
        now.because.contains("billing: 40 channels, 0 of them ours, 0 calls begun since"),
        "{}",
        now.because
    );
    for (body, code) in [
        (r#"{"backend":"sw2","channels":1}"#, "push_not_wanted"),
        (r#"{"backend":"sw9","channels":1}"#, "backend_not_found"),
        (r#"{"backend":"sw1","cpu":1.5}"#, "bad_report"),
        (r#"{"backend":"sw1"}"#, "bad_report"),
        (r#"{"backend":"sw1","chanels":1}"#, "bad_request"),
        ("nonsense", "bad_request"),
    ] {
        let (status, answer) = push(body)?;
        assert_eq!(status, 422, "{body}: {answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{body}: {answer}");
    }
    until(&node, &daemon, "sw1", "is as configured", |told| {
        told.max_channels == Some(1000) && told.weight == 100
    })?;
    Ok(())
}
