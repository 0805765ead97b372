//! A program that leaves everything to the host. A veth device takes frames that XDP sends into it only if its far end
//! runs an XDP program; this one serves there.

use aya_ebpf::bindings::xdp_action;

/// Leaves the packet to the host.
#[inline(always)]
pub fn pass() -> u32 {
    xdp_action::XDP_PASS
}
