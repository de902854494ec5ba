//! Look-up: stat of names below a directory that every layer has, in every way in which a name can lie in layers; and the two operations
//! that begin with a look-up, open and listing a directory.
//!
//! Two questions are kept apart, since a union answers the first in a directory by looking into every layer and the next from what it found:
//!
//! * the first look-up, of the path from the root of the mount, in a directory that nobody has looked at: with all that the directory costs.
//!   A case has several such directories. With cold caches they are dropped before each;
//! * the next ones, in a directory that is open and has been asked for another name.
//!
//! The root has been asked for a name in either: whether a driver reads it when it mounts or when somebody first asks, it does so once a mount.
//! Kinds take turns, so that drift of the machine falls on all of them alike.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::{Probe, ProbeError, Trial, at, c_name, names_below, open_folder, timed};
use crate::record::{Metric, Observation, metric};
use crate::workload::{CacheState, ProbeName};

/// The probe.
pub(super) struct Lookup;

static METRICS: [Metric; 10] = [
    metric::LOOKUP_FIRST_NS,
    metric::LOOKUP_FIRST_MISS_NS,
    metric::LOOKUP_HIT_NS,
    metric::LOOKUP_MISS_NS,
    metric::LOOKUP_WHITEOUT_NS,
    metric::LOOKUP_OPAQUE_NS,
    metric::LOOKUP_MERGED_NS,
    metric::LOOKUP_PATH_NS,
    metric::OPEN_NS,
    metric::READDIR_NS,
];

/// A name that no layer has: asking for it makes a directory one that has been visited.
const NOWHERE: &CStr = c"layerbench-nowhere";

/// Size of the buffer for entries of a directory: what the C library gives to getdents.
const ENTRIES_BUFFER_BYTES: usize = 32 << 10;

/// The operation: stat of a name, without following a symbolic link.
#[inline]
pub fn stat_name(folder: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Stat> {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// The operation: open of a name for reading. The descriptor is returned open, so that closing it is not part of the time.
#[inline]
pub fn open_name(folder: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// The operation: open of a directory and getdents to its end. Returns the directory, open, and how many entries it has besides `.`
/// and `..`.
#[inline]
pub fn list_folder(
    folder: BorrowedFd<'_>,
    name: &CStr,
    buffer: &mut [MaybeUninit<u8>],
) -> rustix::io::Result<(OwnedFd, usize)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    let mut entries = RawDir::new(&fd, buffer);
    let mut count = 0;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        count += usize::from(!matches!(entry.file_name().to_bytes(), b"." | b".."));
    }
    Ok((fd, count))
}

/// What is done to a name, and what has to come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// stat finds nothing.
    Absent,
    /// stat finds a regular file of its length.
    File,
    /// stat finds a directory.
    Folder,
    /// A regular file is opened.
    Open,
    /// A directory is listed.
    List,
}

/// The names of one metric.
struct Pool<'a> {
    metric: Metric,
    kind: Kind,
    names: &'a [PathBuf],
    /// The same from the folder that is open when they are looked up.
    below: Vec<CString>,
    /// Length of each, where they are regular files.
    sizes: Vec<u64>,
    /// Entries of each, where they are listed.
    entries: Vec<usize>,
    samples: Vec<u64>,
}

impl<'a> Pool<'a> {
    fn new(
        trial: &Trial,
        metric: Metric,
        kind: Kind,
        names: &'a [PathBuf],
        below: Vec<CString>,
    ) -> Result<Pool<'a>, ProbeError> {
        let entries = match kind {
            Kind::List => names.iter().map(|name| trial.stack.names_in(name).len()).collect(),
            _ => Vec::new(),
        };
        let sizes = match kind {
            Kind::File => names.iter().map(|name| trial.size_of(name)).collect::<Result<_, _>>()?,
            _ => Vec::new(),
        };
        Ok(Pool { metric, kind, names, below, sizes, entries, samples: Vec::with_capacity(names.len()) })
    }

    /// Takes the sample of one name and checks the answer.
    fn sample(
        &mut self,
        folder: BorrowedFd<'_>,
        index: usize,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Result<(), ProbeError> {
        let (Some(name), Some(path)) = (self.below.get(index), self.names.get(index)) else { return Ok(()) };
        let (ns, right) = match self.kind {
            Kind::Absent | Kind::File | Kind::Folder => {
                let (ns, answer) = timed(|| stat_name(folder, name));
                let right = match (answer, self.kind) {
                    (Err(Errno::NOENT), kind) => kind == Kind::Absent,
                    (Err(e), _) => return Err(at("stat", path)(e)),
                    (Ok(stat), kind) => match (FileType::from_raw_mode(stat.st_mode), kind) {
                        (FileType::RegularFile, Kind::File) => {
                            u64::try_from(stat.st_size).ok().as_ref() == self.sizes.get(index)
                        }
                        (FileType::Directory, Kind::Folder) => true,
                        _ => false,
                    },
                };
                (ns, right)
            }
            Kind::Open => {
                let (ns, opened) = timed(|| open_name(folder, name));
                // What it opens is read afterwards, in `verify`: here that would be in the way of the next sample.
                drop(opened.map_err(at("open", path))?);
                (ns, true)
            }
            Kind::List => {
                let (ns, listed) = timed(|| list_folder(folder, name, buffer));
                let (fd, count) = listed.map_err(at("list", path))?;
                drop(fd);
                (ns, self.entries.get(index) == Some(&count))
            }
        };
        if !right {
            return Err(ProbeError::Wrong(format!(
                "{} of {} did not find what the stack has there ({:?})",
                self.metric.name,
                path.display(),
                self.kind
            )));
        }
        self.samples.push(ns);
        Ok(())
    }
}

impl Probe for Lookup {
    fn name(&self) -> ProbeName {
        ProbeName::Lookup
    }

    fn about(&self) -> &'static str {
        "stat of a name in a layer, nowhere, hidden, opaque, merged, at the end of a long path; open; listing a merged directory"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn prepare(&self, _: &mut Trial) -> Result<(), ProbeError> {
        Ok(())
    }

    fn measure(&self, trial: &mut Trial) -> Result<Vec<Observation>, ProbeError> {
        let mut buffer = vec![MaybeUninit::uninit(); ENTRIES_BUFFER_BYTES];
        let first = first_lookups(trial, &mut buffer)?;
        let next = next_lookups(trial, &mut buffer)?;
        Ok(first.into_iter().chain(next).map(|pool| Observation::new(pool.metric, pool.samples)).collect())
    }

    /// The files that were found are the right ones, and the directories hold what the layers say.
    fn verify(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        let container = trial.first()?;
        let merged = &container.merged;
        let targets = trial.targets;
        for name in [&targets.hits, &targets.paths, &targets.unseen, &targets.first_hits].into_iter().flatten() {
            trial.check_content(container, name)?;
        }
        for name in targets.opaque.iter().chain(&targets.merged).chain(&targets.listed) {
            let path = merged.join(name);
            let (found, expected) = (names_in(&path)?, trial.stack.names_in(name));
            if found != expected {
                return Err(ProbeError::Wrong(format!(
                    "{} holds {found:?}, and by its layers {expected:?}",
                    path.display()
                )));
            }
        }
        Ok(())
    }
}

/// Looks names up in directories that nobody has looked at, as a path from the root of the mount.
fn first_lookups<'a>(trial: &Trial<'a>, buffer: &mut [MaybeUninit<u8>]) -> Result<Vec<Pool<'a>>, ProbeError> {
    let mut pools = Vec::new();
    // What has been looked up through this mount has had its first time.
    if trial.params.cache == CacheState::Warm {
        return Ok(pools);
    }
    let targets = trial.targets;
    for (metric, kind, names) in [
        (metric::LOOKUP_FIRST_NS, Kind::File, &targets.first_hits),
        (metric::LOOKUP_FIRST_MISS_NS, Kind::Absent, &targets.first_misses),
    ] {
        // An image has no directories that are alike.
        if !names.is_empty() {
            let below = names.iter().map(|name| c_name(name)).collect::<Result<_, _>>()?;
            pools.push(Pool::new(trial, metric, kind, names, below)?);
        }
    }
    let root = visit(&trial.first()?.merged)?;
    for index in 0..longest(&pools) {
        for pool in &mut pools {
            trial.drop_again()?;
            pool.sample(root.as_fd(), index, buffer)?;
        }
    }
    Ok(pools)
}

/// Looks names up in a directory that has been visited, in every way in which they can lie in layers.
fn next_lookups<'a>(trial: &Trial<'a>, buffer: &mut [MaybeUninit<u8>]) -> Result<Vec<Pool<'a>>, ProbeError> {
    let targets = trial.targets;
    let mut pools = Vec::new();
    let mut folders = BTreeSet::new();
    for (metric, kind, names) in [
        (metric::LOOKUP_HIT_NS, Kind::File, &targets.hits),
        (metric::LOOKUP_MISS_NS, Kind::Absent, &targets.misses),
        (metric::LOOKUP_WHITEOUT_NS, Kind::Absent, &targets.whiteouts),
        (metric::LOOKUP_OPAQUE_NS, Kind::Folder, &targets.opaque),
        (metric::LOOKUP_MERGED_NS, Kind::Folder, &targets.merged),
        (metric::LOOKUP_PATH_NS, Kind::File, &targets.paths),
        (metric::OPEN_NS, Kind::Open, &targets.unseen),
        (metric::READDIR_NS, Kind::List, &targets.listed),
    ] {
        // A stack of one layer hides nothing.
        if !names.is_empty() {
            let (folder, below) = names_below(names)?;
            folders.insert(folder);
            pools.push(Pool::new(trial, metric, kind, names, below)?);
        }
    }
    let mut folders = folders.into_iter();
    let (Some(folder), None) = (folders.next(), folders.next()) else {
        return Err(ProbeError::Wrong("targets lie in several folders, or there are none".into()));
    };
    trial.drop_again()?;
    let folder = visit(&trial.first()?.merged.join(folder))?;
    for index in 0..longest(&pools) {
        for pool in &mut pools {
            pool.sample(folder.as_fd(), index, buffer)?;
        }
    }
    Ok(pools)
}

fn longest(pools: &[Pool]) -> usize {
    pools.iter().map(|pool| pool.names.len()).max().unwrap_or(0)
}

/// Opens a folder and asks it for a name that it does not have, so that whatever a driver does once for a folder has been done.
fn visit(path: &Path) -> Result<OwnedFd, ProbeError> {
    let folder = open_folder(path)?;
    match stat_name(folder.as_fd(), NOWHERE) {
        Err(Errno::NOENT) => Ok(folder),
        Err(e) => Err(at("stat", &path.join(OsStr::from_bytes(NOWHERE.to_bytes())))(e)),
        Ok(_) => Err(ProbeError::Wrong(format!("{} has a name that no layer has", path.display()))),
    }
}

/// Names in a folder, sorted.
fn names_in(path: &Path) -> Result<Vec<OsString>, ProbeError> {
    let entries = std::fs::read_dir(path).map_err(at("list", path))?;
    let mut names = entries
        .map(|entry| Ok(entry.map_err(at("list", path))?.file_name()))
        .collect::<Result<Vec<OsString>, ProbeError>>()?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Container;
    use crate::probe::tests::AnyDriver;
    use crate::record::Privileges;
    use crate::stack::{LayerStack, StackDefinition};
    use crate::workload;

    #[test]
    fn a_listing_counts_entries_also_when_they_exceed_the_buffer() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..300 {
            std::fs::write(folder.path().join(format!("entry-{n:060}")), "").unwrap();
        }
        let fd = open_folder(folder.path()).unwrap();
        let mut buffer = vec![MaybeUninit::uninit(); 1024];
        let (_, count) = list_folder(fd.as_fd(), c".", &mut buffer).unwrap();
        assert_eq!(count, 300);
    }

    /// A folder that holds the merged view of a stack stands in for a mount. Runs the probe on it after `change`.
    fn on_folder(cache: CacheState, change: impl FnOnce(&Path)) -> Result<Vec<Observation>, ProbeError> {
        let folder = tempfile::tempdir().unwrap();
        let definition = StackDefinition::study(3, 3, 2, 100).with_atlas(3, 2);
        let stack = LayerStack::ensure(&folder.path().join("store"), &definition, 1, &|_| ()).unwrap();
        let merged = folder.path().join("merged");
        std::fs::create_dir(&merged).unwrap();
        stack.populate_flat(&merged).unwrap();
        change(&merged.join("data"));
        let cache = cache.as_str();
        let toml = format!(
            "title = 't'\nwhy = 'w'\n[[driver]]\nuse = 'd'\n[[measure]]\nprobe = 'lookup'\nwhy = 'w'\ndepth = 3\nfiles = 2\ncache = '{cache}'\n\
             blocks = 1"
        );
        let workload = workload::parse("t", "t", &toml, workload::Scale::Real, &AnyDriver).unwrap();
        let case = workload::expand(&workload, &["s".into()]).remove(0);
        let containers = [Container { merged, upper: folder.path().join("upper") }];
        let mut trial = Trial {
            stack: &stack,
            targets: &stack.targets(),
            lower: &[],
            containers: &containers,
            volume: None,
            params: &case.params,
            privileges: Privileges::None,
            daemons: Vec::new(),
            mount_ns: Vec::new(),
            notes: Vec::new(),
        };
        let observations = Lookup.measure(&mut trial)?;
        Lookup.verify(&mut trial)?;
        Ok(observations)
    }

    #[test]
    fn every_kind_is_observed_and_a_wrong_answer_to_any_of_them_is_found_out() {
        let observations = on_folder(CacheState::Fresh, |_| ()).unwrap();
        let names: Vec<&str> = observations.iter().map(|o| &*o.metric.name).collect();
        assert_eq!(names, METRICS.each_ref().map(|metric| &*metric.name));
        assert!(observations.iter().all(|o| o.samples.len() == 2));
        // What is known has no first look-up.
        let warm = on_folder(CacheState::Warm, |_| ()).unwrap();
        assert!(warm.iter().map(|o| &*o.metric.name).eq(names.into_iter().skip(2)));

        use std::fs::{create_dir, remove_dir_all, remove_file, write};
        type Change = fn(&Path) -> std::io::Result<()>;
        let changes: [(&str, Change); 14] = [
            ("a first hit with other content", |data| write(data.join("../first-000001/f"), [0; 64])),
            ("a first miss that is there", |data| write(data.join("../first-000003/n"), "")),
            ("a folder that has every name", |data| write(data.join("layerbench-nowhere"), "")),
            ("a hit of another size", |data| write(data.join("f-000001"), "short")),
            ("a hit with other content", |data| write(data.join("f-000001"), [0; 100])),
            ("a miss that is there", |data| write(data.join("n-000001"), "")),
            ("a whiteout that hides nothing", |data| write(data.join("w-000001"), "")),
            ("an opaque directory that is a file", |data| {
                remove_dir_all(data.join("o-000001"))?;
                write(data.join("o-000001"), "")
            }),
            ("an opaque directory that hides nothing", |data| write(data.join("o-000001/below"), "")),
            ("a merged directory without its base", |data| remove_file(data.join("m-000001/of-0003"))),
            ("a merged directory that is gone", |data| remove_dir_all(data.join("m-000001"))),
            ("a path that ends in another file", |data| {
                write(data.join("p-000001/1/2/3/4/5/6/7/8/9/10/11/12/13/14/f"), [0; 64])
            }),
            ("a file to open that is another", |data| write(data.join("r-000001"), [0; 64])),
            ("a listing with one entry too many", |data| create_dir(data.join("l-000001/more"))),
        ];
        for (what, change) in changes {
            let result = on_folder(CacheState::Fresh, |data| change(data).unwrap());
            assert!(matches!(result, Err(ProbeError::Wrong(_))), "{what}: {result:?}");
        }
    }
}
