//! What a call consists of: pairs of SIPp scenarios, one for the caller and one for the server.

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// INVITE, 180, 200, ACK, a pause, BYE, 200: six messages.
    Call,
    /// The same, but a message that arrives before its turn makes the call fail.
    StrictCall,
    /// REGISTER, 200.
    Register,
    /// INVITE, 180, CANCEL, 200, 487, ACK.
    Cancel,
    /// INVITE, 486, ACK.
    Refused,
    /// INVITE, 503 with a Retry-After of 2 seconds, ACK.
    Unavailable,
    /// As [`Scenario::Call`], but a 302 is followed, with the same Call-ID (RFC 3261 section 8.1.3.4).
    Redirected,
    /// INVITE, 401, ACK, INVITE with credentials, 180, 200, ACK, BYE, 200 (RFC 3261 22.2: the same Call-ID).
    Authenticated,
}

impl Scenario {
    /// The caller's half.
    pub(super) fn caller(self) -> &'static str {
        match self {
            Scenario::Call => include_str!("call_caller.xml"),
            Scenario::StrictCall => include_str!("strict_caller.xml"),
            Scenario::Register => include_str!("register_caller.xml"),
            Scenario::Cancel => include_str!("cancel_caller.xml"),
            Scenario::Refused => include_str!("refused_caller.xml"),
            Scenario::Unavailable => include_str!("unavailable_caller.xml"),
            Scenario::Redirected => include_str!("redirected_caller.xml"),
            Scenario::Authenticated => include_str!("authenticated_caller.xml"),
        }
    }

    /// The server's half.
    pub(super) fn server(self) -> &'static str {
        match self {
            Scenario::Call | Scenario::Redirected => include_str!("call_server.xml"),
            Scenario::StrictCall => include_str!("strict_server.xml"),
            Scenario::Register => include_str!("register_server.xml"),
            Scenario::Cancel => include_str!("cancel_server.xml"),
            Scenario::Refused => include_str!("refused_server.xml"),
            Scenario::Unavailable => include_str!("unavailable_server.xml"),
            Scenario::Authenticated => include_str!("authenticated_server.xml"),
        }
    }
}
