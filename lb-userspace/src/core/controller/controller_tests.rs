//! What becomes of one backend, second by second.

use super::*;
use crate::core::{
    examples,
    report::{Admits, Report, Sample},
};
use proptest::{collection::vec, prelude::*};

const TUNING: Tuning = Tuning { warm_up: Duration::from_secs(20), cpu_target: 0.8, pace: Pace::DEFAULT };

/// One backend, its sources, and a clock.
struct Play {
    controller: Controller,
    backend: config::Backend,
    readings: Readings,
    now: Duration,
    health: Health,
    own: Own,
    news: Vec<String>,
}

impl Play {
    fn new() -> Play {
        let backend = config::Backend {
            max_cps: Some(100),
            max_channels: Some(1000),
            ..examples::backend("sw1", 1, "uk")
        };
        Play {
            controller: Controller::new(TUNING),
            backend,
            readings: Readings::default(),
            now: Duration::from_secs(1000),
            health: Health::Up,
            own: Own::default(),
            news: Vec::new(),
        }
    }

    fn says_as(&mut self, trust: Trust, source: &str, report: Report) {
        let sample = Sample { taken: self.now, valid: Duration::from_secs(5), report };
        self.readings.take("sw1", source, trust, sample);
    }

    fn says(&mut self, report: Report) {
        self.says_as(Trust::Measures, "source", report);
    }

    fn decide(&mut self) -> Decision {
        let input = Input { backend: &self.backend, health: self.health, own: self.own };
        let decision = self.controller.decide(self.now, &input, &self.readings);
        self.news.extend(decision.news.clone());
        decision
    }

    /// A second later.
    fn tick(&mut self) -> Decision {
        self.now += Duration::from_secs(1);
        self.decide()
    }

    /// Some seconds in each of which the source says the same.
    fn hears(&mut self, seconds: u32, report: Report) -> Decision {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.says(report);
            self.decide();
        }
        self.decide()
    }

    /// Weight, calls per second and channels as numbers; the configured ones where nothing was decided.
    fn numbers(&self, decision: &Decision) -> (u16, u32, u32) {
        decision.standing.capacity.map_or((100, 100, 1000), |capacity| {
            (capacity.weight, capacity.max_cps.unwrap(), capacity.max_channels.unwrap())
        })
    }

    fn explains(&self, decision: &Decision, part: &str) -> bool {
        decision.explanation.to_string().contains(part)
    }
}

#[test]
fn without_sources_nothing_is_decided_and_it_says_so() {
    let mut play = Play::new();
    let decision = play.decide();
    assert_eq!(decision.standing, Standing::default());
    assert_eq!(
        decision.explanation.to_string(),
        "configuration and operators  -> max_channels 1000, max_cps 100, weight 100\n\
         in force                     -> max_channels 1000, max_cps 100, weight 100\n"
    );
    assert_eq!(play.news, [""; 0]);
}

#[test]
fn half_of_its_capacity_is_half_within_two_seconds_and_the_whole_comes_back_slowly() {
    for report in [
        Report { max_channels: Some(500), ..Report::default() },
        Report { share: Some(0.5), ..Report::default() },
        Report { max_cps: Some(50), ..Report::default() },
    ] {
        let mut play = Play::new();
        play.decide();
        let decision = play.hears(2, report);
        let (weight, cps, channels) = play.numbers(&decision);
        assert_eq!(weight, 50, "{report:?}: {}", decision.explanation);
        assert_eq!(cps, if report.max_channels.is_some() { 100 } else { 50 });
        assert_eq!(channels, report.max_channels.unwrap_or(1000));
        // The source falls silent: not a moment longer than it may be believed, then a twentieth a second.
        play.now += Duration::from_secs(4);
        play.now += Duration::from_millis(999);
        assert_eq!(play.decide().standing, decision.standing);
        let weights: Vec<u16> = (0..12)
            .map(|_| {
                let decision = play.tick();
                assert!(play.explains(&decision, "source: stale, "), "{}", decision.explanation);
                assert!(play.explains(&decision, "fell back to own counts"));
                play.numbers(&decision).0
            })
            .collect();
        assert_eq!(weights[..10], [55, 60, 65, 70, 75, 80, 85, 90, 95, 100]);
        assert_eq!(play.tick().standing.capacity, None);
        assert_eq!(play.news.len(), 2, "{:?}", play.news);
    }
}

#[test]
fn what_a_source_says_never_raises_what_is_configured() {
    let mut play = Play::new();
    let much = Report {
        max_channels: Some(90_000),
        max_cps: Some(5000),
        share: Some(1.0),
        cpu: Some(0.0),
        admits: Some(Admits::Calls),
        ..Report::default()
    };
    let decision = play.hears(30, much);
    assert_eq!(decision.standing, Standing::default());
    assert!(play.explains(&decision, "none: 1000 is configured"), "{}", decision.explanation);
}

#[test]
fn words_alone_leave_a_tenth_but_a_measured_limit_holds() {
    let mut play = Play::new();
    for _ in 0..10 {
        play.now += Duration::from_secs(1);
        let report =
            Report { share: Some(0.0), max_cps: Some(0), max_channels: Some(0), ..Report::default() };
        play.says_as(Trust::Asks, "agent", report);
        play.decide();
    }
    let decision = play.decide();
    assert_eq!(play.numbers(&decision), (10, 10, 100), "{}", decision.explanation);
    let mut play = Play::new();
    let decision = play.hears(10, Report { max_channels: Some(30), ..Report::default() });
    assert_eq!(play.numbers(&decision), (10, 100, 30), "{}", decision.explanation);
}

#[test]
fn calls_of_others_are_those_that_were_not_ours_at_that_moment() {
    let mut play = Play::new();
    play.own = Own { channels: 400, calls: 4000 };
    play.decide();
    play.now += Duration::from_secs(1);
    play.says(Report { channels: Some(600), ..Report::default() });
    play.decide();
    // Ours since come on top of what it said: the kernel counts them, and others stay others.
    play.own = Own { channels: 500, calls: 4120 };
    let decision = play.tick();
    assert_eq!(decision.standing.capacity.unwrap().other_channels, 200);
    assert!(
        play.explains(&decision, "source: 600 channels, 400 of them ours, 120 calls begun since"),
        "{}",
        decision.explanation
    );
    // Others begin calls too, which leaves less of the pace.
    let report = Report { channels: Some(700), cps: Some(20.0), ..Report::default() };
    let capacity = play.hears(20, report).standing.capacity.unwrap();
    assert_eq!((capacity.other_channels, capacity.other_cps), (200, 20));
    assert!((78..=85).contains(&capacity.max_cps.unwrap()), "{capacity:?}");
}

#[test]
fn a_source_that_counts_fewer_than_we_have_is_believed_for_half_a_minute() {
    let mut play = Play::new();
    play.own.channels = 100;
    let fewer = Report { channels: Some(60), ..Report::default() };
    let decision = play.hears(29, fewer);
    assert!(!play.explains(&decision, "contradictory"), "{}", decision.explanation);
    let decision = play.hears(5, fewer);
    assert!(
        play.explains(&decision, "source: contradictory, 60 channels where 100 of ours were"),
        "{}",
        decision.explanation
    );
    let decision = play.hears(1, Report { channels: Some(130), ..Report::default() });
    assert_eq!(decision.standing.capacity.unwrap().other_channels, 30);
    let almost = play.hears(60, Report { channels: Some(91), ..Report::default() });
    assert!(!play.explains(&almost, "contradictory"), "{}", almost.explanation);
}

#[test]
fn its_words_make_it_drain_and_never_cut_it_off_or_bring_it_back() {
    for word in [Admits::Drain, Admits::Nothing] {
        let mut play = Play::new();
        play.decide();
        assert_eq!(
            play.hears(1, Report { admits: Some(word), ..Report::default() }).standing.seen(),
            Health::Draining
        );
        // A moment of another word does not bring it back.
        let calls = Report { admits: Some(Admits::Calls), ..Report::default() };
        assert_eq!(play.hears(4, calls).standing.seen(), Health::Draining);
        let decision = play.hears(1, calls);
        assert_eq!(decision.standing.seen(), Health::Up);
        assert_eq!(play.numbers(&decision), (10, 10, 1000), "it warms up: {}", decision.explanation);
        play.health = Health::Down;
        assert_eq!(play.hears(3, calls).standing.seen(), Health::Down);
    }
}

#[test]
fn it_warms_up_after_it_was_down_but_not_after_a_start() {
    let mut play = Play::new();
    let first = play.decide();
    assert_eq!(play.numbers(&first), (100, 100, 1000));
    play.health = Health::Down;
    play.tick();
    play.health = Health::Up;
    let mut before = (0, 0, 0);
    for second in 0..20 {
        let decision = play.tick();
        let numbers = play.numbers(&decision);
        assert!(numbers.0 >= before.0 && numbers.0 <= 10 + 5 * (second + 1), "{second}: {numbers:?}");
        assert_eq!((u32::from(numbers.0), numbers.2), (numbers.1, 1000));
        assert!(play.explains(&decision, "of a warm-up of 20.0 s"), "{}", decision.explanation);
        before = numbers;
    }
    assert_eq!(play.tick().standing, Standing::default());
}

#[test]
fn a_busy_processor_scales_weight_and_pace_and_a_small_change_does_not() {
    let mut play = Play::new();
    let decision = play.hears(4, Report { cpu: Some(0.8), ..Report::default() });
    assert_eq!(decision.standing.capacity, None);
    let decision = play.hears(1, Report { cpu: Some(1.0), ..Report::default() });
    assert_eq!(decision.standing.capacity, None, "one sample may be noise");
    let decision = play.hears(1, Report { cpu: Some(1.0), ..Report::default() });
    assert_eq!(play.numbers(&decision), (80, 80, 1000), "{}", decision.explanation);
    let mut play = Play::new();
    let decision = play.hears(4, Report { cpu: Some(0.82), ..Report::default() });
    assert_eq!(decision.standing.capacity, None, "a fortieth is not worth a new ring");
}

#[test]
fn where_nothing_is_configured_a_reported_limit_is_the_limit() {
    let mut play = Play::new();
    (play.backend.max_cps, play.backend.max_channels) = (None, None);
    let report = Report { max_channels: Some(250), max_cps: Some(30), ..Report::default() };
    let decision = play.hears(1, report);
    assert_eq!(play.numbers(&decision), (100, 30, 250), "{}", decision.explanation);
}

#[test]
fn one_of_two_sources_that_is_stale_takes_nothing_of_the_other() {
    let mut play = Play::new();
    play.says_as(Trust::Asks, "agent", Report { share: Some(0.2), ..Report::default() });
    let decision = play.hears(30, Report { max_channels: Some(800), ..Report::default() });
    assert_eq!(play.numbers(&decision), (80, 100, 800), "{}", decision.explanation);
    assert!(play.explains(&decision, "agent: stale"), "{}", decision.explanation);
}

fn report() -> impl Strategy<Value = Report> {
    let number = || prop::option::of(prop_oneof![0..5000_u32, any::<u32>()]);
    let part = || prop::option::of(0.0..=1.0_f64);
    let admits =
        prop::option::of(prop_oneof![Just(Admits::Calls), Just(Admits::Drain), Just(Admits::Nothing)]);
    (number(), number(), prop::option::of(0.0..1e9_f64), number(), part(), part(), admits).prop_map(
        |(channels, max_channels, cps, max_cps, cpu, share, admits)| Report {
            channels,
            max_channels,
            cps,
            max_cps,
            cpu,
            share,
            admits,
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_said_nothing_goes_beyond_its_bounds(
        steps in vec((report(), 0..2_000_u64, 0..10_000_u64, 0..3_000_u64, any::<bool>(), 0..3_u8), 1..60)
    ) {
        let mut play = Play::new();
        let mut before = 1.0;
        for (report, forward, age, channels, asks, health) in steps {
            play.now += Duration::from_millis(forward);
            play.own = Own { channels, calls: play.own.calls + channels / 10 };
            play.health = [Health::Up, Health::Draining, Health::Down][usize::from(health)];
            let trust = if asks { Trust::Asks } else { Trust::Measures };
            let taken = play.now.saturating_sub(Duration::from_millis(age));
            let sample = Sample { taken, valid: Duration::from_secs(5), report };
            play.readings.take("sw1", if asks { "agent" } else { "scrape" }, trust, sample);
            let decision = play.decide();
            let (weight, cps, channels) = play.numbers(&decision);
            prop_assert!((10..=100).contains(&weight), "weight {weight}");
            prop_assert!((1..=100).contains(&cps) && (1..=1000).contains(&channels));
            if let Some(capacity) = decision.standing.capacity {
                prop_assert!(capacity.other_channels <= 1000);
            }
            // Probes have the last word, for the worse.
            let probed = play.health;
            prop_assert!(decision.standing.seen() == probed || probed == Health::Up);
            prop_assert!(decision.standing.seen() != Health::Down || probed == Health::Down);
            let part = f64::from(weight) / 100.0;
            // In two seconds a tenth each of a warm-up and of the pace, and what rounding makes of it.
            prop_assert!(part - before <= 0.16, "{before} to {part}");
            before = part;
        }
    }
}
