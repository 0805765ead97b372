//! Generators of SIP messages for property tests: mostly right, with everything in them that a parser can get wrong.

use proptest::{collection::vec, prelude::*, sample::select};

/// A message with some headers in some order, each well or nearly well formed.
pub fn message() -> impl Strategy<Value = Vec<u8>> {
    (leading(), start_line(), vec((header(), line_end()), 0..24), line_end(), body()).prop_map(
        |(leading, start, headers, end, body)| {
            let mut message = leading;
            message.extend_from_slice(start.as_bytes());
            message.extend_from_slice(end.as_bytes());
            for (header, end) in headers {
                message.extend_from_slice(header.as_bytes());
                message.extend_from_slice(end.as_bytes());
            }
            message.extend_from_slice(end.as_bytes());
            message.extend_from_slice(body.as_bytes());
            message
        },
    )
}

/// A message with some bytes replaced, removed or put in.
pub fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (message(), vec((any::<prop::sample::Index>(), 0..3u8, telling_byte()), 1..8)).prop_map(
        |(mut message, changes)| {
            for (place, kind, byte) in changes {
                if message.is_empty() {
                    break;
                }
                let place = place.index(message.len());
                match kind {
                    0 => message[place] = byte,
                    1 => message.insert(place, byte),
                    _ => drop(message.remove(place)),
                }
            }
            message
        },
    )
}

/// A message behind so many short lines that searches may give up.
pub fn dense() -> impl Strategy<Value = Vec<u8>> {
    let filler = select(vec![
        "a:b\n",
        "x\r\n",
        "i  x\n",
        "To x\r\n",
        "X: 0123456789 0123456789 0123456789 0123456789\r\n",
    ]);
    (vec(filler, 30..170), vec(header(), 0..6), vec(telling_byte(), 0..40)).prop_map(
        |(filler, headers, rest)| {
            let mut message = b"INVITE x SIP/2.0\r\n".to_vec();
            message.extend_from_slice(filler.concat().as_bytes());
            message.extend_from_slice(headers.join("\r\n").as_bytes());
            message.extend_from_slice(&rest);
            message
        },
    )
}

/// A message that ends somewhere.
pub fn cut() -> impl Strategy<Value = Vec<u8>> {
    (message(), any::<prop::sample::Index>()).prop_map(|(mut message, place)| {
        message.truncate(place.index(message.len() + 1));
        message
    })
}

/// Bytes, of which most mean something to a SIP parser.
pub fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(telling_byte(), 0..200),
        (start_line(), vec(telling_byte(), 0..200)).prop_map(|(start, rest)| {
            let mut message = start.into_bytes();
            message.push(b'\n');
            message.extend_from_slice(&rest);
            message
        })
    ]
}

fn telling_byte() -> impl Strategy<Value = u8> {
    prop_oneof![8 => select(b"\r\n\n \t:;,<>\"\\=iItTvVcCdDlLaAgGfFsSpP@-".to_vec()), 1 => any::<u8>()]
}

fn leading() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => Just(Vec::new()),
        1 => vec(select(b"\r\n".to_vec()), 0..70),
        1 => vec(select(b"\r\n\0".to_vec()), 0..8),
    ]
}

fn line_end() -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => Just("\r\n"), 3 => Just("\n"), 1 => Just("\r"), 1 => Just(" \r\n"), 1 => Just("\r\r\n")]
}

fn start_line() -> impl Strategy<Value = String> {
    let methods = [
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "REGISTER",
        "OPTIONS",
        "PRACK",
        "UPDATE",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "INFO",
        "REFER",
        "MESSAGE",
        "invite",
        "INVITEX",
        "!a-Z09.%*_+`'~",
        "IN(VITE",
        "",
    ];
    prop_oneof![
        3 => select(methods.to_vec()).prop_map(|m| format!("{m} sip:bob@example.com SIP/2.0")),
        3 => (select(methods.to_vec()), uri()).prop_map(|(method, uri)| format!("{method} {uri} SIP/2.0")),
        1 => "[A-Z]{0,40}( sip:b SIP/2.0)?",
        3 => "[sS][iI][pP]/2.0 [0-9]{2,4}( OK)?",
        1 => "[ -~]{0,40}",
    ]
}

fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (name(&["Call-ID", "call-id", "CALL-Id", "i", "I"]), white(), word(70)).prop_map(|(n, w, v)| n + &w + &v),
        3 => (name(&["To", "t", "TO", "T"]), white(), address()).prop_map(|(n, w, v)| n + &w + &v),
        3 => (name(&["From", "f", "FROM", "F"]), white(), address()).prop_map(|(n, w, v)| n + &w + &v),
        2 => (name(&["Via", "v", "VIA", "V"]), white(), via()).prop_map(|(n, w, v)| n + &w + &v),
        2 => retry_after(),
        3 => ("[A-Za-z][a-z-]{0,14}: ?[ -~]{0,70}").prop_map(|s| s),
        2 => near_miss(),
    ]
}

fn retry_after() -> impl Strategy<Value = String> {
    let name = select(vec![
        "Retry-After",
        "retry-after",
        "RETRY-aFTER",
        "Retry-Afters",
        "Retry-Af",
        "Retry",
        "Retry\rAfter",
    ]);
    let few = || prop_oneof![8 => Just(" ".to_owned()), 2 => "[ \t]{0,10}", 1 => "\r?\n[ \t]"];
    let number = prop_oneof![4 => "[0-9]{1,5}", 1 => "[0-9]{0,12}", 1 => "0{0,4}[0-9]{1,8}"];
    let more = prop_oneof![
        4 => Just(String::new()),
        1 => Just(" (in a meeting)".to_owned()),
        1 => Just(";duration=3600".to_owned()),
        1 => "[ -~]{0,3}",
    ];
    (name, prop_oneof![4 => Just(String::new()), 1 => few()], few(), number, more)
        .prop_map(|(name, white, w, number, more)| format!("{name}{white}:{w}{number}{more}"))
}

fn near_miss() -> impl Strategy<Value = String> {
    (select(vec!["Call-ID", "i", "From", "f", "To", "t", "Via", "v"]), word(12)).prop_flat_map(
        |(name, value)| {
            select(vec![
                format!("{name}; {value}"),
                format!("{name} foo: {value}"),
                format!(" {name}: {value}"),
                format!("x{name}: {value}"),
                format!("{name}x: {value}"),
                format!("{name}"),
                format!("{name}:"),
                format!("{name} "),
                format!("{name}\r: {value}"),
                format!("X: \"{name}: {value}\""),
                name.replace('-', "\r") + ": " + &value,
            ])
        },
    )
}

fn name(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    (select(names.to_vec()), prop_oneof![6 => Just(String::new()), 1 => "[ \t]{0,40}"])
        .prop_map(|(name, white)| format!("{name}{white}:"))
}

fn white() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => Just(" ".to_owned()),
        2 => "[ \t]{0,20}",
        1 => "[ \t]{100,140}",
        2 => "([ \t]?\r?\n[ \t]){0,3}",
        1 => "[ \t\r\n]{0,6}",
    ]
}

fn word(most: usize) -> impl Strategy<Value = String> {
    let chars = "abcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~()<>:\\\"/[]?{}@";
    let text =
        move |len| vec(select(chars.chars().collect::<Vec<_>>()), len).prop_map(|v| v.into_iter().collect());
    prop_oneof![8 => text(0..=most), 1 => text(500..=530)]
}

fn address() -> impl Strategy<Value = String> {
    let display = prop_oneof![
        Just(String::new()),
        Just("Bob ".to_owned()),
        "\"[ -!#-\\[\\]-~]{0,30}\" ?",
        Just("\"a;tag=no\\\" ;tag=no\\\\\" ".to_owned()),
        "\"[ -~]{0,12}",
    ];
    let uri = prop_oneof![
        Just("<sip:bob@example.com>".to_owned()),
        Just("<sip:bob@example.com;tag=no>".to_owned()),
        Just("sip:bob@example.com".to_owned()),
        uri(),
        uri().prop_map(|uri| format!("<{uri}>")),
        "<sip:[a-z0-9;=]{0,200}>",
        "<[ -~]{0,12}",
    ];
    (display, uri, parameters("tag")).prop_map(|(d, u, p)| d + &u + &p)
}

fn uri() -> impl Strategy<Value = String> {
    let scheme =
        select(vec!["sip:", "sip:", "sip:", "SIP:", "sips:", "tel:", "Tel:", "sip", "sipx:", "urn:", ""]);
    let user = prop_oneof![
        6 => "[a-z0-9+%.-]{0,20}",
        1 => "[a-z]{120,140}",
        1 => "[ -~]{0,12}",
    ];
    let more = prop_oneof![
        6 => Just(String::new()),
        1 => "[:;][a-z=:;]{0,20}",
        1 => "[:;][a-z=]{170,200}",
    ];
    let host = prop_oneof![
        6 => Just("@example.com".to_owned()),
        1 => Just("@h:5060;transport=udp".to_owned()),
        1 => Just(String::new()),
        1 => "[@;,?>< a-z]{0,6}",
    ];
    (scheme, user, more, host).prop_map(|(scheme, user, more, host)| format!("{scheme}{user}{more}{host}"))
}

fn via() -> impl Strategy<Value = String> {
    let more = prop_oneof![3 => Just(String::new()), 1 => Just(",SIP/2.0/TCP x;branch=z9hG4bKno".to_owned())];
    (parameters("branch"), more).prop_map(|(p, m)| format!("SIP/2.0/UDP h.example.com:5060{p}{m}"))
}

fn parameters(wanted: &'static str) -> impl Strategy<Value = String> {
    let value = "[a-zA-Z0-9.-]{0,20}";
    let other = prop_oneof![
        Just(";rport".to_owned()),
        Just(";x=\"a;tag=no;branch=no\"".to_owned()),
        Just(format!(";{wanted}x=no")),
        Just(format!(";x{wanted}=no")),
        Just(";".to_owned()),
        Just(format!(";{wanted}")),
        "[a-z]{0,4};[a-z]{1,8}(=[a-z0-9]{1,40})?",
    ];
    let name = select(vec![
        wanted.to_owned(),
        wanted.to_uppercase(),
        format!("{}{}", &wanted[..1].to_uppercase(), &wanted[1..]),
    ]);
    let this = (white_or_none(), name, white_or_none(), white_or_none(), value)
        .prop_map(|(a, name, b, c, value)| format!(";{a}{name}{b}={c}{value}"));
    let long = "[a-z]{120,140}".prop_map(move |value| format!(";{wanted}={value}"));
    vec(prop_oneof![3 => other, 3 => this, 1 => long], 0..5).prop_map(|all| all.concat())
}

fn white_or_none() -> impl Strategy<Value = String> {
    prop_oneof![8 => Just(String::new()), 1 => "[ \t]{0,20}", 1 => "[ \t]?\r?\n[ \t]"]
}

fn body() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        1 => Just("v=0\r\ns=-\r\n".to_owned()),
        1 => Just("Call-ID: body\r\nTo: x;tag=body\r\nVia: y;branch=body\r\n\r\n".to_owned()),
    ]
}
