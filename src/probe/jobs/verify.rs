//! Did the job do what it is for? Every file is looked at, through the mount and where it came from.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{MADE, OWNER, ROWS_APART, TRANSACTIONS, git, package, program, scratch, sources, tree};
use crate::probe::{ProbeError, Trial, at, digest};
use crate::stack::{DATABASE, TREE};
use crate::workload::Job;

/// Everything that a job should have made of the tree is there, and the layers are as they were.
pub(super) fn verify(trial: &Trial, job: Job) -> Result<(), ProbeError> {
    match job {
        // What it wrote was checked.
        Job::Tar | Job::Git => unchanged(trial)?,
        Job::Chown => owned(trial)?,
        Job::Copy | Job::Unpack => {
            unchanged(trial)?;
            copied(trial)?;
        }
        Job::Remove => removed(trial)?,
        Job::Install => package::verify(trial)?,
        Job::Compile => compiled(trial)?,
        Job::Sqlite => stored(trial)?,
    }
    layers_untouched(trial)
}

pub(super) fn wrong(path: &Path, what: &str) -> ProbeError {
    ProbeError::Wrong(format!("{}: {what}", path.display()))
}

/// The length of a GNU archive of the tree: a header of 512 bytes for each folder and each file, contents in whole blocks of 512, two empty
/// ones at the end, and all of that in records of 20 blocks (tar(5)).
pub(super) fn stream(trial: &Trial, bytes: u64) -> Result<(), ProbeError> {
    let mut expected = 512 * trial.targets.listed.len() as u64 + 1024;
    for name in tree(trial) {
        expected += 512 + trial.fact(name)?.size_bytes.next_multiple_of(512);
    }
    let expected = expected.next_multiple_of(20 * 512);
    if bytes != expected {
        return Err(ProbeError::Wrong(format!("the archive has {bytes} bytes, not {expected}")));
    }
    Ok(())
}

/// git found nothing changed (it wrote no line), and all files of the tree are in its repository.
pub(super) fn clean(trial: &Trial, bytes: u64) -> Result<(), ProbeError> {
    let container = trial.first()?;
    if bytes != 0 {
        return Err(wrong(&container.merged.join(TREE), &format!("git status had {bytes} bytes to say of it")));
    }
    let said = scratch(trial)?.join("said");
    let output = git(trial, container, &said)?.args(["ls-files", "-z"]).stdout(Stdio::piped()).output();
    let output = output.map_err(at("start", Path::new("git")))?;
    program(Job::Git).check(Ok(output.status), &said)?;
    let (found, expected) = (output.stdout.iter().filter(|byte| **byte == 0).count(), tree(trial).count());
    if found != expected {
        return Err(wrong(&container.merged.join(TREE), &format!("git knows {found} of its {expected} files")));
    }
    Ok(())
}

/// Every file of the tree is still what its layer has.
fn unchanged(trial: &Trial) -> Result<(), ProbeError> {
    tree(trial).try_for_each(|name| trial.check_content(trial.first()?, name))
}

/// Every file and folder has its new owner, and the content that it had.
fn owned(trial: &Trial) -> Result<(), ProbeError> {
    let merged = &trial.first()?.merged;
    for name in tree(trial).chain(trial.targets.listed.iter().map(PathBuf::as_path)) {
        let path = merged.join(name);
        let meta = fs::symlink_metadata(&path).map_err(at("stat", &path))?;
        if (meta.uid(), meta.gid()) != (OWNER, OWNER) {
            return Err(wrong(&path, &format!("belongs to {}:{}, not to {OWNER}:{OWNER}", meta.uid(), meta.gid())));
        }
    }
    unchanged(trial)
}

/// The other folder has every file of the tree, and no more.
fn copied(trial: &Trial) -> Result<(), ProbeError> {
    let made = trial.first()?.merged.join(MADE);
    let mut count = 0;
    for name in tree(trial) {
        let path = made.join(name.strip_prefix(TREE).unwrap_or(name));
        if digest(&path)? != trial.fact(name)?.digest {
            return Err(wrong(&path, "is not the file that it is a copy of"));
        }
        count += 1;
    }
    let found = files(&made)?;
    if found != count {
        return Err(wrong(&made, &format!("holds {found} files, not {count}")));
    }
    Ok(())
}

/// How many things that are no folders lie below one.
fn files(folder: &Path) -> Result<u64, ProbeError> {
    let mut count = 0;
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).map_err(at("list", &folder))? {
            let entry = entry.map_err(at("list", &folder))?;
            match entry.file_type().map_err(at("stat", &entry.path()))?.is_dir() {
                true => pending.push(entry.path()),
                false => count += 1,
            }
        }
    }
    Ok(count)
}

/// Neither the tree nor a file of it can be found, by name or in a listing.
fn removed(trial: &Trial) -> Result<(), ProbeError> {
    let merged = &trial.first()?.merged;
    for name in tree(trial).chain([Path::new(TREE)]) {
        let path = merged.join(name);
        match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(at("stat", &path)(e)),
            Ok(_) => return Err(wrong(&path, "is still there")),
        }
    }
    let tree = merged.join(TREE);
    let above = tree.parent().unwrap_or(merged);
    for entry in fs::read_dir(above).map_err(at("list", above))? {
        if Some(entry.map_err(at("list", above))?.file_name().as_os_str()) == tree.file_name() {
            return Err(wrong(&tree, "is still listed"));
        }
    }
    Ok(())
}

/// The program runs, and holds the functions of every source.
fn compiled(trial: &Trial) -> Result<(), ProbeError> {
    let folder = trial.first()?.merged.join(MADE);
    let path = folder.join("program");
    let status = Command::new(&path).env_clear().stdin(Stdio::null()).status().map_err(at("execute", &path))?;
    if !status.success() {
        return Err(wrong(&path, &format!("ended with {status}")));
    }
    let bytes = fs::read(&path).map_err(at("read", &path))?;
    for source in sources(trial) {
        let stem = source.file_stem().unwrap_or_default();
        let object = folder.join(Path::new(stem).with_extension("o"));
        fs::symlink_metadata(&object).map_err(at("stat", &object))?;
        let name = format!("{}_0\0", stem.to_string_lossy());
        if !bytes.windows(name.len()).any(|window| window == name.as_bytes()) {
            return Err(wrong(&path, &format!("does not hold {}", source.display())));
        }
    }
    unchanged(trial)
}

/// Every transaction is in the database, nothing else is, and SQLite finds it in order.
fn stored(trial: &Trial) -> Result<(), ProbeError> {
    let (path, said) = (trial.first()?.merged.join(DATABASE), scratch(trial)?.join("said"));
    let sqlite = program(Job::Sqlite);
    let mut command = sqlite.command(&scratch(trial)?, &said)?;
    let sql = format!(
        "PRAGMA integrity_check; SELECT count(*), sum(value), sum(value = 1 AND id % {ROWS_APART} = 1) FROM items;"
    );
    command.args(["-batch", "-readonly"]).arg(&path).arg(sql).stdout(Stdio::piped());
    let output = command.output().map_err(at("start", Path::new(sqlite.name)))?;
    sqlite.check(Ok(output.status), &said)?;
    let found = String::from_utf8_lossy(&output.stdout);
    let right = format!("|{TRANSACTIONS}|{TRANSACTIONS}\n");
    if !(found.starts_with("ok\n") && found.ends_with(&right)) {
        return Err(wrong(&path, &format!("SQLite says {:?} of it", found.trim())));
    }
    Ok(())
}

/// The files of the layers are what they were: the job was done in upper. A volume has no layers.
fn layers_untouched(trial: &Trial) -> Result<(), ProbeError> {
    if trial.volume.is_some() {
        return Ok(());
    }
    for name in &trial.targets.hits {
        let fact = trial.fact(name)?;
        let meta = fs::symlink_metadata(&fact.path).map_err(at("stat", &fact.path))?;
        if meta.uid() == OWNER || digest(&fact.path)? != fact.digest {
            return Err(wrong(&fact.path, "was changed in its layer"));
        }
    }
    Ok(())
}
