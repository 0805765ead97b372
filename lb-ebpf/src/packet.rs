//! One of the two unsafe doors: packet bytes.
#![allow(unsafe_code, reason = "the verifier checks every access; the checks it wants stand beside each")]

use lb_common::sip::Window;

/// The part of a packet from `data` to `end`, as the addresses the kernel gave.
#[derive(Clone, Copy)]
pub struct PacketWindow {
    /// Address of the first byte.
    pub data: usize,
    /// Address behind the last byte.
    pub end: usize,
}

/// Keeps offsets below `MAX_SCAN`, which the verifier wants to see at every use.
const OFFSET_MASK: usize = lb_common::limits::MAX_SCAN - 1;

impl Window for PacketWindow {
    #[inline(always)]
    fn block(&self, at: usize) -> Option<[u64; 4]> {
        let p = self.data + (at & OFFSET_MASK);
        if p + 32 > self.end {
            return None;
        }
        // SAFETY: 32 bytes from p lie before end, as just checked; BPF allows unaligned packet loads.
        unsafe {
            Some([*(p as *const u64), *((p + 8) as *const u64), *((p + 16) as *const u64), *((p + 24) as *const u64)])
        }
    }

    #[inline(always)]
    fn word(&self, at: usize) -> Option<u64> {
        let p = self.data + (at & OFFSET_MASK);
        if p + 8 > self.end {
            return None;
        }
        // SAFETY: 8 bytes from p lie before end, as just checked; BPF allows unaligned packet loads.
        Some(unsafe { *(p as *const u64) })
    }

    #[inline(always)]
    fn byte(&self, at: usize) -> Option<u8> {
        let p = self.data + (at & OFFSET_MASK);
        if p + 1 > self.end {
            return None;
        }
        // SAFETY: the byte at p lies before end, as just checked.
        Some(unsafe { *(p as *const u8) })
    }
}
