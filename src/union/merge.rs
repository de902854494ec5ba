//! Reading a directory in all its layers, for its index.
//!
//! Of many layers the rest is read by several threads at once when the first ones had to be fetched from a disk: it is asked for several
//! directories at a time.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, scope};
use std::time::{Duration, Instant};

use nix::mount::MsFlags;
use nix::sys::resource::{UsageWho, getrusage};

use super::Res;
use super::copy_up::keeping_times;
use super::index::{DirIndex, Listing};
use super::layers::{self, Layer, UPPER};
use super::node::{DirState, Inode, write};
use super::state::Union;

/// A directory with more names in a layer is not left open for reading: ext4 keeps the last block of names for as long.
const MOST_NAMES_KEPT: usize = 64;

/// How long one thread reads alone: starting others takes about as long.
const ALONE: Duration = Duration::from_micros(150);
/// A directory that takes longer, the thread having waited meanwhile, has to be fetched from a disk.
const FROM_A_DISK: Duration = Duration::from_micros(40);
/// Layers for which it is not worth while.
const FEW: usize = 16;
/// Threads that wait for a disk at once, besides the one that was asked.
const HELPERS: usize = 7;

impl Union {
    pub(super) fn build_index(&self, inode: &Inode, dir: &DirState) -> Res<DirIndex> {
        self.crew.watch();
        let mut lowers = write(&dir.lowers);
        let layers = inode.layers(&lowers);
        let of_upper = layers.len() - lowers.len();
        let (index, used) = DirIndex::build(self.listings(inode, &layers)?);
        lowers.truncate(used.saturating_sub(of_upper));
        Ok(index)
    }

    /// What the layers have in a directory, top first, up to an opaque one.
    fn listings(&self, inode: &Inode, layers: &[Layer]) -> Res<Vec<(Layer, Listing)>> {
        // Of a few layers nobody asks for it.
        let (begun, waits_before) = (Instant::now(), if layers.len() > FEW { waits() } else { 0 });
        let mut found = Vec::with_capacity(layers.len());
        let mut left = layers;
        while let Some((layer, below)) = left.split_first() {
            if take(&mut found, *layer, self.listing(inode, *layer)?) {
                return Ok(found);
            }
            left = below;
            let (taken, read) = (begun.elapsed(), u32::try_from(found.len()).unwrap_or(u32::MAX));
            // A thread that only was in want of a processor gains nothing by more of them.
            let from_a_disk = || taken / read > FROM_A_DISK && waits() - waits_before >= i64::from(read.div_ceil(2));
            if left.len() >= FEW && taken > ALONE && from_a_disk() {
                for (layer, listing) in left.iter().zip(self.listings_at_once(inode, left)) {
                    if take(&mut found, *layer, listing?) {
                        break;
                    }
                }
                return Ok(found);
            }
        }
        Ok(found)
    }

    /// What each of these layers has, read by several threads.
    fn listings_at_once(&self, inode: &Inode, layers: &[Layer]) -> Vec<Res<Listing>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut found = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(layer) = layers.get(place) else { return found };
                found.push((place, self.listing(inode, *layer)));
            }
        };
        let mut found = scope(|scope| {
            // Where no more threads may be started, there are fewer.
            let helpers: Vec<_> = (0..HELPERS).map_while(|_| Builder::new().spawn_scoped(scope, work).ok()).collect();
            let mut found = work();
            for helper in helpers {
                match helper.join() {
                    Ok(theirs) => found.extend(theirs),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            found
        });
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, listing)| listing).collect()
    }

    /// What one of its layers has in a directory.
    fn listing(&self, inode: &Inode, layer: Layer) -> Res<Listing> {
        if inode.dir.as_ref().is_some_and(|dir| dir.cached(layer).is_none())
            && let Some((parent, name)) = inode.name()
        {
            let parent_fd = self.dir_fd(&parent, layer)?;
            let place = (&*parent, parent_fd.as_fd());
            if let Some(fd) = self.open_named(inode, place, &name, layers::open_to_read)? {
                let fd = Arc::new(fd);
                let listing = self.read_listing(inode, &fd, layer)?;
                // One descriptor is enough for both, where the kernel keeps little of what was read with it.
                if listing.len() <= MOST_NAMES_KEPT {
                    self.keep_fd(inode, layer, &fd);
                }
                return Ok(listing);
            }
        }
        let fd = layers::open_to_read(self.dir_fd(inode, layer)?.as_fd(), OsStr::new("."))?;
        self.read_listing(inode, &Arc::new(fd), layer)
    }

    fn read_listing(&self, inode: &Inode, fd: &Arc<OwnedFd>, layer: Layer) -> Res<Listing> {
        let listing = Listing::read(layer, fd)?;
        // Who mounts read-only changes nothing: overlay, which may mount the upper again, does not know aufs's form.
        let may_write = layer == UPPER && !self.options.mount.flags.contains(MsFlags::MS_RDONLY);
        if may_write && listing.has_overlays_marks() {
            // Where that cannot be done nothing is lost: the names are hidden either way, and whoever makes one of them anew is told what is in his way.
            let _ = keeping_times(inode, Arc::clone(fd), |dir| listing.convert(&self.layers, dir));
        }
        Ok(listing)
    }
}

/// How often this thread has had to wait for something.
fn waits() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.voluntary_context_switches())
}

/// Adds what a layer has. True if it hides all layers below.
fn take(found: &mut Vec<(Layer, Listing)>, layer: Layer, listing: Listing) -> bool {
    let opaque = listing.is_opaque();
    found.push((layer, listing));
    opaque
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::union::{UnionConfig, UnionOptions};

    #[test]
    fn several_threads_find_what_one_finds_in_the_order_of_the_layers() {
        let dir = tempfile::tempdir().unwrap();
        let lower: Vec<_> = (0..40).map(|n| dir.path().join(n.to_string())).collect();
        for (n, layer) in lower.iter().enumerate() {
            std::fs::create_dir_all(layer.join("d")).unwrap();
            std::fs::write(layer.join(format!("d/only-{n}")), "").unwrap();
            std::fs::write(layer.join("d/everywhere"), "").unwrap();
        }
        let config = UnionConfig { lower, upper: None, work: None, options: UnionOptions::default() };
        let union = Union::new(&config).unwrap();
        let name = OsStr::new("d");
        let names = |opaque_at: Option<usize>| {
            if let Some(n) = opaque_at {
                std::fs::write(dir.path().join(format!("{n}/d/.wh..wh..opq")), "").unwrap();
            }
            let found = union.look_up(super::super::numbers::ROOT, name).unwrap();
            let layers: Vec<Layer> = (0..40).collect();
            let mut all = Vec::new();
            for (layer, listing) in layers.iter().zip(union.listings_at_once(&found.node.inode, &layers)) {
                if take(&mut all, *layer, listing.unwrap()) {
                    break;
                }
            }
            let one_after_the_other = union.listings(&found.node.inode, &layers).unwrap();
            assert_eq!(format!("{all:?}"), format!("{one_after_the_other:?}"));
            DirIndex::build(all)
        };
        let (index, used) = names(None);
        assert_eq!((used, index.after(0).count()), (40, 41));
        let everywhere = index.get(OsStr::new("everywhere")).unwrap();
        assert_eq!(everywhere.layer(), Some(0));
        assert_eq!(index.get(OsStr::new("only-39")).unwrap().layer(), Some(39));
        let (index, used) = names(Some(20));
        assert_eq!((used, index.after(0).count()), (21, 22));
    }
}
