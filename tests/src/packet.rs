//! Frames for BPF_PROG_TEST_RUN.

use lb_common::wire::checksum;
use std::net::SocketAddrV4;

/// MAC address of the sender.
pub const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// MAC address of the balancer.
pub const BALANCER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Where the UDP payload starts in a frame without IP options.
pub const PAYLOAD_AT: usize = 42;

/// A UDP datagram in IPv4 in Ethernet, with true checksums.
pub fn udp(source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    udp_with_options(source, destination, &[], payload)
}

/// The same with IP options (a multiple of 4 bytes).
pub fn udp_with_options(
    source: SocketAddrV4,
    destination: SocketAddrV4,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    assert!(options.len().is_multiple_of(4) && options.len() <= 40);
    let udp_length = 8 + payload.len();
    let mut ip = vec![0x45 + (options.len() / 4) as u8, 0];
    ip.extend(((20 + options.len() + udp_length) as u16).to_be_bytes());
    ip.extend([0x12, 0x34, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(source.ip().octets());
    ip.extend(destination.ip().octets());
    ip.extend(options);
    let sum = checksum::of(&ip).to_ne_bytes();
    ip[10..12].copy_from_slice(&sum);

    let mut udp = Vec::with_capacity(udp_length);
    udp.extend(source.port().to_be_bytes());
    udp.extend(destination.port().to_be_bytes());
    udp.extend((udp_length as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let sum = udp_sum(source, destination, &udp);
    udp[6..8].copy_from_slice(&if sum == 0 { 0xffff_u16 } else { sum }.to_ne_bytes());

    let mut frame = Vec::with_capacity(14 + ip.len() + udp_length);
    frame.extend(BALANCER_MAC);
    frame.extend(SENDER_MAC);
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend(udp);
    frame
}

fn udp_sum(source: SocketAddrV4, destination: SocketAddrV4, udp: &[u8]) -> u16 {
    let mut bytes = Vec::with_capacity(12 + udp.len());
    bytes.extend(source.ip().octets());
    bytes.extend(destination.ip().octets());
    bytes.extend([0, 17]);
    bytes.extend((udp.len() as u16).to_be_bytes());
    bytes.extend(udp);
    checksum::of(&bytes)
}

/// What a test wants to know of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Destination MAC address.
    pub destination_mac: [u8; 6],
    /// Source MAC address.
    pub source_mac: [u8; 6],
    /// Time to live.
    pub ttl: u8,
    /// Source.
    pub source: SocketAddrV4,
    /// Destination.
    pub destination: SocketAddrV4,
    /// UDP payload.
    pub payload: Vec<u8>,
}

/// Reads a frame and checks both checksums.
///
/// # Panics
/// On a frame that is not UDP over IPv4, and on a wrong checksum.
pub fn read(frame: &[u8]) -> Seen {
    assert_eq!(&frame[12..14], &[8, 0], "not IPv4");
    let header_length = (frame[14] & 0xf) as usize * 4;
    let ip = &frame[14..14 + header_length];
    assert_eq!(checksum::of(ip), 0, "IP checksum");
    let total = u16::from_be_bytes([ip[2], ip[3]]) as usize;
    let udp = &frame[14 + header_length..14 + total];
    let address = |at: usize| std::net::Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    let source = SocketAddrV4::new(address(12), port(0));
    let destination = SocketAddrV4::new(address(16), port(2));
    if udp[6..8] != [0, 0] {
        assert_eq!(udp_sum(source, destination, udp), 0, "UDP checksum");
    }
    Seen {
        destination_mac: frame[0..6].try_into().expect("six bytes"),
        source_mac: frame[6..12].try_into().expect("six bytes"),
        ttl: ip[8],
        source,
        destination,
        payload: udp[8..].to_vec(),
    }
}

/// A SIP request with the headers that steering looks at.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Method.
    pub method: &'a str,
    /// Call-ID; `None` leaves the header out.
    pub call_id: Option<&'a str>,
    /// Branch of the topmost Via.
    pub branch: &'a str,
    /// To tag.
    pub to_tag: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// A request outside a dialog.
    pub fn new(method: &'a str, call_id: &'a str) -> Request<'a> {
        Request { method, call_id: Some(call_id), branch: "z9hG4bK-1", to_tag: None }
    }

    /// The same with another branch.
    pub fn branch(self, branch: &'a str) -> Request<'a> {
        Request { branch, ..self }
    }

    /// The same inside a dialog.
    pub fn to_tag(self, tag: &'a str) -> Request<'a> {
        Request { to_tag: Some(tag), ..self }
    }

    /// The message.
    pub fn bytes(&self) -> Vec<u8> {
        let tag = self.to_tag.map(|t| format!(";tag={t}")).unwrap_or_default();
        let call_id = self.call_id.map(|c| format!("Call-ID: {c}\r\n")).unwrap_or_default();
        format!(
            "{m} sip:alice@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch={b};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:bob@198.51.100.7>;tag=f1\r\nTo: <sip:alice@192.0.2.1>{tag}\r\n{call_id}\
             CSeq: 1 {m}\r\nContent-Length: 0\r\n\r\n",
            m = self.method,
            b = self.branch,
        )
        .into_bytes()
    }
}

/// A SIP response.
pub fn response(status: u16, cseq_method: &str, call_id: &str) -> Vec<u8> {
    format!(
        "SIP/2.0 {status} Whatever\r\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK-1;rport\r\n\
         From: <sip:bob@198.51.100.7>;tag=f1\r\nTo: <sip:alice@192.0.2.1>;tag=t1\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 {cseq_method}\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}
