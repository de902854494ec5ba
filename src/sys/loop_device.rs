//! Loop devices: letting go of a backing file.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `LOOP_CLR_FD` of <linux/loop.h>: detaches the backing file; when somebody still has the device open or mounted, as soon as nobody has.
pub fn clear(device: &File) -> io::Result<()> {
    const LOOP_CLR_FD: libc::Ioctl = 0x4C01;
    // SAFETY: the descriptor is open for the length of the call, and LOOP_CLR_FD takes no argument.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
