//! What a write takes away: the set-user-id and set-group-id bits of a file, so that nobody can change a program and have it run as its
//! owner (file_remove_privs in fs/inode.c). File capabilities the file system below takes away by itself.
//!
//! The kernel leaves this to us (FUSE_HANDLE_KILLPRIV_V2), because it would have to ask for the file's capabilities before every write.
//! Truncations, and writes that this daemon serves, are followed by a look at the mode. Writes that the kernel passes through are done with
//! the credentials that the daemon had when it handed the file over; without CAP_FSETID among them, the file system below takes the bits
//! away at the first write.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::Mode;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::Res;
use super::node::Node;
use super::state::Union;

const SET_UID: u32 = 0o4000;
pub(super) const SET_GID: u32 = 0o2000;
/// The bits that let a program run as its owner or group.
pub(super) const SET_ID: u32 = SET_UID | SET_GID;
const GROUP_EXECUTE: u32 = 0o0010;

/// The mode of a regular file after somebody without privileges wrote it (setattr_should_drop_suidgid in fs/attr.c): set-group-id without the
/// group's permission to execute means mandatory locking, and stays.
pub(super) fn after_write(mode: u32) -> u32 {
    let group = if mode & GROUP_EXECUTE != 0 { SET_GID } else { 0 };
    mode & !(SET_UID | group)
}

/// Runs `hand_over` such that writes through the file it hands to the kernel take set-id bits away.
pub(super) fn as_ordinary_writer<T>(hand_over: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // They are this thread's alone, and nothing else here changes them.
    thread_local!(static OWN: Cell<Option<CapabilitySets>> = const { Cell::new(None) });
    let own = match OWN.get() {
        Some(own) => own,
        None => capabilities(None)?,
    };
    OWN.set(Some(own));
    if !own.effective.contains(CapabilitySet::FSETID) {
        return hand_over();
    }
    let mut fewer = own;
    fewer.effective.remove(CapabilitySet::FSETID);
    set_capabilities(None, fewer)?;
    let result = hand_over();
    set_capabilities(None, own)?;
    result
}

impl Union {
    /// Takes the set-id bits of a file away after `uid` has changed its content. Root keeps them, as elsewhere.
    pub(super) fn take_set_id(&self, node: &Node, file: impl AsFd, uid: u32) -> Res<()> {
        if uid == 0 { Ok(()) } else { self.take_set_id_bits(node, file) }
    }

    /// As [`take_set_id`](Union::take_set_id), whoever wrote.
    pub(super) fn take_set_id_bits(&self, node: &Node, file: impl AsFd) -> Res<()> {
        let mode = rustix::fs::fstat(&file)?.st_mode;
        let kept = after_write(mode);
        if kept != mode {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(kept & 0o7777))?;
            self.attributes_changed(node);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_group_id_stays_where_the_group_may_not_execute() {
        for (before, after) in
            [(0o4755, 0o755), (0o6755, 0o755), (0o2755, 0o755), (0o2644, 0o2644), (0o6644, 0o2644), (0o1644, 0o1644)]
        {
            assert_eq!(after_write(before), after, "{before:o}");
        }
    }
}
