//! What the daemon runs by BPF_PROG_TEST_RUN: it never touches dialogs itself, it asks the kernel to look again.

use crate::{maps, packet::Packet, tables::KernelTables};
use aya_ebpf::bindings::xdp_action;
use lb_common::{
    decide::{Tables, expiry},
    map::{dialog::DialogKey, expiry::request},
};

/// Visits what is due in the expiry queues and examines the dialogs that the packet names, see [`request`]. Returns
/// XDP_PASS, or XDP_ABORTED without settings.
#[inline(always)]
pub fn expire(packet: &Packet) -> u32 {
    let (Some(settings), Some(scratch)) = (maps::settings(), maps::scratch()) else { return xdp_action::XDP_ABORTED };
    let tables = KernelTables { settings, scratch };
    let now = tables.now();
    tables.tend(now);
    let count = packet.u64_at(request::COUNT_AT).unwrap_or(0);
    let mut at = settings.zero as usize;
    let mut examined = 0;
    while examined < request::MAX_KEYS {
        if examined >= count {
            break;
        }
        let key = packet.u64_at(request::KEYS_AT + at);
        let service = packet.u64_at(request::KEYS_AT + at + 8);
        let (Some(call_key), Some(service)) = (key, service) else { break };
        expiry::expire(&tables, &DialogKey::new(call_key, service as u16), now);
        at += size_of::<DialogKey>();
        examined += 1;
    }
    xdp_action::XDP_PASS
}

/// Writes `jiffies` and the monotonic time in nanoseconds into the packet's first 16 bytes.
#[inline(always)]
pub fn clock(packet: &Packet) -> u32 {
    packet.put_u64::<0>(maps::jiffies());
    packet.put_u64::<8>(maps::nanoseconds());
    xdp_action::XDP_PASS
}
