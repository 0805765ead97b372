//! The recorded limits: DESIGN's table, row by row. A limit is changed here, with the reason in the commit.

/// Whether a figure says the same on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// It does: `--check` fails when it is exceeded.
    Fixed,
    /// It does not: reported, never failed.
    Timed,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// What is measured.
    pub(crate) what: &'static str,
    /// It may not be larger.
    pub(crate) limit: f64,
    /// Of what.
    pub(crate) unit: &'static str,
    /// See [`Nature`].
    pub(crate) nature: Nature,
}

const fn fixed(what: &'static str, limit: f64, unit: &'static str) -> Limit {
    Limit { what, limit, unit, nature: Nature::Fixed }
}

const fn timed(what: &'static str, limit: f64, unit: &'static str) -> Limit {
    Limit { what, limit, unit, nature: Nature::Timed }
}

/// Instructions the verifier walks through for the largest program, of the 1,000,000 that kernels take: the search for the
/// Call-ID is two fifths of them, the choice of a backend that has room a sixth.
pub(crate) const INSTRUCTIONS: Limit = fixed("verified instructions, largest program", 330_000.0, "");
/// The kernel refuses more than 512.
pub(crate) const STACK: Limit = fixed("stack, deepest program", 512.0, "B");
/// Memory of all maps with 1,048,576 dialogs, one ring included.
pub(crate) const MAP_MEMORY: Limit = fixed("map memory at 1 M dialogs", 160.0, "MB");
/// Verifier and JIT.
pub(crate) const LOAD: Limit = timed("load of the largest program", 500.0, "ms");
/// The common packet.
pub(crate) const PINNED: Limit = timed("pinned dialog, l2, Call-ID at 300 of 800 B", 190.0, "ns");
/// What rewriting addresses costs more than rewriting MAC addresses.
pub(crate) const NAT: Limit = timed("nat over l2", 40.0, "ns");
/// Slope of the search.
pub(crate) const FURTHER: Limit = timed("each further 100 B before the Call-ID", 15.0, "ns");
/// Choice and pin.
pub(crate) const NEW_CALL: Limit = timed("new call", 600.0, "ns");
/// All buckets with 1,048,576 live dialogs, by any CPU, one packet or push of the daemon after the other.
pub(crate) const ROUND: Limit = timed("search for old dialogs, a round, 1 M live", 100.0, "ms");
/// The most that a packet looks at, after a silence; 4 to 17 buckets are due in a jiffy.
pub(crate) const SHARE: Limit = timed("longest share of a packet, 128 buckets", 100.0, "us");
/// The most that a push of the daemon looks at.
pub(crate) const LOOK: Limit = timed("longest look at 256 buckets", 200.0, "us");
/// The same when every slot holds a call that is over, which gives its channel back.
pub(crate) const FUNERALS: Limit = timed("longest look at 256 buckets, all 1,024 over", 500.0, "us");
/// In the daemon.
pub(crate) const RING: Limit = timed("ring of 65,537 slots, 1,000 backends", 2.0, "ms");
