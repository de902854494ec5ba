//! What a store lies on: file system, device, options, reflink, space.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::mountinfo::{MountEntry, mount_table};
use crate::record::{Feature, StoreInfo};

/// Why a store cannot be described.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}: {errno}", path = path.display())]
pub struct HostError {
    operation: &'static str,
    path: PathBuf,
    errno: io::Error,
}

fn at<'a, E: Into<io::Error>>(operation: &'static str, path: &'a Path) -> impl FnOnce(E) -> HostError + 'a {
    move |errno| HostError { operation, path: path.to_owned(), errno: errno.into() }
}

/// Describes the file system that a folder lies in. The folder must exist; a small file is made in it for a moment, to try reflink.
pub fn store_info(label: &str, path: &Path) -> Result<StoreInfo, HostError> {
    let meta = fs::metadata(path).map_err(at("stat", path))?;
    let table = mount_table().map_err(at("read", Path::new("/proc/self/mountinfo")))?;
    let real = fs::canonicalize(path).map_err(at("resolve", path))?;
    let entry = mount_of(&table, &real, meta.dev());
    let stat = rustix::fs::statvfs(path).map_err(at("statvfs", path))?;
    let device = entry.map(|e| e.source.clone()).unwrap_or_else(|| "unknown".into());
    let block = block_device(meta.dev(), &device);
    let queue = |name: &str| block.as_ref().and_then(|b| fs::read_to_string(b.join("queue").join(name)).ok());
    let fs_type = entry.map(|e| e.fs_type.clone()).unwrap_or_else(|| "unknown".into());
    Ok(StoreInfo {
        label: label.to_owned(),
        path: path.to_string_lossy().into_owned(),
        journal: journal(&fs_type, |name| {
            let device = format!("/sys/dev/block/{}:{}", rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
            let device = fs::canonicalize(device).ok()?;
            fs::read_to_string(Path::new("/sys/fs/ext4").join(device.file_name()?).join(name)).ok()
        }),
        fs_type,
        mount_options: entry.map(|e| join_options(&e.mount_options, &e.super_options)).unwrap_or_default(),
        device,
        scheduler: queue("scheduler").and_then(|text| active_scheduler(&text)),
        rotational_flag: queue("rotational").map(|text| text.trim() == "1"),
        medium: None,
        reflink: reflink(path),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
    })
}

/// Whether a file system has a journal: what ext4 says of its own, and what is so by nature. `None` where nobody says.
fn journal(fs_type: &str, ext4: impl Fn(&str) -> Option<String>) -> Option<bool> {
    match fs_type {
        "ext4" => ext4("journal_task").map(|task| task.trim().parse::<u32>().is_ok()),
        "xfs" | "ext3" | "jfs" => Some(true),
        "ext2" | "vfat" | "tmpfs" | "ramfs" => Some(false),
        _ => None,
    }
}

/// Describes the file system that a store lies in or, when its folder is not there yet, would lie in. Nothing is made.
pub fn store_info_of(label: &str, path: &Path) -> Result<StoreInfo, HostError> {
    let there = path.ancestors().find(|folder| folder.is_dir()).filter(|folder| !folder.as_os_str().is_empty());
    let info = store_info(label, there.unwrap_or(Path::new(".")))?;
    Ok(StoreInfo { path: path.to_string_lossy().into_owned(), ..info })
}

/// The mount that a path lies in: the longest mount point above it, of those the last one mounted, and of its device where that is known
/// (btrfs subvolumes have device numbers of their own).
fn mount_of<'a>(table: &'a [MountEntry], path: &Path, device: u64) -> Option<&'a MountEntry> {
    let above = || table.iter().filter(|entry| path.starts_with(&entry.mountpoint));
    let longest = above().map(|entry| entry.mountpoint.as_os_str().len()).max()?;
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let candidates = || above().filter(|entry| entry.mountpoint.as_os_str().len() == longest);
    candidates().rfind(|entry| entry.device_number == number).or_else(|| candidates().next_back())
}

/// The mount's own options and those of the file system, each word once.
fn join_options(mount: &str, superblock: &str) -> String {
    let mut words: Vec<&str> = mount.split(',').collect();
    for word in superblock.split(',') {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(",")
}

/// Folder of sysfs with the queue of a block device; a partition has its disk's.
fn block_device(number: u64, source: &str) -> Option<PathBuf> {
    let by_number =
        PathBuf::from(format!("/sys/dev/block/{}:{}", rustix::fs::major(number), rustix::fs::minor(number)));
    let by_name = Path::new(source).file_name().map(|name| Path::new("/sys/class/block").join(name));
    let folder = std::iter::once(by_number).chain(by_name).find_map(|path| fs::canonicalize(path).ok())?;
    folder.ancestors().take(2).find(|folder| folder.join("queue").is_dir()).map(Path::to_owned)
}

/// The scheduler in brackets, of a list such as `none [mq-deadline] kyber`.
fn active_scheduler(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(name, _)| name.to_owned())
}

/// Tries FICLONE between two unnamed files in the folder.
fn reflink(folder: &Path) -> Feature {
    let unnamed = || -> io::Result<File> {
        let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        Ok(rustix::fs::open(folder, flags, rustix::fs::Mode::from_raw_mode(0o600))?.into())
    };
    let files = || -> io::Result<(File, File)> {
        let mut from = unnamed()?;
        from.write_all(&[1; 65536])?;
        Ok((from, unnamed()?))
    };
    let (from, to) = match files() {
        Ok(files) => files,
        Err(e) => {
            return Feature::missing(
                format!("not tried: make a file in {}: {e}", folder.display()),
                "give a store in a folder that you may write to",
            );
        }
    };
    match rustix::fs::ioctl_ficlone(&to, &from) {
        Ok(()) => Feature::available("FICLONE works"),
        Err(e) => Feature::missing(
            format!("FICLONE: {}", io::Error::from(e)),
            "put the store on XFS (mkfs.xfs -m reflink=1, the default) or btrfs; elsewhere copy_up copies every byte",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::parse_mountinfo;

    #[test]
    fn a_journal_is_there_or_not_or_not_known() {
        let says = |text: &'static str| move |name: &str| (name == "journal_task").then(|| text.to_owned());
        assert_eq!(journal("ext4", says("142\n")), Some(true));
        assert_eq!(journal("ext4", says("<none>\n")), Some(false));
        assert_eq!(journal("ext4", |_| None), None);
        assert_eq!((journal("xfs", |_| None), journal("tmpfs", |_| None)), (Some(true), Some(false)));
        assert_eq!(journal("btrfs", |_| None), None);
    }

    #[test]
    fn a_path_lies_in_the_longest_mount_and_the_last_of_equals() {
        let table = parse_mountinfo(
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:30 / /mnt rw - tmpfs first rw\n3 1 0:31 / /mnt rw - tmpfs second rw\n",
        );
        let device = rustix::fs::makedev(9, 9);
        assert_eq!(mount_of(&table, Path::new("/mnt/x"), device).unwrap().source, "second");
        assert_eq!(mount_of(&table, Path::new("/mnt/x"), rustix::fs::makedev(0, 30)).unwrap().source, "first");
        assert_eq!(mount_of(&table, Path::new("/mntx"), device).unwrap().source, "/dev/sda1");
    }

    #[test]
    fn options_are_joined_without_repeats_and_the_scheduler_is_the_one_in_brackets() {
        assert_eq!(join_options("rw,relatime", "rw,discard"), "rw,relatime,discard");
        assert_eq!(active_scheduler("none [mq-deadline] kyber\n").unwrap(), "mq-deadline");
        assert_eq!(active_scheduler("none\n"), None);
    }

    #[test]
    fn this_checkout_has_a_file_system_with_space() {
        let info = store_info("here", Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert_ne!(info.fs_type, "unknown");
        assert!(info.total_bytes > 0 && info.free_bytes <= info.total_bytes);
        let missing = store_info("x", Path::new("/no/such/folder")).unwrap_err().to_string();
        assert!(missing.contains("/no/such/folder") && missing.contains("No such file"), "{missing}");
    }
}
