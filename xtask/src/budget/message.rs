//! SIP messages of a given size with the Call-ID at a given place.

/// Where things are in a message, in bytes of the datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Where the header line with the Call-ID begins.
    pub(crate) call_id_at: usize,
    /// Length of the datagram.
    pub(crate) length: usize,
}

/// The ordinary messages of the budget: 800 B, the Call-ID around 300.
pub(crate) const ORDINARY: [Shape; 4] = [
    Shape { call_id_at: 230, length: 800 },
    Shape { call_id_at: 280, length: 800 },
    Shape { call_id_at: 320, length: 800 },
    Shape { call_id_at: 370, length: 800 },
];

/// A request of a dialog. `to_tag` is empty outside of one.
pub(crate) fn request(method: &str, call_id: &str, to_tag: &str, shape: Shape) -> Vec<u8> {
    let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let mut text = format!(
        "{method} sip:bob@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK{call_id};rport\r\n\
         From: <sip:alice@198.51.100.7>;tag=a1\r\nTo: <sip:bob@192.0.2.1>{tag}\r\n"
    );
    pad(&mut text, shape.call_id_at);
    text += &format!("Call-ID: {call_id}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n");
    text += "Content-Type: application/sdp\r\n\r\n";
    while text.len() < shape.length {
        text += "a=rtpmap:0 PCMU/8000\r\n";
    }
    text.truncate(shape.length);
    text.into_bytes()
}

/// Header lines of ordinary length up to `end`.
fn pad(text: &mut String, end: usize) {
    const NAME: &str = "Route: <sip:";
    const END: &str = ">\r\n";
    const LEAST: usize = NAME.len() + END.len() + 1;
    while text.len() + LEAST <= end {
        let room = end - text.len();
        let length = if room < 40 + LEAST { room } else { 40 };
        text.push_str(NAME);
        text.extend(std::iter::repeat_n('p', length - NAME.len() - END.len()));
        text.push_str(END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_shape_that_was_asked_for() {
        for shape in [ORDINARY[0], ORDINARY[3], Shape { call_id_at: 1000, length: 1400 }] {
            let bytes = request("INFO", "0123456789abcdef0123@198.51.100.7", "b1", shape);
            assert_eq!(bytes.len(), shape.length);
            let line = b"\r\nCall-ID: ";
            let at = bytes.windows(line.len()).position(|w| w == line).map(|at| at + 2);
            assert_eq!(at, Some(shape.call_id_at));
        }
    }
}
