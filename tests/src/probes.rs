//! The scanner inside the kernel: loads the test-only programs of `lb-ebpf/src/probes.rs` and runs them on datagrams.

use crate::agreement::{Found, Scan};
use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, TestRunOptions, VerifierLogLevel,
    maps::{Array, MapData},
    programs::{TestRun, Xdp},
};
use lb_common::{hash::HashKey, sip::Kind};
use std::time::Duration;

/// The object with the test-only programs.
pub const PROBES: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/probes.bpf.o"));

/// Bytes before the datagram in a probe's packet.
const HEAD: usize = 42;
/// Longest packet that BPF_PROG_TEST_RUN takes: one page less 256 bytes before it and 320 of the kernel's own behind it.
const MAX_PACKET: usize = 4096 - 256 - 320;
/// Longest datagram that a probe can be given.
pub const MAX_DATAGRAM: usize = MAX_PACKET - HEAD;

/// Names of the probes that measure one function each, and of those that [`Probes::scan`] runs.
pub const NAMES: [&str; 8] =
    ["start_line", "call_id", "call_key", "dialog_headers", "user_key", "whole", "users", "retry_after"];

/// Names of the probes that [`Probes::scan`] runs.
pub const SCAN: [&str; 3] = ["whole", "users", "retry_after"];

/// What a probe returns when it ran to its end.
const XDP_PASS: u32 = 2;

/// The loaded probes.
pub struct Probes {
    ebpf: Ebpf,
}

impl Probes {
    /// Loads the named probes and gives them a hash key.
    ///
    /// # Errors
    /// The kernel's own: a missing capability, or the verifier's complaint, of which the last lines are shown.
    pub fn load(names: &[&str], key: HashKey) -> Result<Probes> {
        let mut ebpf = EbpfLoader::new()
            .verifier_log_level(VerifierLogLevel::DISABLE)
            .load(PROBES)
            .context("the maps of the probes were not made")?;
        for name in names {
            program(&mut ebpf, name)?.load().with_context(|| format!("the probe {name} was not loaded"))?;
        }
        let mut input: Array<_, [u64; 3]> = ebpf.map_mut("INPUT").context("no map INPUT")?.try_into()?;
        input.set(0, [key.k0, key.k1, 0], 0)?;
        Ok(Probes { ebpf })
    }

    /// Runs the scanner in the kernel.
    ///
    /// # Errors
    /// If the datagram is longer than [`MAX_DATAGRAM`], or the run fails.
    pub fn scan(&mut self, datagram: &[u8]) -> Result<Scan> {
        for name in SCAN {
            self.run(name, datagram, 1)?;
        }
        let report: Array<&MapData, [u64; 4]> =
            self.ebpf.map("REPORT").context("no map REPORT")?.try_into()?;
        let [kind, branch, place, hash] = report.get(&0, 0)?;
        let users: Array<&MapData, [u64; 3]> = self.ebpf.map("USERS").context("no map USERS")?.try_into()?;
        let users = users.get(&0, 0)?;
        let retry_after: Array<&MapData, u64> =
            self.ebpf.map("RETRY_AFTER").context("no map RETRY_AFTER")?.try_into()?;
        let retry_after = retry_after.get(&0, 0)?;
        let call_id = match place {
            u64::MAX => Found::Absent,
            place if place == u64::MAX - 1 => Found::Empty,
            _ => Found::Value { at: place as u32 as usize, len: (place >> 32) as usize, hash },
        };
        Ok(Scan {
            kind: Kind::from_number(kind as u16),
            call_id,
            to_tag: (kind >> 32) as u32,
            branch: branch as u32,
            users: users.map(|user| (user != 0).then_some(user)),
            retry_after: u32::try_from(retry_after).ok(),
        })
    }

    /// Runs a probe and returns the time of one run, as the kernel measured it.
    ///
    /// # Errors
    /// As for [`Probes::scan`].
    pub fn run(&mut self, name: &str, datagram: &[u8], repeat: u32) -> Result<Duration> {
        ensure!(datagram.len() <= MAX_DATAGRAM, "{} bytes do not fit a test run", datagram.len());
        let mut packet = vec![0; HEAD];
        packet.extend_from_slice(datagram);
        let options = TestRunOptions { data_in: Some(&packet), repeat, ..TestRunOptions::default() };
        let result = program(&mut self.ebpf, name)?.test_run(options)?;
        ensure!(!SCAN.contains(&name) || result.return_value == XDP_PASS, "the probe {name} gave up");
        Ok(result.duration)
    }

    /// Instructions that the verifier went through.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn verified(&mut self, name: &str) -> Result<u32> {
        let info = program(&mut self.ebpf, name)?.info()?;
        info.verified_instruction_count()
            .context("the kernel does not count verified instructions (5.16 does)")
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no probe {name}"))?.try_into()?)
}
