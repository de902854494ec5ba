//! Probes: each measures one operation through mounted containers, and nothing else between start and stop.
//!
//! A probe knows paths and caches, never drivers: the runner mounts, the probe measures, the same way through every driver. Only
//! the runner and the benches use this module.
//!
//! A probe comes in steps. `prepare`, `settle` and `verify` are not timed; `measure` times its own operation. What a state of the caches
//! means is written once, in [`Trial::settle`].

mod copy_up;
mod jobs;
mod lookup;
mod page_cache;
mod processes;
mod read;
mod start;
mod write;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use crate::record::{Metric, Observation, Privileges};
use crate::stack::{LayerStack, OPAQUE_NAME, Targets, whiteout_path};
use crate::sys;
use crate::workload::{CacheState, Params, ProbeName};

pub use copy_up::first_write;
pub use lookup::{list_folder, open_name, stat_name};
pub use page_cache::{WARM_READ_BYTES, read_whole, warm_read};
pub use processes::processor_ns;
pub use start::program_of;

/// Size of the buffer with which files are read.
pub const READ_BUFFER_BYTES: usize = 128 << 10;

/// Where programs are looked for, unless somebody says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a probe can complain of.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A system call failed.
    #[error("{operation} {path}: {errno}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        errno: io::Error,
    },
    /// The wrong thing was measured: figures would be worthless.
    #[error("wrong result: {0}")]
    Wrong(String),
    /// The caches are not, or did not stay, in the state that the case asks for: nothing wrong with what was measured but its name.
    #[error("the caches were not as asked: {0}")]
    Caches(String),
    /// It cannot be done here.
    #[error("{reason}; {remedy}")]
    Unavailable {
        /// Why not.
        reason: String,
        /// How to get it.
        remedy: String,
    },
}

/// Names operation and path of an errno.
pub(crate) fn at<'a, E: Into<io::Error>>(operation: &'static str, path: &'a Path) -> impl FnOnce(E) -> ProbeError + 'a {
    move |errno| ProbeError::Io { operation, path: path.to_owned(), errno: errno.into() }
}

/// A program that failed, with what it said in a file.
fn complaint(program: &str, status: ExitStatus, said: &Path) -> ProbeError {
    /// Most characters that are passed on.
    const MOST: usize = 400;
    // What it said is a help; without it the status has to do.
    let text = std::fs::read_to_string(said).unwrap_or_default();
    let text: String = text.trim().chars().take(MOST).collect();
    ProbeError::Wrong(format!("{program} ended with {status}: {text}"))
}

/// One container: a mount and its upper.
#[derive(Debug, Clone)]
pub struct Container {
    /// Where it is mounted.
    pub merged: PathBuf,
    /// Its container layer; for `bind` the volume itself.
    pub upper: PathBuf,
}

/// Everything a probe needs to know of one case.
#[derive(Debug)]
pub struct Trial<'a> {
    /// The image.
    pub stack: &'a LayerStack,
    /// The layers' folders as the driver takes them, the top one first; none where the driver has no layers.
    pub lower: &'a [PathBuf],
    /// The names to operate on.
    pub targets: &'a Targets,
    /// The containers, in order.
    pub containers: &'a [Container],
    /// The volume that all containers share, when the driver has no layers: it plays the part of the layer.
    pub volume: Option<&'a Path>,
    /// What is set.
    pub params: &'a Params,
    /// Who runs.
    pub privileges: Privileges,
    /// The processes that serve the mounts; none where the kernel does.
    pub daemons: Vec<u32>,
    /// How long each container's mount took, from the request until it answered, in nanoseconds.
    pub mount_ns: Vec<u64>,
    /// What a reader of the record should know.
    pub notes: Vec<String>,
}

impl Trial<'_> {
    /// The file that a target name means before anybody wrote: in its layer, or in the volume.
    pub fn source_of(&self, name: &Path) -> Result<PathBuf, ProbeError> {
        if let Some(volume) = self.volume {
            return Ok(volume.join(name));
        }
        match self.stack.file(name) {
            Some(fact) => Ok(fact.path),
            None => Err(ProbeError::Wrong(format!("the stack has no file {}", name.display()))),
        }
    }

    /// Whether a container has a target as its layer has it.
    pub fn check_content(&self, container: &Container, name: &Path) -> Result<(), ProbeError> {
        let path = container.merged.join(name);
        if digest(&path)? != self.fact(name)?.digest {
            return Err(ProbeError::Wrong(format!("{} is not the file of its layer", path.display())));
        }
        Ok(())
    }

    /// Length of a target.
    pub fn size_of(&self, name: &Path) -> Result<u64, ProbeError> {
        Ok(self.fact(name)?.size_bytes)
    }

    /// Bytes of all targets that are read or written.
    pub fn read_set(&self) -> Result<u64, ProbeError> {
        self.targets.hits.iter().map(|name| self.size_of(name)).sum()
    }

    /// Digest and size of a target, from the stack's manifest.
    pub fn fact(&self, name: &Path) -> Result<crate::stack::FileFact, ProbeError> {
        self.stack.file(name).ok_or_else(|| ProbeError::Wrong(format!("the stack has no file {}", name.display())))
    }

    /// The first container.
    pub fn first(&self) -> Result<&Container, ProbeError> {
        self.containers.first().ok_or_else(|| ProbeError::Wrong("a case without containers".into()))
    }

    /// The folders that a look-up in a container is passed on to: the layers, or the volume in their place.
    fn asked(&self) -> impl Iterator<Item = &Path> {
        self.lower.iter().map(PathBuf::as_path).chain(self.volume)
    }

    /// Before the mount: makes the layers' names, inodes and data resident, for every state but cold.
    pub fn warm_layers(&self) -> Result<(), ProbeError> {
        if self.params.cache == CacheState::Cold {
            return Ok(());
        }
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        for name in &self.targets.hits {
            let path = self.source_of(name)?;
            read_all(&path, &mut buffer, |_| ()).map_err(at("read", &path))?;
        }
        // A name that is not in a layer is asked of each layer, and so is its whiteout where that is a name of its own, as aufs's is: let the
        // layers' own negative dentries be cached too. A container before this one would have left them.
        let asked: BTreeSet<PathBuf> = self.targets.names().flat_map(|name| asked_of_a_layer(name)).collect();
        for layer in self.asked() {
            for name in &asked {
                // Absence is an answer here; anything else shows up when the probe asks.
                std::fs::symlink_metadata(layer.join(name)).ok();
            }
            let targets = self.targets;
            let parents = targets.first_hits.iter().chain(&targets.first_misses).filter_map(|name| name.parent());
            let folders =
                [&targets.opaque, &targets.merged, &targets.listed].into_iter().flatten().map(PathBuf::as_path);
            for name in folders.chain(parents) {
                warm_folder(&layer.join(name));
            }
            for name in &targets.paths {
                // From the outermost: a layer that does not have that one has none of them.
                let mut folders: Vec<&Path> = name.ancestors().skip(1).collect();
                folders.retain(|folder| folder.components().count() > 1);
                let mut folders = folders.into_iter().rev();
                while folders.next().is_some_and(|folder| warm_folder(&layer.join(folder))) {}
            }
        }
        Ok(())
    }

    /// After the mount: brings the caches into the state that the case asks for.
    ///
    /// * warm: every name is looked up once through the mount, every directory that will be listed is listed once, and the layer's data is
    ///   checked to be resident;
    /// * fresh: nothing, the mount is new; the layer's data is checked to be resident;
    /// * cold: what is dirty is written, then dentries, inodes and pages are dropped, and the targets' pages are checked to be gone.
    pub fn settle(&mut self) -> Result<(), ProbeError> {
        match self.params.cache {
            CacheState::Fresh => self.check_resident(),
            CacheState::Warm => {
                for container in self.containers {
                    for name in self.targets.names() {
                        // Whether a name is there is checked by the probe.
                        std::fs::symlink_metadata(container.merged.join(name)).ok();
                    }
                    for name in &self.targets.listed {
                        std::fs::read_dir(container.merged.join(name)).map(Iterator::count).ok();
                    }
                }
                self.check_resident()
            }
            CacheState::Cold => {
                if self.privileges != Privileges::Root {
                    return Err(ProbeError::Unavailable {
                        reason: "cold caches need /proc/sys/vm/drop_caches".into(),
                        remedy: "run as root".into(),
                    });
                }
                rustix::fs::sync();
                self.drop_again()?;
                for name in &self.targets.hits {
                    let path = self.source_of(name)?;
                    let file = File::open(&path).map_err(at("open", &path))?;
                    let resident = sys::cache::resident_bytes(&file).map_err(at("count resident pages of", &path))?;
                    if resident > 0 {
                        return Err(ProbeError::Caches(format!(
                            "{resident} bytes of {} are still resident after drop_caches: the case is not cold",
                            path.display()
                        )));
                    }
                }
                // Opening the targets to check them has cached their inodes.
                self.drop_again()
            }
        }
    }

    /// Drops once more what can be dropped, where the case asks for cold caches: what was brought in meanwhile. Whatever else the case asks for
    /// stays as it is.
    pub fn drop_again(&self) -> Result<(), ProbeError> {
        if self.params.cache != CacheState::Cold {
            return Ok(());
        }
        sys::cache::drop_caches().map_err(at("write", Path::new("/proc/sys/vm/drop_caches")))
    }

    /// Every byte of the targets is resident, or the state is not what it says. What the kernel has reclaimed while containers were mounted, a
    /// thousand of which take seconds, is read once more.
    fn check_resident(&self) -> Result<(), ProbeError> {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        for name in &self.targets.hits {
            let path = self.source_of(name)?;
            let file = File::open(&path).map_err(at("open", &path))?;
            let resident = || sys::cache::resident_bytes(&file).map_err(at("count resident pages of", &path));
            let size = file.metadata().map_err(at("fstat", &path))?.len();
            if resident()? < size {
                read_all(&path, &mut buffer, |_| ()).map_err(at("read", &path))?;
            }
            let resident = resident()?;
            if resident < size {
                return Err(ProbeError::Caches(format!(
                    "only {resident} of {size} bytes of {} are resident: the case is not {}; more memory, or less of everything else, helps",
                    path.display(),
                    self.params.cache.as_str()
                )));
            }
        }
        Ok(())
    }
}

/// What a union may ask a layer for to find a name: the name and its folders, the whiteouts of all of these, and whether the folders are opaque.
fn asked_of_a_layer(name: &Path) -> Vec<PathBuf> {
    let parts = name.ancestors().filter(|part| part.file_name().is_some());
    let asked = |part: &Path| {
        let opaque = (part != name).then(|| part.join(OPAQUE_NAME));
        [part.to_owned(), whiteout_path(part)].into_iter().chain(opaque)
    };
    parts.flat_map(asked).collect()
}

/// Makes resident what a union may ask a layer's folder for: its entries, their inodes, its attributes. Whether it is there.
fn warm_folder(path: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(path) else { return false };
    for entry in entries.flatten() {
        entry.metadata().ok();
    }
    // What they are does not matter: the kernel has read them then.
    let mut names: [u8; 0] = [];
    rustix::fs::llistxattr(path, &mut names).ok();
    true
}

/// One kind of measurement.
pub trait Probe: Sync {
    /// Its name in workloads and records.
    fn name(&self) -> ProbeName;
    /// One line for people.
    fn about(&self) -> &'static str;
    /// What it observes.
    fn metrics(&self) -> &'static [Metric];
    /// Whether the operation has to be done once before what it needs can be cached.
    fn rehearses(&self, _: &Params) -> bool {
        false
    }
    /// Does it in a container that is thrown away before the case's own are mounted. Not timed.
    fn rehearse(&self, _: &Trial, _: &Container) -> Result<(), ProbeError> {
        Ok(())
    }
    /// After the mount, before the caches are settled. Not timed.
    fn prepare(&self, trial: &mut Trial) -> Result<(), ProbeError>;
    /// Brings the caches into the case's state, right before `measure`. Not timed.
    fn settle(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        trial.settle()
    }
    /// Times its operation.
    fn measure(&self, trial: &mut Trial) -> Result<Vec<Observation>, ProbeError>;
    /// Was the right thing measured? Not timed; in every case, after `measure`.
    fn verify(&self, trial: &mut Trial) -> Result<(), ProbeError>;
}

/// Every probe.
pub fn all() -> [&'static dyn Probe; 7] {
    [&copy_up::CopyUp, &lookup::Lookup, &page_cache::PageCache, &start::Start, &jobs::Jobs, &read::Read, &write::Write]
}

/// The probe of a name.
pub fn by_name(name: ProbeName) -> &'static dyn Probe {
    match name {
        ProbeName::CopyUp => &copy_up::CopyUp,
        ProbeName::Lookup => &lookup::Lookup,
        ProbeName::PageCache => &page_cache::PageCache,
        ProbeName::Start => &start::Start,
        ProbeName::Jobs => &jobs::Jobs,
        ProbeName::Read => &read::Read,
        ProbeName::Write => &write::Write,
    }
}

/// Nanoseconds of an operation, and what it returned. The clock is CLOCK_MONOTONIC, read in user space.
#[inline]
pub fn timed<T>(operation: impl FnOnce() -> T) -> (u64, T) {
    let start = Instant::now();
    let result = operation();
    let elapsed = start.elapsed();
    (nanoseconds(elapsed), result)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Opens a folder so that operations on its entries look up the last component and nothing else.
pub(crate) fn open_folder(path: &Path) -> Result<OwnedFd, ProbeError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(at("open", path))
}

/// The folder that all targets lie below, and their names from there on.
fn pool(names: &[PathBuf]) -> Result<(PathBuf, Vec<&Path>), ProbeError> {
    let mut folder = None;
    let mut below = Vec::with_capacity(names.len());
    for name in names {
        let mut components = name.components();
        let first = components.next();
        let rest = components.as_path();
        match first {
            Some(Component::Normal(first)) if !rest.as_os_str().is_empty() => {
                if *folder.get_or_insert(first) != first {
                    return Err(ProbeError::Wrong("targets lie in several folders".into()));
                }
                below.push(rest);
            }
            _ => return Err(ProbeError::Wrong(format!("{} is not the name of a target", name.display()))),
        }
    }
    Ok((folder.map(PathBuf::from).unwrap_or_default(), below))
}

/// A name ready for a system call.
fn c_name(name: &Path) -> Result<CString, ProbeError> {
    CString::new(name.as_os_str().as_bytes())
        .map_err(|_| ProbeError::Wrong(format!("{} is not the name of a target", name.display())))
}

/// The folder that all targets lie below, and their names from there on, ready for a system call.
fn names_below(names: &[PathBuf]) -> Result<(PathBuf, Vec<CString>), ProbeError> {
    let (folder, below) = pool(names)?;
    Ok((folder, below.into_iter().map(c_name).collect::<Result<_, _>>()?))
}

/// Reads a file from where it stands to its end through `buffer`. Returns the bytes read.
#[inline]
fn read_rest(file: &mut File, buffer: &mut [u8]) -> io::Result<u64> {
    let mut total = 0;
    loop {
        let n = file.read(buffer)?;
        if n == 0 {
            return Ok(total);
        }
        total += n as u64;
    }
}

/// Reads a file to its end through `buffer`, handing every piece on. Returns the bytes read.
pub(crate) fn read_all(path: &Path, buffer: &mut [u8], mut piece: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut total = 0;
    loop {
        let n = file.read(buffer)?;
        if n == 0 {
            return Ok(total);
        }
        piece(&buffer[..n]);
        total += n as u64;
    }
}

/// Digest of a file's content.
pub(crate) fn digest(path: &Path) -> Result<blake3::Hash, ProbeError> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    read_all(path, &mut buffer, |piece| {
        hasher.update(piece);
    })
    .map_err(at("read", path))?;
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::StackDefinition;
    use crate::workload;

    /// A workload's drivers, whatever they are called.
    pub(super) struct AnyDriver;

    impl workload::DriverWords for AnyDriver {
        fn names(&self) -> Vec<&'static str> {
            vec!["d"]
        }

        fn check_options(&self, _: &str, _: &[String]) -> Result<(), String> {
            Ok(())
        }
    }

    #[test]
    fn a_layer_is_asked_for_names_folders_whiteouts_and_markers() {
        let mut asked = asked_of_a_layer(Path::new("data/pool/f"));
        asked.sort();
        let expected = [
            "data",
            "data/.wh..wh..opq",
            "data/.wh.pool",
            "data/pool",
            "data/pool/.wh..wh..opq",
            "data/pool/.wh.f",
            "data/pool/f",
            ".wh.data",
        ];
        let mut expected = expected.map(PathBuf::from).to_vec();
        expected.sort();
        assert_eq!(asked, expected);
        assert!(asked_of_a_layer(Path::new("")).is_empty());
    }

    #[test]
    fn a_volume_is_asked_in_place_of_layers() {
        let folder = tempfile::tempdir().unwrap();
        let stack = LayerStack::ensure(folder.path(), &StackDefinition::study(1, 1, 2, 100), 1, &|_| ()).unwrap();
        let toml = "title = 't'\nwhy = 'w'\n[[driver]]\nuse = 'd'\n[[measure]]\nprobe = 'lookup'\nwhy = 'w'\ndepth = 1\nfiles = 2\nblocks = 1";
        let workload = workload::parse("t", "t", toml, workload::Scale::Real, &AnyDriver).unwrap();
        let params = workload::expand(&workload, &["s".into()]).remove(0).params;
        let layers = ["top", "base"].map(PathBuf::from);
        let asked = |lower, volume| {
            let trial = Trial {
                stack: &stack,
                lower,
                targets: &stack.targets(),
                containers: &[],
                volume,
                params: &params,
                privileges: Privileges::None,
                daemons: Vec::new(),
                mount_ns: Vec::new(),
                notes: Vec::new(),
            };
            trial.asked().map(Path::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(asked(&layers, None), layers);
        assert_eq!(asked(&[], Some(Path::new("volume"))), [PathBuf::from("volume")]);
    }

    #[test]
    fn targets_lie_below_one_folder() {
        let names = ["data/a", "data/b/d/f"].map(PathBuf::from);
        assert_eq!(pool(&names).unwrap(), (PathBuf::from("data"), vec![Path::new("a"), Path::new("b/d/f")]));
        assert_eq!(names_below(&names).unwrap(), ("data".into(), vec![c"a".into(), c"b/d/f".into()]));
        for wrong in [["data/a", "other/a"], ["data", "data/a"], ["/data/a", "data/b"], ["../a", "../b"]] {
            assert!(pool(&wrong.map(PathBuf::from)).is_err(), "{wrong:?}");
        }
    }
}
