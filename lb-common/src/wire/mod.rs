//! The headers around a SIP message: one protocol, one file, one shape. Nothing here owns bytes; [`Octets`] is
//! implemented on packet pointers in the kernel and on arrays everywhere else.

pub mod checksum;
pub mod ethernet;
pub mod ipv4;
pub mod udp;

/// A header whose length is known and was checked against the packet once. Offsets are checked at compile time.
/// Multi-byte values are as they lie in the packet; `u16::from_be` and friends make numbers of them.
pub trait Octets {
    /// The byte at `AT`.
    fn u8_at<const AT: usize>(&self) -> u8;
    /// Two bytes at `AT`, network order.
    fn u16_at<const AT: usize>(&self) -> u16;
    /// Four bytes at `AT`, network order.
    fn u32_at<const AT: usize>(&self) -> u32;
    /// Replaces the byte at `AT`.
    fn set_u8<const AT: usize>(&mut self, value: u8);
    /// Replaces two bytes at `AT`, network order.
    fn set_u16<const AT: usize>(&mut self, value: u16);
    /// Replaces four bytes at `AT`, network order.
    fn set_u32<const AT: usize>(&mut self, value: u32);
}

impl<const N: usize> Octets for [u8; N] {
    fn u8_at<const AT: usize>(&self) -> u8 {
        const { assert!(AT < N) };
        self[AT]
    }
    fn u16_at<const AT: usize>(&self) -> u16 {
        const { assert!(AT + 2 <= N) };
        u16::from_ne_bytes([self[AT], self[AT + 1]])
    }
    fn u32_at<const AT: usize>(&self) -> u32 {
        const { assert!(AT + 4 <= N) };
        u32::from_ne_bytes([self[AT], self[AT + 1], self[AT + 2], self[AT + 3]])
    }
    fn set_u8<const AT: usize>(&mut self, value: u8) {
        const { assert!(AT < N) };
        self[AT] = value;
    }
    fn set_u16<const AT: usize>(&mut self, value: u16) {
        const { assert!(AT + 2 <= N) };
        self[AT..AT + 2].copy_from_slice(&value.to_ne_bytes());
    }
    fn set_u32<const AT: usize>(&mut self, value: u32) {
        const { assert!(AT + 4 <= N) };
        self[AT..AT + 4].copy_from_slice(&value.to_ne_bytes());
    }
}
