//! The one place of this crate with `unsafe`: the promise to aya that the map types are plain old data.
#![cfg(feature = "aya")]
#![allow(
    unsafe_code,
    reason = "aya::Pod is an unsafe trait; every type here is repr(C), without padding and valid for any bytes"
)]

use super::{backend, counters, dialog, expiry, layout, load, ring, service, settings, zone};

macro_rules! pod {
    ($($t:ty),+ $(,)?) => { $(
        // SAFETY: repr(C), made of integers and arrays of integers only, without implicit padding (its size is asserted
        // beside its definition), so every bit pattern is a value and no byte is uninitialised.
        unsafe impl aya::Pod for $t {}
    )+ };
}

pod!(
    settings::Settings,
    settings::Scratch,
    settings::SlowPath,
    layout::Layout,
    service::ServiceKey,
    service::Service,
    service::Listener,
    service::Endpoint,
    backend::Backend,
    backend::BackendAddress,
    backend::CachedNextHop,
    load::Load,
    ring::Ring,
    zone::Zone,
    zone::Members,
    zone::Policy,
    dialog::Dialog,
    dialog::Bucket,
    dialog::Tally,
    expiry::Sweep,
    counters::Counter,
    counters::BackendCounter,
    counters::ServiceCounter,
);

/// The value that lies in `bytes`; `None`: they are not as many as it has.
pub fn value_of<T: aya::Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    // SAFETY: there are as many bytes as T has, any bytes are a T, and it is read from wherever they lie.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}
