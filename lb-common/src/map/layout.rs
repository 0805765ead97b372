//! LAYOUT: how the keys and values of the maps lie in memory, told to versions that have other maps.

use core::mem::size_of;

/// Bytes of the text. Whoever reads it takes any length, so this may change.
pub const TEXT_LEN: usize = 16 * 1024;

/// The one value of LAYOUT. The daemon writes it, another version's daemon reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The text, padded with zeros.
    pub text: [u8; TEXT_LEN],
}

const _: () = assert!(size_of::<Layout>() == TEXT_LEN);
