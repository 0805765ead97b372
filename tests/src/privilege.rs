//! What the tests may do on this machine.

use anyhow::{Result, bail};
use aya::{EbpfLoader, programs::Xdp};
use std::env;

/// Whether programs can be loaded; if not, says so with the kernel's reason.
///
/// # Errors
/// With `CI=true`, where nothing may be skipped.
pub fn may_load_programs() -> Result<bool> {
    let Err(reason) = load_one() else { return Ok(true) };
    if env::var("CI").is_ok_and(|ci| ci == "true") {
        bail!("no program can be loaded, and with CI=true nothing is skipped: {reason:#}");
    }
    eprintln!("SKIPPED: no program can be loaded, run as root or with CAP_BPF and CAP_NET_ADMIN: {reason:#}");
    Ok(false)
}

fn load_one() -> Result<()> {
    let mut ebpf = EbpfLoader::new().load(crate::probes::PROBES)?;
    if let Some(program) = ebpf.program_mut("empty") {
        <&mut Xdp>::try_from(program)?.load()?;
    }
    Ok(())
}
