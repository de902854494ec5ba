//! The package that `install` installs: files of the tree, each with a byte more, so that dpkg replaces what lies in the layers.
//!
//! Of each old file dpkg keeps a hard link until the new one is in its place, and what it writes it makes durable before that.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::program::Program;
use super::verify::wrong;
use super::{program, scratch, tree};
use crate::probe::{ProbeError, Trial, at};
use crate::stack::{PACKAGES, TREE};
use crate::workload::Job;

/// Its name.
const NAME: &str = "layerbench-tree";
/// Most files of it.
const FILES_MAX: usize = 200;
/// What a new file has that the old one had not.
const MORE: u8 = b'\n';

/// The package, beside the mount.
pub(super) fn path(trial: &Trial) -> Result<PathBuf, ProbeError> {
    Ok(scratch(trial)?.join(NAME).with_extension("deb"))
}

/// The files of the tree that it replaces.
fn replaced<'a>(trial: &Trial<'a>) -> impl Iterator<Item = &'a Path> + use<'a> {
    tree(trial).take(FILES_MAX)
}

/// What a file is once the package is installed, from its layer or its volume and not through the mount.
fn renewed(trial: &Trial, name: &Path) -> Result<Vec<u8>, ProbeError> {
    let fact = trial.fact(name)?;
    // A volume holds the new files once they are installed; the layer holds the old ones.
    let mut content = fs::read(&fact.path).map_err(at("read", &fact.path))?;
    content.push(MORE);
    Ok(content)
}

/// Makes the package.
pub(super) fn build(trial: &Trial, said: &Path) -> Result<(), ProbeError> {
    let package = path(trial)?;
    let folder = package.with_extension("");
    let write = |path: PathBuf, content: &[u8]| {
        let above = path.parent().unwrap_or(&folder);
        fs::create_dir_all(above).map_err(at("create folder", above))?;
        fs::write(&path, content).map_err(at("write", &path))
    };
    let control = format!(
        "Package: {NAME}\nVersion: 2\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: a tree of a study\n"
    );
    write(folder.join("DEBIAN/control"), control.as_bytes())?;
    let root = Path::new(TREE).parent().unwrap_or(Path::new(""));
    for name in replaced(trial) {
        write(folder.join(name.strip_prefix(root).unwrap_or(name)), &renewed(trial, name)?)?;
    }
    let builder = Program { name: "dpkg-deb", ..program(Job::Install) };
    let mut command = builder.command(&scratch(trial)?, said)?;
    // Uncompressed: what is to be felt is the file system.
    command.args(["--root-owner-group", "-Znone", "--build"]).arg(&folder).arg(&package);
    builder.check(command.status(), said)?;
    // What is dirty would be written back while the job is timed.
    let package = File::open(&package).map_err(at("open", &package))?;
    rustix::fs::syncfs(&package).map_err(at("syncfs of", &folder))
}

/// The files of the package are the new ones, all others are what they were, and dpkg knows the package.
pub(super) fn verify(trial: &Trial) -> Result<(), ProbeError> {
    let container = trial.first()?;
    for name in replaced(trial) {
        let path = container.merged.join(name);
        if fs::read(&path).map_err(at("read", &path))? != renewed(trial, name)? {
            return Err(wrong(&path, "is not the file of the package"));
        }
    }
    tree(trial).skip(FILES_MAX).try_for_each(|name| trial.check_content(container, name))?;
    let status = container.merged.join(PACKAGES).join("status");
    let text = fs::read_to_string(&status).map_err(at("read", &status))?;
    if !text.contains(&format!("Package: {NAME}\nStatus: install ok installed\n")) {
        return Err(wrong(&status, "does not have the package as installed"));
    }
    Ok(())
}
