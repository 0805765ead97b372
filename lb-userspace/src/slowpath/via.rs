//! The topmost Via (RFC 3261 section 20.42): whom the answer goes back to, and what a server adds to it.

use super::header::{is_lws, is_token, parameter, split_outside};
use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag_no_case, take_while, take_while1},
    character::complete::char,
    combinator::{map_opt, opt, recognize, verify},
    sequence::{delimited, preceded},
};
use std::net::{IpAddr, Ipv6Addr};

/// The first value of the first Via header, split into its parts. White space and folds are still in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// From `SIP` to the end of the sent-by.
    pub head: &'a [u8],
    /// The host of the sent-by; an IPv6 address without its brackets.
    pub host: &'a [u8],
    /// The port of the sent-by.
    pub port: Option<u16>,
    /// The parameters, each with its semicolon in front.
    parameters: &'a [u8],
    /// Further values in the same header, with the comma before each.
    pub more: &'a [u8],
}

/// A parameter of a Via.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// As it stands in the message, without the semicolon.
    pub text: &'a [u8],
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: Option<&'a [u8]>,
}

impl Parameter<'_> {
    /// Whether it has this name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

impl<'a> Via<'a> {
    /// Reads the value of a Via header. `None` when it is not as RFC 3261 section 25.1 wants it.
    pub fn read(header: &'a [u8]) -> Option<Via<'a>> {
        let value = split_outside(header, b',')?.next()?;
        let more = &header[value.len()..];
        let (parameters, (protocol, (host, port))) = (sent_protocol, sent_by).parse(value).ok()?;
        let head = value[..value.len() - parameters.len()].trim_ascii_end();
        let white = parameters.trim_ascii_start();
        let well = white.is_empty() || white.starts_with(b";");
        let via = Via { head, host, port, parameters: white, more };
        let named = via.parameters().all(|p| !p.name.is_empty() && p.name.iter().copied().all(is_token));
        (well && named && !protocol.is_empty()).then_some(via)
    }

    /// Its parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter<'a>> + use<'a> {
        let pieces = split_outside(self.parameters, b';').into_iter().flatten();
        // What stands before the first semicolon is nothing.
        pieces.skip(1).map(|text| {
            let (name, value) = parameter(text);
            // Some write `rport=` and mean `rport`.
            Parameter { text: text.trim_ascii(), name, value: value.filter(|v| !v.is_empty()) }
        })
    }

    /// Whether the sender asks for its port (RFC 3581 section 3).
    pub fn wants_rport(&self) -> bool {
        self.parameters().any(|p| p.is("rport") && p.value.is_none())
    }

    /// Whether the answer has to say where the request came from: RFC 3261 section 18.2.1 and RFC 3581 section 4.
    pub fn wants_received(&self, source: IpAddr) -> bool {
        self.wants_rport() || self.address() != Some(source.to_canonical())
    }

    /// The host, if it is an address.
    fn address(&self) -> Option<IpAddr> {
        let text = std::str::from_utf8(self.host).ok()?;
        text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
    }
}

type Parsed<'a, T> = IResult<&'a [u8], T>;

/// `SIP/2.0/UDP` and the white space behind it. The transport is whatever the sender calls it.
fn sent_protocol(text: &[u8]) -> Parsed<'_, &[u8]> {
    let token = |text| take_while1(is_token).parse(text);
    let slash = |text| delimited(lws, char('/'), lws).parse(text);
    let mut protocol = recognize((tag_no_case("SIP"), slash, tag_no_case("2.0"), slash, token));
    let (text, protocol) = protocol.parse(text)?;
    let (text, _) = take_while1(is_lws).parse(text)?;
    Ok((text, protocol))
}

/// Host and port.
fn sent_by(text: &[u8]) -> Parsed<'_, (&[u8], Option<u16>)> {
    let (text, host) = alt((reference, take_while1(is_host))).parse(text)?;
    let (text, port) = opt(preceded(delimited(lws, char(':'), lws), port)).parse(text)?;
    Ok((text, (host, port)))
}

/// An IPv6 address in brackets.
fn reference(text: &[u8]) -> Parsed<'_, &[u8]> {
    let address = verify(take_while1(|b| b != b']'), |address: &[u8]| {
        std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
    });
    delimited(char('['), address, char(']')).parse(text)
}

fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

fn port(text: &[u8]) -> Parsed<'_, u16> {
    map_opt(take_while1(|b: u8| b.is_ascii_digit()), |digits| {
        std::str::from_utf8(digits).ok()?.parse().ok().filter(|port| *port != 0)
    })
    .parse(text)
}

fn lws(text: &[u8]) -> Parsed<'_, &[u8]> {
    take_while(is_lws).parse(text)
}

/// Splits a Via header into its values; one in which quotes or angle brackets are open stays whole.
pub fn values(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let pieces = split_outside(header, b',');
    let whole = pieces.is_none().then_some(header);
    pieces.into_iter().flatten().chain(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Via<'_>> {
        Via::read(text.as_bytes())
    }

    #[test]
    fn an_ordinary_via_has_its_parts() {
        let via = read("SIP/2.0/UDP pc33.example.com:5066;branch=z9hG4bK776;rport;x=\"a;b,c\"").unwrap();
        assert_eq!((via.host, via.port), (&b"pc33.example.com"[..], Some(5066)));
        assert_eq!(via.head, b"SIP/2.0/UDP pc33.example.com:5066");
        let texts: Vec<_> = via.parameters().map(|p| p.text).collect();
        assert_eq!(texts, [&b"branch=z9hG4bK776"[..], b"rport", b"x=\"a;b,c\""]);
        assert!(via.wants_rport());
        assert_eq!(via.more, b"");
    }

    #[test]
    fn white_space_may_stand_nearly_everywhere() {
        let text = "SIP  / 2.0\r\n /UDP\r\n    192.0.2.2 : 5060 ; branch = 390skdjuw ; Received=1.2.3.4";
        let via = read(text).unwrap();
        assert_eq!((via.host, via.port), (&b"192.0.2.2"[..], Some(5060)));
        assert!(via.parameters().any(|p| p.is("branch") && p.value == Some(b"390skdjuw")));
        assert!(via.parameters().any(|p| p.is("received")));
        assert!(!via.wants_rport());
    }

    #[test]
    fn of_a_list_the_first_value_is_topmost() {
        let via = read("SIP/2.0/UDP a;branch=1 , SIP/2.0/TCP b;branch=2").unwrap();
        assert_eq!((via.host, via.more), (&b"a"[..], &b", SIP/2.0/TCP b;branch=2"[..]));
        assert_eq!(values(b"SIP/2.0/UDP a;x=\",\",SIP/2.0/TCP b").count(), 2);
        assert_eq!(values(b"SIP/2.0/UDP a;x=\",SIP/2.0/TCP b").count(), 1, "the quote is open");
    }

    #[test]
    fn received_is_wanted_for_names_other_addresses_and_rport() {
        let source = "192.0.2.2".parse().unwrap();
        for (text, wanted) in [
            ("SIP/2.0/UDP 192.0.2.2", false),
            ("SIP/2.0/UDP 192.0.2.2:5062;branch=x", false),
            ("SIP/2.0/UDP [::ffff:192.0.2.2]", false),
            ("SIP/2.0/UDP 192.0.2.3", true),
            ("SIP/2.0/UDP host.example.com", true),
            ("SIP/2.0/UDP 192.0.2.2;rport", true),
            ("SIP/2.0/UDP 192.0.2.2;rport=", true),
            ("SIP/2.0/UDP 192.0.2.2;rport=5060", false),
        ] {
            assert_eq!(read(text).unwrap().wants_received(source), wanted, "{text}");
        }
        let via = read("SIP/2.0/UDP [2001:DB8::9:1]").unwrap();
        assert!(!via.wants_received("2001:db8::9:1".parse().unwrap()));
        assert!(via.wants_received("2001:db8::9:2".parse().unwrap()));
    }

    #[test]
    fn what_is_no_via_is_refused() {
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ;branch=x",
            "SIP/2.0 host",
            "SIP/3.0/UDP host",
            "SIP/2.0/UDP [::1;branch=x",
            "SIP/2.0/UDP [fe80::zz]",
            "SIP/2.0/UDP 192.0.2.15;;,;,,",
            "SIP/2.0/UDP a;",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP a:0",
            "SIP/2.0/UDP a:65536",
            "SIP/2.0/UDP a;x=\"",
            ", SIP/2.0/UDP a",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert!(read("SIP/2.0/UDP a:65535").is_some());
    }
}
