//! sipsteer: the library behind the binary.

pub mod config;
pub mod reference;

/// The XDP program's object file.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sipsteer.bpf.o"));
