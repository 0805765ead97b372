//! What people look at: the maps as documents with names, for `--json`, tables and the API.
//!
//! Names are those of the configuration, units stand in the names, `null` means not known.

pub mod backend;
pub mod backends;
pub mod counters;
pub mod dialogs;
pub mod facts;
pub mod health;
pub mod lists;
pub mod loads;
pub mod metrics;
pub mod services;
pub mod slow_path;
pub mod status;
pub mod zones;

use lb_common::map::backend::{health as observed, name_of, will};
use std::net::SocketAddr;

/// A MAC address as people write it.
pub fn mac(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// The operator's will as a word.
pub fn will_word(number: u8) -> &'static str {
    match number {
        will::ABSENT => "absent",
        will::ENABLED => "enabled",
        will::DRAINING => "draining",
        will::DISABLED => "disabled",
        will::REMOVED => "removed",
        _ => "unknown",
    }
}

/// The observed health as a word.
pub fn health_word(number: u8) -> &'static str {
    match number {
        observed::UP => "up",
        observed::DOWN => "down",
        observed::DRAINING => "draining",
        _ => "unknown",
    }
}

/// A name from a map, or a stand-in with its number.
pub fn name_or(bytes: &[u8; lb_common::limits::NAME_LEN], what: &str, number: u16) -> String {
    match name_of(bytes) {
        "" => format!("{what}-{number}"),
        name => name.to_owned(),
    }
}

/// An address with its transport, as the configuration writes listeners.
pub fn listen(address: SocketAddr) -> String {
    format!("{address}/udp")
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
