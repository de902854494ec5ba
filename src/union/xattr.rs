//! Extended attributes, ACLs and capabilities among them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::XattrFlags;

use super::Errno;
use super::Res;
use super::copy_up::Data;
use super::layers::{ACCESS_ACL, is_of_overlay};
use super::node::{Node, read};
use super::privileges::Caller;
use super::state::Union;

/// Prefix of names that are listed to administrators alone (xattr(7)).
const TRUSTED: &[u8] = b"trusted.";

impl Union {
    pub(super) fn getxattr(&self, node: &Node, name: &OsStr) -> Res<Vec<u8>> {
        let place = read(&node.inode.place);
        let target = self.target_of_attributes(&node.inode, &place)?;
        target.xattr(name)?.ok_or(Errno::NODATA)
    }

    pub(super) fn listxattr(&self, node: &Node, caller: Caller) -> Res<Vec<u8>> {
        let place = read(&node.inode.place);
        let target = self.target_of_attributes(&node.inode, &place)?;
        let mut names = target.list_xattrs()?;
        // The file system below shows them to this daemon. Few files have any.
        let hidden = |name: &[u8]| is_of_overlay(name) || name.starts_with(TRUSTED) && !caller.is_administrator();
        if names.split_inclusive(|byte| *byte == 0).any(hidden) {
            names = names.split_inclusive(|byte| *byte == 0).filter(|name| !hidden(name)).flatten().copied().collect();
        }
        Ok(names)
    }

    pub(super) fn setxattr(
        &self,
        node: &Node,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
        caller: Caller,
    ) -> Res<()> {
        if is_of_overlay(name.as_bytes()) {
            // It would say something of the layers, and hide what is below a directory. The kernel's overlay answers so, too.
            return Err(Errno::OPNOTSUPP);
        }
        self.copy_up(&node.inode, Data::Whole)?;
        let place = read(&node.inode.place);
        let target = self.target_of_attributes(&node.inode, &place)?;
        target.set_xattr(name, value, flags)?;
        if name == ACCESS_ACL {
            self.take_set_gid(&target, caller)?;
        }
        // An ACL is a mode as well.
        self.face_changed(node);
        Ok(())
    }

    pub(super) fn removexattr(&self, node: &Node, name: &OsStr) -> Res<()> {
        // An attribute that is not there is no reason to copy a file up.
        self.getxattr(node, name)?;
        self.copy_up(&node.inode, Data::Whole)?;
        let place = read(&node.inode.place);
        let target = self.target_of_attributes(&node.inode, &place)?;
        target.remove_xattr(name)?;
        self.face_changed(node);
        Ok(())
    }
}
