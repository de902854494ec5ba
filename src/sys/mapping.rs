//! Mapped memory; and a store into a mapped file, the write that no system call announces.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

/// A new mapping, of a file from its start or of no file; unmapped when dropped. Whose memory it is, and who may look at it when, is for its
/// owner to say.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) address: *mut libc::c_void,
    pub(super) length: usize,
}

impl Map {
    pub(super) fn new(
        length: usize,
        protection: libc::c_int,
        flags: libc::c_int,
        file: Option<BorrowedFd<'_>>,
    ) -> io::Result<Map> {
        let file = file.map_or(-1, |file| file.as_raw_fd());
        // SAFETY: a new mapping at an address of the kernel's choice; nothing in this process is replaced.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, file, 0) };
        if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Map { address, length }) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: address and length are of a mapping that this value alone owns. It cannot fail for a valid range.
        unsafe { libc::munmap(self.address, self.length) };
    }
}

/// The first page of a file, mapped shared and writable; unmapped when dropped.
#[derive(Debug)]
pub struct StoredPage(
    /// Kept until then.
    #[expect(dead_code, reason = "it is there to be dropped")]
    Map,
);

/// Maps the first page of a file that is open for reading and writing, and stores one byte at its start. The page is still mapped when this
/// returns, so that unmapping can be left out of what is timed. An empty file, like a device that fails, ends the process with SIGBUS
/// (mmap(2)): ask for the size before.
pub fn store_byte(file: impl AsFd, byte: u8) -> io::Result<StoredPage> {
    let length = rustix::param::page_size();
    let map = Map::new(length, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, Some(file.as_fd()))?;
    // SAFETY: the address is the start of a writable mapping that is alive and that no reference points into. Volatile, since nobody in this
    // process reads the byte and the store is what is wanted.
    unsafe { map.address.cast::<u8>().write_volatile(byte) };
    Ok(StoredPage(map))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    #[test]
    fn a_stored_byte_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "abc").unwrap();
        let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        drop(super::store_byte(&file, b'X').unwrap());
        let mut text = String::new();
        std::fs::File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "Xbc");
        let unwritable = std::fs::File::open(&path).unwrap();
        assert_eq!(super::store_byte(&unwritable, b'Y').unwrap_err().raw_os_error(), Some(libc::EACCES));
    }
}
