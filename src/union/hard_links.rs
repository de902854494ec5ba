//! Hard links: which names of a layer are one file, and how all of them follow it to the upper.
//!
//! Two names are one inode of the union if they are one inode of one layer. When such a file is copied up, every other name under which
//! the merged tree shows it becomes a hard link of the copy: that is what an OCI layer holds, and nothing has to be remembered for the
//! next mount. Names that another layer hides stay hidden. Only this file reads a layer beyond what look-ups ask for: the other names
//! of a file are nowhere but in the directories.
//!
//! A daemon that dies between two of the links leaves some names with the copy and some with the lower file; their content is the same.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Stat};

use super::copy_up::{Data, Fresh, keeping_times};
use super::layers::{self, Layer, Meaning, UPPER, meaning};
use super::node::{Inode, Name, lock, write};
use super::numbers::{FileKey, ROOT};
use super::state::Union;
use super::{Errno, Res};

/// Whether all that has this name may be found under others too.
pub(super) fn has_names(kind: FileType, stat: &Stat) -> bool {
    kind != FileType::Directory && stat.st_nlink > 1
}

/// The files of a lower that have several names in it: inode number to paths. Two devices may use one number, so that a path found here
/// is a candidate.
type LayerLinks = HashMap<u64, Vec<PathBuf>>;

/// What was read of the lowers so far, per layer, and file system in it, that had a hard-linked file copied up.
pub(super) type KnownLinks = HashMap<(Layer, u64), Arc<LayerLinks>>;

impl Union {
    /// Gives the finished copy of a file with several links all the names under which the lower file is visible. `stat` is the lower's.
    /// To be called with nothing but `inode.copying` held. False is not possible: names that go meanwhile are simply not given.
    pub(super) fn commit_links(&self, inode: &Arc<Inode>, layer: Layer, stat: &Stat, fresh: &Fresh) -> Res<bool> {
        let copy = FileKey::new(UPPER, &fresh.stat(self.layers.scratch()?)?);
        // Before the first name leads to the copy: a look-up of it has to find this inode.
        self.table.numbers.note(copy, inode.ino);
        let mut linked = Vec::new();
        let done = self.link_names(inode, layer, stat, fresh, &mut linked);
        if done.is_err() {
            for (parent, name) in &linked {
                // The error that matters is the first one; a name that cannot be taken back holds what the lower file holds.
                let _ = self.unlink_copy(parent, name, copy);
            }
        }
        if !matches!(done, Ok(true)) {
            self.table.numbers.forget(copy);
        }
        if !done? {
            // All names went while the file was copied, and none can come back.
            return self.commit_orphan(inode, fresh);
        }
        self.table.numbers.forget(FileKey::new(layer, stat));
        // Names that other layers hide counted until now.
        if let Some(node) = self.table.get(inode.face()) {
            self.attributes_changed(&node);
        }
        Ok(true)
    }

    /// Links the copy to all names and makes the inode one of the upper; false if there is no name left.
    fn link_names(
        &self,
        inode: &Arc<Inode>,
        layer: Layer,
        stat: &Stat,
        fresh: &Fresh,
        linked: &mut Vec<Name>,
    ) -> Res<bool> {
        let mut tried: Vec<Name> = Vec::new();
        let mut names = self.lower_names(inode, layer, stat)?;
        loop {
            for (parent, name) in names {
                if self.link_copy(inode, layer, (&parent, &name), fresh)? {
                    linked.push((Arc::clone(&parent), name.clone()));
                }
                tried.push((parent, name));
            }
            let mut place = write(&inode.place);
            // What a look-up found meanwhile on a layer that does not tell all its names.
            names = inode.names().into_iter().filter(|name| !tried.iter().any(|known| same(known, name))).collect();
            if names.is_empty() {
                if inode.name().is_none() {
                    return Ok(false);
                }
                fresh.drop_scratch_name(self.layers.scratch()?)?;
                place.layer = UPPER;
                place.orphan = None;
                return Ok(true);
            }
        }
    }

    /// Links the copy to one name, if the name still shows the lower file. The directory keeps its times, as in every copy_up.
    fn link_copy(&self, inode: &Arc<Inode>, layer: Layer, name: (&Arc<Inode>, &OsStr), fresh: &Fresh) -> Res<bool> {
        let (parent, name) = name;
        self.copy_up(parent, Data::Whole)?;
        let mut index = self.write_index(parent)?;
        let Some(entry) = index.get_mut(name).filter(|entry| entry.layer() == Some(layer)) else { return Ok(false) };
        let dir = self.dir_fd(parent, UPPER)?;
        keeping_times(parent, dir, |dir| fresh.link(self.layers.scratch()?, dir, name))?;
        entry.upper = Some(inode.kind);
        // Also where nobody has looked the name up yet.
        entry.set_ino(inode.ino);
        inode.add_name(parent, name);
        Ok(true)
    }

    /// Undoes `link_copy`, unless the name has become something else meanwhile.
    fn unlink_copy(&self, parent: &Arc<Inode>, name: &OsStr, copy: FileKey) -> Res<()> {
        let mut index = self.write_index(parent)?;
        let Some(entry) = index.get_mut(name).filter(|entry| entry.upper.is_some() && entry.lower.is_some()) else {
            return Ok(());
        };
        let dir = self.dir_fd(parent, UPPER)?;
        if FileKey::new(UPPER, &rustix::fs::statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW)?) == copy {
            rustix::fs::unlinkat(&*dir, name, AtFlags::empty())?;
            entry.upper = None;
        }
        Ok(())
    }

    /// The names under which the merged tree shows this file of a lower.
    fn lower_names(&self, inode: &Arc<Inode>, layer: Layer, stat: &Stat) -> Res<Vec<Name>> {
        let mut names = inode.names();
        let all = usize::try_from(stat.st_nlink).unwrap_or(usize::MAX);
        // Most hard links are beside each other.
        if let Some((parent, _)) = inode.name() {
            let mut beside = Vec::new();
            let dir = self.dir_fd(&parent, layer)?;
            read_inos(dir.as_fd(), has_true_inos(dir.as_fd()), |name, kind, ino| {
                if kind != FileType::Directory && ino == stat.st_ino && meaning(name) == Meaning::Real {
                    beside.push(name.to_os_string());
                }
            })?;
            let found = beside.len();
            for name in beside {
                self.add_if_shown(&mut names, layer, stat, (Arc::clone(&parent), name))?;
            }
            if found >= all {
                return Ok(names);
            }
        }
        for path in self.layer_links(layer, stat.st_dev)?.get(&stat.st_ino).into_iter().flatten() {
            if let Some(name) = self.shown_at(path)? {
                let dir = name.0.ino;
                self.add_if_shown(&mut names, layer, stat, name)?;
                // If the kernel knows nothing of the directory, and it holds no name of the file.
                self.table.collect(dir);
            }
        }
        Ok(names)
    }

    fn add_if_shown(&self, names: &mut Vec<Name>, layer: Layer, stat: &Stat, name: Name) -> Res<()> {
        if names.iter().any(|known| same(known, &name)) {
            return Ok(());
        }
        if self.read_index(&name.0)?.get(&name.1).is_none_or(|entry| entry.layer() != Some(layer)) {
            return Ok(());
        }
        let there = rustix::fs::statat(&*self.dir_fd(&name.0, layer)?, &name.1, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileKey::new(layer, &there) == FileKey::new(layer, stat) {
            names.push(name);
        }
        Ok(())
    }

    /// The directory that a path of a layer leads to in the merged tree, and the last name; `None` if the path leads nowhere.
    fn shown_at(&self, path: &Path) -> Res<Option<Name>> {
        let Some(last) = path.file_name() else { return Ok(None) };
        let mut dir = self.inode(ROOT)?;
        for part in path.parent().into_iter().flatten() {
            let child = {
                let index = match self.read_index(&dir) {
                    // Nobody sees anything in there.
                    Err(Errno::ACCESS) => return Ok(None),
                    other => other?,
                };
                match index.visible(part).filter(|entry| entry.visible() == Some(FileType::Directory)) {
                    Some(entry) => self.child(&dir, part, entry)?.0,
                    None => return Ok(None),
                }
            };
            dir = child;
        }
        Ok(Some((dir, last.to_os_string())))
    }

    /// All hard links of a file system inside a lower. Read once, and only if it is asked for.
    fn layer_links(&self, layer: Layer, device: u64) -> Res<Arc<LayerLinks>> {
        // Held meanwhile, so that one reads it and the others wait.
        let mut known = lock(&self.known_links);
        if let Some(links) = known.get(&(layer, device)) {
            return Ok(Arc::clone(links));
        }
        let links = Arc::new(read_links(self.layers.root(layer)?.as_fd(), device)?);
        known.insert((layer, device), Arc::clone(&links));
        Ok(links)
    }
}

fn same(one: &Name, other: &Name) -> bool {
    one.0.ino == other.0.ino && one.1 == other.1
}

/// Reads a whole layer and returns the files of a device that have several names in it. What is mounted in the layer is left out, unless
/// the device is.
fn read_links(root: BorrowedFd<'_>, device: u64) -> Res<LayerLinks> {
    /// A file that was met once: most are met no second time, and need no path.
    enum Met {
        Once(u32, OsString),
        Again(Vec<PathBuf>),
    }
    let true_inos = has_true_inos(root);
    let device_of = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).map(|stat| stat.st_dev);
    let on_root = device_of(root)? == device;
    let mut dirs = vec![PathBuf::new()];
    let mut met: HashMap<u64, Met> = HashMap::new();
    // Descriptors of the directories above those that are still to be read; no path is opened as a whole, so that none is too long.
    let mut stack: Vec<(Arc<OwnedFd>, OsString, u32)> =
        vec![(Arc::new(root.try_clone_to_owned().map_err(super::state::errno)?), OsString::from("."), 0)];
    while let Some((parent, name, dir)) = stack.pop() {
        // What cannot be reached is not in the merged tree either: a mount whose server is dead, or what went since.
        let Ok(fd) = layers::open_dir_at(parent.as_fd(), &name) else { continue };
        let here = device_of(fd.as_fd());
        if on_root && here != Ok(device) {
            continue;
        }
        let fd = Arc::new(fd);
        let path = dirs.get(dir as usize).cloned().unwrap_or_default();
        let read = read_inos(fd.as_fd(), true_inos, |name, kind, ino| {
            if meaning(name) != Meaning::Real {
            } else if kind == FileType::Directory {
                dirs.push(path.join(name));
                stack.push((Arc::clone(&fd), name.to_os_string(), dirs.len() as u32 - 1));
            } else {
                let next = match met.remove(&ino) {
                    None => Met::Once(dir, name.to_os_string()),
                    Some(Met::Once(first_dir, first)) => {
                        let first_dir = dirs.get(first_dir as usize).cloned().unwrap_or_default();
                        Met::Again(vec![first_dir.join(first), path.join(name)])
                    }
                    Some(Met::Again(mut paths)) => {
                        paths.push(path.join(name));
                        Met::Again(paths)
                    }
                };
                met.insert(ino, next);
            }
        });
        match read {
            // What this daemon may not read is not in the merged tree either.
            Ok(()) | Err(Errno::ACCESS) => {}
            // Of a file system that somebody mounted in the layer, processes and devices come and go.
            Err(_) if here != Ok(device) => {}
            Err(errno) => return Err(errno),
        }
    }
    let links = met.into_iter().filter_map(|(ino, met)| match met {
        Met::Again(paths) => Some((ino, paths)),
        Met::Once(..) => None,
    });
    Ok(links.collect())
}

/// Whether readdir gives the numbers that stat gives. Stacked file systems may have others.
fn has_true_inos(dir: BorrowedFd<'_>) -> bool {
    !rustix::fs::fstatfs(dir).is_ok_and(|statfs| layers::is_stacked(&statfs))
}

/// Calls `visit` with every name, its type and its inode number.
fn read_inos(dir: BorrowedFd<'_>, true_inos: bool, mut visit: impl FnMut(&OsStr, FileType, u64)) -> Res<()> {
    let mut failed = Ok(());
    layers::read_entries(dir, |name, kind, ino| {
        if true_inos && kind != FileType::Unknown {
            return visit(name, kind, ino);
        }
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => visit(name, FileType::from_raw_mode(stat.st_mode), stat.st_ino),
            Err(errno) => failed = Err::<(), Errno>(errno),
        }
    })?;
    failed
}
