//! The modules that a guest's kernel needs, in the order in which they have to be loaded. A package's folder has no `modules.dep` before it is
//! installed: what a module depends on is read from itself (`depends=` in its section .modinfo).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::GuestError;

/// A module that is to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    /// Its name, with underscores.
    pub(super) name: String,
    /// Its content, uncompressed.
    pub(super) content: Vec<u8>,
}

/// The folder of modules that is meant: a folder itself, or what a Debian package unpacks to below `scratch`.
pub(super) fn folder(given: &Path, scratch: &Path) -> Result<PathBuf, GuestError> {
    if given.is_dir() {
        return Ok(given.to_owned());
    }
    fs::create_dir_all(scratch).map_err(GuestError::io("create folder", scratch))?;
    let status = Command::new("dpkg-deb")
        .arg("-x")
        .arg(given)
        .arg(scratch)
        .stdin(Stdio::null())
        .status()
        .map_err(GuestError::io("start dpkg-deb for", given))?;
    if !status.success() {
        return Err(GuestError::Refused(format!(
            "--modules {}: neither a folder nor a Debian package that dpkg-deb unpacks ({status})",
            given.display()
        )));
    }
    Ok(scratch.to_owned())
}

/// Those of the wanted modules that are below `folder`, each after what it depends on. One that is not there may be built into the kernel.
pub(super) fn resolve(folder: &Path, wanted: &[&str]) -> Result<Vec<Module>, GuestError> {
    let mut files = BTreeMap::new();
    walk(folder, &mut files)?;
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for name in wanted {
        load(name, &files, &mut seen, &mut found)?;
    }
    Ok(found)
}

fn load(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    seen: &mut BTreeSet<String>,
    found: &mut Vec<Module>,
) -> Result<(), GuestError> {
    let name = name.replace('-', "_");
    let Some(path) = files.get(&name) else { return Ok(()) };
    if !seen.insert(name.clone()) {
        return Ok(());
    }
    let content = read(path)?;
    for needed in depends(&content) {
        load(&needed, files, seen, found)?;
    }
    found.push(Module { name, content });
    Ok(())
}

/// Every module below a folder, by name.
fn walk(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), GuestError> {
    for entry in fs::read_dir(folder).map_err(GuestError::io("list", folder))? {
        let entry = entry.map_err(GuestError::io("list", folder))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(GuestError::io("lstat", &path))?;
        if kind.is_dir() {
            walk(&path, files)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && let Some((stem, rest)) = name.split_once(".ko")
            && matches!(rest, "" | ".xz" | ".zst" | ".gz")
        {
            files.insert(stem.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// A module's content, by the program that its compression is named for.
fn read(path: &Path) -> Result<Vec<u8>, GuestError> {
    let program = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).map_err(GuestError::io("read", path)),
    };
    let output = Command::new(program)
        .arg("-dc")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(GuestError::io("start the program that unpacks", path))?;
    if !output.status.success() {
        return Err(GuestError::Refused(format!("{program} -dc {}: {}", path.display(), output.status)));
    }
    Ok(output.stdout)
}

/// What a module says that it depends on. Sections hold strings that end with a zero; this one is the only that begins so.
fn depends(module: &[u8]) -> Vec<String> {
    let line = module.split(|byte| *byte == 0).find_map(|string| string.strip_prefix(b"depends="));
    let line = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
    line.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_after_what_it_depends_on_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, depends: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("\x7fELF\0license=GPL\0depends={depends}\0name=x\0")).unwrap();
        };
        write("kernel/fs/a/over-lay.ko", "base,net_fs");
        write("kernel/fs/net-fs.ko", "base");
        write("kernel/base.ko", "");
        write("kernel/loop1.ko", "loop2");
        write("kernel/loop2.ko", "loop1");
        write("kernel/not-a-module.kok", "base");
        let names = |wanted: &[&str]| -> Vec<String> {
            resolve(folder.path(), wanted).unwrap().into_iter().map(|module| module.name).collect()
        };
        assert_eq!(names(&["over_lay", "net-fs", "built_in"]), ["base", "net_fs", "over_lay"]);
        assert_eq!(names(&["loop1"]), ["loop2", "loop1"]);
        assert_eq!(names(&["not_a_module"]), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_package_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("modules.txt");
        fs::write(&file, "nothing").unwrap();
        let error = super::folder(&file, &folder.path().join("x")).unwrap_err().to_string();
        assert!(error.contains("modules.txt"), "{error}");
    }
}
