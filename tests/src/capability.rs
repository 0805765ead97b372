//! What a test needs of the machine. A test that cannot run says why, in the kernel's words; where `CI` is set, not
//! being able to run is a failure.

use aya::programs::{ProgramError, loaded_programs};
use std::{
    env,
    io::{ErrorKind, Write},
};

/// Whether this process may make network namespaces and load BPF programs; if not, why, and what to do about it.
pub fn bpf_and_namespaces() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err(
            "it makes network namespaces and loads BPF programs, which needs root: run it with sudo".into()
        );
    }
    if let Some(Err(error)) = loaded_programs().next()
        && !is_gone(&error)
    {
        return Err(format!(
            "the kernel refuses the bpf system call: {error}; it needs CAP_BPF and CAP_NET_ADMIN, and a kernel with \
             CONFIG_BPF_SYSCALL"
        ));
    }
    if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err("the kernel has no /sys/kernel/btf/vmlinux; it needs CONFIG_DEBUG_INFO_BTF".into());
    }
    Ok(())
}

/// Whether a program has gone between the look at its number and that at itself, as another test's may at any time.
fn is_gone(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(call) if call.io_error.kind() == ErrorKind::NotFound)
}

/// What the test needs to go on. If there is only a reason why it is not there, says loudly that the test is skipped.
///
/// # Panics
/// Where `CI` is set to something other than `false`, 0 or nothing: there nothing is skipped.
pub fn given<T>(test: &str, needed: Result<T, String>) -> Option<T> {
    let reason = match needed {
        Ok(needed) => return Some(needed),
        Err(reason) => reason,
    };
    let ci = env::var("CI").unwrap_or_default();
    assert!(
        matches!(ci.as_str(), "" | "0" | "false"),
        "{test} cannot run, and CI={ci} forbids skipping: {reason}"
    );
    // Not eprintln, which the test harness swallows.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
    None
}

/// What a test needs, `Result<T, String>`; returns `Ok(())` from the test when the machine does not have it.
#[macro_export]
macro_rules! needs {
    ($needed:expr) => {
        match $crate::capability::given(std::thread::current().name().unwrap_or("a test"), $needed) {
            Some(needed) => needed,
            None => return Ok(()),
        }
    };
}

/// Returns `Ok(())` from the test when the machine cannot run it.
#[macro_export]
macro_rules! needs_bpf {
    () => {
        $crate::needs!($crate::capability::bpf_and_namespaces())
    };
}
