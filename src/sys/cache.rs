//! The page cache: how much of a file is resident, and how to evict it.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use rustix::fs::{Advice, fadvise};

/// What cachestat(2) says of a file, in pages (`struct cachestat` of <linux/mman.h>).
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Cachestat {
    /// Pages in the page cache.
    pub cached: u64,
    /// Of those, dirty ones.
    pub dirty: u64,
    /// Of those, under writeback.
    pub writeback: u64,
    /// Pages evicted and not yet read again.
    pub evicted: u64,
    /// Of those, evicted recently.
    pub recently_evicted: u64,
}

/// `struct cachestat_range`; a length of 0 is the whole file.
#[repr(C)]
struct CachestatRange {
    offset: u64,
    length: u64,
}

/// cachestat(2), Linux 6.5: number 451 on every architecture.
const SYS_CACHESTAT: libc::c_long = 451;

/// Pages of a whole file in the page cache of the inode that the descriptor's mapping is. ENOSYS before Linux 6.5.
pub fn cachestat(file: impl AsFd) -> io::Result<Cachestat> {
    let range = CachestatRange { offset: 0, length: 0 };
    let mut stat = Cachestat::default();
    // SAFETY: both structures have the kernel's layout and outlive the call; the descriptor is borrowed for its length.
    let result =
        unsafe { libc::syscall(SYS_CACHESTAT, file.as_fd().as_raw_fd(), &raw const range, &raw mut stat, 0u32) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(stat) }
}

/// Resident bytes of a file by mincore(2) on a mapping of it: what kernels before 6.5 offer. Whole pages are counted.
pub fn resident_bytes_mincore(file: &File) -> io::Result<u64> {
    let Some(mapping) = super::pagemap::Mapping::shared(file)? else { return Ok(0) };
    let pages = mapping.resident()?.into_iter().filter(|resident| *resident).count();
    Ok(pages as u64 * rustix::param::page_size() as u64)
}

/// Bytes of memory that hold pages of any of these files, each page once, by its frame number. What mincore(2) says cannot be added up: a
/// mapping of a file of a union is one of the layer's file (overlay, aufs), and so its pages are resident under both names. `None` where frame
/// numbers are hidden.
pub fn resident_bytes_together<'a>(files: impl Iterator<Item = &'a File>) -> io::Result<Option<u64>> {
    let mut frames = HashSet::new();
    for file in files {
        let Some(mapping) = super::pagemap::Mapping::shared(file)? else { continue };
        // Before the pages are mapped, which would bring in those that are not there.
        let resident = mapping.resident()?;
        mapping.populate()?;
        for (frame, _) in mapping.frames()?.into_iter().zip(resident).filter(|(_, resident)| *resident) {
            match frame {
                Some(frame) => frames.insert(frame),
                None => return Ok(None),
            };
        }
    }
    Ok(Some(frames.len() as u64 * rustix::param::page_size() as u64))
}

/// Resident bytes of a file: cachestat where the kernel has it, else mincore. Whole pages are counted.
pub fn resident_bytes(file: &File) -> io::Result<u64> {
    match cachestat(file) {
        Ok(stat) => Ok(stat.cached * rustix::param::page_size() as u64),
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => resident_bytes_mincore(file),
        Err(e) => Err(e),
    }
}

/// Writes a file's dirty pages and evicts all that nobody has mapped. Ask [`resident_bytes`] whether it worked.
pub fn evict(file: &File) -> io::Result<()> {
    rustix::fs::fdatasync(file)?;
    fadvise(file, 0, None, Advice::DontNeed)?;
    Ok(())
}

/// Drops clean pages, dentries and inodes of the whole machine. Root; call sync(2) before, as dirty pages stay.
pub fn drop_caches() -> io::Result<()> {
    std::fs::write("/proc/sys/vm/drop_caches", "3")
}
