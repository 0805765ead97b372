//! What systemd is told, if it started us: that the daemon is ready, reloads, stops, lives, and what it does now.

use super::daemon::Daemon;
use crate::core::standing::Health;
use sd_notify::NotifyState;

/// What it does now, for `systemctl status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Doing<'a> {
    services: usize,
    backends: usize,
    /// Those that the program is on.
    interfaces: Vec<&'a str>,
    down: usize,
    draining: usize,
    /// An unconfirmed configuration holds.
    trial: bool,
}

impl Doing<'_> {
    fn sentence(&self) -> String {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        if self.interfaces.is_empty() {
            return "steering nothing: its interfaces are gone".to_owned();
        }
        let mut text = format!(
            "steering {} to {} on {}",
            count(self.services, "service"),
            count(self.backends, "backend"),
            self.interfaces.join(", ")
        );
        for (number, word) in [(self.down, "down"), (self.draining, "draining")] {
            if number > 0 {
                text.push_str(&format!("; {number} {word}"));
            }
        }
        if self.trial {
            text.push_str("; the configuration awaits confirmation");
        }
        text
    }
}

/// It takes a configuration; [`Daemon::announce_ready`] ends that.
pub(super) fn reloading() {
    // With the time, or systemd could not tell which READY=1 ends which reload (sd_notify(3)).
    match NotifyState::monotonic_usec_now() {
        Ok(time) => notify(&[NotifyState::Reloading, time]),
        Err(e) => tracing::debug!("there is no monotonic clock: {e}"),
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        tracing::debug!("cannot notify systemd: {e}");
    }
}

impl Daemon {
    fn doing(&self) -> Doing<'_> {
        let observed = |health| {
            let backends = self.config.backends.iter();
            backends.filter(|backend| self.standings.of(&backend.name).seen() == health).count()
        };
        let linked = self.attachments.iter().filter(|a| self.neighbours.link(&a.interface).is_some());
        Doing {
            services: self.config.services.len(),
            backends: self.config.backends.len(),
            interfaces: linked.map(|a| a.interface.as_str()).collect(),
            down: observed(Health::Down),
            draining: observed(Health::Draining),
            trial: self.trial.as_ref().is_some_and(|trial| trial.view().until.is_some()),
        }
    }

    /// It steers, by the configuration that it was given last.
    pub(super) fn announce_ready(&mut self) {
        self.announced = self.doing().sentence();
        notify(&[NotifyState::Ready, NotifyState::Status(&self.announced)]);
    }

    /// It lives, and does what it did before or something else.
    pub(super) fn announce(&mut self) {
        let doing = self.doing().sentence();
        if doing == self.announced {
            return notify(&[NotifyState::Watchdog]);
        }
        notify(&[NotifyState::Watchdog, NotifyState::Status(&doing)]);
        self.announced = doing;
    }

    /// It ends; the program goes on, unless it was for this run only.
    pub(super) fn announce_end(&self) {
        let names: Vec<&str> = self.attachments.iter().map(|a| a.interface.as_str()).collect();
        let status = if self.options.ephemeral {
            "detaching".to_owned()
        } else {
            format!("the program goes on steering on {} without the daemon", names.join(", "))
        };
        notify(&[NotifyState::Stopping, NotifyState::Status(&status)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_says_what_it_does_and_what_is_wrong() {
        let doing = Doing { services: 3, backends: 12, interfaces: vec!["eth0", "eth1"], ..Doing::default() };
        assert_eq!(doing.sentence(), "steering 3 services to 12 backends on eth0, eth1");
        let one = Doing { services: 1, backends: 1, interfaces: vec!["eth0"], down: 1, ..Doing::default() };
        assert_eq!(one.sentence(), "steering 1 service to 1 backend on eth0; 1 down");
        let all = Doing { down: 2, draining: 1, trial: true, ..doing };
        assert!(all.sentence().ends_with("; 2 down; 1 draining; the configuration awaits confirmation"));
        let none = Doing { interfaces: Vec::new(), ..all };
        assert_eq!(none.sentence(), "steering nothing: its interfaces are gone");
    }
}
