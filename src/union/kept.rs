//! Files of lowers that stay open when nobody has them open any more, for who opens them next.
//!
//! Programs open the same files again and again (libraries, modules of an interpreter), and lowers do not change: what the last open was
//! served with serves the next one, which then needs no system call. They are kept until so many others were released later, or until the kernel
//! forgets the node. Opened files of the upper are not kept: they can lose their names, and their space would not come back before the kernel forgets
//! them. Where nobody is asked at opens (see `unopened`) all files are: it is by forgetting that the kernel says that a file is not used any more.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::node::{Node, lock};
use super::state::Union;

/// How many are kept at most. Each holds a descriptor here and half a KiB in the kernel, and the file system below cannot forget the inode.
const MOST: usize = 65_536;

/// The nodes with such files, in the order in which they came.
#[derive(Debug)]
pub(super) struct Kept {
    nodes: Mutex<VecDeque<u64>>,
    most: usize,
}

impl Kept {
    /// `file_limit` is how many files this process may have open. None are kept where somebody may change the lowers.
    pub(super) fn new(file_limit: usize, lowers_may_change: bool) -> Kept {
        let most = if lowers_may_change { 0 } else { MOST.min(file_limit / 4) };
        Kept { nodes: Mutex::default(), most }
    }

    pub(super) fn any(&self) -> bool {
        self.most > 0
    }

    /// How many nodes are in the list; some may be open, or forgotten by now.
    pub(super) fn count(&self) -> usize {
        lock(&self.nodes).len()
    }

    /// Takes one more, and returns the one that has to go for it.
    fn push(&self, node: u64) -> Option<u64> {
        let mut nodes = lock(&self.nodes);
        nodes.push_back(node);
        if nodes.len() > self.most { nodes.pop_front() } else { None }
    }
}

/// How many are closed at once when descriptors are short.
const AT_ONCE: usize = 64;

impl Union {
    /// Closes some of the files that are only kept. Whether there were any.
    pub(super) fn close_kept(&self) -> bool {
        let mut closed = 0;
        for _ in 0..self.kept.count() {
            let Some(id) = lock(&self.kept.nodes).pop_front() else { break };
            let Some(node) = self.table.get(id) else { continue };
            // The caller may hold the opens of another node, or of this one.
            let Ok(mut io) = node.io.try_lock() else {
                lock(&self.kept.nodes).push_back(id);
                continue;
            };
            let unused = io.take_unused();
            drop(io);
            drop(node);
            closed += usize::from(unused.is_some());
            drop(unused);
            self.table.collect(id);
            if closed == AT_ONCE {
                break;
            }
        }
        closed > 0
    }

    /// Takes back one open of a node. Whether it may have changed attributes of which the kernel has to be told.
    pub(super) fn release_io(&self, node: &Node, writable: bool) -> bool {
        let keep = self.kept.any() && !node.inode.is_upper();
        let released = lock(&node.io).release(writable, keep);
        if released.list {
            self.keep(node.id);
        }
        released.tell
    }

    /// Takes a node into the list.
    pub(super) fn keep(&self, node: u64) {
        if let Some(oldest) = self.kept.push(node) {
            if let Some(node) = self.table.get(oldest) {
                self.crew.behind.leave(lock(&node.io).take_unused());
            }
            // It may have been forgotten while it was in our hands.
            self.table.collect(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_are_too_many_and_none_is_kept_where_lowers_may_change() {
        let kept = Kept::new(12, false);
        assert_eq!([1, 2, 3, 4, 5].map(|node| kept.push(node)), [None, None, None, Some(1), Some(2)]);
        assert!(kept.any() && kept.count() == 3);
        assert_eq!(Kept::new(1 << 20, false).most, MOST);
        assert!(!Kept::new(1 << 20, true).any());
    }
}
