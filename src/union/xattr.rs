//! Extended attributes, ACLs and capabilities among them.

use std::ffi::OsStr;

use rustix::fs::XattrFlags;

use super::Errno;
use super::Res;
use super::copy_up::Data;
use super::layers::ACCESS_ACL;
use super::node::{Node, read};
use super::privileges::Caller;
use super::state::Union;

impl Union {
    pub(super) fn getxattr(&self, node: &Node, name: &OsStr) -> Res<Vec<u8>> {
        let place = read(&node.inode.place);
        let target = self.target_of_attributes(&node.inode, &place)?;
        target.xattr(name)?.ok_or(Errno::NODATA)
    }

    pub(super) fn listxattr(&self, node: &Node) -> Res<Vec<u8>> {
        let place = read(&node.inode.place);
        let target = self.target_of_attributes(&node.inode, &place)?;
        target.list_xattrs()
    }

    pub(super) fn setxattr(
        &self,
        node: &Node,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
        caller: Caller,
    ) -> Res<()> {
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
