//! Memory taken, written to, and given back but for some pages that stay where they are; and how the allocator takes it.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{IoSliceRaw, PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, vmsplice};

use super::mapping::Map;
use super::pagemap;

/// Pages in one pipe: what anybody may make of one (/proc/sys/fs/pipe-max-size is 1 MiB).
const PIPE_PAGES: usize = 256;

/// Memory of this process's own in small pages, every one of them written to. No child inherits it; dropping gives it back.
#[derive(Debug)]
pub struct Touched(Map);

/// Pages of memory, each held by a slot of a pipe. Unlike what is mapped they stay where they are: the kernel moves mapped pages together to
/// have large free pieces (compaction, also of what is locked). Dropping gives them back.
#[derive(Debug)]
pub struct Pins {
    pages: usize,
    /// Ends to read from, which nobody does: held for what is in them.
    pipes: Vec<OwnedFd>,
}

impl Touched {
    /// Takes memory and writes to every page of it.
    pub fn new(bytes: usize) -> io::Result<Touched> {
        let bytes = bytes.max(rustix::param::page_size());
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let touched = Touched(Map::new(bytes, protection, flags, None)?);
        let address = touched.0.address;
        for advice in [libc::MADV_NOHUGEPAGE, libc::MADV_DONTFORK] {
            // SAFETY: hints about the mapping just made. A kernel without huge pages refuses the first, and needs none.
            unsafe { libc::madvise(address, bytes, advice) };
        }
        for offset in (0..bytes).step_by(rustix::param::page_size()) {
            // SAFETY: inside the mapping, which is writable and which no reference points into. Volatile, since nobody reads the byte.
            unsafe { address.cast::<u8>().add(offset).write_volatile(1) };
        }
        Ok(touched)
    }

    /// A pipe that holds the pages at some offsets.
    fn hold(&self, offsets: &[usize], page: usize) -> io::Result<OwnedFd> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        if offsets.len() > 1 {
            fcntl_setpipe_size(&write, offsets.len() * page)?;
        }
        let slices: Vec<IoSliceRaw<'_>> = offsets
            .iter()
            // SAFETY: a whole page inside the mapping, which is alive and which nothing writes to any more.
            .map(|offset| unsafe { std::slice::from_raw_parts(self.0.address.cast::<u8>().add(*offset), page) })
            .map(IoSliceRaw::from_slice)
            .collect();
        // SAFETY: nobody reads the pipe, so that it does not matter what becomes of the pages.
        let held = unsafe { vmsplice(&write, &slices, SpliceFlags::NONBLOCK) }?;
        if held < offsets.len() * page {
            return Err(io::Error::other(format!("a pipe holds {} of {} pages", held / page, offsets.len())));
        }
        Ok(read)
    }
}

impl Pins {
    /// A page in each piece of memory of `every` bytes that any of what was written to lies in, by physical address; of each so many addresses
    /// where the kernel hides those (CAP_SYS_ADMIN shows them). Where there can be no more pipes (/proc/sys/fs/pipe-user-pages-soft) the rest goes
    /// without.
    pub fn of(touched: &Touched, every: usize) -> io::Result<Pins> {
        let page = rustix::param::page_size();
        let pages_a_piece = (every / page).max(1) as u64;
        let mut pieces = HashSet::new();
        let mut offsets = Vec::new();
        let mut index = 0;
        pagemap::for_each_frame(&touched.0, |frame| {
            if pieces.insert(frame.unwrap_or(index) / pages_a_piece) {
                offsets.push(index as usize * page);
            }
            index += 1;
        })?;
        let mut pins = Pins { pages: 0, pipes: Vec::new() };
        for offsets in offsets.chunks(PIPE_PAGES) {
            match touched.hold(offsets, page) {
                Ok(pipe) => pins.pipes.push(pipe),
                Err(_) if pins.pages > 0 => break,
                Err(e) => return Err(e),
            }
            pins.pages += offsets.len();
        }
        Ok(pins)
    }

    /// How many there are.
    pub fn pages(&self) -> usize {
        self.pages
    }
}

/// Has the allocator map what is at least so large, in bytes, for itself: it then takes no room before it is written to, and none once it is
/// freed. Smaller pieces come from its heaps, as before. glibc finds such a bound by itself, a little higher than the largest piece that was
/// ever freed, and clears from then on what it allocates there. Other libraries are left as they are.
pub fn map_pieces_from(bytes: i32) {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [(libc::M_MMAP_THRESHOLD, bytes), (libc::M_TRIM_THRESHOLD, bytes.saturating_mul(2))] {
        // SAFETY: mallopt(3) takes the allocator's own lock, and refuses what does not fit, which leaves all as it was.
        unsafe { libc::mallopt(parameter, value) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Anonymous memory of this process, in bytes.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() << 10
    }

    #[test]
    fn memory_is_there_then_pinned_then_gone() {
        const BYTES: u64 = 256 << 20;
        const EVERY: usize = 2 << 20;
        let before = resident();
        let touched = Touched::new(BYTES as usize).unwrap();
        let full = resident();
        assert!(full > before + BYTES / 2, "{before} then {full}");
        let pins = Pins::of(&touched, EVERY).unwrap();
        drop(touched);
        let thin = resident();
        assert!(thin < full - BYTES / 2, "{full} then {thin}");
        // It need not begin where a piece does, and may lie in many.
        assert!(pins.pages() >= BYTES as usize / EVERY, "{pins:?}");
        drop(pins);
        assert!(Touched::new(usize::MAX / 2).is_err(), "more than there are addresses");
    }

    #[test]
    fn pages_of_one_piece_are_pinned_once() {
        let page = rustix::param::page_size();
        let touched = |pages: usize| Touched::new(pages * page).unwrap();
        // As large a piece as there is: all of it lies in one.
        assert_eq!(Pins::of(&touched(PIPE_PAGES * 2), 1 << 50).unwrap().pages(), 1);
        // Each page for itself, in more than one pipe.
        let pins = Pins::of(&touched(PIPE_PAGES * 2 + 1), page).unwrap();
        assert_eq!((pins.pages(), pins.pipes.len()), (PIPE_PAGES * 2 + 1, 3));
    }
}
