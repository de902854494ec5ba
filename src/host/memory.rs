//! Memory: how much is free to this process, and the control group that is charged for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const MEMINFO: &str = "/proc/meminfo";

/// Version of the hierarchy with the memory controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupVersion {
    /// The first: a hierarchy a controller.
    One,
    /// The unified one.
    Two,
}

impl GroupVersion {
    /// The files that say how many bytes a group may be charged, and is (the kernel's Documentation/admin-guide/cgroup-v1/memory.rst and
    /// cgroup-v2.rst).
    fn limit_and_usage(self) -> [&'static str; 2] {
        match self {
            GroupVersion::One => ["memory.limit_in_bytes", "memory.usage_in_bytes"],
            GroupVersion::Two => ["memory.max", "memory.current"],
        }
    }
}

/// Folder of the group that this process is in, of the hierarchy with the memory controller. In words why there is none, otherwise.
pub fn memory_group() -> Result<(PathBuf, GroupVersion), String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|e| format!("read {path}: {e}"));
    home_group(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)
        .ok_or_else(|| "no memory controller is mounted here".to_owned())
}

/// A line of /proc/meminfo, in bytes; `None` where the kernel has no such line.
pub fn meminfo(name: &str) -> io::Result<Option<u64>> {
    Ok(parse_meminfo(&fs::read_to_string(MEMINFO)?, name))
}

/// Memory that nobody uses and that this process may take, in bytes: no page cache has to go for it, and no limit of a control group is
/// reached.
pub fn free_bytes() -> io::Result<u64> {
    let free = meminfo("MemFree")?.unwrap_or(0);
    let Ok((group, version)) = memory_group() else { return Ok(free) };
    let number = |file: PathBuf| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let rooms = group.ancestors().filter_map(|group| {
        let [limit, usage] = version.limit_and_usage().map(|file| group.join(file));
        // No number ("max"), or no file (the topmost group): no limit.
        Some(number(limit)?.saturating_sub(number(usage)?))
    });
    Ok(rooms.fold(free, u64::min))
}

/// Free memory that lies in pieces of less than so many bytes (/proc/buddyinfo), in bytes.
pub fn pieces_below(bytes: u64) -> io::Result<u64> {
    Ok(parse_buddyinfo(&fs::read_to_string("/proc/buddyinfo")?, rustix::param::page_size() as u64, bytes))
}

/// Each zone has a line of counts: of free pieces of one page, of two, of four and so on.
fn parse_buddyinfo(text: &str, page_bytes: u64, below: u64) -> u64 {
    let counts = |line: &str| {
        let (_, zone) = line.split_once("zone")?;
        let counts: Vec<u64> = zone.split_whitespace().skip(1).filter_map(|count| count.parse().ok()).collect();
        Some(counts.into_iter().zip((0..).map(|order| page_bytes << order)))
    };
    let pieces = text.lines().filter_map(counts).flatten().filter(|(_, size)| *size < below);
    pieces.map(|(count, size)| count.saturating_mul(size)).fold(0, u64::saturating_add)
}

fn parse_meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Version 1's group where there is one, since a controller is in one hierarchy only (cgroups(7), /proc/pid/cgroup).
fn home_group(cgroup: &str, mountinfo: &str) -> Option<(PathBuf, GroupVersion)> {
    let group = |wanted: &dyn Fn(&str, &str) -> bool| {
        cgroup.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            wanted(id, controllers).then_some(path)
        })
    };
    let is_memory = |options: &str| options.split(',').any(|option| option == "memory");
    let (path, version) = match group(&|_, controllers| is_memory(controllers)) {
        Some(path) => (path, GroupVersion::One),
        None => (group(&|id, _| id == "0")?, GroupVersion::Two),
    };
    mountinfo.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (fs_type, options) = (kind.next()?, kind.nth(1)?);
        let mut place = place.split(' ').skip(3);
        let (root, mountpoint) = (place.next()?, place.next()?);
        let right = match version {
            GroupVersion::One => fs_type == "cgroup" && is_memory(options),
            GroupVersion::Two => fs_type == "cgroup2",
        };
        let below = Path::new(path).strip_prefix(root).ok().filter(|_| right)?;
        Some((Path::new(mountpoint).join(below), version))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_process_is_found_in_either_version() {
        let v1 = "31 24 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
                  32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let (one, two) = (GroupVersion::One, GroupVersion::Two);
        assert_eq!(home_group("4:memory:/a/b\n0::/c\n", v1), Some(("/sys/fs/cgroup/memory/a/b".into(), one)));
        let v2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(home_group("0::/user.slice/x\n", v2), Some(("/sys/fs/cgroup/user.slice/x".into(), two)));
        // Inside a container the mount shows a part of the hierarchy.
        let part = "30 24 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(home_group("0::/docker/1\n", part), Some(("/sys/fs/cgroup/".into(), two)));
        assert_eq!(home_group("0::/elsewhere\n", part), None);
        assert_eq!(home_group("4:cpu:/a\n", v1), None);
        assert_eq!(home_group("", ""), None);
    }

    #[test]
    fn a_line_of_meminfo_is_bytes() {
        let text = "MemFree: 1 kB\nCached:           1234 kB\nSwapCached: 5 kB\n";
        assert_eq!(parse_meminfo(text, "Cached"), Some(1234 * 1024));
        assert_eq!(parse_meminfo(text, "Free"), None);
        assert_eq!(parse_meminfo("MemTotal: many\n", "MemTotal"), None);
    }

    #[test]
    fn free_pieces_are_counted_by_their_size() {
        let text = "Node 0, zone      DMA      0      1      3\nNode 0, zone   Normal      5      0      7\n";
        assert_eq!(parse_buddyinfo(text, 4096, 16384), 5 * 4096 + 8192);
        assert_eq!(parse_buddyinfo(text, 4096, u64::MAX), 5 * 4096 + 8192 + 10 * 16384);
        assert_eq!(parse_buddyinfo("", 4096, u64::MAX), 0);
        assert!(pieces_below(u64::MAX).unwrap() > 0);
    }

    #[test]
    fn what_is_free_is_less_than_what_there_is() {
        let (free, all) = (free_bytes().unwrap(), meminfo("MemTotal").unwrap().unwrap());
        assert!(free > 0 && free < all, "{free} of {all}");
    }
}
