//! Undoing things at the end, whatever the end is: a return, a panic, Ctrl-C or SIGTERM.

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::exit,
    sync::{Mutex, MutexGuard, Once, PoisonError},
    thread,
};

const OURS: &str = "sipsteer-";

type Action = Box<dyn FnOnce() + Send>;

struct Pending {
    next: u64,
    actions: Vec<(u64, Action)>,
}

static PENDING: Mutex<Pending> = Mutex::new(Pending { next: 0, actions: Vec::new() });

fn pending() -> MutexGuard<'static, Pending> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs its action once: when dropped, or when the process is told to end.
#[must_use = "the action runs as soon as this is dropped"]
pub struct Cleanup(u64);

impl Cleanup {
    /// Remembers `action`. It must not make or drop another [`Cleanup`].
    pub fn new(action: impl FnOnce() + Send + 'static) -> Cleanup {
        watch_signals();
        let mut pending = pending();
        pending.next += 1;
        let id = pending.next;
        pending.actions.push((id, Box::new(action)));
        Cleanup(id)
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let mut pending = pending();
        if let Some(at) = pending.actions.iter().position(|(id, _)| *id == self.0) {
            let (_, action) = pending.actions.remove(at);
            // Under the lock, so that a signal does not end the process half way through.
            action();
        }
    }
}

/// A folder for temporary files, removed with all that is in it.
pub struct Folder {
    path: PathBuf,
    _cleanup: Cleanup,
}

impl Folder {
    /// Makes a folder for `purpose` where temporary files belong.
    ///
    /// # Errors
    /// When that place cannot be written.
    pub fn new(purpose: &str) -> io::Result<Folder> {
        for folder in left_behind(&env::temp_dir()) {
            // Somebody else may be removing it too.
            let _ = fs::remove_dir_all(folder);
        }
        let path = tempfile::Builder::new().prefix(&own_name(purpose)).tempdir()?.keep();
        let removed = path.clone();
        // There is nothing to do about a failure.
        let cleanup = Cleanup::new(move || drop(fs::remove_dir_all(&removed)));
        Ok(Folder { path, _cleanup: cleanup })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// `sipsteer-<process id>-<rest>`: what bears such a name belongs to that process.
pub fn own_name(rest: &str) -> String {
    format!("{OURS}{}-{rest}", std::process::id())
}

/// What lies in a folder and bears the name of a process that is gone: it was killed and could not tidy up.
pub fn left_behind(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let orphan = |path: &PathBuf| {
        let rest = path.file_name()?.to_str()?.strip_prefix(OURS)?;
        let process: u32 = rest.split('-').next()?.parse().ok()?;
        (!Path::new("/proc").join(process.to_string()).exists()).then_some(())
    };
    entries.filter(|path| orphan(path).is_some()).collect()
}

/// On a signal: every action, the youngest first, then the exit status that shells expect. The lock is kept, so nothing
/// new is made meanwhile.
fn watch_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                let mut pending = pending();
                while let Some((_, action)) = pending.actions.pop() {
                    action();
                }
                exit(128 + signal);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    #[test]
    fn only_what_belongs_to_the_gone_is_left_behind() -> io::Result<()> {
        let folder = Folder::new("cleanup-test")?;
        // No process has the largest number.
        for name in
            [own_name("mine"), format!("sipsteer-{}-gone", u32::MAX), "sipsteer-x".into(), "other".into()]
        {
            fs::write(folder.path().join(name), "")?;
        }
        assert_eq!(left_behind(folder.path()), [folder.path().join(format!("sipsteer-{}-gone", u32::MAX))]);
        Ok(())
    }

    #[test]
    fn an_action_runs_once_and_also_after_a_panic() {
        let runs = Arc::new(AtomicU32::new(0));
        let counter = runs.clone();
        let outcome = std::panic::catch_unwind(move || {
            let _cleanup = Cleanup::new(move || {
                counter.fetch_add(1, Ordering::Relaxed);
            });
            panic!("on purpose");
        });
        assert!(outcome.is_err());
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }
}
