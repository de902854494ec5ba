//! Memory at hand, so that no case pays for what a hypervisor has to fetch.
//!
//! Many hypervisors are told of free memory and take it away (virtio-balloon's free page reporting). Whoever writes to it next waits until it is
//! back: for a copy into the page cache that can be most of the time, and it falls on whichever driver comes first. What is told are
//! pieces of [`PIN_EVERY`] and more. So memory is written to once, and given back except for a page in each such
//! piece: what is free around these pages is never told, and the kernel hands it out before it breaks a larger piece. They have to stay where
//! they are, and to be one in each piece of memory rather than of addresses, or after some minutes they keep nothing.
//!
//! As much as the cases need is not enough where memory is taken: the kernel's own structures are made from the largest piece that there is. There
//! nearly all is fetched.

use std::io;

use crate::host;
use crate::probe::timed;
use crate::record::FetchedMemory;
use crate::sys::memory::{Pins, Touched};

/// Distance of the pages that are kept: a huge page of most processors, the smallest piece that Linux reports (mm/page_reporting.h).
const PIN_EVERY: usize = 2 << 20;
/// Least memory that any run needs.
const LEAST_BYTES: u64 = 1 << 30;
/// What is written to at once, so that memory that has to be fetched is told from memory that is there.
const CHUNK_BYTES: u64 = 256 << 20;
/// What is left free, at least: somebody else may need it meanwhile.
const LEFT_BYTES: u64 = 1 << 30;
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

/// How much memory is to be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    /// So that what is needed can be had: all smaller pieces are handed out first.
    pub(super) least: u64,
    /// Where some of it has to be fetched.
    most: u64,
}

impl Amount {
    pub(super) fn for_cases(needed: u64) -> io::Result<Amount> {
        let free = host::free_bytes()?;
        let most = free.saturating_sub(LEFT_BYTES.max(free / 16));
        let pieces = host::pieces_below(PIN_EVERY as u64)?;
        Ok(Amount { least: pieces.saturating_add(needed.max(LEAST_BYTES)).min(most), most })
    }
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

/// Whether memory that took so long to write to had to be fetched.
fn had_to_be_fetched(ns_per_mib: u64, at_hand: u64) -> bool {
    ns_per_mib > at_hand.saturating_add(at_hand / 2)
}

/// Writes to memory, and keeps what is needed for it to stay.
pub(super) fn fetch(amount: Amount) -> io::Result<AtHand> {
    let again = || Ok::<u64, io::Error>(touch(AGAIN_BYTES.min(amount.most))?.1);
    again()?;
    let at_hand = again()?;
    let (mut all, mut bytes, mut ns, mut away) = (Vec::new(), 0, 0, false);
    while bytes < amount.least || away && bytes < amount.most {
        let chunk = CHUNK_BYTES.min(amount.most - bytes);
        let (touched, ns_per_mib) = touch(chunk)?;
        all.push(touched);
        bytes += chunk;
        ns += u128::from(ns_per_mib) * u128::from(chunk);
        away |= had_to_be_fetched(ns_per_mib, at_hand);
    }
    let pins = Pins::of(all, PIN_EVERY)?;
    let first_ns_per_mib = u64::try_from(ns / u128::from(bytes.max(1))).unwrap_or(u64::MAX);
    let again_ns_per_mib = again()?;
    Ok(AtHand { fetched: FetchedMemory { bytes, first_ns_per_mib, again_ns_per_mib }, _pins: pins })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetched_memory_is_told_with_what_it_took() {
        let amount = Amount { least: 8 << 20, most: 8 << 20 };
        let fetched = fetch(amount).unwrap().fetched;
        assert_eq!(fetched.bytes, 8 << 20);
        assert!(fetched.first_ns_per_mib > 0 && fetched.again_ns_per_mib > 0, "{fetched:?}");
    }

    #[test]
    fn some_memory_is_left_whatever_is_needed() {
        let (little, much) = (Amount::for_cases(0).unwrap(), Amount::for_cases(u64::MAX).unwrap());
        assert!(little.least <= much.least && much.least == much.most, "{little:?} {much:?}");
        assert!(much.most < host::free_bytes().unwrap().saturating_sub(LEFT_BYTES / 2), "{much:?}");
    }

    #[test]
    fn memory_is_fetched_when_it_takes_half_as_long_again() {
        assert!(had_to_be_fetched(151, 100));
        assert!(!had_to_be_fetched(150, 100));
    }
}
