//! Memory taken, written to, and given back but for some pages; and how the allocator takes it.

use std::io;

use super::mapping::Map;

/// Memory of this process's own in small pages, every one of them written to. No child inherits it; dropping gives it back.
#[derive(Debug)]
pub struct Touched(Map);

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

    /// Gives everything back but the first page of each `every` bytes, a multiple of the page size.
    pub fn thin(&self, every: usize) -> io::Result<()> {
        let page = rustix::param::page_size();
        let Map { address, length } = self.0;
        for offset in (0..length).step_by(every.max(page)) {
            let rest = every.min(length - offset).saturating_sub(page);
            // SAFETY: whole pages inside the mapping, which nothing points into.
            let given =
                unsafe { libc::madvise(address.cast::<u8>().add(offset + page).cast(), rest, libc::MADV_DONTNEED) };
            if given != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
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
    fn memory_is_there_then_thin_then_gone() {
        const BYTES: u64 = 256 << 20;
        let before = resident();
        let touched = Touched::new(BYTES as usize).unwrap();
        let full = resident();
        assert!(full > before + BYTES / 2, "{before} then {full}");
        touched.thin(2 << 20).unwrap();
        let thin = resident();
        assert!(thin < full - BYTES / 2, "{full} then {thin}");
        drop(touched);
        assert!(Touched::new(usize::MAX / 2).is_err(), "more than there are addresses");
    }
}
