//! Verdicts with their counters and sentences, and the errors of map writes.

use crate::{dataplane::maps::Maps, failure::Failure};
use lb_common::verdict::{Fate, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerdictView {
    /// Its name.
    pub verdict: String,
    /// Packets.
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
    /// host, host-forwards, sent or dropped.
    pub fate: String,
    /// False for what should never happen on a healthy node.
    pub expected: bool,
    /// What it means.
    pub meaning: String,
    /// Packets by CPU.
    pub packets_by_cpu: Vec<u64>,
}

/// A kind of map write that failed in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WriteErrorView {
    /// Error number.
    pub errno: u32,
    /// What the number means.
    pub meaning: String,
    /// How often.
    pub count: u64,
}

/// Everything that the program counts of packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CountersView {
    /// All verdicts, in the order of their numbers.
    pub verdicts: Vec<VerdictView>,
    /// Failed map writes; without those that never happened.
    pub write_errors: Vec<WriteErrorView>,
}

/// Everything that the program counts of packets.
///
/// # Errors
/// The kernel's.
pub fn counters(maps: &Maps) -> Result<CountersView, Failure> {
    Ok(CountersView { verdicts: verdicts(maps)?, write_errors: write_errors(maps)? })
}

/// All verdicts, in the order of their numbers.
///
/// # Errors
/// The kernel's.
pub fn verdicts(maps: &Maps) -> Result<Vec<VerdictView>, Failure> {
    let view = |verdict: &Verdict| {
        let (sum, cpus) = maps.verdict(*verdict)?;
        Ok(VerdictView {
            verdict: verdict.name().to_owned(),
            packets: sum.packets,
            bytes: sum.bytes,
            fate: fate_word(verdict.fate()).to_owned(),
            expected: verdict.expected(),
            meaning: verdict.sentence().trim().to_owned(),
            packets_by_cpu: cpus.iter().map(|c| c.packets).collect(),
        })
    };
    Verdict::ALL.iter().map(view).collect()
}

/// Failed map writes; without those that never happened.
///
/// # Errors
/// The kernel's.
pub fn write_errors(maps: &Maps) -> Result<Vec<WriteErrorView>, Failure> {
    let view = |(errno, count): (u32, u64)| WriteErrorView {
        errno,
        meaning: std::io::Error::from_raw_os_error(errno.cast_signed()).to_string(),
        count,
    };
    Ok(maps.write_errors()?.into_iter().map(view).collect())
}

fn fate_word(fate: Fate) -> &'static str {
    match fate {
        Fate::Host => "host",
        Fate::HostForwards => "host-forwards",
        Fate::Sent => "sent",
        Fate::Daemon => "daemon",
        Fate::Dropped => "dropped",
    }
}
