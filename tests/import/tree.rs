//! Everything below a folder as text, to be compared; and what GNU tar makes of the layers of an image.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Kind, mode, owner, time, attributes, content or target, and which names are one file, of everything below a folder and of itself.
pub fn tree(root: &Path, owners: bool) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut first_names: HashMap<u64, PathBuf> = HashMap::new();
    let mut pending = vec![PathBuf::new()];
    let mut metas = BTreeMap::new();
    while let Some(path) = pending.pop() {
        let place = root.join(&path);
        let meta = fs::symlink_metadata(&place).unwrap_or_else(|e| panic!("{}: {e}", place.display()));
        if meta.is_dir() {
            for entry in fs::read_dir(&place).unwrap() {
                pending.push(path.join(entry.unwrap().file_name()));
            }
        }
        metas.insert(path, meta);
    }
    for (path, meta) in metas {
        let place = root.join(&path);
        let mut what = if meta.is_symlink() {
            format!("link to {:?}", fs::read_link(&place).unwrap())
        } else if meta.is_file() {
            let first = first_names.entry(meta.ino()).or_insert_with(|| path.clone()).clone();
            format!("file {}, the same as {}", blake3::hash(&fs::read(&place).unwrap()), first.display())
        } else {
            format!("format {:o} device {}", meta.mode() & libc::S_IFMT, meta.rdev())
        };
        if !meta.is_symlink() {
            what.push_str(&format!(", mode {:o}", meta.mode() & 0o7777));
        }
        if owners {
            what.push_str(&format!(", owner {}:{}", meta.uid(), meta.gid()));
        }
        what.push_str(&format!(", time {}.{:09}, {:?}", meta.mtime(), meta.mtime_nsec(), xattrs(&place)));
        found.insert(path, what);
    }
    found
}

/// Extended attributes but for overlay's own.
fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = [0; 4096];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) else { return BTreeMap::new() };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .filter(|name| !name.contains(".overlay.") && name != "security.selinux")
        .map(|name| {
            let mut value = [0; 4096];
            let length = rustix::fs::lgetxattr(path, &name, &mut value[..]).unwrap();
            (name, value[..length].to_vec())
        })
        .collect()
}

/// Applies archives of layers, the base first, with tar: what a whiteout names goes first, then everything but the marks is extracted.
pub fn apply_with_tar(layers: &[Vec<u8>], into: &Path, scratch: &Path, owners: bool) {
    fs::create_dir(into).unwrap();
    for (index, layer) in layers.iter().enumerate() {
        let archive = scratch.join(format!("reference-{index}.tar"));
        fs::write(&archive, layer).unwrap();
        for entry in tar::Archive::new(layer.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().into_owned();
            let name = path.file_name().unwrap_or_default().as_bytes();
            let parent = into.join(path.parent().unwrap_or(Path::new("")));
            if name == b".wh..wh..opq" {
                for entry in fs::read_dir(&parent).into_iter().flatten() {
                    remove(&entry.unwrap().path());
                }
            } else if let Some(hidden) = name.strip_prefix(b".wh.") {
                remove(&parent.join(std::ffi::OsStr::from_bytes(hidden)));
            }
        }
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--preserve-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*"]);
        tar.arg(if owners { "--same-owner" } else { "--no-same-owner" });
        tar.args(["--exclude=.wh.*", "--directory"]).arg(into).arg("--file").arg(&archive);
        let output = tar.output().unwrap();
        assert!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}
