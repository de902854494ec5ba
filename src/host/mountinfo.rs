//! The mount table: /proc/thread-self/mountinfo, as proc_pid_mountinfo(5) describes it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Where.
    pub mountpoint: PathBuf,
    /// Device number, `major:minor`.
    pub device_number: String,
    /// Which folder of the file system is shown there.
    pub root: PathBuf,
    /// File system type, with the subtype after a dot.
    pub fs_type: String,
    /// Source: a device, or a name.
    pub source: String,
    /// Options of this mount (`rw`, `relatime`).
    pub mount_options: String,
    /// Options of the file system.
    pub super_options: String,
}

/// Parses a mount table; lines that are not of its form are passed over, since a newer kernel may know more.
pub fn parse_mountinfo(text: &str) -> Vec<MountEntry> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<MountEntry> {
    // id parent major:minor root mountpoint options [optional fields] - type source super-options
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ');
    let device_number = before.nth(2)?.to_owned();
    let root = unescape(before.next()?);
    let mountpoint = unescape(before.next()?);
    let mount_options = before.next()?.to_owned();
    let mut after = after.splitn(3, ' ');
    Some(MountEntry {
        mountpoint,
        device_number,
        root,
        fs_type: after.next()?.to_owned(),
        source: unescape(after.next()?).to_string_lossy().into_owned(),
        mount_options,
        super_options: after.next().unwrap_or_default().to_owned(),
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits after a backslash.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let octal = (byte == b'\\').then(|| text.get(at + 1..at + 4)).flatten();
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) => {
                out.push(value);
                at += 4;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

/// The mount table of the calling thread's namespace.
pub fn mount_table() -> io::Result<Vec<MountEntry>> {
    let bytes = std::fs::read("/proc/thread-self/mountinfo")?;
    Ok(parse_mountinfo(&String::from_utf8_lossy(&bytes)))
}

/// Mount points at or below a folder, outer ones first.
pub fn mounts_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = std::path::absolute(folder)?;
    let mut found: Vec<PathBuf> = mount_table()?
        .into_iter()
        .map(|entry| entry.mountpoint)
        // A store may itself be a mount; that one is not ours.
        .filter(|path| path.starts_with(&folder) && path.as_os_str().as_bytes() != folder.as_os_str().as_bytes())
        .collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_optional_fields_and_escapes() {
        let text = "36 35 98:0 /mnt1 /mnt/with\\040space rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n\
                    garbage\n\
                    37 35 0:41 / /m rw - fuse.layerbench layerbench rw,user_id=0\n";
        let entries = parse_mountinfo(text);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].mountpoint, Path::new("/mnt/with space"));
        assert_eq!(entries[0].device_number, "98:0");
        assert_eq!((entries[0].fs_type.as_str(), entries[0].super_options.as_str()), ("ext3", "rw,errors=continue"));
        assert_eq!((entries[1].fs_type.as_str(), entries[1].source.as_str()), ("fuse.layerbench", "layerbench"));
    }

    #[test]
    fn a_backslash_that_is_no_escape_stays() {
        assert_eq!(unescape("a\\b\\04"), Path::new("a\\b\\04"));
        assert_eq!(unescape("a\\134b"), Path::new("a\\b"));
    }
}
