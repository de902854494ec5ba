//! The first root file system of a guest, as the archive that the kernel unpacks: cpio in the "newc" format
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel). Pure: it reads no file and needs no privileges, also for devices.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Kind bits of a mode (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive that is being written, in memory.
#[derive(Debug, Default)]
pub(super) struct Initramfs {
    bytes: Vec<u8>,
    inode: u32,
    made: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// Adds a folder, and those above it, once. Paths are absolute.
    pub(super) fn folder(&mut self, path: &Path) {
        if path.parent().is_none() || !self.made.insert(path.to_owned()) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.folder(parent);
        }
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// Adds a file, unless something has the name already. Whether it was added.
    pub(super) fn file(&mut self, path: &Path, mode: u32, content: &[u8]) -> bool {
        let new = self.name(path);
        if new {
            self.entry(path, FILE | mode, (0, 0), content);
        }
        new
    }

    /// Adds a symbolic link.
    pub(super) fn symlink(&mut self, path: &Path, target: &str) {
        if self.name(path) {
            self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes());
        }
    }

    /// Adds a character device.
    pub(super) fn character_device(&mut self, path: &Path, mode: u32, device: (u32, u32)) {
        if self.name(path) {
            self.entry(path, CHARACTER_DEVICE | mode, device, &[]);
        }
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.header("TRAILER!!!", 0, 1, (0, 0), 0);
        // The kernel does not ask for it; boot loaders and cpio(1) like whole blocks.
        self.pad(512);
        self.bytes
    }

    /// Whether a name is new, with its folders made.
    fn name(&mut self, path: &Path) -> bool {
        if let Some(parent) = path.parent() {
            self.folder(parent);
        }
        self.made.insert(path.to_owned())
    }

    fn entry(&mut self, path: &Path, mode: u32, device: (u32, u32), content: &[u8]) {
        let name = path.to_string_lossy();
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        self.inode += 1;
        self.header(name.trim_start_matches('/'), mode, 1, device, length);
        self.bytes.extend_from_slice(content);
        self.pad(4);
    }

    fn header(&mut self, name: &str, mode: u32, links: u32, (major, minor): (u32, u32), length: u32) {
        let name_length = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(b"070701");
        // Inode, mode, owner, group, links, time, length, device of the file system, device, length of the name, no checksum.
        for field in [self.inode, mode, 0, 0, links, 0, length, 0, 0, major, minor, name_length, 0] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad(4);
    }

    fn pad(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn small() -> Vec<u8> {
        let mut archive = Initramfs::default();
        archive.folder(Path::new("/proc"));
        assert!(archive.file(Path::new("/bin/program"), 0o755, b"hello"));
        assert!(!archive.file(Path::new("/bin/program"), 0o755, b"again"));
        archive.symlink(Path::new("/init"), "bin/program");
        archive.character_device(Path::new("/dev/console"), 0o600, (5, 1));
        archive.finish()
    }

    #[test]
    fn an_archive_is_what_the_format_says_byte_by_byte() {
        let bytes = small();
        let first = "070701000000010000 41ed 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000005 00000000proc";
        let first = first.replace(' ', "");
        assert_eq!(&bytes[..first.len()], first.as_bytes());
        // Header and name with its zero end at a multiple of four.
        assert_eq!(&bytes[first.len()..first.len() + 2], b"\0\0");
        assert_eq!(&bytes[116..122], b"070701");
        assert_eq!(bytes.len() % 512, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("bin/program\0") && text.contains("hello\0") && !text.contains("again"));
        assert!(text.contains("TRAILER!!!\0"));
    }

    #[test]
    fn cpio_reads_it() {
        let child = Command::new("cpio").args(["-tv"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: no cpio on PATH");
            return;
        };
        child.stdin.take().unwrap().write_all(&small()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(lines[0].starts_with("drwxr-xr-x") && lines[0].ends_with("proc"), "{text}");
        assert!(lines[2].starts_with("-rwxr-xr-x") && lines[2].ends_with("bin/program"), "{text}");
        assert!(lines[3].ends_with("init -> bin/program"), "{text}");
        assert!(lines[5].starts_with("crw-------") && lines[5].contains("5,   1"), "{text}");
    }
}
