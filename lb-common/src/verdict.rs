//! Every way a packet leaves us. A verdict's number is the index of its counter in VERDICTS, its sentence is the
//! operator's help text.

/// What happens to the packet, told to the XDP layer by one `match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Handed to the host's network stack, untouched.
    Host,
    /// Handed to the host's network stack after the rewrite, which forwards it.
    HostForwards,
    /// Sent on by XDP.
    Sent,
    /// Handed to the daemon, which answers it; dropped when no daemon does.
    Daemon,
    /// Dropped.
    Dropped,
}

macro_rules! verdicts {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal, $fate:ident, $expected:literal;)+) => {
        /// Every way a packet leaves us.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Verdict { $($(#[doc = $doc])+ $variant = $number,)+ }

        impl Verdict {
            /// All verdicts, in the order of their numbers.
            pub const ALL: &'static [Verdict] = &[$(Verdict::$variant,)+];

            /// The name in CLI, JSON and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Verdict::$variant => $name,)+ }
            }

            /// One sentence for humans.
            pub const fn sentence(self) -> &'static str {
                match self { $(Verdict::$variant => concat!($($doc),+),)+ }
            }

            /// The verdict of a counter's index. A match, because the kernel cannot look into a table with an index
            /// that the verifier does not know.
            #[inline(always)]
            pub const fn from_index(index: u32) -> Option<Verdict> {
                match index { $($number => Some(Verdict::$variant),)+ _ => None }
            }

            /// What happens to the packet.
            #[inline(always)]
            pub const fn fate(self) -> Fate {
                match self { $(Verdict::$variant => Fate::$fate,)+ }
            }

            /// False for what should never happen on a healthy node.
            pub const fn expected(self) -> bool {
                match self { $(Verdict::$variant => $expected,)+ }
            }
        }
    };
}

verdicts! {
    /// Not for a service and not from a backend: left to the host, untouched.
    NotOurs = 0, "not-ours", Host, true;
    /// Followed the pin of its dialog.
    SteeredPinned = 1, "steered-pinned", Sent, true;
    /// Opened a dialog, which is now pinned to a backend.
    SteeredNew = 2, "steered-new", Sent, true;
    /// Belongs to a dialog that is not in the table: sent to the ring's first choice.
    SteeredRing = 3, "steered-ring", Sent, true;
    /// Opened a dialog that could not be pinned, because the table is full or a write failed: sent to the ring's first choice.
    SteeredUnpinned = 4, "steered-unpinned", Sent, false;
    /// Its dialog's backend is down, disabled or gone: sent to another backend, which is now its pin.
    SteeredMoved = 5, "steered-moved", Sent, false;
    /// SIP without a usable Call-ID: sent to a backend chosen by source address and port.
    SteeredSource = 6, "steered-source", Sent, false;
    /// A keep-alive or STUN message: sent to a backend chosen by source address and port.
    SteeredKeepAlive = 7, "steered-keep-alive", Sent, true;
    /// From a backend to its peer: the source was rewritten to the service's address.
    Reply = 8, "reply", Sent, true;
    /// A backend's own request opened a dialog, which is now pinned to that backend.
    ReplyNew = 9, "reply-new", Sent, true;
    /// A backend's own request opened a dialog that could not be pinned.
    ReplyUnpinned = 10, "reply-unpinned", Sent, false;
    /// From a backend, but the next hop of its peer is not resolved yet: rewritten and left to the host to forward.
    ReplyHostForwards = 11, "reply-host-forwards", HostForwards, true;
    /// The backend's next hop is not resolved yet: rewritten and left to the host to forward.
    HostForwards = 12, "host-forwards", HostForwards, true;
    /// Does not look like SIP and has no Call-ID: dropped.
    DroppedNotSip = 13, "dropped-not-sip", Dropped, true;
    /// The lengths in the IP and UDP headers contradict the frame: dropped.
    DroppedMalformed = 14, "dropped-malformed", Dropped, true;
    /// No backend takes traffic for this service: dropped.
    DroppedNoBackend = 15, "dropped-no-backend", Dropped, false;
    /// The backend's MAC address is unknown and the host cannot forward in this mode: dropped, the sender repeats.
    DroppedNoNeighbour = 16, "dropped-no-neighbour", Dropped, false;
    /// The TTL is used up, which means a routing loop: dropped.
    DroppedTtl = 17, "dropped-ttl", Dropped, false;
    /// Larger than the MTU on the way to its target: dropped.
    DroppedTooBig = 18, "dropped-too-big", Dropped, false;
    /// An IP fragment to a service: left to the host.
    PassedFragment = 19, "passed-fragment", Host, false;
    /// The settings or a counter were not there: left to the host. Should never happen.
    PassedBroken = 20, "passed-broken", Host, false;
    /// Opened a call in a further zone, because the zones before it have no room or no backend that takes calls.
    SteeredOverflow = 21, "steered-overflow", Sent, true;
    /// No room in the zones that calls are forwarded to, and some in one that they are redirected to: a 302 names it.
    Redirected = 22, "redirected", Daemon, true;
    /// Every backend in reach is at its limit: a 503 says so.
    RefusedFull = 23, "refused-full", Daemon, false;
    /// No backend in reach takes calls: a 503 says so.
    RefusedDown = 24, "refused-down", Daemon, false;
    /// OPTIONS to the service itself: answered.
    AnsweredOptions = 25, "answered-options", Daemon, true;
    /// The ACK of an answer that the balancer gave itself: dropped.
    AbsorbedAck = 26, "absorbed-ack", Dropped, true;
}

/// Number of verdicts, the capacity of VERDICTS.
pub const VERDICTS: u32 = Verdict::ALL.len() as u32;

impl Verdict {
    /// The index of its counter.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self as u32
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_are_indices_and_names_are_unique() {
        let mut names = HashSet::new();
        for (i, v) in Verdict::ALL.iter().enumerate() {
            assert_eq!(v.index() as usize, i);
            assert_eq!(Verdict::from_index(v.index()), Some(*v));
            assert!(names.insert(v.name()), "{} twice", v.name());
            assert!(v.sentence().trim().ends_with('.'), "{} is no sentence", v.name());
        }
        assert_eq!(Verdict::from_index(VERDICTS), None);
    }
}
