//! A file as it was understood so far: what could not be read is absent, and every value knows its place.

use super::{
    AnswerRates, Backend, Config, Dialogs, Forwarding, FullAfterRefusal, HashBy, Node, Overflow, Policy,
    Prefix, Service, Source, Telemetry, Tier, XdpMode, Zone,
    probing::{Accepted, How, Probing},
};
use lb_common::limits;
use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};
use toml_span::{Span, Spanned};

/// The whole file.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) node: Option<NodeDraft>,
    pub(super) dialogs: DialogsDraft,
    pub(super) answers: AnswersDraft,
    pub(super) metrics: Option<Spanned<SocketAddr>>,
    pub(super) api: Option<ApiDraft>,
    /// `None`: there is no `[health]`.
    pub(super) health: Option<ProbingDraft>,
    pub(super) control: ControlDraft,
    pub(super) telemetry: Vec<TelemetryDraft>,
    pub(super) services: Vec<ServiceDraft>,
    pub(super) zones: Vec<ZoneDraft>,
    pub(super) backends: Vec<BackendDraft>,
}

/// `[node]`.
pub(super) struct NodeDraft {
    pub(super) name: Option<Spanned<String>>,
    pub(super) interfaces: Vec<Spanned<String>>,
    pub(super) xdp_mode: XdpMode,
    pub(super) hash_key_file: PathBuf,
    pub(super) zone: Option<Spanned<String>>,
}

/// `[dialogs]`.
#[derive(Default)]
pub(super) struct DialogsDraft {
    pub(super) max: Option<u32>,
    pub(super) ended: Option<Spanned<Duration>>,
    pub(super) unanswered: Option<Spanned<Duration>>,
    pub(super) answered: Option<Spanned<Duration>>,
    pub(super) subscribed: Option<Spanned<Duration>>,
    /// Where `shortened = true` stands.
    pub(super) shortened: Option<Span>,
}

/// `[answers]`.
#[derive(Default)]
pub(super) struct AnswersDraft {
    pub(super) per_source: Option<Spanned<Option<u32>>>,
    pub(super) total: Option<u32>,
    pub(super) trusted: Vec<Spanned<Prefix>>,
}

/// `[api]`.
pub(super) struct ApiDraft {
    pub(super) listen: Spanned<SocketAddr>,
    pub(super) token_file: Spanned<PathBuf>,
    pub(super) read_token_file: Option<Spanned<PathBuf>>,
    pub(super) certificate: Option<Spanned<PathBuf>>,
    pub(super) key: Option<Spanned<PathBuf>>,
}

/// `[health]` or `[backend.health]`.
#[derive(Default)]
pub(super) struct ProbingDraft {
    /// `Some(None)`: not at all.
    pub(super) probe: Option<Option<How>>,
    pub(super) interval: Option<Spanned<Duration>>,
    pub(super) timeout: Option<Spanned<Duration>>,
    pub(super) rise: Option<u32>,
    pub(super) fall: Option<u32>,
    pub(super) accept: Option<Accepted>,
    pub(super) user: Option<String>,
    pub(super) from: Option<String>,
    /// Where keys stand that are about OPTIONS alone, and which they are.
    pub(super) of_options: Vec<(&'static str, Span)>,
}

/// `[controller]`.
#[derive(Default)]
pub(super) struct ControlDraft {
    pub(super) warm_up: Option<Spanned<Duration>>,
    pub(super) cpu_target: Option<u16>,
    pub(super) panic_threshold: Option<u16>,
}

/// `[[telemetry]]`.
pub(super) struct TelemetryDraft {
    pub(super) span: Span,
    pub(super) name: Option<Spanned<String>>,
    pub(super) source: Option<Source>,
    pub(super) backends: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) zone: Option<Spanned<String>>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) valid: Duration,
    pub(super) legs: u32,
}

/// `[[service]]`.
pub(super) struct ServiceDraft {
    pub(super) span: Span,
    pub(super) name: Option<Spanned<String>>,
    pub(super) listen: Vec<Spanned<SocketAddr>>,
    pub(super) forwarding: Option<Forwarding>,
    pub(super) policy: Policy,
    /// Where `bound` stands.
    pub(super) bound: Option<Span>,
    pub(super) hash_by: HashBy,
    pub(super) target: u16,
    pub(super) tiers: Vec<TierDraft>,
    pub(super) answers_options: bool,
    pub(super) retry_after: Option<RangeInclusive<u32>>,
    pub(super) retries_refused: bool,
    pub(super) full_after_refusal: FullAfterRefusal,
    /// Where keys stand that are about a backend's own answers, and which they are.
    pub(super) refusals: Vec<(&'static str, Span)>,
}

/// One of a service's zones.
pub(super) struct TierDraft {
    pub(super) zone: Spanned<String>,
    pub(super) overflow: Overflow,
    /// Where `overflow` stands for this tier alone.
    pub(super) own_overflow: Option<Span>,
}

/// `[[zone]]`.
pub(super) struct ZoneDraft {
    pub(super) name: Option<Spanned<String>>,
    pub(super) address: Option<Spanned<String>>,
}

/// `[[backend]]`.
pub(super) struct BackendDraft {
    pub(super) span: Span,
    pub(super) name: Option<Spanned<String>>,
    pub(super) zone: Option<Spanned<String>>,
    pub(super) address: Option<Spanned<SocketAddr>>,
    pub(super) max_cps: Option<u32>,
    pub(super) cps_burst: Option<Spanned<u32>>,
    pub(super) max_channels: Option<u32>,
    pub(super) weight: u16,
    pub(super) health: Option<ProbingDraft>,
}

impl Draft {
    /// The configuration, if nothing that must be there is absent.
    pub(super) fn finish(self) -> Option<Config> {
        let node = self.node?;
        let health = self.health;
        let backend = |backend: BackendDraft| backend.finish(health.as_ref());
        let zones: Vec<(String, String)> =
            self.backends.iter().filter_map(BackendDraft::zone_and_name).collect();
        Some(Config {
            node: Node {
                name: node.name?.value,
                interfaces: values(node.interfaces),
                xdp_mode: node.xdp_mode,
                hash_key_file: node.hash_key_file,
                zone: node.zone.map(|z| z.value),
            },
            dialogs: self.dialogs.finish(),
            answers: self.answers.finish(),
            metrics: self.metrics.map(|address| address.value),
            api: self.api.map(ApiDraft::finish),
            control: self.control.finish(),
            telemetry: self.telemetry.into_iter().map(|t| t.finish(&zones)).collect::<Option<_>>()?,
            services: self.services.into_iter().map(ServiceDraft::finish).collect::<Option<_>>()?,
            zones: self.zones.into_iter().map(ZoneDraft::finish).collect::<Option<_>>()?,
            backends: self.backends.into_iter().map(backend).collect::<Option<_>>()?,
        })
    }
}

impl DialogsDraft {
    /// With defaults for what is absent.
    pub(super) fn finish(&self) -> Dialogs {
        let default = Dialogs::default();
        let or = |value: &Option<Spanned<Duration>>, default| value.as_ref().map_or(default, |v| v.value);
        Dialogs {
            max: self.max.unwrap_or(limits::MAX_DIALOGS),
            unanswered: or(&self.unanswered, default.unanswered),
            answered: or(&self.answered, default.answered),
            ended: or(&self.ended, default.ended),
            subscribed: or(&self.subscribed, default.subscribed),
            shortened: self.shortened.is_some(),
        }
    }
}

impl AnswersDraft {
    /// With defaults for what is absent.
    pub(super) fn finish(&self) -> AnswerRates {
        let default = AnswerRates::default();
        AnswerRates {
            per_source: self.per_source.as_ref().map_or(default.per_source, |p| p.value),
            total: self.total.unwrap_or(default.total),
            trusted: self.trusted.iter().map(|t| t.value).collect(),
        }
    }
}

impl ProbingDraft {
    /// With the values of `base` for what is absent, and defaults for what is absent there too.
    pub(super) fn over(&self, base: &ProbingDraft) -> Option<Probing> {
        let usual = Probing::DEFAULT;
        let how = self.probe.or(base.probe).unwrap_or(Some(usual.how))?;
        let duration = |own: &Option<Spanned<Duration>>, base: &Option<Spanned<Duration>>, usual| {
            own.as_ref().or(base.as_ref()).map_or(usual, |v| v.value)
        };
        Some(Probing {
            how,
            interval: duration(&self.interval, &base.interval, usual.interval),
            timeout: duration(&self.timeout, &base.timeout, usual.timeout),
            rise: self.rise.or(base.rise).unwrap_or(usual.rise),
            fall: self.fall.or(base.fall).unwrap_or(usual.fall),
            accept: self.accept.clone().or_else(|| base.accept.clone()).unwrap_or(usual.accept),
            user: self.user.clone().or_else(|| base.user.clone()),
            from: self.from.clone().or_else(|| base.from.clone()),
        })
    }
}

impl ServiceDraft {
    /// Its zones, tier by tier.
    pub(super) fn zones(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.tiers.iter().map(|t| &t.zone)
    }

    /// Tiers that calls get to by redirect.
    pub(super) fn redirects(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.tiers.iter().skip(1).filter(|t| t.overflow == Overflow::Redirect).map(|t| &t.zone)
    }

    fn finish(self) -> Option<Service> {
        let overflow = |number, tier: &TierDraft| if number == 0 { Overflow::Forward } else { tier.overflow };
        let tier = |(number, tier): (usize, TierDraft)| Tier {
            overflow: overflow(number, &tier),
            zone: tier.zone.value,
        };
        Some(Service {
            name: self.name?.value,
            listen: values(self.listen),
            forwarding: self.forwarding?,
            policy: self.policy,
            hash_by: self.hash_by,
            target: self.target,
            tiers: self.tiers.into_iter().enumerate().map(tier).collect(),
            answers_options: self.answers_options,
            retry_after: self.retry_after,
            retries_refused: self.retries_refused,
            full_after_refusal: self.full_after_refusal,
        })
    }
}

impl ZoneDraft {
    fn finish(self) -> Option<Zone> {
        Some(Zone { name: self.name?.value, address: self.address.map(|a| a.value) })
    }
}

impl TelemetryDraft {
    /// `zones`: of all backends, each with its name.
    fn finish(self, zones: &[(String, String)]) -> Option<Telemetry> {
        let backends = match (self.backends, self.zone) {
            (Some(backends), _) => values(backends.value),
            (None, zone) => {
                let zone = zone?.value;
                zones.iter().filter(|(own, _)| *own == zone).map(|(_, name)| name.clone()).collect()
            }
        };
        Some(Telemetry {
            name: self.name?.value,
            source: self.source?,
            backends,
            interval: self.interval,
            timeout: self.timeout,
            valid: self.valid,
            legs: self.legs,
        })
    }
}

impl BackendDraft {
    fn zone_and_name(&self) -> Option<(String, String)> {
        Some((self.zone.as_ref()?.value.clone(), self.name.as_ref()?.value.clone()))
    }

    /// Whether anything says if it is to be probed.
    pub(super) fn is_decided(&self, health: Option<&ProbingDraft>) -> bool {
        self.health.is_some() || health.is_some()
    }

    fn finish(self, health: Option<&ProbingDraft>) -> Option<Backend> {
        let usual = ProbingDraft::default();
        let probing = match (&self.health, health) {
            (Some(own), health) => own.over(health.unwrap_or(&usual)),
            (None, Some(health)) => health.over(&usual),
            (None, None) => None,
        };
        Some(Backend {
            probing,
            name: self.name?.value,
            zone: self.zone?.value,
            address: self.address?.value,
            max_cps: self.max_cps,
            cps_burst: self.cps_burst.map(|b| b.value),
            max_channels: self.max_channels,
            weight: self.weight,
        })
    }
}

fn values<T>(spanned: Vec<Spanned<T>>) -> Vec<T> {
    spanned.into_iter().map(|s| s.value).collect()
}
