//! Processes of ours: started in a namespace, ended when dropped.

use crate::{cleanup::Cleanup, netns::Namespace};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(10);
/// How long a process may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running process. Dropping it sends SIGTERM, and SIGKILL to one that does not listen.
pub struct Process {
    child: Arc<Mutex<Child>>,
    name: String,
    log: PathBuf,
    _cleanup: Cleanup,
}

impl Process {
    /// Starts `program` in `namespace`. What it prints goes to `log`.
    ///
    /// # Errors
    /// When the program does not exist or the log cannot be written.
    pub fn start<S: AsRef<OsStr>>(
        namespace: &Namespace,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
        log: &Path,
    ) -> Result<Process> {
        Process::start_with(namespace, program, arguments, &[], log)
    }

    /// The same with environment variables.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_with<S: AsRef<OsStr>>(
        namespace: &Namespace,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
        variables: &[(&str, &OsStr)],
        log: &Path,
    ) -> Result<Process> {
        let name = Path::new(program.as_ref()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        // Ends with us even if we are killed, and does not get the terminal's Ctrl-C, which is for us to handle.
        let mut command = namespace.command("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(program).args(arguments).process_group(0);
        command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        command.envs(variables.iter().copied());
        command.current_dir(log.parent().unwrap_or(Path::new("/")));
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let child = Arc::new(Mutex::new(child));
        let ended = child.clone();
        let cleanup = Cleanup::new(move || end(&mut lock(&ended)));
        Ok(Process { child, name, log: log.to_owned(), _cleanup: cleanup })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        lock(&self.child).id()
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When the kernel cannot say.
    pub fn status(&self) -> Result<Option<ExitStatus>> {
        Ok(lock(&self.child).try_wait()?)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it is no longer there.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let child = lock(&self.child);
        kill_process(Pid::from_child(&child), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it takes longer than `patience`.
    pub fn wait(&self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.status()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} has not ended after {} s; {}", self.name, patience.as_secs(), self.last_words());
            }
            thread::sleep(POLL);
        }
    }

    /// Ends it by SIGTERM and waits.
    pub fn end(&self) {
        end(&mut lock(&self.child));
    }

    /// Kills it by SIGKILL and waits: it has no chance to tidy up.
    ///
    /// # Errors
    /// When it is no longer there.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait(PATIENCE).map(drop)
    }

    /// What it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of what it printed, for error messages.
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().filter(|l| !l.trim().is_empty()).collect();
        format!("the last lines of {}:\n{}", self.name, lines[lines.len().saturating_sub(15)..].join("\n"))
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    // A stopped process acts on SIGTERM only when it may go on.
    let pid = Pid::from_child(child);
    let _ = kill_process(pid, Signal::TERM);
    let _ = kill_process(pid, Signal::CONT);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        thread::sleep(POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Asks `done` every 10 ms until it says yes.
///
/// # Errors
/// When it has not after `patience`; `what` says what was waited for.
pub fn wait_until(what: &str, patience: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !done()? {
        if Instant::now() > deadline {
            bail!("waited {} s in vain until {what}", patience.as_secs());
        }
        thread::sleep(POLL);
    }
    Ok(())
}
