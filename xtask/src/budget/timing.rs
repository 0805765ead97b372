//! Nanoseconds of the program, packet by packet, above those of an empty one.
//!
//! A run rewrites its packet, so the kernel's own repetition would measure something else from the second time on: here
//! every packet is one BPF_PROG_TEST_RUN. Each is preceded by the empty program on the same packet, so that both meet
//! the same machine.

use super::{
    Row, limits,
    message::{ORDINARY, Shape, request},
};
use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, TestRunOptions,
    programs::{TestRun, Xdp},
};
use lb_common::{limits::MAX_DIALOGS, map::service::forwarding, verdict::Verdict};
use lb_tests::{
    bench::{Bench, LOOPBACK, backend, backend_address},
    packet::udp,
    probes::PROBES,
};
use sipsteer::dataplane::OBJECT;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The product's program.
const PROGRAM: &str = "sipsteer";
/// Live dialogs.
const DIALOGS: u32 = 65_536;
const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 5060);
const CALLER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 5060);
const BACKENDS: u16 = 100;

/// All timed rows of the program.
pub(super) fn rows() -> Result<Vec<Row>> {
    eprintln!("budget: {DIALOGS} dialogs, every packet its own BPF_PROG_TEST_RUN");
    let mut l2 = Stand::new(forwarding::L2)?;
    let opened = l2.open_dialogs()?;
    let pinned = l2.follow_pins(&ORDINARY)?;
    let near = l2.follow_pins(&[Shape { call_id_at: 300, length: 1400 }])?;
    let far = l2.follow_pins(&[Shape { call_id_at: 1000, length: 1400 }])?;
    drop(l2);
    let mut nat = Stand::new(forwarding::NAT)?;
    nat.open_dialogs()?;
    let translated = nat.follow_pins(&ORDINARY)?;
    let between = |name: &str, a: &Above, b: &Above| format!("{name}: {:.0} and {:.0}", a.median, b.median);
    Ok(vec![
        Row::new(limits::PINNED, pinned.median, pinned.remark()),
        Row::new(limits::NAT, translated.median - pinned.median, between("l2 and nat", &pinned, &translated)),
        Row::new(
            limits::FURTHER,
            (far.median - near.median) / 7.0,
            between("at 300 and 1,000 of 1,400", &near, &far),
        ),
        Row::new(limits::NEW_CALL, opened.median, opened.remark()),
    ])
}

/// Nanoseconds above the empty program.
struct Above {
    median: f64,
    mean: f64,
    empty: f64,
}

impl Above {
    fn remark(&self) -> String {
        format!("mean {:.0}; empty program {:.0}", self.mean, self.empty)
    }
}

/// The program with its maps filled, and the empty program beside it.
struct Stand {
    bench: Bench,
    /// Holds the empty program.
    probes: Ebpf,
    order: Vec<u32>,
}

impl Stand {
    fn new(mode: u8) -> Result<Stand> {
        let mut bench = Bench::load(OBJECT, MAX_DIALOGS)?;
        bench.add_service(0, SERVICE, mode)?;
        for id in 0..BACKENDS {
            bench.set_backend(id, &backend(id, backend_address(id)))?;
        }
        bench.set_ring(0, |slot| slot % u32::from(BACKENDS))?;
        bench.add_port(LOOPBACK)?;
        bench.program(PROGRAM)?;
        let mut probes = Ebpf::load(PROBES)?;
        floor(&mut probes)?.load()?;
        Ok(Stand { bench, probes, order: shuffled(DIALOGS) })
    }

    /// Opens every dialog by its INVITE.
    fn open_dialogs(&mut self) -> Result<Above> {
        let frames: Vec<Vec<u8>> = self.frames("INVITE", "", &ORDINARY);
        self.measure(&frames, Verdict::SteeredNew)
    }

    /// Sends a request in every dialog, in another order than they were opened in.
    fn follow_pins(&mut self, shapes: &[Shape]) -> Result<Above> {
        self.order.reverse();
        let frames = self.frames("INFO", "b1", shapes);
        self.measure(&frames, Verdict::SteeredPinned)
    }

    /// One frame for each dialog, shaped in turn.
    fn frames(&self, method: &str, to_tag: &str, shapes: &[Shape]) -> Vec<Vec<u8>> {
        let frame = |dialog: &u32, shape: &Shape| {
            let call_id =
                format!("{:016x}@198.51.100.7", u64::from(*dialog).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            udp(CALLER, SERVICE, &request(method, &call_id, to_tag, *shape))
        };
        self.order.iter().zip(shapes.iter().cycle()).map(|(dialog, shape)| frame(dialog, shape)).collect()
    }

    /// Runs both programs on every frame; all frames must get the same verdict.
    fn measure(&mut self, frames: &[Vec<u8>], verdict: Verdict) -> Result<Above> {
        let before = self.bench.verdict(verdict)?;
        let (mut empty, mut full) = (Vec::with_capacity(frames.len()), Vec::with_capacity(frames.len()));
        let program = self.bench.program(PROGRAM)?;
        let nothing = floor(&mut self.probes)?;
        for frame in frames {
            empty.push(run(nothing, frame)?);
            full.push(run(program, frame)?);
        }
        let counted = self.bench.verdict(verdict)? - before;
        ensure!(
            counted == frames.len() as u64,
            "{counted} of {} frames were {}; all verdicts: {:?}",
            frames.len(),
            verdict.name(),
            self.bench.verdicts()?
        );
        let (below, cost) = (summary(&mut empty), summary(&mut full));
        Ok(Above { median: cost.0 - below.0, mean: cost.1 - below.1, empty: below.0 })
    }
}

fn floor(probes: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(probes.program_mut("empty_tx").context("the probes have no empty program")?.try_into()?)
}

/// Nanoseconds of one run.
fn run(program: &Xdp, frame: &[u8]) -> Result<u64> {
    let options = TestRunOptions { data_in: Some(frame), repeat: 1, ..TestRunOptions::default() };
    Ok(u64::try_from(program.test_run(options)?.duration.as_nanos())?)
}

/// Median, and mean without the slowest hundredth, which interrupts have hit.
fn summary(times: &mut [u64]) -> (f64, f64) {
    times.sort_unstable();
    let kept = &times[..times.len() - times.len() / 100];
    (times[times.len() / 2] as f64, kept.iter().sum::<u64>() as f64 / kept.len().max(1) as f64)
}

/// The numbers below `count` in an order that neither caches nor prefetchers foresee, the same in every run.
fn shuffled(count: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count).collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for at in (1..numbers.len()).rev() {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        numbers.swap(at, (state % (at as u64 + 1)) as usize);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_every_number() {
        let mut numbers = shuffled(1000);
        assert!(numbers.windows(2).filter(|w| w[0] + 1 == w[1]).count() < 20);
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..1000));
    }

    #[test]
    fn outliers_do_not_move_the_mean() {
        let mut times = vec![100; 99];
        times.push(1_000_000);
        assert_eq!(summary(&mut times), (100.0, 100.0));
    }
}
