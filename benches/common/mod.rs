//! What the benchmarks share: a mounted container, and a scratch folder that goes when it goes.

mod scratch;

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use layerbench::driver::{Driver, Mount, MountRequest};
use layerbench::probe;
use layerbench::stack::{LayerForm, LayerStack};
use rustix::fs::{Mode, OFlags};

pub use scratch::Scratch;

/// A mounted container.
pub struct Container {
    mount: Option<Mount>,
    pub merged: PathBuf,
}

impl Container {
    /// Mounts a stack, with an upper of its own.
    pub fn new(driver: &dyn Driver, options: &[String], stack: &LayerStack, scratch: &Path) -> Container {
        let lower = stack.lowers(driver.layer_form()).unwrap();
        Container::filled(driver, options, &lower, scratch, |upper| {
            if driver.layer_form() == LayerForm::Flat {
                stack.populate_flat(upper).unwrap();
            }
        })
    }

    /// Mounts layers, the top one first, with an upper of its own.
    #[allow(dead_code, reason = "each benchmark is a program of its own and uses what it needs")]
    pub fn of(driver: &dyn Driver, options: &[String], lower: &[PathBuf], scratch: &Path) -> Container {
        Container::filled(driver, options, lower, scratch, |_| ())
    }

    fn filled(
        driver: &dyn Driver,
        options: &[String],
        lower: &[PathBuf],
        scratch: &Path,
        fill: impl FnOnce(&Path),
    ) -> Container {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = scratch.join(format!("container-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fill(&make(&folder, "upper"));
        let (upper, work, merged) = (make(&folder, "upper"), make(&folder, "work"), make(&folder, "merged"));
        let mount = driver
            .mount(&MountRequest {
                lower,
                upper: &upper,
                work: &work,
                merged: &merged,
                options,
                layerbench: Path::new(env!("CARGO_BIN_EXE_layerbench")),
            })
            .unwrap();
        Container { mount: Some(mount), merged }
    }

    /// The process that serves the mount, if there is one.
    #[allow(dead_code, reason = "each benchmark is a program of its own and uses what it needs")]
    pub fn daemon_pid(&self) -> Option<u32> {
        self.mount.as_ref().and_then(Mount::daemon_pid)
    }

    /// First writes to files of the directory with the targets, a virgin file each, in nanoseconds. The directory has been copied up: its own
    /// copy_up is not a file's.
    #[allow(dead_code, reason = "each benchmark is a program of its own and uses what it needs")]
    pub fn first_writes<'a>(&self, files: impl IntoIterator<Item = &'a CString>) -> Vec<u64> {
        let folder = self.data();
        let extra = self.merged.join("data/directory-copied-up");
        fs::write(&extra, "").unwrap();
        fs::remove_file(&extra).unwrap();
        let write = |name: &CString| {
            let (ns, fd) = probe::timed(|| probe::first_write(folder.as_fd(), name, 0));
            drop(fd.unwrap());
            ns
        };
        files.into_iter().map(write).collect()
    }

    /// The directory with the targets, open: look-ups below it look up one name.
    pub fn data(&self) -> OwnedFd {
        open_dir(&self.merged.join("data"))
    }
}

impl Drop for Container {
    /// What it wrote goes with the scratch folder, at the end: ext4 avoids inodes that were freed a moment ago, which would make whoever
    /// comes after a removal pay for it.
    fn drop(&mut self) {
        if let Some(mount) = self.mount.take() {
            mount.unmount().unwrap();
        }
    }
}

fn make(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

pub fn open_dir(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// The last components of targets, ready for system calls.
pub fn names(paths: &[PathBuf]) -> Vec<CString> {
    paths.iter().map(|p| CString::new(p.file_name().unwrap().to_str().unwrap()).unwrap()).collect()
}
