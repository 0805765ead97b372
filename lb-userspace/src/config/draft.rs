//! A file as it was understood so far: what could not be read is absent, and every value knows its place.

use super::{Backend, Config, Dialogs, Forwarding, Node, Service, XdpMode, Zone};
use lb_common::limits;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use toml_span::{Span, Spanned};

/// The whole file.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) node: Option<NodeDraft>,
    pub(super) dialogs: DialogsDraft,
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

/// `[[service]]`.
pub(super) struct ServiceDraft {
    pub(super) span: Span,
    pub(super) name: Option<Spanned<String>>,
    pub(super) listen: Vec<Spanned<SocketAddr>>,
    pub(super) forwarding: Option<Forwarding>,
    pub(super) zones: Vec<Spanned<String>>,
}

/// `[[zone]]`.
pub(super) struct ZoneDraft {
    pub(super) name: Option<Spanned<String>>,
    pub(super) address: Option<String>,
}

/// `[[backend]]`.
pub(super) struct BackendDraft {
    pub(super) span: Span,
    pub(super) name: Option<Spanned<String>>,
    pub(super) zone: Option<Spanned<String>>,
    pub(super) address: Option<Spanned<SocketAddr>>,
    pub(super) max_cps: Option<u32>,
    pub(super) max_channels: Option<u32>,
    pub(super) weight: u16,
}

impl Draft {
    /// The configuration, if nothing that must be there is absent.
    pub(super) fn finish(self) -> Option<Config> {
        let node = self.node?;
        Some(Config {
            node: Node {
                name: node.name?.value,
                interfaces: values(node.interfaces),
                xdp_mode: node.xdp_mode,
                hash_key_file: node.hash_key_file,
                zone: node.zone.map(|z| z.value),
            },
            dialogs: self.dialogs.finish(),
            services: self.services.into_iter().map(ServiceDraft::finish).collect::<Option<_>>()?,
            zones: self.zones.into_iter().map(ZoneDraft::finish).collect::<Option<_>>()?,
            backends: self.backends.into_iter().map(BackendDraft::finish).collect::<Option<_>>()?,
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

impl ServiceDraft {
    fn finish(self) -> Option<Service> {
        let (listen, zones) = (values(self.listen), values(self.zones));
        Some(Service { name: self.name?.value, listen, forwarding: self.forwarding?, zones })
    }
}

impl ZoneDraft {
    fn finish(self) -> Option<Zone> {
        Some(Zone { name: self.name?.value, address: self.address })
    }
}

impl BackendDraft {
    fn finish(self) -> Option<Backend> {
        Some(Backend {
            name: self.name?.value,
            zone: self.zone?.value,
            address: self.address?.value,
            max_cps: self.max_cps,
            max_channels: self.max_channels,
            weight: self.weight,
        })
    }
}

fn values<T>(spanned: Vec<Spanned<T>>) -> Vec<T> {
    spanned.into_iter().map(|s| s.value).collect()
}
