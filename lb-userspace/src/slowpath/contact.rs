//! The Contact of a redirect (RFC 3261 sections 8.1.3.4 and 20.10): the user that was called, at another place.

use super::room::{Choice, Target};
use memchr::memchr;

/// What of a request URI goes on: scheme, user and whether it is a telephone number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callee {
    scheme: &'static str,
    user: String,
    phone: bool,
}

impl Callee {
    /// Reads a `sip`, `sips` or `tel` URI; any other has no user that could be called elsewhere.
    ///
    /// The user's password does not go on (RFC 3261 section 19.1.1), nor do parameters but `user=phone`: they are about the
    /// place that was called. A `sips` URI stays one (RFC 3261 section 8.1.3.4).
    pub fn of(uri: &[u8]) -> Callee {
        let nobody = Callee { scheme: "sip", user: String::new(), phone: false };
        let Some(colon) = memchr(b':', uri) else { return nobody };
        let (scheme, rest) = (&uri[..colon], &uri[colon + 1..]);
        if scheme.eq_ignore_ascii_case(b"tel") {
            // RFC 3261 section 19.1.6.
            return Callee { user: escaped(rest), phone: true, ..nobody };
        }
        let scheme = match scheme {
            s if s.eq_ignore_ascii_case(b"sip") => "sip",
            s if s.eq_ignore_ascii_case(b"sips") => "sips",
            _ => return nobody,
        };
        let Some(at) = memchr(b'@', rest) else { return Callee { scheme, ..nobody } };
        let (user_info, place) = (&rest[..at], &rest[at + 1..]);
        let user = &user_info[..memchr(b':', user_info).unwrap_or(user_info.len())];
        let phone = place.split(|b| matches!(b, b';' | b'?')).any(|p| p.eq_ignore_ascii_case(b"user=phone"));
        Callee { scheme, user: escaped(user), phone }
    }

    /// A Contact that leads this user to `choice`.
    pub fn at(&self, choice: &Choice<'_>) -> String {
        let place = match choice.target {
            Target::Host(host) => host.clone(),
            Target::Backend(address) => address.to_string(),
        };
        let Callee { scheme, user, .. } = self;
        let at = if user.is_empty() { "" } else { "@" };
        let phone = if self.phone && !user.is_empty() { ";user=phone" } else { "" };
        format!("<{scheme}:{user}{at}{place}{phone}>;q={}", q_value(choice.q))
    }
}

/// A user with everything escaped that has no place in one (RFC 3261 section 25.1). Escapes stay as they are.
fn escaped(user: &[u8]) -> String {
    let mut text = String::with_capacity(user.len());
    for (i, byte) in user.iter().enumerate() {
        let is_escape =
            || user.get(i + 1..i + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match byte {
            b'%' if is_escape() => text.push('%'),
            b if b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(b) => text.push(char::from(*b)),
            b => text.push_str(&format!("%{b:02X}")),
        }
    }
    text
}

/// A q-value of thousandths, without zeros that say nothing.
fn q_value(thousandths: u16) -> String {
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(uri: &str, target: &Target) -> String {
        Callee::of(uri.as_bytes()).at(&Choice { target, q: 1000 })
    }

    fn at_b(uri: &str) -> String {
        contact(uri, &Target::Host("b".to_owned()))
    }

    #[test]
    fn the_user_goes_on_and_the_place_does_not() {
        for (uri, expected) in [
            ("sip:alice@a.example.com", "<sip:alice@b>;q=1.0"),
            ("SIP:alice:secret@a:5070;transport=tcp;maddr=x?Subject=y", "<sip:alice@b>;q=1.0"),
            ("sips:alice@a", "<sips:alice@b>;q=1.0"),
            ("sip:+44123;npdi@a;User=Phone", "<sip:+44123;npdi@b;user=phone>;q=1.0"),
            ("tel:+44-123;phone-context=x", "<sip:+44-123;phone-context=x@b;user=phone>;q=1.0"),
            ("sip:a.example.com", "<sip:b>;q=1.0"),
            ("sip:a;user=phone", "<sip:b>;q=1.0"),
            ("sip:@a", "<sip:b>;q=1.0"),
            ("http://a@x", "<sip:b>;q=1.0"),
            ("nonsense", "<sip:b>;q=1.0"),
        ] {
            assert_eq!(at_b(uri), expected, "{uri}");
        }
    }

    #[test]
    fn what_has_no_place_in_a_user_is_escaped() {
        assert_eq!(at_b("sip:a<b>\"\\\u{e9}%41%4@h"), "<sip:a%3Cb%3E%22%5C%C3%A9%41%254@b>;q=1.0");
        assert_eq!(at_b("sip:j%40s0n,?/&=+$;x@h"), "<sip:j%40s0n,?/&=+$;x@b>;q=1.0");
    }

    #[test]
    fn backends_are_named_by_address() {
        let v4 = Target::Backend("10.0.0.1:5060".parse().unwrap());
        assert_eq!(contact("sip:x@a", &v4), "<sip:x@10.0.0.1:5060>;q=1.0");
        let v6 = Target::Backend("[2001:db8::1]:5070".parse().unwrap());
        assert_eq!(contact("sip:x@a", &v6), "<sip:x@[2001:db8::1]:5070>;q=1.0");
    }

    #[test]
    fn q_values_have_at_most_three_decimals() {
        let values = [1000, 990, 900, 885, 0].map(q_value);
        assert_eq!(values, ["1.0", "0.99", "0.9", "0.885", "0.0"]);
    }
}
