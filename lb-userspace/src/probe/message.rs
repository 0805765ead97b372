//! The OPTIONS of a probe (RFC 3261 section 11) and what its answer says.

use super::Target;
use crate::slowpath::{
    header::{Name, headers},
    via::Via,
};
use lb_common::sip::{self, Bytes, Kind};
use memchr::memchr;
use std::{fmt::Write, net::SocketAddr};

/// What marks one probe: a branch, a Call-ID and a From tag of its own, so that no answer is taken for that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark([u8; 24]);

impl Mark {
    /// A mark of random bytes.
    pub fn new(random: [u8; 24]) -> Mark {
        Mark(random)
    }

    /// The branch, with the magic cookie (RFC 3261 section 8.1.1.7).
    pub fn branch(&self) -> String {
        format!("z9hG4bK{}", hex(&self.0[..8]))
    }

    fn tag(&self) -> String {
        hex(&self.0[8..12])
    }

    fn call_id(&self) -> String {
        hex(&self.0[12..])
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An OPTIONS from `own`, our own address and port.
///
/// Max-Forwards is 0: a proxy answers such an OPTIONS itself (RFC 3261 sections 11 and 16.3), so that it tells of this
/// server and not of one behind it. `oc` says that we understand what the server says about its load (RFC 7339 section
/// 4.1), and `oc-algo` in which words: the server chooses one of them (section 4.2). `rport` says that the answer is to
/// come to the port we ask from (RFC 3581 section 3).
pub fn options(target: &Target, own: SocketAddr, mark: &Mark) -> String {
    let address = target.address;
    let probing = &target.probing;
    let uri = match &probing.user {
        Some(user) => format!("sip:{user}@{address}"),
        None => format!("sip:{address}"),
    };
    let from = probing.from.clone().unwrap_or_else(|| own.ip().to_string());
    let algorithms = target.algorithms.iter().map(|a| a.word()).collect::<Vec<_>>().join(",");
    let (branch, tag, call_id) = (mark.branch(), mark.tag(), mark.call_id());
    format!(
        "OPTIONS {uri} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {own};branch={branch};rport;oc;oc-algo=\"{algorithms}\"\r\n\
         Max-Forwards: 0\r\n\
         From: <sip:sipsteer@{from}>;tag={tag}\r\n\
         To: <{uri}>\r\n\
         Call-ID: {call_id}@{}\r\n\
         CSeq: 1 OPTIONS\r\n\
         Contact: <sip:sipsteer@{own}>\r\n\
         Accept: application/sdp\r\n\
         User-Agent: sipsteer\r\n\
         Content-Length: 0\r\n\r\n",
        own.ip()
    )
}

/// A response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Its status code.
    pub code: u16,
    /// The topmost Via, without its name: ours, with what the server added to it.
    pub via: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Reads a datagram, which may be cut. `None`: it is no response with a Via.
    pub fn read(datagram: &'a [u8]) -> Option<Answer<'a>> {
        let (kind, from) = sip::start_line(Bytes(datagram), 0);
        let Kind::Response(code) = kind else { return None };
        let message = datagram.get(from..)?;
        let section = &message[memchr(b'\n', message)? + 1..];
        let via = headers(section).find(|header| header.is(Name::Via))?.value;
        Some(Answer { code, via })
    }

    /// Whether it is the answer to a request of this branch (RFC 3261 section 17.1.3).
    pub fn is_to(&self, branch: &str) -> bool {
        let via = Via::read(self.via);
        via.is_some_and(|via| via.parameters().any(|p| p.is("branch") && p.value == Some(branch.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Algorithm, Probing};
    use lb_common::sip::Method;

    fn target(probing: Probing) -> Target {
        let algorithms = Algorithm::USUAL.to_vec();
        Target { backend: "sw1".to_owned(), address: "10.0.0.11:5070".parse().unwrap(), probing, algorithms }
    }

    fn mark() -> Mark {
        Mark::new(std::array::from_fn(|i| i as u8))
    }

    fn own() -> SocketAddr {
        "10.0.0.1:41234".parse().unwrap()
    }

    #[test]
    fn an_options_is_as_the_rfc_wants_it() {
        let text = options(&target(Probing::DEFAULT), own(), &mark());
        assert_eq!(
            text,
            "OPTIONS sip:10.0.0.11:5070 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 10.0.0.1:41234;branch=z9hG4bK0001020304050607;rport;oc;oc-algo=\"loss\"\r\n\
             Max-Forwards: 0\r\n\
             From: <sip:sipsteer@10.0.0.1>;tag=08090a0b\r\n\
             To: <sip:10.0.0.11:5070>\r\n\
             Call-ID: 0c0d0e0f1011121314151617@10.0.0.1\r\n\
             CSeq: 1 OPTIONS\r\n\
             Contact: <sip:sipsteer@10.0.0.1:41234>\r\n\
             Accept: application/sdp\r\n\
             User-Agent: sipsteer\r\n\
             Content-Length: 0\r\n\r\n"
        );
        assert_eq!(sip::start_line(Bytes(text.as_bytes()), 0).0, Kind::Request(Method::Options));
    }

    #[test]
    fn user_and_host_are_as_configured() {
        let probing = Probing {
            user: Some("ping".to_owned()),
            from: Some("lb1.example.com".to_owned()),
            ..Probing::DEFAULT
        };
        let text = options(&target(probing), own(), &mark());
        assert!(text.starts_with("OPTIONS sip:ping@10.0.0.11:5070 SIP/2.0\r\n"), "{text}");
        assert!(text.contains("\r\nTo: <sip:ping@10.0.0.11:5070>\r\n"), "{text}");
        assert!(text.contains("\r\nFrom: <sip:sipsteer@lb1.example.com>;tag=08090a0b\r\n"), "{text}");
    }

    #[test]
    fn all_that_may_be_chosen_is_offered() {
        for (algorithms, offered) in [
            (&Algorithm::USUAL[..], ";rport;oc;oc-algo=\"loss\"\r\n"),
            (&[Algorithm::Loss, Algorithm::Rate], ";rport;oc;oc-algo=\"loss,rate\"\r\n"),
            (&[Algorithm::Rate, Algorithm::Loss], ";rport;oc;oc-algo=\"rate,loss\"\r\n"),
        ] {
            let target = Target { algorithms: algorithms.to_vec(), ..target(Probing::DEFAULT) };
            let text = options(&target, own(), &mark());
            assert!(text.contains(offered), "{text}");
        }
    }

    fn answer(via: &str) -> String {
        format!("SIP/2.0 200 OK\r\n{via}\r\nTo: <sip:10.0.0.11:5070>;tag=x\r\nCSeq: 1 OPTIONS\r\n\r\n")
    }

    #[test]
    fn an_answer_is_known_by_its_branch() {
        let branch = mark().branch();
        for via in [
            "Via: SIP/2.0/UDP 10.0.0.1:41234;branch=z9hG4bK0001020304050607;rport=41234;received=10.0.0.1;oc=20",
            "v : SIP / 2.0 / UDP 10.0.0.1:41234 ;rport=1;\r\n branch=z9hG4bK0001020304050607",
            "Server: x\r\nVIA: SIP/2.0/UDP a;branch=z9hG4bK0001020304050607, SIP/2.0/UDP b;branch=z9hG4bK1",
        ] {
            let text = answer(via);
            let read = Answer::read(text.as_bytes()).unwrap();
            assert_eq!(read.code, 200);
            assert!(read.is_to(&branch), "{via}");
            assert!(!read.is_to("z9hG4bK1") && !read.is_to(""), "{via}");
        }
        let text = answer("Via: SIP/2.0/UDP a;oc=5;branch=x\r\nVia: SIP/2.0/UDP b;branch=y");
        let read = Answer::read(text.as_bytes()).unwrap();
        assert!(read.is_to("x") && !read.is_to("y"), "the topmost counts");
        assert_eq!(read.via, b"SIP/2.0/UDP a;oc=5;branch=x");
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let whole = answer("Via: SIP/2.0/UDP a;branch=x");
        for text in ["", "\r\n\r\n", "SIP/2.0 200 OK", "SIP/2.0 200 OK\r\nTo: <sip:a>\r\n\r\n"] {
            assert_eq!(Answer::read(text.as_bytes()), None, "{text:?}");
        }
        let request = options(&target(Probing::DEFAULT), own(), &mark());
        assert_eq!(Answer::read(request.as_bytes()), None);
        // Cut anywhere: an answer or none, and no panic.
        for end in 0..whole.len() {
            let read = Answer::read(&whole.as_bytes()[..end]);
            assert!(read.is_none_or(|answer| answer.code == 200));
        }
        assert!(!Answer::read(answer("Via: nonsense").as_bytes()).unwrap().is_to("x"));
    }
}
