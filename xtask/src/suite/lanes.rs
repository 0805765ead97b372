//! The programs of tests, some beside each other: most of the time they wait, for SIPp, for timers and for the kernel.

use super::{Account, tally::failures};
use crate::{programs::Program, workspace::corpus};
use anyhow::{Context, Result};
use std::{
    io::{self, Read, Write, stderr},
    process::{ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

/// Programs that run when all others have ended, by themselves, and what they need the machine for.
const ALONE: [(&str, &str); 1] = [("kernel_race", "two CPUs must often be in the kernel at the same moment")];

/// Beginnings of the names of those that take longest. They start first, so that no lane is left with one at the end.
const LONG: [&str; 4] = ["scenario_", "daemon_", "property", "examples"];

/// Where it is said what happens.
type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// Runs all programs. True if every one of them succeeded.
pub(super) fn run(programs: Vec<Program>, account: &Mutex<Account>) -> Result<bool> {
    // A terminal that is gone must not end the run.
    let say = |text: &str| drop(stderr().write_all(text.as_bytes()));
    let (alone, mut together): (Vec<_>, Vec<_>) = programs.into_iter().partition(is_alone);
    together.sort_by_key(urgency);
    // One waits more than it works, so there is work for one more than there are CPUs.
    let lanes = thread::available_parallelism().map_or(1, usize::from) + 1;
    let side_by_side = in_lanes(together, lanes, account, &say)?;
    Ok(in_lanes(alone, 1, account, &say)? && side_by_side)
}

fn is_alone(program: &Program) -> bool {
    ALONE.iter().any(|(name, _)| *name == program.name)
}

/// The lower, the earlier.
fn urgency(program: &Program) -> usize {
    LONG.iter().position(|beginning| program.name.starts_with(beginning)).unwrap_or(LONG.len())
}

fn in_lanes(programs: Vec<Program>, lanes: usize, account: &Mutex<Account>, say: Say<'_>) -> Result<bool> {
    let queue = Mutex::new(programs.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let lane = || -> Result<bool> {
        let mut good = true;
        while let Some(program) = next() {
            good &= watch(&program, account, say)?;
        }
        Ok(good)
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        let ended = running.into_iter().map(|lane| lane.join().expect("a lane does not panic"));
        // All of them, whatever came of the first.
        ended.collect::<Vec<_>>().into_iter().try_fold(true, |good, lane| Ok(lane? && good))
    })
}

/// Runs a program to its end, then shows what it printed, in one piece. True if it succeeded.
fn watch(program: &Program, account: &Mutex<Account>, say: Say<'_>) -> Result<bool> {
    say(&format!("    Running {}\n", program.selection));
    let began = Instant::now();
    let (status, text) =
        output(program).with_context(|| format!("cannot run {}", program.executable.display()))?;
    let took = began.elapsed().as_secs_f64();
    let ended = if status.success() { "ok".into() } else { format!("FAILED, {status},") };
    say(&format!("--- {}: {ended} in {took:.1} s\n{text}", program.selection));
    let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
    text.lines().for_each(|line| account.tally.add(line));
    if !status.success() {
        account.again.extend(again(program, &text));
    }
    Ok(status.success())
}

/// What it printed on stdout and stderr, in the order it was printed.
fn output(program: &Program) -> io::Result<(ExitStatus, String)> {
    let (mut reader, writer) = io::pipe()?;
    let mut command = program.command();
    command.env("SIPSTEER_CORPUS", corpus());
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // It holds the ends that are written to, and the pipe ends with the last of them.
    drop(command);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok((child.wait()?, String::from_utf8_lossy(&bytes).into_owned()))
}

/// The commands that run what failed once more.
fn again(program: &Program, text: &str) -> Vec<String> {
    let command = format!("cargo test {}", program.selection);
    match failures(text).as_slice() {
        [] => vec![command],
        tests => tests.iter().map(|test| format!("{command} {test}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str) -> Program {
        Program {
            name: name.into(),
            selection: format!("-p lb-tests --test {name}"),
            executable: "/bin/false".into(),
            package: "/".into(),
        }
    }

    #[test]
    fn those_that_take_long_come_first() {
        let mut programs = ["answers", "property", "daemon_life", "scenario_life", "torture"].map(program);
        programs.sort_by_key(urgency);
        let names = programs.map(|program| program.name);
        assert_eq!(names, ["scenario_life", "daemon_life", "property", "answers", "torture"]);
        assert!(is_alone(&program("kernel_race")) && !is_alone(&program("kernel_races")));
    }

    #[test]
    fn what_failed_is_named_with_the_command_that_runs_it_again() {
        let text = "\nfailures:\n    one\n    two\n\ntest result: FAILED. 0 passed; 2 failed\n";
        let command = "cargo test -p lb-tests --test x";
        assert_eq!(again(&program("x"), text), [format!("{command} one"), format!("{command} two")]);
        assert_eq!(again(&program("x"), "Segmentation fault"), [command]);
    }

    #[test]
    fn a_program_that_fails_fails_all_and_the_others_still_run() -> Result<()> {
        let (account, said) = (Mutex::default(), Mutex::new(String::new()));
        let say = |text: &str| said.lock().expect("nobody panics").push_str(text);
        let good = Program { executable: "/bin/true".into(), ..program("good") };
        let programs = vec![program("bad"), good.clone(), program("worse")];
        assert!(!in_lanes(programs, 2, &account, &say)?);
        assert!(in_lanes(vec![good.clone(), good], 2, &account, &say)?);
        assert_eq!(said.into_inner().expect("nobody panicked").matches("good: ok in").count(), 3);
        let mut again = account.into_inner().expect("nobody panicked").again;
        again.sort();
        assert_eq!(again, ["cargo test -p lb-tests --test bad", "cargo test -p lb-tests --test worse"]);
        Ok(())
    }
}
