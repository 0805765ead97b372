//! The slow path as part of the daemon: which addresses it answers at, and what is told of it.

use super::daemon::Daemon;
use crate::{
    config::Config,
    core::model::Model,
    dataplane::{clock, loads::Loads, pins::PinDir},
    failure::Failure,
    slowpath::{
        limiter::Rates,
        responder::Manner,
        serve::SlowPath,
        world::{Directory, LiveMaps},
    },
    view::{self, slow_path::SlowPathView},
};
use lb_common::hash::HashKey;
use std::net::SocketAddr;

/// Starts the slow path on the pinned maps, with no sockets.
///
/// # Errors
/// When a map may not be opened.
pub(super) fn start(pins: &PinDir, key: HashKey) -> Result<SlowPath, Failure> {
    let world = Box::new(LiveMaps::new(Loads::open(pins)?));
    Ok(SlowPath::start(world, key, clock::monotonic))
}

impl Daemon {
    /// Answers at the listeners of the configuration and nowhere else, in the manner that it asks for.
    pub(super) fn listen_slowly(&mut self) {
        self.slow_path.listen(directory(&self.config, &self.model), manner(&self.config, &self.model));
    }

    /// What the slow path does.
    pub(super) fn slow_path_view(&self) -> SlowPathView {
        view::slow_path::of(&self.slow_path.report())
    }
}

/// The addresses that the maps do not hold.
fn directory(config: &Config, model: &Model) -> Directory {
    let address_of = |name: &str| config.zones.iter().find(|z| z.name == name)?.address.clone();
    let names = config.zone_names();
    let zones = (0..).zip(names).filter_map(|(number, name)| Some((number, address_of(name)?)));
    let listeners = model.services.iter().map(|(key, s)| (key.socket_address(), s.service));
    Directory { listeners: listeners.collect(), zones: zones.collect() }
}

/// How the services of a configuration answer.
fn manner(config: &Config, model: &Model) -> Manner {
    let id_of = |listen: &[SocketAddr]| {
        let mut services = model.services.iter();
        services.find(|(key, _)| listen.contains(&key.socket_address())).map(|(_, s)| s.service)
    };
    let told = config.services.iter().filter_map(|s| Some((id_of(&s.listen)?, s.retry_after.clone()?)));
    let answers = &config.answers;
    let rates = Rates::new(answers.per_source, answers.total, answers.trusted.clone());
    Manner { retry_after: told.collect(), rates }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, core::model::Circumstances};

    #[test]
    fn zones_have_the_numbers_that_backends_carry() {
        let text = r#"
            [node]
            name = "lb1"
            interfaces = ["eth0"]
            [[service]]
            name = "trunks"
            listen = ["203.0.113.10:5060/udp", "203.0.113.10:5070/udp"]
            forwarding = "nat"
            zones = ["uk", "germany"]
            [[zone]]
            name = "germany"
            address = "sip.de.example.com"
            [[backend]]
            name = "sw1"
            zone = "uk"
            address = "10.0.0.11:5060"
            [[backend]]
            name = "sw2"
            zone = "germany"
            address = "10.0.0.12:5060"
        "#;
        let config = config::parse(text, "sipsteer.toml").unwrap().config;
        let model = Model::from_config(&config, &Circumstances::default()).unwrap();
        let directory = directory(&config, &model);
        let germany = model.backends.values().find(|b| b.address[15] == 12).unwrap().zone;
        assert_eq!(
            directory.zones.into_iter().collect::<Vec<_>>(),
            [(germany, "sip.de.example.com".to_owned())]
        );
        let listeners: Vec<_> = directory.listeners.into_iter().map(|(a, s)| (a.to_string(), s)).collect();
        assert_eq!(listeners, [("203.0.113.10:5060".to_owned(), 0), ("203.0.113.10:5070".to_owned(), 0)]);
    }

    #[test]
    fn each_service_answers_in_its_own_manner() {
        let text = r#"
            [node]
            name = "lb1"
            interfaces = ["eth0"]
            [answers]
            per_source = "unlimited"
            total = 500
            trusted = ["198.51.100.0/24"]
            [[service]]
            name = "plain"
            listen = ["203.0.113.10:5060/udp"]
            zones = ["uk"]
            [[service]]
            name = "told"
            listen = ["203.0.113.11:5060/udp"]
            zones = ["uk"]
            retry_after = [1, 5]
            [[backend]]
            name = "sw1"
            zone = "uk"
            address = "10.0.0.11:5060"
        "#;
        let config = config::parse(text, "sipsteer.toml").unwrap().config;
        let model = Model::from_config(&config, &Circumstances::default()).unwrap();
        let manner = manner(&config, &model);
        let told = directory(&config, &model).listeners[&"203.0.113.11:5060".parse().unwrap()];
        assert_eq!(manner.retry_after.into_iter().collect::<Vec<_>>(), [(told, 1..=5)]);
        let expected = Rates::new(None, 500, vec!["198.51.100.0/24".parse().unwrap()]);
        assert_eq!(manner.rates, expected);
    }
}
