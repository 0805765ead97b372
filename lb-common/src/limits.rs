//! Every bound and why it is that number; relations between bounds are checked at compile time.

/// Bytes of a datagram that can be addressed; a power of two, because the verifier wants every offset masked. No reader
/// gets so far, so no offset is ever changed by the mask.
pub const MAX_SCAN: usize = 16_384;
/// Bytes of one step of the scan.
pub const SCAN_BLOCK: usize = 32;
/// Bytes of CR and LF before a start line that are skipped, and NUL bytes of a keep-alive that are looked at. Keep-alives
/// have 2 or 4 (RFC 5626 section 4.4.1); some phones send dozens.
pub const MAX_LEADING: usize = 64;
/// Bytes of an unknown method that are checked to be a token. The longest registered method has 9.
pub const MAX_METHOD: usize = 32;
/// Steps of the search for the Call-ID, a bound on its time and on its verification. A line costs one for each begun 32
/// bytes; between a name and its colon white space costs one for each begun 8 bytes; the last 31 bytes of a datagram cost
/// nothing. So the search goes to the end of every frame without XDP fragments (3,498 bytes) whose lines have 55 bytes on
/// average, and up to 4,096 bytes far; a message that puts hundreds of tiny lines before its Call-ID has none.
pub const MAX_SCAN_STEPS: usize = 128;
/// Steps of the search for headers behind the Call-ID, priced alike. They are few because their verification adds to that of the
/// search for the Call-ID, which notes the headers it passes: in practice To and Via stand before it or right behind it.
pub const MAX_DIALOG_STEPS: usize = 40;
/// Steps of this search in the last 31 bytes of a datagram, where a line costs one for each begun 8 bytes.
pub const MAX_DIALOG_TAIL_STEPS: usize = 8;
/// Steps of the reading of one To or Via header: one for each begun 8 bytes, for each quote, angle bracket, semicolon, comma,
/// backslash and line end that has a meaning where it stands, for each parameter's name and for each byte of white space before
/// it. In the last 7 bytes of a datagram every byte costs one. An ordinary header takes 15.
pub const MAX_PARAMETER_STEPS: usize = 28;
/// White space and folds around the colon of a To or Via header and around the equals sign of its parameter, in bytes.
pub const MAX_PARAMETER_LWS: usize = 16;
/// Longest tag or branch that is hashed, in bytes.
pub const MAX_PARAMETER: usize = 128;
/// Steps over the display name of a From or To header, priced like those of the reading of a parameter. A name of 150 bytes with
/// some quotes and escapes fits; behind a longer one there is no user to choose by, and the Call-ID is used.
pub const MAX_DISPLAY_STEPS: usize = 24;
/// Steps from the start of a user part to its `@`: one for each begun 8 bytes, in the last 7 bytes of a datagram one for each.
/// Users with an extension, a context and a trunk group as parameters (RFC 3966, RFC 4904) have up to 150 bytes.
pub const MAX_USER_STEPS: usize = 24;
/// Longest user that is hashed, in bytes. Two longer ones that share these bytes share a key, which is harmless.
pub const MAX_USER: usize = 128;
/// Steps of the search for Retry-After from the start line on: one for each begun 8 bytes of a line. A refusal has some 500 bytes
/// of headers, and those of proxies on its way add to it; what is not found has not been said.
pub const MAX_RETRY_AFTER_STEPS: usize = 128;
/// Spaces before and behind its colon, each.
pub const MAX_RETRY_AFTER_SPACES: usize = 8;
/// Longest number in a Retry-After, in digits: RFC 3261 section 20.19 has times up to 2^32 - 1 seconds.
pub const MAX_RETRY_AFTER_DIGITS: usize = 10;
/// Longest time that a backend's own Retry-After makes it count as full, in seconds: a mistake there must not take it out for a
/// day, and a backend that is still full by then says so again.
pub const MAX_RETRY_AFTER_SECONDS: u32 = 60;
/// White space and folds before a header's value, in bytes: more than the longest line that anyone writes by hand.
/// Behind more, a value counts as empty.
pub const MAX_LWS: usize = 128;
/// Longest Call-ID that is hashed, in bytes. The longest of 1,013 collected messages has 141; RFC 3261 sets no bound.
/// Two longer ones that share these bytes share a key, which is harmless: they are steered alike.
pub const MAX_CALL_ID: usize = 256;

/// Backends of one node. A backend id has 16 bits in a dialog's state word; 1,024 keeps the per-CPU counters small.
pub const MAX_BACKENDS: u32 = 1024;
/// Services of one node.
pub const MAX_SERVICES: u32 = 64;
/// Listening addresses of one service.
pub const MAX_LISTENERS: u32 = 8;
/// Zones a service may name, in order.
pub const MAX_TIERS: u32 = 8;
/// Zones of one node.
pub const MAX_ZONES: u32 = 64;
/// Services that one backend may serve: a reply is looked up in each of them, so this bounds the cost of a reply.
pub const MAX_SERVICES_PER_BACKEND: usize = 4;
/// Slots of a Maglev table: a prime near 2^16, so that the share of the smallest backend of 1,000 is still 65 slots.
pub const RING_SLOTS: u32 = 65_537;
/// Longest name of a backend, zone or service, in bytes of ASCII.
pub const NAME_LEN: usize = 32;
/// Interfaces the program may be attached to.
pub const MAX_INTERFACES: u32 = 64;

/// Dialogs remembered by default; DIALOGS is preallocated to this.
pub const MAX_DIALOGS: u32 = 1 << 20;
/// Most buckets that one packet looks at for old dialogs: about a microsecond, once in a jiffy at most.
pub const MAX_SWEEP: u32 = 128;
/// The table is gone through for old dialogs in this time, in seconds, however few calls there are. It costs time in proportion:
/// 64 MB of memory that no cache holds. Two minutes are short beside a call whose end nobody saw, and a dialog that needs room
/// looks for itself.
pub const SWEEP_SECONDS: u32 = 128;
/// Attempts to claim a slot for a new dialog: CPUs rarely want the same one.
pub const CLAIM_ATTEMPTS: u32 = 2;
/// Attempts at a compare-and-swap of a state word before the change is given up; a dialog is rarely on two CPUs, and the
/// verifier walks through every attempt.
pub const STATE_ATTEMPTS: u32 = 2;

/// Attempts at a compare-and-swap of a backend's pace before a call counts as one too many.
pub const LOAD_ATTEMPTS: u32 = 3;
/// Choices of the ring that are compared for a new call under the policy `consistent`.
pub const CANDIDATES: u32 = 6;
/// Backends of a zone that are asked one by one when the ring's choices have no room, a bound on the time of one packet.
pub const MAX_WALK: u32 = 64;
/// Slots of the cache of next hops towards clients, per CPU; a power of two.
pub const NEXT_HOP_SLOTS: u32 = 4096;
/// Addresses that one CPU remembers as a service's, a backend's or neither, a power of two.
pub const ENDPOINT_SLOTS: u32 = 1024;
/// Error numbers counted one by one in WRITE_ERRORS; larger ones share the last slot.
pub const MAX_ERRNO: u32 = 160;

/// 64*T1 (RFC 3261 17.1.1.2): how long a transaction may still see retransmissions, in seconds.
pub const LIFETIME_ENDED_SECONDS: u32 = 32;
/// How long an INVITE may ring, in seconds (timer C is at least 3 minutes, RFC 3261 16.6 step 11).
pub const LIFETIME_UNANSWERED_SECONDS: u32 = 180;
/// An answered call that is silent is forgotten after this, in seconds.
pub const LIFETIME_ANSWERED_SECONDS: u32 = 12 * 3600;
/// A subscription that is silent, in seconds (a common Expires of RFC 6665).
pub const LIFETIME_SUBSCRIBED_SECONDS: u32 = 3600;
/// Longest lifetime that the 16 bits of [`crate::map::dialog::State::seen`] can tell from "just seen", in seconds, at
/// the shortest tick of 0.8 s, with a tenth to spare.
pub const MAX_LIFETIME_SECONDS: u32 = 47_000;

const _: () = assert!(MAX_SCAN.is_power_of_two());
const _: () = assert!(
    MAX_LEADING
        + (MAX_SCAN_STEPS + MAX_DIALOG_STEPS + 2) * SCAN_BLOCK
        + MAX_LWS
        + 2 * MAX_CALL_ID
        + SCAN_BLOCK
        < MAX_SCAN
);
const _: () =
    assert!(MAX_CALL_ID.is_multiple_of(8) && MAX_PARAMETER.is_multiple_of(8) && MAX_USER.is_multiple_of(8));
const _: () = assert!(MAX_METHOD.is_multiple_of(8));
const _: () = assert!(
    MAX_LEADING + MAX_RETRY_AFTER_STEPS * 8 + 2 * MAX_RETRY_AFTER_SPACES + MAX_RETRY_AFTER_DIGITS + 32
        < MAX_SCAN
);
const _: () = assert!((MAX_DISPLAY_STEPS + MAX_USER_STEPS) * 8 + MAX_USER <= 2 * MAX_CALL_ID);
const _: () = assert!(MAX_PARAMETER_STEPS * 8 + MAX_PARAMETER <= 2 * MAX_CALL_ID);
const _: () = assert!(MAX_BACKENDS <= 1 << 16);
const _: () = assert!(MAX_SERVICES * MAX_TIERS <= 512);
const _: () = assert!(NEXT_HOP_SLOTS.is_power_of_two() && ENDPOINT_SLOTS.is_power_of_two());
const _: () = assert!(LIFETIME_ANSWERED_SECONDS < MAX_LIFETIME_SECONDS);
const _: () = assert!(MAX_LIFETIME_SECONDS < 65_536 / 10 * 8);
