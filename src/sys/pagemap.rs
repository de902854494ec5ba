//! Page frame numbers: which page of physical memory a page of a file is.
//!
//! Two files, or one file through two mounts, whose pages have the same frame numbers share memory: no counter can be as sure.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;

use super::mapping::Map;

/// A read-only mapping of a whole file.
#[derive(Debug)]
pub struct Mapping(Map);

impl Mapping {
    /// Maps a file MAP_SHARED; `None` for an empty one, which cannot be mapped.
    pub fn shared(file: &File) -> io::Result<Option<Mapping>> {
        Mapping::new(file, libc::MAP_SHARED)
    }

    /// Maps a file MAP_PRIVATE, as execve and the dynamic linker do: what is not written to is the page cache's. `None` for an empty file.
    pub fn private(file: &File) -> io::Result<Option<Mapping>> {
        Mapping::new(file, libc::MAP_PRIVATE)
    }

    fn new(file: &File, sharing: libc::c_int) -> io::Result<Option<Mapping>> {
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if length == 0 {
            return Ok(None);
        }
        Map::new(length, libc::PROT_READ, sharing, Some(file.as_fd())).map(|map| Some(Mapping(map)))
    }

    /// Its length in bytes: that of the file when it was mapped.
    pub fn length(&self) -> usize {
        self.0.length
    }

    /// Reads a byte of every page, as a program does that uses the file. Where the file cannot be read, or has become shorter, the kernel
    /// answers with SIGBUS.
    pub fn touch(&self) {
        let start = self.0.address.cast::<u8>().cast_const();
        for offset in (0..self.0.length).step_by(rustix::param::page_size()) {
            // SAFETY: the offset lies within the mapping, which is alive and readable. Another process may change what is read, and
            // nothing is made of it.
            unsafe { start.add(offset).read_volatile() };
        }
    }

    /// Frame number of each page, in order; `None` where the page is not present or the number is hidden.
    pub fn frames(&self) -> io::Result<Vec<Option<u64>>> {
        let mut frames = Vec::new();
        for_each_frame(&self.0, |frame| frames.push(frame))?;
        Ok(frames)
    }

    /// Whether each page is in memory, in order, by mincore(2).
    pub(super) fn resident(&self) -> io::Result<Vec<bool>> {
        let mut pages = vec![0u8; self.0.length.div_ceil(rustix::param::page_size())];
        // SAFETY: the mapping is alive, and the vector has a byte for each of its pages.
        let result = unsafe { libc::mincore(self.0.address, self.0.length, pages.as_mut_ptr()) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(pages.into_iter().map(|page| page & 1 == 1).collect())
    }

    /// Makes the kernel map every page now. MADV_POPULATE_READ (Linux 5.14) reports what a touch would answer with SIGBUS.
    pub(super) fn populate(&self) -> io::Result<()> {
        // SAFETY: the range is this mapping's own, and the advice changes no content.
        let result = unsafe { libc::madvise(self.0.address, self.0.length, libc::MADV_POPULATE_READ) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Bit 63 of an entry of /proc/self/pagemap: the page is present. Bits 0 to 54 are its frame number, or 0 without CAP_SYS_ADMIN
/// (Documentation/admin-guide/mm/pagemap.rst).
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;
/// Entries that are read at once.
const ENTRIES: usize = 8192;

/// Tells the frame number of each page of a mapping, in order; `None` where the page is not present or the number is hidden.
pub(super) fn for_each_frame(map: &Map, mut tell: impl FnMut(Option<u64>)) -> io::Result<()> {
    let page = rustix::param::page_size();
    let pagemap = File::open("/proc/self/pagemap")?;
    let first = map.address as usize / page;
    let last = first + map.length.div_ceil(page);
    for at in (first..last).step_by(ENTRIES) {
        let mut entries = vec![0u8; ENTRIES.min(last - at) * 8];
        pagemap.read_exact_at(&mut entries, at as u64 * 8)?;
        for entry in entries.chunks_exact(8) {
            let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
            tell(Some(entry & FRAME).filter(|frame| entry & PRESENT != 0 && *frame != 0));
        }
    }
    Ok(())
}

/// Frame number of each page of a file, in order; `None` where the page is not present or the number is hidden. Reads the whole
/// file into the page cache.
pub fn frame_numbers(file: &File) -> io::Result<Vec<Option<u64>>> {
    let Some(mapping) = Mapping::shared(file)? else { return Ok(Vec::new()) };
    mapping.populate()?;
    mapping.frames()
}
