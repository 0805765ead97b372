//! What `[answers]` is made of: how many answers of our own go out, and to whom more.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

/// `[answers]`, all optional: most answers of the balancer itself, per second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerRates {
    /// `per_source`: to one source address; `None` is unlimited.
    pub per_source: Option<u32>,
    /// `total`: to all together.
    pub total: u32,
    /// `trusted`: sources that only `total` counts for.
    pub trusted: Vec<Prefix>,
}

impl Default for AnswerRates {
    fn default() -> AnswerRates {
        AnswerRates { per_source: Some(20), total: 10_000, trusted: Vec::new() }
    }
}

/// A network of IPv4 addresses, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: Ipv4Addr,
    length: u8,
}

impl Prefix {
    /// Whether an address is in it. One that is mapped into IPv6 counts as the IPv4 address it is.
    pub fn holds(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => v4.to_bits() & mask(self.length) == self.address.to_bits(),
            IpAddr::V6(_) => false,
        }
    }
}

const fn mask(length: u8) -> u32 {
    match u32::MAX.checked_shl(32 - length as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

/// Why a text is no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPrefix {
    /// Neither an IPv4 address nor one with a length.
    #[error("it is not of the form a.b.c.d or a.b.c.d/length")]
    Form,
    /// The length is not in bounds.
    #[error("the length is from 1 to 32")]
    Length,
    /// Bits behind the length are set.
    #[error("bits behind the length are set")]
    Host(Prefix),
}

impl FromStr for Prefix {
    type Err = NoPrefix;

    fn from_str(text: &str) -> Result<Prefix, NoPrefix> {
        let (address, length) = text.split_once('/').unwrap_or((text, "32"));
        let address = address.parse::<Ipv4Addr>().map_err(|_| NoPrefix::Form)?;
        if !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NoPrefix::Form);
        }
        let length = length.parse().ok().filter(|l| (1..=32).contains(l)).ok_or(NoPrefix::Length)?;
        let network = Prefix { address: Ipv4Addr::from_bits(address.to_bits() & mask(length)), length };
        if network.address == address { Ok(network) } else { Err(NoPrefix::Host(network)) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        if self.length < 32 { write!(f, "/{}", self.length) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(prefix: &str, address: &str) -> bool {
        prefix.parse::<Prefix>().unwrap().holds(address.parse().unwrap())
    }

    #[test]
    fn a_prefix_ends_where_its_network_does() {
        for (prefix, inside, outside) in [
            ("198.51.100.0/24", ["198.51.100.0", "198.51.100.255"], ["198.51.99.255", "198.51.101.0"]),
            ("203.0.113.8/31", ["203.0.113.8", "203.0.113.9"], ["203.0.113.7", "203.0.113.10"]),
            ("203.0.113.7", ["203.0.113.7", "::ffff:203.0.113.7"], ["203.0.113.6", "203.0.113.8"]),
            ("128.0.0.0/1", ["128.0.0.0", "255.255.255.255"], ["127.255.255.255", "2001:db8::1"]),
        ] {
            for address in inside {
                assert!(holds(prefix, address), "{address} is in {prefix}");
            }
            for address in outside {
                assert!(!holds(prefix, address), "{address} is not in {prefix}");
            }
        }
    }

    #[test]
    fn a_prefix_is_shown_as_it_is_written() {
        for text in ["198.51.100.0/24", "203.0.113.7", "128.0.0.0/1"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
        assert_eq!("203.0.113.7/32".parse::<Prefix>().unwrap().to_string(), "203.0.113.7");
    }

    #[test]
    fn what_is_no_prefix_says_why() {
        let why = |text: &str| text.parse::<Prefix>().unwrap_err();
        for text in ["", "/24", "198.51.100/24", "example.com", "198.51.100.0/", "198.51.100.0/x"] {
            assert!(matches!(why(text), NoPrefix::Form | NoPrefix::Length), "{text}");
        }
        assert_eq!([why("0.0.0.0/0"), why("198.51.100.0/33")], [NoPrefix::Length; 2]);
        assert_eq!(why("198.51.100.7/24"), NoPrefix::Host("198.51.100.0/24".parse().unwrap()));
    }
}
