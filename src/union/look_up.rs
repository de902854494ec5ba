//! Looking a name up: from a directory and a name to the inode.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, RwLockReadGuard};

use rustix::fs::{AtFlags, FileType, Stat};

use super::hard_links::has_names;
use super::index::{DirIndex, Entry};
use super::layers::{self, Layer, UPPER};
use super::node::{Inode, Node, read, write};
use super::numbers::FileKey;
use super::state::Union;
use super::target::Target;
use super::whiteout::whiteout_name;
use super::{Errno, Res};

/// In how many layers a directory may be for its names to be asked of each.
const FEW_LAYERS: usize = 8;
/// A directory that is not larger in its layers is read at once: one block, with most file systems.
const SMALL: u64 = 4096;
/// How many bytes of a directory can be read in the time that it takes to ask a layer for a name, roughly: some 40 bytes and 0.8 us a name, and
/// three system calls.
const BYTES_PER_QUESTION: u64 = 100;

/// The place of an index that has not been read, locked.
type Unread<'a> = RwLockReadGuard<'a, Option<DirIndex>>;

/// An inode and its attributes, as a look-up answers them.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) node: Arc<Node>,
    pub(super) stat: Stat,
}

impl Union {
    /// The inode under a visible entry of `parent`, and its attributes. The caller holds the index that `entry` is in.
    pub(super) fn child(&self, parent: &Arc<Inode>, name: &OsStr, entry: &Entry) -> Res<(Arc<Inode>, Stat)> {
        let (Some(kind), Some(layer)) = (entry.visible(), entry.layer()) else { return Err(Errno::NOENT) };
        let fd = self.dir_fd(parent, layer)?;
        let stat = rustix::fs::statat(&*fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != kind {
            // Somebody changed the layer behind our back.
            return Err(Errno::STALE);
        }
        let mut lowers = entry.dirs().to_vec();
        if layer == UPPER && !lowers.is_empty() && is_opaque(fd.as_fd(), name)? {
            lowers.clear();
        }
        let numbers = &self.table.numbers;
        let number = || entry.ino(|| numbers.for_name(parent, name));
        let inode = self.inode_of(parent, name, (layer, &stat), lowers, number);
        entry.set_ino(inode.ino);
        Ok((inode, stat))
    }

    /// As [`child`](Union::child), without an index: the layers are asked for the name, one after the other, as overlay does. The caller holds the
    /// place of the index, so that nothing changes in there.
    fn child_by_name(&self, parent: &Arc<Inode>, name: &OsStr, layers: &[Layer]) -> Res<(Arc<Inode>, Stat)> {
        // It may have to come from a disk.
        self.crew.watch();
        let mut top: Option<(Layer, Stat)> = None;
        let mut lowers = Vec::new();
        for (n, layer) in layers.iter().enumerate() {
            let fd = self.dir_fd(parent, *layer)?;
            let last = n + 1 == layers.len();
            match stat_if_there(fd.as_fd(), name)? {
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    top.get_or_insert((*layer, stat));
                    if *layer != UPPER {
                        lowers.push(*layer);
                    } else if !last && is_opaque(fd.as_fd(), name)? {
                        break;
                    }
                }
                Some(stat) if layers::is_overlay_whiteout(*layer, &stat) => break,
                Some(stat) => {
                    // Below a directory it is hidden by it, and hides what is further down.
                    top.get_or_insert((*layer, stat));
                    break;
                }
                None => {}
            }
            if !last && hides(fd.as_fd(), name)? {
                break;
            }
        }
        let (layer, stat) = top.ok_or(Errno::NOENT)?;
        let numbers = &self.table.numbers;
        let inode = self.inode_of(parent, name, (layer, &stat), lowers, || numbers.for_name(parent, name));
        if !numbers.is_of_a_path(inode.ino) {
            // There is no entry to keep it.
            numbers.note(FileKey::new(layer, &stat), inode.ino);
        }
        Ok((inode, stat))
    }

    /// The inode of a file that was found under a name. A directory goes on in `lowers`; `number` is that of the name.
    fn inode_of(
        &self,
        parent: &Arc<Inode>,
        name: &OsStr,
        (layer, stat): (Layer, &Stat),
        lowers: Vec<Layer>,
        number: impl FnOnce() -> u64,
    ) -> Arc<Inode> {
        let (numbers, key) = (&self.table.numbers, FileKey::new(layer, stat));
        let kind = FileType::from_raw_mode(stat.st_mode);
        let number = numbers.of(key, has_names(kind, stat), number);
        let is_it = |inode: &Inode| inode.is_named(parent, name) || self.is_at(inode, key);
        let own_name = Some((Arc::clone(parent), name.to_os_string()));
        let inode = self.table.inode(number, is_it, |ino| match kind {
            FileType::Directory => Inode::directory(ino, layer, lowers, own_name),
            _ => Inode::file(ino, kind, layer, own_name),
        });
        if inode.ino != number {
            numbers.note(key, inode.ino);
        }
        if inode.add_name(parent, name) {
            // It had lost all names that were known: this is another one.
            write(&inode.place).orphan = None;
        }
        inode
    }

    /// Whether an inode is this file of this layer.
    fn is_at(&self, inode: &Inode, key: FileKey) -> bool {
        let place = read(&inode.place);
        let stat = self.target(inode, place.layer, place.orphan.as_ref()).and_then(|target| target.stat());
        stat.is_ok_and(|stat| FileKey::new(place.layer, &stat) == key)
    }

    /// The layers to ask for a name in a directory of which nobody has needed the index, if that is better than to read it: in one layer it always
    /// is, and in a few for the first names of a large one. While the lock is held nothing changes in there.
    fn layers_to_ask<'a>(&self, inode: &'a Inode) -> Res<Option<(Vec<Layer>, Unread<'a>)>> {
        let dir = inode.dir.as_ref().ok_or(Errno::NOTDIR)?;
        let index = read(&dir.index);
        // Numbers of the counter have to be kept in an index.
        if index.is_some() || self.options.inode32 {
            return Ok(None);
        }
        let layers = {
            let lowers = read(&dir.lowers);
            if lowers.len() > FEW_LAYERS {
                return Ok(None);
            }
            inode.layers(&lowers)
        };
        let by_name = layers.len() == 1
            || layers.len() <= FEW_LAYERS && {
                let left = match dir.names_left.get() {
                    Some(left) => left,
                    None => {
                        let names = self.names_to_ask_for(inode, &layers)?;
                        dir.names_left.get_or_init(|| AtomicU32::new(names))
                    }
                };
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            };
        Ok(by_name.then_some((layers, index)))
    }

    /// After how many names it would have been better to read a directory at once.
    fn names_to_ask_for(&self, inode: &Inode, layers: &[Layer]) -> Res<u32> {
        let mut large = 0;
        for layer in layers {
            let fd = self.dir_fd(inode, *layer)?;
            let size = rustix::fs::fstat(&*fd)?.st_size;
            if layers::is_overlay_opaque(&Target::At(fd, OsString::from("."))) {
                // To be asked again for each name would take longer than to read it.
                return Ok(0);
            }
            large += u64::try_from(size).unwrap_or(0).saturating_sub(SMALL);
        }
        let each = BYTES_PER_QUESTION * u64::try_from(layers.len()).unwrap_or(u64::MAX);
        Ok(u32::try_from(large / each).unwrap_or(u32::MAX))
    }

    /// Looks a name up and counts it for the kernel.
    pub(super) fn look_up(&self, parent: u64, name: &OsStr) -> Res<Found> {
        layers::check_lookup(name)?;
        let parent = self.inode(parent)?;
        let counted = |(inode, stat)| Found { node: self.table.look_up(&inode), stat };
        match self.layers_to_ask(&parent)? {
            Some((layers, _unchanged)) => self.child_by_name(&parent, name, &layers).map(counted),
            None => {
                let index = self.read_index(&parent)?;
                self.child(&parent, name, index.visible(name).ok_or(Errno::NOENT)?).map(counted)
            }
        }
    }
}

/// Whether the directory `name` is opaque in this layer.
fn is_opaque(parent: BorrowedFd<'_>, name: &OsStr) -> Res<bool> {
    let dir = layers::open_dir_at(parent, name)?;
    Ok(stat_if_there(dir.as_fd(), OsStr::from_bytes(layers::OPAQUE))?.is_some())
}

/// Whether a directory of one layer hides what those below have under this name.
fn hides(dir: BorrowedFd<'_>, name: &OsStr) -> Res<bool> {
    // There is no whiteout for a name that is too long for one.
    let whiteout = whiteout_name(name).map(|whiteout| stat_if_there(dir, &whiteout));
    Ok(whiteout.unwrap_or(Ok(None))?.is_some() || stat_if_there(dir, OsStr::from_bytes(layers::OPAQUE))?.is_some())
}

fn stat_if_there(dir: BorrowedFd<'_>, name: &OsStr) -> Res<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::numbers::ROOT;
    use super::super::{UnionConfig, UnionOptions};
    use super::*;

    fn union(at: &Path, layers: &[&str], inode32: bool) -> Union {
        let [upper, work] = ["upper", "work"].map(|name| at.join(name));
        std::fs::create_dir_all(&upper).unwrap();
        let options = UnionOptions { inode32, ..UnionOptions::default() };
        let lower = layers.iter().map(|layer| at.join(layer)).collect();
        Union::new(&UnionConfig { lower, upper: Some(upper), work: Some(work), options }).unwrap()
    }

    fn has_index(union: &Union, id: u64) -> bool {
        read(&union.inode(id).unwrap().dir.as_ref().unwrap().index).is_some()
    }

    #[test]
    fn a_directory_of_one_layer_is_read_by_whoever_needs_all_its_names_and_numbers_stay() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["a/d/below", "b/e/below", "a/e", "b/f/below", "a/f"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("a/d/file"), "").unwrap();
        for n in 0..1000 {
            std::fs::write(dir.path().join(format!("a/e/{n:0>60}")), "").unwrap();
        }
        for (inode32, read_at_once) in [(false, false), (true, true)] {
            let union = union(dir.path(), &["a", "b"], inode32);
            let look_up = |parent, name: &str| union.look_up(parent, OsStr::new(name)).map(|found| found.node.id);
            let alone = look_up(ROOT, "d").unwrap();
            let before =
                [look_up(alone, "file"), look_up(alone, "below"), look_up(alone, "none"), look_up(alone, ".wh.x")];
            assert_eq!(before[2..], [Err(Errno::NOENT); 2]);
            assert_eq!(has_index(&union, alone), read_at_once);
            assert_eq!(look_up(before[1].unwrap(), "file"), Err(Errno::NOENT));
            let mut listed = Vec::new();
            let take = |entry: &super::super::list::Listed<'_>| {
                listed.push((entry.name.to_os_string(), entry.ino));
                super::super::list::Room::Left
            };
            union.list(alone, 0, take).unwrap();
            assert!(has_index(&union, alone));
            for (name, id) in [("file", before[0]), ("below", before[1])] {
                assert!(listed.contains(&(name.into(), id.unwrap())), "{listed:?}");
                assert_eq!(look_up(alone, name), id);
            }
            let merged = look_up(ROOT, "e").unwrap();
            let below = look_up(merged, "below").unwrap();
            assert_eq!(has_index(&union, merged), read_at_once);
            let asked = (1..).take_while(|_| !has_index(&union, merged));
            let asked = asked.inspect(|_| assert_eq!(look_up(merged, "none"), Err(Errno::NOENT))).count();
            assert!(inode32 || asked > 10, "two layers have it, and it is large: {asked}");
            let small = look_up(ROOT, "f").unwrap();
            look_up(small, "below").unwrap();
            assert!(has_index(&union, small), "two layers have it, and it is small");
            assert_eq!(look_up(merged, "below"), Ok(below));
        }
    }

    /// What a layer may have under a name.
    const CONTENTS: [&[&str]; 5] = [&[], &["file"], &["directory"], &["whiteout"], &["whiteout", "directory"]];

    /// Puts under each name another combination of contents into the layers, top first, and their directory `d` into all.
    fn combine(layers: &[std::path::PathBuf]) -> Vec<String> {
        let names: Vec<String> = (0..CONTENTS.len().pow(layers.len() as u32)).map(|n| n.to_string()).collect();
        for (n, name) in names.iter().enumerate() {
            for (place, layer) in layers.iter().enumerate() {
                std::fs::create_dir_all(layer.join("d")).unwrap();
                for content in CONTENTS[n / CONTENTS.len().pow(place as u32) % CONTENTS.len()] {
                    match *content {
                        "file" => std::fs::write(layer.join("d").join(name), "").unwrap(),
                        "whiteout" => std::fs::write(layer.join("d").join(format!(".wh.{name}")), "").unwrap(),
                        _ => std::fs::create_dir(layer.join("d").join(name)).unwrap(),
                    }
                }
            }
        }
        names
    }

    #[test]
    fn the_layers_say_of_each_name_what_the_index_says() {
        let dir = tempfile::tempdir().unwrap();
        let layers = ["upper", "a", "b", "c"].map(|layer| dir.path().join(layer));
        let names = combine(&layers);
        // A directory of the upper that hides what is below, and a lower in the middle that does.
        std::fs::write(layers[0].join("d").join(format!("{}/.wh..wh..opq", names[2 * 156])), "").unwrap();
        for opaque in [None, Some(2), Some(0)] {
            if let Some(layer) = opaque {
                std::fs::write(layers[layer].join("d/.wh..wh..opq"), "").unwrap();
            }
            let answers = |by_name: bool| {
                let union = union(dir.path(), &["a", "b", "c"], false);
                let parent = union.inode(union.look_up(ROOT, OsStr::new("d")).unwrap().node.id).unwrap();
                let answer = |name: &String| {
                    let found = if by_name {
                        union.child_by_name(&parent, OsStr::new(name), &[UPPER, 0, 1, 2])
                    } else {
                        let index = union.read_index(&parent).unwrap();
                        let entry = index.visible(OsStr::new(name)).ok_or(Errno::NOENT);
                        entry.and_then(|entry| union.child(&parent, OsStr::new(name), entry))
                    };
                    found.map(|(inode, stat)| {
                        let lowers = inode.dir.as_ref().map(|dir| read(&dir.lowers).clone());
                        (inode.ino, inode.kind, read(&inode.place).layer, lowers, stat.st_ino)
                    })
                };
                names.iter().map(answer).collect::<Vec<_>>()
            };
            let by_name = answers(true);
            assert_eq!(by_name, answers(false));
            assert!(by_name.iter().filter(|answer| answer.is_ok()).count() >= names.len() / 2);
        }
    }

    #[test]
    fn a_file_without_an_entry_keeps_a_number_that_is_not_its_paths() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/d")).unwrap();
        std::fs::write(dir.path().join("a/d/file"), "").unwrap();
        let union = union(dir.path(), &["a"], false);
        let look_up = |parent, name: &str| union.look_up(parent, OsStr::new(name)).unwrap().node.id;
        let parent = look_up(ROOT, "d");
        let name = OsStr::new("file");
        let number = union.table.numbers.for_name(&union.inode(parent).unwrap(), name);
        // Another file, which came from here, has it.
        let elsewhere = rustix::fs::stat(dir.path()).unwrap();
        union.table.numbers.note(FileKey::new(UPPER, &elsewhere), number);
        let first = look_up(parent, "file");
        assert_ne!(first, number);
        assert_eq!(look_up(parent, "file"), first);
        // Which reads the directory, and makes another file of it below.
        union.copy_up(&union.inode(first).unwrap(), super::super::copy_up::Data::Whole).unwrap();
        assert_eq!(look_up(parent, "file"), first);
    }
}
