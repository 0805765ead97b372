//! What a configuration says beside services, zones and backends as the maps have them, by the keys of the file: a reload that
//! changes no map may change how backends are probed, or who may use the API.

use super::{AnswerRates, Api, Backend, Config, Control, Dialogs, Identity, Node, Service, Telemetry, Zone};
use std::{collections::BTreeMap, fmt::Debug};

/// Settings by their keys, as in `controller.warm_up` or `backend.sw1.health`, with values that tell whether two are the same. A
/// setting that is not there is absent from the file, or has no default.
pub type Settings = BTreeMap<String, String>;

impl Config {
    /// All of them.
    pub fn settings(&self) -> Settings {
        let Config { node, dialogs, answers, metrics, api, control, telemetry, services, zones, backends } =
            self;
        let mut settings = Settings::new();
        let mut put =
            |key: &str, value: &dyn Debug| drop(settings.insert(key.to_owned(), format!("{value:?}")));
        of_node(node, &mut put);
        of_dialogs(dialogs, &mut put);
        let AnswerRates { per_source, total, trusted } = answers;
        put("answers.per_source", per_source);
        put("answers.total", total);
        put("answers.trusted", trusted);
        if let Some(address) = metrics {
            put("metrics.listen", address);
        }
        if let Some(api) = api {
            of_api(api, &mut put);
        }
        let Control { warm_up, cpu_target, panic_threshold } = control;
        put("controller.warm_up", warm_up);
        put("controller.cpu_target", cpu_target);
        put("controller.panic_threshold", panic_threshold);
        for telemetry in telemetry {
            let Telemetry { name, .. } = telemetry;
            put(&format!("telemetry.{name}"), telemetry);
        }
        for Service { name, retry_after, .. } in services {
            if let Some(range) = retry_after {
                put(&format!("service.{name}.retry_after"), range);
            }
        }
        for Zone { name, address } in zones {
            if let Some(address) = address {
                put(&format!("zone.{name}.address"), address);
            }
        }
        for Backend { name, probing, .. } in backends {
            if let Some(probing) = probing {
                put(&format!("backend.{name}.health"), probing);
            }
        }
        settings
    }
}

fn of_node(node: &Node, put: &mut dyn FnMut(&str, &dyn Debug)) {
    let Node { name, interfaces, xdp_mode, hash_key_file, zone } = node;
    put("node.name", name);
    put("node.interfaces", interfaces);
    put("node.xdp_mode", xdp_mode);
    put("node.hash_key_file", hash_key_file);
    if let Some(zone) = zone {
        put("node.zone", zone);
    }
}

fn of_dialogs(dialogs: &Dialogs, put: &mut dyn FnMut(&str, &dyn Debug)) {
    let Dialogs { max, unanswered, answered, ended, subscribed, shortened } = dialogs;
    put("dialogs.max", max);
    put("dialogs.unanswered", unanswered);
    put("dialogs.answered", answered);
    put("dialogs.ended", ended);
    put("dialogs.subscribed", subscribed);
    put("dialogs.shortened", shortened);
}

fn of_api(api: &Api, put: &mut dyn FnMut(&str, &dyn Debug)) {
    let Api { listen, token_file, read_token_file, identity } = api;
    put("api.listen", listen);
    put("api.token_file", token_file);
    if let Some(file) = read_token_file {
        put("api.read_token_file", file);
    }
    if let Some(Identity { certificate, key }) = identity {
        put("api.certificate", certificate);
        put("api.key", key);
    }
}
