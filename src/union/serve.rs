//! Serving a union to the end of a process that does nothing else: signals, the end, the file of counters, and panics.
//!
//! SIGTERM, SIGINT and SIGHUP unmount; that is a good end. What is still busy after a second is detached, and who has files open there is
//! told ENOTCONN once the process has gone, so that nobody waits. SIGUSR1 writes the counters.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use super::mount::{ended, mount_background};
use super::state::Union;
use super::{UnionConfig, UnionError};

/// How long serving may go on behind an unmount that went well: as long as the mount lives on in another namespace, which must not keep
/// a daemon that was told to end.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// What a daemon waits for.
enum Event {
    Signal(Signal),
    Ended(std::io::Result<()>),
}

/// Mounts a union and serves it until somebody unmounts it, or a signal says so. `ready` is called once it is mounted and served. It is for a
/// process of its own: signals are blocked in it from here on, and a panic of any thread ends it.
///
/// # Errors
/// What kept the union from being mounted, or what ended its serving other than an unmount.
pub fn serve(mut config: UnionConfig, mountpoint: &std::path::Path, ready: impl FnOnce()) -> Result<(), UnionError> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
        signals.add(signal);
    }
    let mut blocked = signals;
    // A write beyond the limit of whoever started this is to fail with EFBIG, and not to end us all.
    blocked.add(Signal::SIGXFSZ);
    // Before there are threads, which take it over: one thread alone is to be told.
    blocked.thread_block().map_err(|errno| UnionError::io("block signals of", "/proc/self", errno))?;
    end_on_panic();
    let mut file = config.options.counters.take().map(CountersFile::new).transpose()?;
    let mut mount = mount_background(config, mountpoint)?;
    if let Some(file) = &mut file {
        // A file that cannot be written shows here, before anything depends on the mount.
        file.write(&mount.union)?;
    }
    ready();

    let (events, coming) = mpsc::channel();
    let ends = events.clone();
    if let Some(session) = mount.session.take() {
        // Nobody listens any more when we have given up waiting.
        std::thread::spawn(move || ends.send(Event::Ended(session.join())).ok());
    }
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
    let mut leaving = false;
    let end = loop {
        let event = if leaving {
            coming.recv_timeout(END_PATIENCE)
        } else {
            coming.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match event {
            Ok(Event::Ended(result)) => {
                break ended(result).map_err(|error| UnionError::io("serve", mountpoint, error));
            }
            Ok(Event::Signal(Signal::SIGUSR1)) => match &mut file {
                Some(file) => report(file.write(&mount.union)),
                None => eprintln!("fuse-union: SIGUSR1, but no counters=FILE to write to"),
            },
            Ok(Event::Signal(signal)) => match mount.take_down() {
                Ok(()) => leaving = true,
                Err(error) => {
                    let then = match error {
                        UnionError::Io { .. } => "; it is detached, open files there answer ENOTCONN",
                        _ => "",
                    };
                    eprintln!("fuse-union: {signal}: {error}{then}");
                    break Ok(());
                }
            },
            Err(_) => break Ok(()),
        }
    };
    if let Some(file) = &mut file {
        report(file.write(&mount.union));
    }
    end
}

/// The mount goes on without its counters.
fn report(result: Result<(), UnionError>) {
    if let Err(error) = result {
        eprintln!("fuse-union: {error}");
    }
}

/// A panic means that this program is wrong about its own state. fuser would go on with one thread less, and with none at all callers
/// would wait for ever. A daemon that is dead answers ENOTCONN, and every step on disk can be cut short at any place.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!(
            "fuse-union: {panic}; this is a fault of fuse-union. The mount answers ENOTCONN: unmount it, and mount again"
        );
        std::process::abort();
    }));
}

/// Where counters go, from one report to the next.
struct CountersFile {
    path: PathBuf,
    number: u64,
}

impl CountersFile {
    fn new(path: PathBuf) -> Result<CountersFile, UnionError> {
        let path = std::path::absolute(&path).map_err(|error| UnionError::io("find", path, error))?;
        match std::fs::symlink_metadata(&path) {
            // A report takes the place of the one before, by rename: a device or a link would be gone.
            Ok(there) if !there.is_file() => Err(UnionError::Config(format!(
                "counters={} is there already and no regular file; name one that may be replaced",
                path.display()
            ))),
            Ok(_) => Ok(CountersFile { path, number: 0 }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(CountersFile { path, number: 0 }),
            Err(error) => Err(UnionError::io("look at", path, error)),
        }
    }

    /// Replaces the file, so that who reads it sees a whole report.
    fn write(&mut self, union: &Union) -> Result<(), UnionError> {
        self.number += 1;
        let failed = |error: std::io::Error| UnionError::io("write counters to", &self.path, error);
        let mut json = serde_json::to_vec_pretty(&union.report(self.number)).map_err(|e| failed(e.into()))?;
        json.push(b'\n');
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(format!(".{}", std::process::id()));
        std::fs::write(&temporary, json).and_then(|()| std::fs::rename(&temporary, &self.path)).map_err(|error| {
            // The first error is the one that counts.
            std::fs::remove_file(&temporary).ok();
            failed(error)
        })
    }
}
