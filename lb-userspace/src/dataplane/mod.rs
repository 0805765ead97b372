//! The only door to the kernel: loads, pins, attaches, adopts, and keeps next hops true. Only this room knows aya.
//!
//! * [`pins`]: names below the pin directory. * [`adopt`]: may what is pinned be used? * [`load`]: object to kernel.
//! * [`attach`]: links to interfaces. * [`maps`], [`rings`]: typed handles, from pins alone.
//! * [`netlink`], [`neighbours`]: next hops. * [`clock`], [`tend`]: the helper programs. * [`host`]: is this host fit?
//!
//! `unsafe` lives in `sys.rs` alone.

pub mod adopt;
pub mod attach;
pub mod load;
pub mod maps;
pub mod netlink;
pub mod pins;
pub mod rings;

mod sys;

/// The XDP program's object file.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sipsteer.bpf.o"));
