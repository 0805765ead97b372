//! Everything about one backend.

use super::{backends::BackendView, health::HealthView};
use crate::{
    config::Config,
    core::{
        controller::Explanation,
        wishes::{Limit, Wish, Wishes},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackendDetail {
    /// What it carries and what holds for it now.
    pub backend: BackendView,
    /// How it is; `null`: it is not probed, or no daemon says.
    pub health: Option<HealthView>,
    /// What the configuration says of it; `null`: it is not in it any more, or no daemon says.
    pub file: Option<Figures>,
    /// What operators want instead; `null`: no daemon says.
    pub operator: Option<Wish>,
    /// Why it may carry what it may; `null`: no daemon says.
    pub explanation: Option<Explanation>,
    /// Why it has no next hop; `null`: it has one, or no daemon says.
    pub unresolved: Option<String>,
}

/// Limits and weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// Most calls in progress.
    pub max_channels: Limit,
    /// Most new calls per second.
    pub max_cps: Limit,
    /// Share of new calls relative to the others of its zone.
    pub weight: u16,
}

impl BackendDetail {
    /// What the maps tell.
    pub fn from_maps(backend: BackendView) -> BackendDetail {
        BackendDetail {
            backend,
            health: None,
            file: None,
            operator: None,
            explanation: None,
            unresolved: None,
        }
    }

    /// The same with what configuration and operators say.
    #[must_use]
    pub fn with(self, config: &Config, wishes: &Wishes) -> BackendDetail {
        let here = config.backends.iter().find(|b| b.name == self.backend.name);
        let file = here.map(|b| Figures {
            max_channels: Limit::from(b.max_channels),
            max_cps: Limit::from(b.max_cps),
            weight: b.weight,
        });
        BackendDetail { file, operator: Some(wishes.of(&self.backend.name)), ..self }
    }
}
