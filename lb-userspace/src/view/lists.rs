//! Lists as documents: what the list commands print and the API answers.

use super::{
    backends::BackendView,
    dialogs::{DialogView, dialog, key_of},
    health::HealthView,
    services::{ServiceView, services},
    zones::{ZoneView, zones},
};
use crate::{
    core::wishes::Difference,
    dataplane::{clock::Now, maps::Maps, tables::Tables},
    failure::Failure,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackendList {
    /// By zone and number.
    pub backends: Vec<BackendView>,
    /// How those are that are probed, by name.
    pub health: BTreeMap<String, HealthView>,
    /// What operators changed and the configuration does not say.
    pub differences: Vec<Difference>,
}

/// All zones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ZoneList {
    /// By number.
    pub zones: Vec<ZoneView>,
}

impl ZoneList {
    /// What the maps hold.
    ///
    /// # Errors
    /// The kernel's.
    pub fn from_maps(maps: &Maps) -> Result<ZoneList, Failure> {
        Ok(ZoneList { zones: zones(maps, &services(maps)?)? })
    }
}

/// All services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceList {
    /// By number.
    pub services: Vec<ServiceView>,
}

impl ServiceList {
    /// What the maps hold.
    ///
    /// # Errors
    /// The kernel's.
    pub fn from_maps(maps: &Maps) -> Result<ServiceList, Failure> {
        Ok(ServiceList { services: services(maps)? })
    }
}

/// A call at all services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DialogList {
    /// The Call-ID that was asked about.
    pub call_id: String,
    /// Whether the table holds it at any of them.
    pub known: bool,
    /// The call, service by service.
    pub dialogs: Vec<DialogView>,
}

impl DialogList {
    /// What the maps know of a Call-ID; without a time the ages are left out.
    ///
    /// # Errors
    /// When it is no Call-ID, or the kernel's.
    pub fn from_maps(tables: &Tables, call_id: &str, now: Option<Now>) -> Result<DialogList, Failure> {
        if call_id.is_empty() || call_id.contains([' ', '\t', '\r', '\n']) {
            let message = format!("{call_id:?} is no Call-ID: it ends at the first space");
            return Err(
                Failure::bad("call_id", message).remedy("give the value of the header alone, in quotes")
            );
        }
        let key = key_of(call_id, &tables.maps.settings()?);
        let services = services(&tables.maps)?;
        let dialogs: Vec<DialogView> =
            services.iter().map(|s| dialog(tables, s, key, now)).collect::<Result<_, _>>()?;
        Ok(DialogList { call_id: call_id.to_owned(), known: dialogs.iter().any(|d| d.known), dialogs })
    }
}
