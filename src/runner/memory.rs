//! Memory at hand, so that no case pays for what a hypervisor has to fetch.
//!
//! Many hypervisors are told of free memory and take it away (virtio-balloon's free page reporting). Whoever writes to it next waits until it is
//! back: for a copy into the page cache that can be most of the time, and it falls on whichever driver comes first. What is told are
//! pieces of [`PIN_EVERY`] and more. So memory is written to once, and given back except for a page in each such
//! piece: what is free around these pages is never told, and the kernel hands it out before it breaks a larger piece. They have to stay where
//! they are, and to be one in each piece of memory rather than of addresses, or after some minutes they keep nothing.
//!
//! More than is needed does harm: of a machine that has all of its memory written to, the host takes some back by other ways than that (on the reference
//! machine after three minutes, with nothing left that could be told of).

use std::io;

use crate::host;
use crate::probe::timed;
use crate::record::FetchedMemory;
use crate::sys::memory::{Pins, Touched};

/// Distance of the pages that are kept: a huge page of most processors, the smallest piece that Linux reports (mm/page_reporting.h).
const PIN_EVERY: usize = 2 << 20;
/// Least memory that any run needs.
const LEAST_BYTES: u64 = 1 << 30;
/// What is written to once more, to know what that takes.
const AGAIN_BYTES: u64 = 64 << 20;
/// The same behind each case, in several pieces: who is interrupted at one of them is not taken for one that waits for memory.
const LOOK_BYTES: u64 = 128 << 10;
const LOOKS: usize = 9;

/// Memory at hand, until dropped.
#[derive(Debug)]
pub(super) struct AtHand {
    /// For the record.
    pub(super) fetched: FetchedMemory,
    /// Held for what is kept.
    _pins: Pins,
}

/// How much memory has to be written to, so that so many bytes can be had: all smaller pieces are handed out first. At most half of what is
/// free.
pub(super) fn to_be_fetched(needed: u64) -> io::Result<u64> {
    let pieces = host::pieces_below(PIN_EVERY as u64)?;
    Ok(pieces.saturating_add(needed.max(LEAST_BYTES)).min(host::free_bytes()? / 2))
}

/// Writes to so many bytes of new memory, and what that took in nanoseconds a MiB.
fn touch(bytes: u64) -> io::Result<(Touched, u64)> {
    let (ns, touched) = timed(|| Touched::new(usize::try_from(bytes).unwrap_or(usize::MAX)));
    let per_mib = (u128::from(ns) << 20) / u128::from(bytes.max(1));
    touched.map(|touched| (touched, u64::try_from(per_mib).unwrap_or(u64::MAX)))
}

/// What new memory takes, in nanoseconds a MiB.
pub(super) fn ns_per_mib() -> io::Result<u64> {
    // All are held until the last one is there: what one has had would otherwise be handed to the next.
    let mut looks = (0..LOOKS).map(|_| touch(LOOK_BYTES)).collect::<io::Result<Vec<_>>>()?;
    looks.sort_unstable_by_key(|(_, ns)| *ns);
    Ok(looks.get(LOOKS / 2).map_or(0, |(_, ns)| *ns))
}

/// Writes to so many bytes, and keeps what is needed for them to stay.
pub(super) fn fetch(bytes: u64) -> io::Result<AtHand> {
    let (touched, first_ns_per_mib) = touch(bytes)?;
    let pins = Pins::of(&touched, PIN_EVERY)?;
    drop(touched);
    let (_, again_ns_per_mib) = touch(AGAIN_BYTES.min(bytes))?;
    Ok(AtHand { fetched: FetchedMemory { bytes, first_ns_per_mib, again_ns_per_mib }, _pins: pins })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetched_memory_is_told_with_what_it_took() {
        let fetched = fetch(8 << 20).unwrap().fetched;
        assert_eq!(fetched.bytes, 8 << 20);
        assert!(fetched.first_ns_per_mib > 0 && fetched.again_ns_per_mib > 0, "{fetched:?}");
        assert!(to_be_fetched(0).unwrap() <= to_be_fetched(u64::MAX).unwrap());
    }
}
