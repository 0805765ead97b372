//! SipHash-1-3, keyed: call keys, branches and sources. Keyed so that nobody outside can choose colliding Call-IDs.

/// Key of the hash, 16 bytes: the same on every balancer of a cluster.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashKey {
    /// First half.
    pub k0: u64,
    /// Second half.
    pub k1: u64,
}
