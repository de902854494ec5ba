//! FUSE over io_uring (Linux 6.14; include/uapi/linux/fuse.h, fs/fuse/dev_uring.c): the kernel's requests for one thread, without read(2) and
//! write(2) of /dev/fuse. And the file through which a session that only knows those gets them.
//!
//! The kernel has a queue for each processor and puts a request into that of the processor on which its caller runs. A ring registers a slot
//! in one queue or more: a place in memory where one request at a time appears, to which the answer is written back.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use io_uring::squeue::Entry128;
use io_uring::types::{Fd, SubmitArgs};
use io_uring::{EnterFlags, IoUring, opcode};
use rustix::fs::{MemfdFlags, SealFlags, SeekFrom};

use super::mapping::Map;

/// What has to say `Y` for the kernel to offer this to new mounts.
pub const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";

/// Whether the kernel offers it to new mounts; an error where it has no such switch.
pub fn is_offered() -> io::Result<bool> {
    std::fs::read_to_string(SWITCH).map(|text| text.trim() == "Y")
}

/// Size of `struct fuse_in_header`.
pub const IN_HEADER: usize = 40;
/// Size of `struct fuse_out_header`.
pub const OUT_HEADER: usize = 16;

/// `struct fuse_uring_req_header`: 128 bytes for the header of the request or of the answer, 128 for what belongs to the operation, and
/// `struct fuse_uring_ent_in_out`.
const HEADERS: usize = 288;
const OPERATION: usize = 128;
const OPERATION_SIZE: usize = 128;
const COMMIT_ID: usize = 256 + 8;
const PAYLOAD_SIZE: usize = 256 + 16;

/// `enum fuse_uring_cmd`.
const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;

/// Memory of our own that the kernel writes to.
#[derive(Debug)]
struct Memory(Map);

// SAFETY: a mapping belongs to the process; this value is its one owner, and every access goes through it.
unsafe impl Send for Memory {}

impl Memory {
    fn new(length: usize, file: Option<BorrowedFd<'_>>) -> io::Result<Memory> {
        let flags = match file {
            Some(_) => libc::MAP_SHARED,
            None => libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        };
        Map::new(length, libc::PROT_READ | libc::PROT_WRITE, flags, file).map(Memory)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is alive and readable. The kernel writes to it within system calls of the thread that owns this value alone,
        // which take it by `&mut`.
        unsafe { std::slice::from_raw_parts(self.0.address.cast(), self.0.length) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; nobody else refers to it, since `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.0.address.cast(), self.0.length) }
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut number = [0; N];
    if let Some(there) = bytes.get(at..at + N) {
        number.copy_from_slice(there);
    }
    number
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) -> io::Result<()> {
    let place = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..what.len()));
    place.ok_or_else(|| io::Error::from_raw_os_error(libc::EMSGSIZE))?.copy_from_slice(what);
    Ok(())
}

/// Where one request at a time appears.
#[derive(Debug)]
struct Slot {
    queue: u16,
    memory: Memory,
    /// Whether the kernel may write here: it has been registered, and has not said that it is done with it.
    lent: bool,
}

/// What a slot holds.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `struct fuse_in_header`.
    pub header: [u8; IN_HEADER],
    /// The structure of the operation, which may be empty.
    pub operation: &'a [u8],
    /// Names and data.
    pub payload: &'a [u8],
}

impl Request<'_> {
    /// Which operation: `enum fuse_opcode`.
    pub fn opcode(&self) -> u32 {
        u32::from_ne_bytes(number(&self.header, 4))
    }

    /// What the answer is to be named.
    pub fn unique(&self) -> u64 {
        u64::from_ne_bytes(number(&self.header, 8))
    }
}

/// The ring of one thread.
pub struct Ring {
    /// Dropped before the memory that it lends to the kernel.
    ring: IoUring<Entry128>,
    slots: Vec<Slot>,
    device: Option<Arc<File>>,
    /// How to wait.
    flags: EnterFlags,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl Ring {
    /// A ring with a slot in each of these queues, each for as much as `payload` bytes beside the headers. It belongs to the thread that
    /// registers it. Fails where io_uring is forbidden.
    pub fn new(queues: &[u16], payload: usize) -> io::Result<Ring> {
        let entries = u32::try_from(queues.len().max(2)).map_err(io::Error::other)?;
        let ring: IoUring<Entry128> = IoUring::builder()
            .setup_single_issuer()
            // Requests are then copied within our own calls, and at no other moment.
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_r_disabled()
            .build(entries.next_power_of_two())?;
        let page = rustix::param::page_size();
        let slot = |&queue: &u16| Ok(Slot { queue, memory: Memory::new(page + payload, None)?, lent: false });
        let slots = queues.iter().map(slot).collect::<io::Result<_>>()?;
        // A thread that waits for requests is idle, and not waiting for a disk.
        let flags = if ring.params().is_feature_no_iowait() { EnterFlags::NO_IOWAIT } else { EnterFlags::empty() };
        Ok(Ring { ring, slots, device: None, flags })
    }

    /// Of which connection it is, by its device.
    pub fn serves(&mut self, device: &Arc<File>) {
        self.device = Some(Arc::clone(device));
    }

    /// Makes this the ring of the calling thread, and registers its slots with the connection that it serves. The kernel gives requests to
    /// rings once there is a slot in each of its queues.
    pub fn register(&mut self) -> io::Result<()> {
        self.ring.submitter().register_enable_rings()?;
        let page = rustix::param::page_size();
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(index) else { break };
            let (headers, payload) = slot.memory.bytes_mut().split_at_mut(page);
            let vectors = [
                libc::iovec { iov_base: headers.as_mut_ptr().cast(), iov_len: HEADERS },
                libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() },
            ];
            slot.lent = true;
            self.push(REGISTER, index, 0, Some(&vectors))?;
            // The kernel reads the vectors before this returns.
            self.ring.submit()?;
        }
        Ok(())
    }

    /// What is in a slot.
    pub fn request(&self, slot: usize) -> Request<'_> {
        let bytes = self.slots.get(slot).map_or(&[][..], |slot| slot.memory.bytes());
        let (headers, payload) = bytes.split_at_checked(rustix::param::page_size()).unwrap_or_default();
        let header: [u8; IN_HEADER] = number(headers, 0);
        let length = u32::from_ne_bytes(number(&header, 0)) as usize;
        let data = u32::from_ne_bytes(number(headers, PAYLOAD_SIZE)) as usize;
        let operation = length.saturating_sub(IN_HEADER + data).min(OPERATION_SIZE);
        Request {
            header,
            operation: headers.get(OPERATION..OPERATION + operation).unwrap_or_default(),
            payload: payload.get(..data).unwrap_or_default(),
        }
    }

    /// Answers the request of a slot, at the next submission: with `struct fuse_out_header` and what follows it. The slot is for the next
    /// request then.
    pub fn answer(&mut self, slot: usize, header: &[u8; OUT_HEADER], payload: &[u8]) -> io::Result<()> {
        let page = rustix::param::page_size();
        let Some(bytes) = self.slots.get_mut(slot).map(|slot| slot.memory.bytes_mut()) else { return Ok(()) };
        let commit = u64::from_ne_bytes(number(bytes, COMMIT_ID));
        put(bytes, page, payload)?;
        put(bytes, 0, header)?;
        put(bytes, PAYLOAD_SIZE, &(payload.len() as u32).to_ne_bytes())?;
        self.push(COMMIT_AND_FETCH, slot, commit, None)
    }

    /// Hands answers to the kernel.
    pub fn submit(&mut self) -> io::Result<()> {
        self.ring.submit().map(|_| ())
    }

    /// Whether [`wait`](Ring::wait) would return at once.
    pub fn is_ready(&mut self) -> bool {
        self.ring.submission().taskrun() || !self.ring.completion().is_empty()
    }

    /// Hands answers to the kernel, and waits for the next request. Its slot; `None` once the connection has ended.
    pub fn wait(&mut self) -> io::Result<Option<usize>> {
        loop {
            // Dropped before waiting, so that the kernel learns what has been read.
            let event = self.ring.completion().next();
            if let Some(event) = event {
                let slot = usize::try_from(event.user_data()).map_err(io::Error::other)?;
                match -event.result() {
                    0 => return Ok(Some(slot)),
                    libc::ENOTCONN | libc::ECONNABORTED | libc::ECANCELED => {
                        if let Some(slot) = self.slots.get_mut(slot) {
                            slot.lent = false;
                        }
                        return Ok(None);
                    }
                    errno => return Err(io::Error::from_raw_os_error(errno)),
                }
            }
            match self.ring.submitter().submit_with_args_and_flags(1, &SubmitArgs::new(), self.flags) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn push(&mut self, command: u32, slot: usize, commit: u64, vectors: Option<&[libc::iovec; 2]>) -> io::Result<()> {
        let Some(queue) = self.slots.get(slot).map(|slot| slot.queue) else { return Ok(()) };
        let device = self.device.as_ref().map_or(-1, |device| device.as_raw_fd());
        // `struct fuse_uring_cmd_req`: flags, commit_id, qid, padding.
        let mut arguments = [0; 80];
        put(&mut arguments, 8, &commit.to_ne_bytes())?;
        put(&mut arguments, 16, &queue.to_ne_bytes())?;
        let address = vectors.map(|vectors| vectors.as_ptr() as u64);
        let mut entry = opcode::UringCmd80::new(Fd(device), command).cmd(arguments).addr(address).build();
        entry = entry.user_data(slot as u64);
        if let Some(vectors) = vectors {
            // `len` of struct io_uring_sqe, which the library does not set for this operation.
            const LEN: usize = 24;
            // SAFETY: Entry128 is a struct io_uring_sqe of 128 bytes (its library holds it to that), of which these are four of plain data.
            unsafe { (&raw mut entry).cast::<u8>().add(LEN).cast::<u32>().write(vectors.len() as u32) };
        }
        // SAFETY: the descriptor is open as long as the ring; the vectors are read within the submission that follows, by `register`; slots
        // are unmapped only when the kernel is done with them (Drop).
        unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // A ring that is closed is taken down in the background, and the kernel may write to its slots until then.
        for slot in self.slots.drain(..).filter(|slot| slot.lent) {
            std::mem::forget(slot.memory);
        }
    }
}

/// A file in memory that stands for /dev/fuse in one thread: read(2) takes the message that was put there, write(2) leaves one.
#[derive(Debug)]
pub struct Mailbox {
    file: OwnedFd,
    memory: Memory,
}

impl Mailbox {
    /// A mailbox for messages of as much as `size` bytes.
    pub fn new(size: usize) -> io::Result<Mailbox> {
        let file = rustix::fs::memfd_create("fuse-union", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&file, size as u64)?;
        // What is mapped stays there, and what is too long is refused.
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let memory = Memory::new(size, Some(file.as_fd()))?;
        Ok(Mailbox { file, memory })
    }

    /// The file, for who takes the messages.
    pub fn file(&self) -> io::Result<OwnedFd> {
        self.file.try_clone()
    }

    /// Puts a message there: the next read(2) takes it, and nothing else, since the file ends behind it.
    pub fn put(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let start = self.memory.0.length.checked_sub(length);
        let start = start.ok_or_else(|| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
        let mut at = start;
        for part in parts {
            put(self.memory.bytes_mut(), at, part)?;
            at += part.len();
        }
        rustix::fs::seek(&self.file, SeekFrom::Start(start as u64))?;
        Ok(())
    }

    /// Makes room for the answer to the message that has been taken.
    pub fn expect(&mut self) -> io::Result<()> {
        put(self.memory.bytes_mut(), 0, &[0; OUT_HEADER])?;
        rustix::fs::seek(&self.file, SeekFrom::Start(0))?;
        Ok(())
    }

    /// The answer that has been written: `struct fuse_out_header` and what follows it. `None` if there is none.
    pub fn answer(&self) -> Option<([u8; OUT_HEADER], &[u8])> {
        let bytes = self.memory.bytes();
        let length = u32::from_ne_bytes(number(bytes, 0)) as usize;
        Some((number(bytes, 0), bytes.get(OUT_HEADER..length)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_gives_one_message_and_takes_one_answer() {
        let mut mailbox = Mailbox::new(64).unwrap();
        let file = mailbox.file().unwrap();
        let mut read = [0; 100];
        for (parts, answer) in [(vec![&b"ab"[..], b"", b"cde"], &b"0123456789abcdefg"[..]), (vec![&[7; 64][..]], b"")] {
            mailbox.put(&parts).unwrap();
            let whole = parts.concat();
            let length = rustix::io::read(&file, &mut read).unwrap();
            assert_eq!(&read[..length], whole);
            assert_eq!(rustix::io::read(&file, &mut read).unwrap(), 0, "one message");
            mailbox.expect().unwrap();
            assert!(mailbox.answer().is_none(), "not yet written");
            let mut message = ((OUT_HEADER + answer.len()) as u32).to_ne_bytes().to_vec();
            message.extend([1; OUT_HEADER - 4]);
            message.extend(answer);
            assert_eq!(rustix::io::write(&file, &message).unwrap(), message.len());
            let (header, rest) = mailbox.answer().unwrap();
            assert_eq!((&header[..], rest), message.split_at(OUT_HEADER));
        }
        assert_eq!(mailbox.put(&[&[0; 65]]).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
    }
}
