//! The clocks: the monotonic one, and how fast the kernel's `jiffies` run. Dialogs age in ticks of `jiffies >> shift`, and only
//! the kernel knows HZ.

use super::pins::PinDir;
use crate::{
    core::steady::Steady,
    failure::{Failure, chain},
};
use aya::{
    TestRunOptions,
    programs::{TestRun, Xdp},
};
use aya_obj::programs::XdpAttachType;
use lb_common::map::expiry::request::LEN;
use std::{
    fs,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

/// Monotonic nanoseconds, as `bpf_ktime_get_ns` tells them: in a time namespace our own clock is another.
pub fn monotonic() -> u64 {
    static OFFSET: OnceLock<i64> = OnceLock::new();
    let offset = *OFFSET.get_or_init(|| {
        // A kernel without time namespaces has no such file, and nothing to set right.
        let text = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        offset_in(&text).unwrap_or_default()
    });
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let ours = seconds * SECOND + u64::try_from(now.tv_nsec).unwrap_or_default();
    ours.saturating_add_signed(offset.saturating_neg())
}

/// The clock that everything goes by that the daemon decides: the monotonic one, made a [`Steady`] one.
pub fn steady() -> Duration {
    static STEADY: Mutex<Steady> = Mutex::new(Steady::START);
    let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    // Read while nobody else does: to one who was overtaken by another it would seem to go back.
    steady.at(Duration::from_nanos(monotonic()))
}

/// By how many nanoseconds the monotonic clock of a time namespace is ahead of the kernel's, see time_namespaces(7).
fn offset_in(text: &str) -> Option<i64> {
    let words = text.lines().find_map(|line| line.trim().strip_prefix("monotonic"))?;
    let mut numbers = words.split_whitespace().map(str::parse::<i64>);
    let (seconds, nanoseconds) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    seconds.checked_mul(SECOND as i64)?.checked_add(nanoseconds)
}

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// Values of CONFIG_HZ that kernels are built with.
const USUAL: [u32; 4] = [100, 250, 300, 1000];
/// Time between two readings: six jiffies of the slowest clock.
const PAUSE: Duration = Duration::from_millis(60);

/// A reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `bpf_jiffies64`.
    pub jiffies: u64,
    /// `bpf_ktime_get_ns`, in nanoseconds.
    pub nanoseconds: u64,
}

/// The kernel's clock as dialogs are stamped with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// `bpf_jiffies64`.
    pub jiffies: u64,
    /// Jiffies per second.
    pub hz: u32,
}

/// The pinned program `clock`, which reads the kernel's clocks.
#[derive(Debug)]
pub struct Clock(Xdp);

impl Clock {
    /// Opens the pinned program.
    ///
    /// # Errors
    /// When it is not there or may not be opened.
    pub fn open(pins: &PinDir) -> Result<Clock, Failure> {
        let path = pins.clock();
        Xdp::from_pin(&path, XdpAttachType::Interface).map(Clock).map_err(|e| {
            Failure::bad("clock", format!("cannot use the program in {}: {}", path.display(), chain(&e)))
        })
    }

    /// Reads both clocks.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn read(&self) -> Result<Reading, Failure> {
        let mut packet = [0_u8; LEN];
        let options = TestRunOptions {
            data_in: Some(&[0; LEN]),
            data_out: Some(&mut packet),
            ..TestRunOptions::default()
        };
        self.0
            .test_run(options)
            .map_err(|e| Failure::bad("clock", format!("cannot run the program clock: {}", chain(&e))))?;
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&packet[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Ok(Reading { jiffies: word(0), nanoseconds: word(8) })
    }

    /// Time and frequency. Takes some 60 ms.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn now(&self) -> Result<Now, Failure> {
        let before = self.read()?;
        std::thread::sleep(PAUSE);
        let after = self.read()?;
        let hz = hz_between(before, after).ok_or_else(|| {
            let what = format!("the kernel's clocks contradict each other: {before:?}, then {after:?}");
            Failure::bad("clock", what)
        })?;
        Ok(Now { jiffies: after.jiffies, hz })
    }
}

/// The usual frequency nearest to what two readings show.
fn hz_between(before: Reading, after: Reading) -> Option<u32> {
    let jiffies = after.jiffies.checked_sub(before.jiffies).filter(|j| *j > 0)?;
    let nanoseconds = after.nanoseconds.checked_sub(before.nanoseconds).filter(|n| *n > 0)?;
    let measured = jiffies as f64 * 1e9 / nanoseconds as f64;
    // By ratio: 300 measured as 270 is not 250.
    USUAL.into_iter().min_by(|a, b| distance(measured, *a).total_cmp(&distance(measured, *b)))
}

fn distance(measured: f64, usual: u32) -> f64 {
    (measured / f64::from(usual)).ln().abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(jiffies: u64, milliseconds: u64) -> Option<u32> {
        let start = Reading { jiffies: 4_294_967_290, nanoseconds: 5_000_000 };
        let end = Reading {
            jiffies: start.jiffies + jiffies,
            nanoseconds: start.nanoseconds + milliseconds * 1_000_000,
        };
        hz_between(start, end)
    }

    #[test]
    fn readings_a_jiffy_off_still_show_the_frequency() {
        assert_eq!([5, 6, 7].map(|j| after(j, 60)), [Some(100); 3]);
        assert_eq!([15, 16].map(|j| after(j, 60)), [Some(250); 2]);
        assert_eq!([18, 19].map(|j| after(j, 62)), [Some(300); 2]);
        assert_eq!([59, 60, 61].map(|j| after(j, 60)), [Some(1000); 3]);
    }

    #[test]
    fn a_time_namespace_is_seen_through() {
        let text = |offset: &str| format!("monotonic  {offset}\nboottime  7 0\n");
        assert_eq!(offset_in(&text("         0         0")), Some(0));
        assert_eq!(offset_in(&text("3600 5")), Some(3_600_000_000_005));
        assert_eq!(offset_in(&text("-3600 999999999")), Some(-3_599_000_000_001));
        assert_eq!([offset_in(""), offset_in(&text("soon 1")), offset_in(&text("1"))], [None; 3]);
    }

    #[test]
    fn many_that_read_the_steady_clock_at_once_do_not_push_it_forward() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let times: Vec<Duration> = (0..10_000).map(|_| steady()).collect();
                    assert!(times.is_sorted());
                });
            }
        });
        assert!(steady() <= Duration::from_nanos(monotonic()));
    }

    #[test]
    fn clocks_that_stand_still_show_nothing() {
        assert_eq!(after(0, 60), None);
        assert_eq!(after(6, 0), None);
    }
}
