//! What the XDP program and the daemon must agree on.
//!
//! This crate is `no_std`, never allocates and never panics on input. It is compiled into the XDP program, the daemon,
//! the tests and the fuzzers, so what is tested is what runs:
//!
//! * [`sip`]: bytes to offsets; finds the Call-ID, never copies.
//! * [`wire`]: the headers around a SIP message, one protocol a file.
//! * [`hash`]: SipHash-1-3, the keyed hash behind every key.
//! * [`map`]: the table of maps and the layout of every key and value.
//! * [`decide`]: which backend a packet goes to, written against a trait for the tables.
//! * [`verdict`]: every way a packet leaves us.
//! * [`limits`], [`abi`]: every bound with its reason; the number program and loader compare.
//!
//! `unsafe` lives in `map/pod.rs` alone.
#![no_std]

pub mod abi;
pub mod decide;
pub mod hash;
pub mod limits;
pub mod map;
pub mod sip;
pub mod verdict;
pub mod wire;
