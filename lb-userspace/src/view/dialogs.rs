//! One call, as the table knows it, or where the ring sends a request of a call that the table does not know.

use super::{name_or, services::ServiceView};
use crate::{
    dataplane::{ask, clock::Now, tables::Tables},
    failure::Failure,
};
use lb_common::{
    map::{
        backend::will,
        dialog::{Dialog, DialogKey, Phase},
        settings::Settings,
    },
    sip::{Bytes, call_key},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A call at one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DialogView {
    /// The service.
    pub service: String,
    /// Whether the table holds it.
    pub known: bool,
    /// The backend it is pinned to. Of a call that is not in the table, the ring's first choice for its Call-ID, which is where
    /// a request of it goes unless it opens the call anew; `null`: no backend takes calls.
    pub backend: Option<String>,
    /// Where it stands; `null`: not in the table.
    pub phase: Option<String>,
    /// Time since the latest request that kept it, to about a second; `null`: not in the table, or the clock cannot be
    /// read.
    pub seen_seconds_ago: Option<f64>,
    /// Address it came in at; `null`: not in the table.
    pub listener: Option<String>,
}

/// The keyed hash of a Call-ID, as the kernel computes it.
pub fn key_of(call_id: &str, settings: &Settings) -> u64 {
    call_key(Bytes(call_id.as_bytes()), 0, &settings.hash_key).hash
}

/// A call at one service.
///
/// # Errors
/// The kernel's.
pub fn dialog(
    tables: &Tables,
    service: &ServiceView,
    call_key: u64,
    now: Option<Now>,
) -> Result<DialogView, Failure> {
    match tables.maps.dialog(&DialogKey::new(call_key, service.id))? {
        Some(dialog) => known(tables, service, &dialog, now),
        None => unknown(tables, service, call_key),
    }
}

fn known(
    tables: &Tables,
    service: &ServiceView,
    dialog: &Dialog,
    now: Option<Now>,
) -> Result<DialogView, Failure> {
    let state = dialog.state;
    let tick_shift = tables.maps.settings()?.tick_shift;
    let listener = tables.maps.listener(service.id, state.listener)?;
    Ok(DialogView {
        service: service.name.clone(),
        known: true,
        backend: Some(backend_name(tables, state.backend)?),
        phase: Phase::from_number(state.phase).map(|p| p.name().to_owned()),
        seen_seconds_ago: now.map(|now| {
            let age = state.age((now.jiffies >> tick_shift) as u32);
            f64::from(age) * f64::from(1_u32 << tick_shift) / f64::from(now.hz)
        }),
        listener: Some(super::listen(listener.address.socket_address())),
    })
}

fn unknown(tables: &Tables, service: &ServiceView, call_key: u64) -> Result<DialogView, Failure> {
    let choice = ask::ring_choice(tables, service.id, service.tiers, call_key)?;
    Ok(DialogView {
        service: service.name.clone(),
        known: false,
        backend: choice.map(|id| backend_name(tables, id)).transpose()?,
        phase: None,
        seen_seconds_ago: None,
        listener: None,
    })
}

fn backend_name(tables: &Tables, id: u16) -> Result<String, Failure> {
    let backend = tables.maps.backend(id)?;
    let gone = backend.will == will::ABSENT;
    Ok(if gone { format!("backend-{id} (gone)") } else { name_or(&backend.name, "backend", id) })
}
