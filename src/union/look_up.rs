//! Looking a name up: from a directory and a name to the inode.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, RwLockReadGuard};

use rustix::fs::{AtFlags, FileType, Stat};

use super::hard_links::has_names;
use super::index::{DirIndex, Entry};
use super::layers::{self, Layer, UPPER};
use super::node::{Inode, Node, read, write};
use super::numbers::FileKey;
use super::state::Union;
use super::{Errno, Res};

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

    /// As [`child`](Union::child), without an index: in a directory that only this layer has, a name is what it is there. The caller holds the place
    /// of the index.
    fn only_child(&self, parent: &Arc<Inode>, name: &OsStr, layer: Layer) -> Res<(Arc<Inode>, Stat)> {
        let stat = rustix::fs::statat(&*self.dir_fd(parent, layer)?, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let lowers = if layer == UPPER { Vec::new() } else { vec![layer] };
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

    /// The layer that alone has a directory, if that is so and nobody has needed the index: to look a name up there costs no more than with
    /// one, however many names there are. While the lock is held nothing changes in there.
    fn only_layer<'a>(&self, inode: &'a Inode) -> Res<Option<(Layer, RwLockReadGuard<'a, Option<DirIndex>>)>> {
        let dir = inode.dir.as_ref().ok_or(Errno::NOTDIR)?;
        // Numbers of the counter have to be kept in an index.
        if self.options.inode32 {
            return Ok(None);
        }
        let index = read(&dir.index);
        if index.is_some() {
            return Ok(None);
        }
        let layer = match (inode.is_upper(), &**read(&dir.lowers)) {
            (true, []) => UPPER,
            (false, [layer]) => *layer,
            _ => return Ok(None),
        };
        Ok(Some((layer, index)))
    }

    /// Looks a name up and counts it for the kernel.
    pub(super) fn look_up(&self, parent: u64, name: &OsStr) -> Res<Found> {
        layers::check_lookup(name)?;
        let parent = self.inode(parent)?;
        let counted = |(inode, stat)| Found { node: self.table.look_up(&inode), stat };
        match self.only_layer(&parent)? {
            Some((layer, _unchanged)) => self.only_child(&parent, name, layer).map(counted),
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
    match rustix::fs::statat(&dir, layers::OPAQUE, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
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
        for folder in ["a/d/below", "b/e/below", "a/e"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("a/d/file"), "").unwrap();
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
            assert!(look_up(merged, "below").is_ok());
            assert!(has_index(&union, merged), "two layers have it");
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
        union.index(&union.inode(parent).unwrap()).unwrap();
        assert_eq!(look_up(parent, "file"), first);
    }
}
