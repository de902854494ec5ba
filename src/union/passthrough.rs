//! Which file the kernel reads and writes by itself (FUSE passthrough) for a node.
//!
//! The kernel's rules (fs/fuse/iomode.c, Linux 6.9+): while a node is open, all its opens are passthrough with one and the same
//! backing object, or none is; anything else makes open(2) fail with EIO. A file that is copied up while it is open for reading
//! therefore cannot be opened again under the same node: the open is answered with ESTALE, the kernel looks the name up again and
//! gets another node for the same inode. The node with the old opens then only serves them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{OFlags, Stat};

use super::owners::Owners;
use super::privileges::{Caller, SET_ID, as_ordinary_writer};
use super::refusal::PassthroughSwitch;
use super::unopened::Unopened;
use crate::sys::fuse::Backing;

/// How the opens of one node are served.
#[derive(Debug, Default)]
pub(super) struct NodeIo {
    /// Opens that have not been released.
    opens: u32,
    /// Those of them that can write.
    writers: u32,
    /// What the opens of a lower file read from. It and the backing may be there without an open: see `kept`.
    lower: Option<Arc<OwnedFd>>,
    backing: Option<Shared>,
    /// What requests that come without an open are served with.
    unopened: Option<Unopened>,
    /// Whether one of the opens so far may change attributes without the kernel's FUSE side noticing.
    unnoticed: bool,
    /// Whether it is in the list of those that are kept.
    listed: bool,
}

/// What a release leaves to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Released {
    /// Attributes may have changed of which the kernel has to be told.
    pub(super) tell: bool,
    /// The node's file stays open, and belongs into the list of those.
    pub(super) list: bool,
}

/// Who opens a file for writing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer {
    root: bool,
    /// Whether a write could take anything away. Not knowing means yes.
    may_take: bool,
    /// The group of the file, if its set-group-id bit stays when this caller writes.
    member_of: Option<u32>,
    /// Whether the file can be mapped for writing, which takes an open for reading and writing. Writes through a mapping change times and
    /// blocks below and nowhere else; those of write(2) the kernel's FUSE side sees, also where it passes them through.
    pub(super) maps: bool,
}

impl Writer {
    /// The writer that an open with these flags makes of `caller`, if it does. `stat` tells the attributes of the file, if it can.
    pub(super) fn of(
        flags: OFlags,
        caller: Caller,
        stat: impl FnOnce() -> Option<Stat>,
        owners: &Owners,
    ) -> Option<Writer> {
        if !may_write(flags) {
            return None;
        }
        let stat = stat();
        let member = |stat: &Stat| caller.keeps_set_gid(stat.st_mode, owners.show(*stat).st_gid);
        Some(Writer {
            root: caller.is_root(),
            may_take: stat.is_none_or(|stat| stat.st_mode & SET_ID != 0),
            member_of: stat.filter(member).map(|stat| stat.st_gid),
            maps: flags.contains(OFlags::RDWR),
        })
    }
}

/// The backing object that all opens of a node share.
#[derive(Debug)]
struct Shared {
    backing: Arc<Backing>,
    upper: bool,
    /// Whether writes through it keep set-id bits, as root's do.
    keeps_set_id: bool,
}

/// How a new open is to be served.
#[derive(Debug)]
pub(super) enum Serve {
    /// By the kernel.
    Kernel(Arc<Backing>),
    /// By this daemon.
    Daemon,
    /// Not under this node.
    OtherNode,
}

impl NodeIo {
    /// Whether anybody has this node open.
    pub(super) fn is_open(&self) -> bool {
        self.opens > 0
    }

    /// Whether the opens of this node are served from a lower file by the kernel.
    pub(super) fn holds_lower(&self) -> bool {
        self.opens > 0 && self.backing.as_ref().is_some_and(|backing| !backing.upper)
    }

    /// Whether attributes with this mode may change without this daemon, and what the kernel knows of this node, noticing: by writes through
    /// another node (`writers` is how many opens of all nodes can write), and by writes that take set-id bits away from the file below. Those
    /// through a mapping are another matter: see [`Inode::is_mapped`](super::node::Inode::is_mapped).
    pub(super) fn changes_unnoticed(&self, mode: u32, writers: u32) -> bool {
        writers > self.writers || self.writers > 0 && self.backing.is_some() && (self.unnoticed || mode & SET_ID != 0)
    }

    /// The lower file, if the node holds it open.
    pub(super) fn lower_file(&self) -> Option<Arc<OwnedFd>> {
        self.lower.clone()
    }

    /// Counts one more open with the backing that is there.
    pub(super) fn share(&mut self) -> Option<Arc<Backing>> {
        self.opens = self.opens.saturating_add(1);
        self.backing.as_ref().map(|shared| Arc::clone(&shared.backing))
    }

    /// Decides for an open of `file`, which is in the upper or not, and counts it unless it must go elsewhere. `switch` is told what the kernel
    /// refuses.
    pub(super) fn open(
        &mut self,
        file: &Arc<OwnedFd>,
        upper: bool,
        writer: Option<Writer>,
        switch: &PassthroughSwitch,
    ) -> Serve {
        let kept = !upper && self.lower.is_some();
        if self.opens == 0 && !kept {
            self.backing = None;
            self.lower = (!upper).then(|| Arc::clone(file));
            self.unnoticed = false;
            if switch.is_on() {
                // Who opens first decides for all who share it; a reader has no say.
                let keeps_set_id = writer.is_some_and(|writer| writer.root);
                let member_of = writer.and_then(|writer| writer.member_of);
                let hand_over = || switch.hand_over(file);
                // A lower file is not written, with whatever credentials.
                let made = if keeps_set_id || !upper { hand_over() } else { as_ordinary_writer(member_of, hand_over) };
                match made {
                    Ok(backing) => self.backing = Some(Shared { backing: Arc::new(backing), upper, keeps_set_id }),
                    Err(error) => switch.refused(&error),
                }
            }
        } else if let Some(backing) = &self.backing {
            // Of root's writes and those of others, one would be as the other must be.
            let other_writer = writer.is_some_and(|writer| writer.root != backing.keeps_set_id && writer.may_take);
            if backing.upper != upper || other_writer {
                return Serve::OtherNode;
            }
        }
        if let (Some(writer), Some(_)) = (writer, &self.backing) {
            self.unnoticed |= writer.may_take;
        }
        self.writers = self.writers.saturating_add(u32::from(writer.is_some()));
        match self.share() {
            Some(id) => Serve::Kernel(id),
            None => Serve::Daemon,
        }
    }

    /// Takes back one open. With `keep`, what a lower file was served with stays for the next one.
    pub(super) fn release(&mut self, writable: bool, keep: bool) -> Released {
        let tell = writable && self.unnoticed;
        self.writers = self.writers.saturating_sub(u32::from(writable));
        self.opens = self.opens.saturating_sub(1);
        let keep = keep && self.lower.is_some();
        if self.opens == 0 && !keep {
            (self.lower, self.backing) = (None, None);
        }
        let list = self.opens == 0 && keep && !std::mem::replace(&mut self.listed, true);
        Released { tell, list }
    }

    /// What a request that comes without an open is served with, if it is there and right.
    pub(super) fn unopened(&self, upper: bool, write: bool) -> Option<Arc<OwnedFd>> {
        let held = self.unopened.as_ref()?;
        (held.upper == upper && (held.writable || !write)).then(|| Arc::clone(&held.file))
    }

    /// Keeps a file for such requests. Whether the node belongs into the list now.
    pub(super) fn keep_unopened(&mut self, file: Unopened) -> bool {
        self.unopened = Some(file);
        !std::mem::replace(&mut self.listed, true)
    }

    /// Gives away what is only kept, if it is: the node has left the list.
    pub(super) fn take_unused(&mut self) -> Option<impl Send + use<>> {
        self.listed = false;
        let unopened = self.unopened.take();
        let opened = if self.opens > 0 { (None, None) } else { (self.lower.take(), self.backing.take()) };
        (unopened.is_some() || opened.0.is_some()).then_some((unopened, opened))
    }
}

/// Whether an open with these flags can write.
pub(super) fn may_write(flags: OFlags) -> bool {
    flags.intersects(OFlags::WRONLY | OFlags::RDWR)
}
