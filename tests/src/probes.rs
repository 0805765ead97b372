//! The scanner inside the kernel: loads the test-only programs of `lb-ebpf/src/probes.rs` and runs them on datagrams.

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, TestRunOptions,
    maps::Array,
    programs::{TestRun, Xdp},
};
use lb_common::{
    hash::HashKey,
    sip::{Kind, Method},
};

/// The object with the test-only programs.
pub const PROBES: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/probes.bpf.o"));

/// Bytes before the datagram in a probe's packet.
const HEAD: usize = 42;
/// Longest packet that BPF_PROG_TEST_RUN takes into one page, with 256 bytes of room before it and 320 of the kernel's own
/// behind it.
const MAX_PACKET: usize = 4096 - 256 - 320;
/// Longest datagram a probe can be given.
pub const MAX_DATAGRAM: usize = MAX_PACKET - HEAD;

/// The loaded probes.
pub struct Probes {
    ebpf: Ebpf,
    key: HashKey,
}

/// What a scan found: natively and in the kernel it must be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// What the datagram is.
    pub kind: Kind,
    /// The Call-ID.
    pub call_id: Found,
    /// Hash of the To tag.
    pub to_tag: u32,
    /// Hash of the topmost Via's branch.
    pub branch: u32,
}

/// A Call-ID as a scan reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Offset, length and key.
    Value { at: usize, len: usize, hash: u64 },
    /// A header without value.
    Empty,
    /// No header.
    Absent,
}
impl Probes {
    /// Loads them with a hash key.
    ///
    /// # Errors
    /// The kernel's own: no permission, or the verifier's complaint.
    pub fn load(key: HashKey) -> Result<Probes> {
        let mut ebpf = Ebpf::load(PROBES).context("the probes were not loaded")?;
        for (name, program) in ebpf.programs_mut() {
            let program: &mut Xdp = program.try_into()?;
            program.load().with_context(|| format!("the probe {name} was not loaded"))?;
        }
        let mut input: Array<_, [u64; 3]> = ebpf.map_mut("INPUT").context("INPUT")?.try_into()?;
        input.set(0, [key.k0, key.k1, 0], 0)?;
        Ok(Probes { ebpf, key })
    }
    /// Verified instructions
    pub fn verified(&self) -> Result<Vec<(String, u32)>> {
        let mut all = vec![];
        for (name, program) in self.ebpf.programs() {
            let program: &Xdp = program.try_into()?;
            let i = program.info()?;
            all.push((name.to_owned(), i.verified_instruction_count().unwrap_or(0)));
        }
        Ok(all)
    }
    /// time
    pub fn time(&mut self, name: &str, datagram: &[u8], repeat: u32) -> Result<(u64, u32)> {
        let mut data = vec![0; HEAD];
        data.extend_from_slice(datagram);
        let program: &mut Xdp = self.ebpf.program_mut(name).context("program")?.try_into()?;
        let r = program.test_run(TestRunOptions { data_in: Some(&data), repeat, ..Default::default() })?;
        let _ = self.key;
        Ok((r.duration.as_nanos() as u64, r.return_value))
    }
}
