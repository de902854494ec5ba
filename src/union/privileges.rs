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

use nix::unistd::{Gid, setfsgid};
use rustix::fs::Mode;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::Res;
use super::node::Node;
use super::state::Union;
use super::target::Target;

const SET_UID: u32 = 0o4000;
pub(super) const SET_GID: u32 = 0o2000;
/// The bits of a mode that chmod(2) sets.
pub(super) const PERMISSIONS: u32 = 0o7777;
/// The bits that let a program run as its owner or group.
pub(super) const SET_ID: u32 = SET_UID | SET_GID;
const GROUP_EXECUTE: u32 = 0o0010;

/// Who asks for something, with the ids that the mount shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The thread; 0 if it is not known.
    pub(super) tid: u32,
}

impl Caller {
    /// Whether writes and changes take nothing away. The kernel does not tell us of CAP_FSETID.
    pub(super) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether this is one of the caller's groups.
    fn is_in(&self, gid: u32) -> bool {
        let groups = || self.status("Groups:").unwrap_or_default();
        self.gid == gid || groups().split_whitespace().any(|group| group.parse() == Ok(gid))
    }

    /// Whether the caller has CAP_SYS_ADMIN in the user namespace of this daemon. Where /proc does not say, root has.
    pub(super) fn is_administrator(&self) -> bool {
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/user")).ok();
        let effective = self.status("CapEff:").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        effective.map_or(self.is_root(), |effective| {
            CapabilitySet::from_bits_retain(effective).contains(CapabilitySet::SYS_ADMIN)
                && namespace(&self.tid.to_string()) == namespace("self")
        })
    }

    /// What a line of the thread's status says (proc_pid_status(5)).
    fn status(&self, word: &str) -> Option<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.tid)).ok()?;
        status.lines().find_map(|line| line.strip_prefix(word)).map(str::to_string)
    }

    /// Whether the caller's change leaves a set-group-id bit without the group's permission to execute, which means mandatory locking, in
    /// a file of this group, as the mount shows it.
    pub(super) fn keeps_set_gid(&self, mode: u32, gid: u32) -> bool {
        mode & (SET_GID | GROUP_EXECUTE) == SET_GID && self.is_in(gid)
    }
}

/// The mode of a regular file after somebody without privileges wrote it (setattr_should_drop_suidgid in fs/attr.c).
pub(super) fn after_write(mode: u32, keeps_set_gid: bool) -> u32 {
    mode & !(if keeps_set_gid { SET_UID } else { SET_ID })
}

/// Runs `hand_over` such that writes through the file it hands to the kernel take set-id bits away, but for the set-group-id bit of a file of
/// the group `member_of` that its members would leave.
pub(super) fn as_ordinary_writer<T>(
    member_of: Option<u32>,
    hand_over: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let Some(gid) = member_of else { return without_privilege(hand_over) };
    // Of this thread, and for the file systems below alone.
    let own = setfsgid(Gid::from_raw(gid));
    let result = without_privilege(hand_over);
    setfsgid(own);
    result
}

fn without_privilege<T>(hand_over: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
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
    /// Takes the set-id bits of a file away after somebody has changed its content. Root keeps them, as elsewhere.
    pub(super) fn take_set_id(&self, node: &Node, file: impl AsFd, caller: Caller) -> Res<()> {
        if caller.is_root() { Ok(()) } else { self.take_set_id_bits(node, file, caller) }
    }

    /// As [`take_set_id`](Union::take_set_id), also from root.
    pub(super) fn take_set_id_bits(&self, node: &Node, file: impl AsFd, caller: Caller) -> Res<()> {
        let stat = self.options.owners.show(rustix::fs::fstat(&file)?);
        let mode = stat.st_mode;
        if mode & SET_ID == 0 {
            return Ok(());
        }
        let kept = after_write(mode, caller.keeps_set_gid(mode, stat.st_gid));
        if kept != mode {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(kept & PERMISSIONS))?;
            self.attributes_changed(node);
        }
        Ok(())
    }

    /// Takes the set-group-id bit away if somebody changes the owner, or who has access (posix_acl_update_mode in fs/posix_acl.c), who is not in
    /// the group. The kernel does so by itself for chmod(2).
    pub(super) fn take_set_gid(&self, target: &Target, caller: Caller) -> Res<()> {
        let stat = self.options.owners.show(target.stat()?);
        if stat.st_mode & SET_GID != 0 && !caller.is_root() && !caller.is_in(stat.st_gid) {
            target.chmod(stat.st_mode & !SET_GID)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_group_id_stays_where_the_group_may_not_execute_and_its_member_writes() {
        let member = Caller { uid: 1, gid: 5, tid: 0 };
        let other = Caller { gid: 6, ..member };
        for (before, by_member, by_other) in [
            (0o4755, 0o755, 0o755),
            (0o6755, 0o755, 0o755),
            (0o2755, 0o755, 0o755),
            (0o2644, 0o2644, 0o644),
            (0o6644, 0o2644, 0o644),
            (0o1644, 0o1644, 0o1644),
        ] {
            let after = |caller: Caller| after_write(before, caller.keeps_set_gid(before, 5));
            assert_eq!((after(member), after(other)), (by_member, by_other), "{before:o}");
        }
    }

    #[test]
    fn groups_besides_the_first_count() {
        let own = rustix::process::getgroups().unwrap();
        let tid = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        let caller = Caller { uid: 1, gid: u32::MAX - 1, tid };
        assert!(own.iter().all(|group| caller.is_in(group.as_raw())));
        assert!(caller.is_in(u32::MAX - 1) && !caller.is_in(u32::MAX - 2));
    }
}
