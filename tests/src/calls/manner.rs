//! What a server makes of calls, and of OPTIONS.

use std::net::SocketAddrV4;

/// What a server makes of wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It fulfils them.
    #[default]
    Obliging,
    /// It refuses every new call with 503, and says after how many seconds to come again.
    Unavailable(Option<u32>),
    /// It refuses every new call with 302, and names this address.
    Moved(SocketAddrV4),
    /// It takes no notice of new calls.
    Deaf,
}

/// What a server makes of OPTIONS, by which others find out whether it is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pings {
    /// 200.
    #[default]
    Well,
    /// 503: it wants no new calls.
    Unavailable,
    /// No answer.
    Ignored,
}
