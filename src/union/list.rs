//! Listing directories.
//!
//! There are no open directories here: a listing goes on from the cookie of the last name that was handed out, and the index keeps
//! cookies valid (see `index`). The kernel therefore need not tell of opendir(3), and keeps listings itself.
//!
//! A listing shows nothing that came after it began: a program that makes or renames a file for each one it is shown would never come to
//! an end. Where it ends is in every cookie, for want of an open directory to keep it in. It is another place after each change of the
//! directory, and so are cookies.
//!
//! The kernel keeps the first listing that comes to its end, and compares it with the directory only where another one begins
//! (fuse_readdir_cached in fs/fuse/readdir.c). One that began earlier looks there for the cookie at which it is to go on, does not find it, and
//! asks here, unless what is kept fills its pages to the last byte: then the kernel takes that for the end. So before a listing is told
//! that it has come to its end, the kernel is made to drop what it keeps, where that is so, and where the directory changed since the listing
//! began: names that are gone must not be kept, and what was listed meanwhile may be of any length.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags};
use rustix::param::page_size;

use super::index::Entry;
use super::layers::UPPER;
use super::look_up::Found;
use super::node::{Node, read};
use super::state::Union;
use super::{Errno, Res};

/// How positions are kept in cookies: how many bits there are for a place, and as many for the place where the listing ends. A sign bit stays
/// clear: cookies are positions of lseek(2).
#[derive(Debug, Clone, Copy)]
struct Form {
    place_bits: u32,
}

/// As a rule.
const WIDE: Form = Form { place_bits: 31 };
/// For programs that have 31 bits for all.
const NARROW: Form = Form { place_bits: 15 };

impl Form {
    fn place_max(self) -> u64 {
        (1 << self.place_bits) - 1
    }

    /// From here on a cookie holds nothing but a place. A directory that was changed a thousand million times, or of the narrow ones some ten
    /// thousand, keeps its listings, without the end.
    fn endless(self) -> u64 {
        1 << (2 * self.place_bits)
    }
}

/// Where a listing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    /// Place of the last name that was handed out.
    place: u64,
    /// Place of the last name that may be.
    end: u64,
}

impl Position {
    /// Of a listing that begins at 0 while `newest` is the last place that was given away.
    fn from_cookie(cookie: u64, newest: u64, form: Form) -> Position {
        if cookie == 0 {
            Position { place: 0, end: newest }
        } else if cookie >= form.endless() {
            Position { place: cookie - form.endless(), end: u64::MAX }
        } else {
            Position { place: cookie >> form.place_bits, end: cookie & form.place_max() }
        }
    }

    fn cookie(self, form: Form) -> u64 {
        if self.end > form.place_max() {
            form.endless().saturating_add(self.place)
        } else {
            self.place << form.place_bits | self.end
        }
    }
}

/// Places of `.` and `..`; the names of the index follow.
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

/// One name of a listing.
#[derive(Debug)]
pub(super) struct Listed<'a> {
    /// Where to go on after it.
    pub(super) cookie: u64,
    pub(super) name: &'a OsStr,
    pub(super) kind: FileType,
    pub(super) ino: u64,
}

/// What a look-up says of a name that is listed.
#[derive(Debug, Clone, Copy)]
pub(super) enum LookedUp<'a> {
    Found(&'a Found),
    /// It is not for `.` and `..`.
    Never,
    /// The name is there, but what it leads to cannot be looked at: the disk does not answer, or no descriptor is left.
    InVain,
}

/// What whoever takes the names says to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// It was taken.
    Left,
    /// It is left out.
    Unused,
    /// It did not fit any more.
    None,
}

impl Union {
    /// Hands out the names after `cookie` until there is no more room. 0 is the beginning.
    pub(super) fn list(&self, id: u64, cookie: u64, mut take: impl FnMut(&Listed<'_>) -> Room) -> Res<()> {
        self.walk(&*self.node(id)?, cookie, |listed, _| take(listed))
    }

    /// As [`list`](Union::list), with a look-up of each name; `.` and `..` have none. A look-up that found no room is taken back.
    pub(super) fn list_with_look_ups(
        &self,
        id: u64,
        cookie: u64,
        mut take: impl FnMut(&Listed<'_>, LookedUp<'_>) -> Room,
    ) -> Res<()> {
        let node = self.node(id)?;
        self.walk(&node, cookie, |listed, entry| {
            let Some(entry) = entry else { return take(listed, LookedUp::Never) };
            let (child, stat) = match self.child(&node.inode, listed.name, entry) {
                Ok(found) => found,
                // Somebody changed the layer behind our back: there is no such name any more.
                Err(Errno::NOENT | Errno::STALE) => return Room::Unused,
                Err(_) => return take(listed, LookedUp::InVain),
            };
            let found = Found { node: self.table.look_up(&child), stat };
            let room = take(listed, LookedUp::Found(&found));
            if room == Room::None {
                let id = found.node.id;
                // Who still holds it keeps it.
                drop((child, found));
                self.table.forget(id, 1);
            } else {
                self.counters.listed();
            }
            room
        })
    }

    fn walk(&self, node: &Node, cookie: u64, mut take: impl FnMut(&Listed<'_>, Option<&Entry>) -> Room) -> Res<()> {
        let inode = &node.inode;
        let parent = inode.name().map_or(inode.ino, |(parent, _)| parent.ino);
        let index = self.read_index(inode)?;
        let newest = index.newest().saturating_add(DOT_DOT);
        let form = if self.options.inode32 { NARROW } else { WIDE };
        let at = Position::from_cookie(cookie, newest, form);
        let cookie = |place| Position { place, ..at }.cookie(form);
        let mut nothing = true;
        let mut take = |listed: &Listed<'_>, entry: Option<&Entry>| {
            let room = take(listed, entry);
            nothing &= room != Room::Left;
            room
        };
        for (dot, name, ino) in [(DOT, ".", inode.ino), (DOT_DOT, "..", parent)] {
            let listed = Listed { cookie: cookie(dot), name: OsStr::new(name), kind: FileType::Directory, ino };
            if at.place < dot && take(&listed, None) == Room::None {
                return Ok(());
            }
        }
        for (place, name, entry, kind) in index.after(at.place.saturating_sub(DOT_DOT)) {
            let place = place.saturating_add(DOT_DOT);
            if place > at.end {
                break;
            }
            let ino = entry.ino(|| self.table.numbers.for_name(inode, name));
            if take(&Listed { cookie: cookie(place), name, kind, ino }, Some(entry)) == Room::None {
                break;
            }
        }
        let misleads = || {
            let names = index.after(0).map(|(_, name, ..)| name);
            at.end != newest || fills_pages([OsStr::new("."), OsStr::new("..")].into_iter().chain(names), page_size())
        };
        if nothing && misleads() {
            // Nothing is locked while the kernel is told.
            drop(index);
            self.content_changed(node);
        }
        Ok(())
    }

    pub(super) fn fsyncdir(&self, id: u64) -> Res<()> {
        let inode = self.inode(id)?;
        let place = read(&inode.place);
        if place.layer != UPPER {
            return Ok(());
        }
        let fd = self.target(&inode, UPPER, place.orphan.as_ref())?.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
        rustix::fs::fsync(fd.as_fd())
    }
}

/// Whether these names fill pages to the last byte, as the kernel keeps them (fuse_add_dirent_to_cache in fs/fuse/readdir.c).
fn fills_pages<'a>(names: impl Iterator<Item = &'a OsStr>, page: usize) -> bool {
    /// Of `struct fuse_dirent`, without the name.
    const HEADER: usize = 24;
    let filled = names.fold(0, |filled, name| {
        let entry = (HEADER + name.len()).next_multiple_of(8);
        // What does not fit into the rest of a page begins the next one.
        if filled + entry > page { entry } else { filled + entry }
    });
    filled == page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fill_pages_as_the_kernel_packs_them() {
        let fills = |lengths: &[usize]| {
            let names: Vec<String> = lengths.iter().map(|length| "n".repeat(*length)).collect();
            fills_pages(names.iter().map(OsStr::new), 128)
        };
        assert!(!fills(&[]) && !fills(&[1, 2, 3]) && fills(&[1, 2, 3, 8]) && !fills(&[1, 2, 3, 9]));
        // 96, and 40 that begin a page.
        assert!(fills(&[1, 2, 3, 9, 1, 32]) && !fills(&[1, 2, 3, 9, 1, 1, 1]));
    }

    #[test]
    fn a_cookie_holds_place_and_end_and_is_a_position_of_lseek() {
        for (form, most) in [(WIDE, i64::MAX as u64), (NARROW, i32::MAX as u64)] {
            let max = form.place_max();
            for end in [2, 1000, max] {
                for place in [1, 2, 77, max] {
                    let position = Position { place, end };
                    assert!((1..form.endless()).contains(&position.cookie(form)));
                    assert_eq!(Position::from_cookie(position.cookie(form), 5, form), position);
                }
            }
            assert_eq!(Position::from_cookie(0, 5, form), Position { place: 0, end: 5 });
            for more in [9, form.endless() - max - 1] {
                let large = Position { place: max + more, end: max + 10 };
                assert!((form.endless()..=most).contains(&large.cookie(form)));
                assert_eq!(Position::from_cookie(large.cookie(form), 5, form), Position { end: u64::MAX, ..large });
            }
        }
    }
}
