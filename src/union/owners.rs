//! Maps of owners: a file lies in the layers with the ids of a container, and is shown with those that stand for them outside, so that one
//! image serves containers with different user namespaces and nothing has to be chowned. The words are those of fuse-overlayfs, which
//! Podman gives to its `mount_program`.
//!
//! Everything inside the union speaks of stored ids. They are mapped where a request comes in and where an answer goes out: in attributes,
//! in owners of what is made, in chown(2), and in POSIX ACLs, which name users and groups.

use std::ffi::OsStr;

use rustix::fs::Stat;

use super::attr::Change;
use super::layers::{ACCESS_ACL, DEFAULT_ACL};
use super::{Errno, Res};

/// Who owns a file that has an id outside the map, as far as anybody can see (overflowuid and overflowgid of Linux).
const NOBODY: u32 = 65534;

/// How the ids of users, or of groups, are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum IdMap {
    /// As they are.
    #[default]
    Identity,
    /// Ranges of ids, each beginning at another number; what is in none of them belongs to nobody.
    Ranges(Vec<IdRange>),
    /// All as this one; what is made, or changed, is stored with the id asked for.
    Squash(u32),
}

/// `count` ids, from `stored` on in the layers, from `shown` on in the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IdRange {
    /// First id in the layers: the one inside the container.
    stored: u32,
    /// First id in the mount: the one outside.
    shown: u32,
    /// How many.
    count: u32,
}

/// Where `id` lies in a range of `count` ids that begins at `from`, when there begins at `to` another.
fn shifted(id: u32, from: u32, to: u32, count: u32) -> Option<u32> {
    id.checked_sub(from).filter(|offset| *offset < count).map(|offset| to + offset)
}

impl IdMap {
    /// Ranges as `stored:shown:count`, one behind the other; Podman begins with a colon.
    ///
    /// # Errors
    /// What is wrong with them, for a message.
    pub(super) fn parse(text: &str) -> Result<IdMap, String> {
        let numbers: Result<Vec<u32>, _> = text.strip_prefix(':').unwrap_or(text).split(':').map(str::parse).collect();
        let numbers = numbers.unwrap_or_default();
        let (triples, rest) = numbers.as_chunks::<3>();
        if triples.is_empty() || !rest.is_empty() {
            return Err("needs triples of numbers below 2^32".into());
        }
        let ranges: Vec<IdRange> =
            triples.iter().map(|&[stored, shown, count]| IdRange { stored, shown, count }).collect();
        for (n, range) in ranges.iter().enumerate() {
            let IdRange { stored, shown, count } = *range;
            let text = format!("{stored}:{shown}:{count}");
            if count == 0 {
                return Err(format!("{text} maps nothing"));
            }
            if stored.max(shown).checked_add(count - 1).is_none_or(|last| last == u32::MAX) {
                return Err(format!("{text} goes beyond the last id, 4294967294"));
            }
            let meets = |a: u32, b: u32, others: u32| a < b.saturating_add(others) && b < a.saturating_add(count);
            let other = ranges
                .iter()
                .take(n)
                .find(|other| meets(stored, other.stored, other.count) || meets(shown, other.shown, other.count));
            if let Some(IdRange { stored, shown, count }) = other {
                return Err(format!("{text} and {stored}:{shown}:{count} overlap"));
            }
        }
        Ok(IdMap::Ranges(ranges))
    }

    fn shown(&self, id: u32) -> u32 {
        match self {
            IdMap::Identity => id,
            IdMap::Ranges(ranges) => {
                ranges.iter().find_map(|r| shifted(id, r.stored, r.shown, r.count)).unwrap_or(NOBODY)
            }
            IdMap::Squash(all) => *all,
        }
    }

    /// EOVERFLOW outside the map, which is what a mount that the kernel maps by itself (mount_setattr(2)) answers.
    fn stored(&self, id: u32) -> Res<u32> {
        match self {
            IdMap::Identity | IdMap::Squash(_) => Ok(id),
            IdMap::Ranges(ranges) => {
                ranges.iter().find_map(|r| shifted(id, r.shown, r.stored, r.count)).ok_or(Errno::OVERFLOW)
            }
        }
    }
}

/// The maps of a mount, of users and of groups. They come from words of `-o` alone, which are checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    pub(super) uid: IdMap,
    pub(super) gid: IdMap,
}

impl Owners {
    /// Attributes as the mount shows them.
    pub(super) fn show(&self, mut stat: Stat) -> Stat {
        stat.st_uid = self.uid.shown(stat.st_uid);
        stat.st_gid = self.gid.shown(stat.st_gid);
        stat
    }

    /// To whom belongs in the layers what a user and a group of the mount make. Outside the map it is nobody: an engine makes files in a
    /// container's root as the host's root, and gives them away afterwards.
    pub(super) fn store(&self, uid: u32, gid: u32) -> (u32, u32) {
        (self.uid.stored(uid).unwrap_or(NOBODY), self.gid.stored(gid).unwrap_or(NOBODY))
    }

    /// A change as it is asked for in the mount, with the owners that it means in the layers.
    pub(super) fn store_change(&self, change: Change) -> Res<Change> {
        let uid = change.uid.map(|uid| self.uid.stored(uid)).transpose()?;
        let gid = change.gid.map(|gid| self.gid.stored(gid)).transpose()?;
        Ok(Change { uid, gid, ..change })
    }

    /// An extended attribute as the mount shows it.
    pub(super) fn show_xattr(&self, name: &OsStr, value: Vec<u8>) -> Res<Vec<u8>> {
        self.map_acl(name, value, |map, id| Ok(map.shown(id)))
    }

    /// An extended attribute as the layers keep it.
    pub(super) fn store_xattr(&self, name: &OsStr, value: Vec<u8>) -> Res<Vec<u8>> {
        self.map_acl(name, value, IdMap::stored)
    }

    /// Maps the ids in an ACL. It is a header of four bytes and entries of eight: tag and permissions of two bytes, id of four, all of them
    /// with the lowest byte first (include/uapi/linux/posix_acl_xattr.h).
    fn map_acl(&self, name: &OsStr, mut value: Vec<u8>, map: impl Fn(&IdMap, u32) -> Res<u32>) -> Res<Vec<u8>> {
        const HEADER: usize = 4;
        const USER: u16 = 0x02;
        const GROUP: u16 = 0x08;
        if *self == Owners::default() || name != ACCESS_ACL && name != DEFAULT_ACL {
            return Ok(value);
        }
        for [tag_low, tag_high, _, _, id @ ..] in value.get_mut(HEADER..).unwrap_or_default().as_chunks_mut::<8>().0 {
            let ids = match u16::from_le_bytes([*tag_low, *tag_high]) {
                USER => &self.uid,
                GROUP => &self.gid,
                // The owner, its group, the others, the mask: they name nobody.
                _ => continue,
            };
            *id = map(ids, u32::from_le_bytes(*id))?.to_le_bytes();
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_move_with_their_range_and_the_rest_belongs_to_nobody() {
        // What Podman writes for `--userns=keep-id` of user 1000, roughly.
        let map = IdMap::parse(":0:1:1000:1000:0:1:1001:1001:64536").unwrap();
        for (stored, shown) in [(0, 1), (999, 1000), (1000, 0), (1001, 1001), (65536, 65536)] {
            assert_eq!((map.shown(stored), map.stored(shown)), (shown, Ok(stored)), "{stored}");
        }
        assert_eq!((map.shown(65537), map.stored(65537)), (NOBODY, Err(Errno::OVERFLOW)));
        let squash = IdMap::Squash(7);
        assert_eq!((squash.shown(0), squash.shown(1000), squash.stored(1000)), (7, 7, Ok(1000)));
        let all = IdMap::parse("0:0:4294967295").unwrap();
        assert_eq!(all.shown(u32::MAX - 1), u32::MAX - 1);
    }

    #[test]
    fn a_map_that_is_none_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "triples"),
            ("0:0", "triples"),
            ("0:0:1:5", "triples"),
            ("0:x:1", "triples"),
            ("0:0:-1", "triples"),
            ("0:0:4294967296", "triples"),
            ("0:1000:0", "maps nothing"),
            ("0:0:10:9:100:1", "9:100:1 and 0:0:10 overlap"),
            ("0:5:10:100:0:6", "100:0:6 and 0:5:10 overlap"),
            ("1:0:4294967295", "beyond the last id"),
            ("0:4294967290:10", "beyond the last id"),
        ] {
            let error = IdMap::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(IdMap::parse("0:10:10:10:0:10").is_ok(), "neighbours do not overlap");
    }

    #[test]
    fn only_the_named_entries_of_an_acl_are_mapped() {
        let owners = Owners { uid: IdMap::parse("0:100:50").unwrap(), gid: IdMap::parse("0:200:50").unwrap() };
        let acl = |user: u32, group: u32| {
            let mut acl = 2u32.to_le_bytes().to_vec();
            for (tag, id) in [(0x01u16, u32::MAX), (0x02, user), (0x04, u32::MAX), (0x08, group), (0x20, u32::MAX)] {
                acl.extend(tag.to_le_bytes());
                acl.extend(6u16.to_le_bytes());
                acl.extend(id.to_le_bytes());
            }
            acl
        };
        for name in [ACCESS_ACL, DEFAULT_ACL].map(OsStr::new) {
            assert_eq!(owners.show_xattr(name, acl(3, 4)), Ok(acl(103, 204)));
            assert_eq!(owners.store_xattr(name, acl(103, 204)), Ok(acl(3, 4)));
            assert_eq!(owners.store_xattr(name, acl(3, 204)), Err(Errno::OVERFLOW));
            // Cut off in the middle of an entry, or of the header: what is whole is mapped.
            assert_eq!(owners.show_xattr(name, acl(3, 4)[..21].to_vec()), Ok(acl(103, 4)[..21].to_vec()));
            assert_eq!(owners.show_xattr(name, vec![2, 0]), Ok(vec![2, 0]));
        }
        assert_eq!(owners.show_xattr(OsStr::new("user.x"), acl(3, 4)), Ok(acl(3, 4)));
    }
}
