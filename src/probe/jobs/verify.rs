//! Did the job do what it is for? Every file is looked at, through the mount and where it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{MADE, OWNER, ROWS_APART, TRANSACTIONS, Tree, git, package, program, scratch, sources};
use crate::probe::{ProbeError, Trial, at};
use crate::record::Privileges;
use crate::stack::{DATABASE, Item, ItemKind, StackError};
use crate::workload::Job;

/// Everything that a job should have made of the tree is there, and the layers are as they were.
pub(super) fn verify(trial: &mut Trial, job: Job) -> Result<(), ProbeError> {
    match job {
        // What they wrote was checked.
        Job::Tar | Job::Git | Job::Chown | Job::Copy | Job::Unpack => kept_or_made(trial, job)?,
        Job::Remove => removed(trial)?,
        Job::Install => package::verify(trial)?,
        Job::Compile => compiled(trial)?,
        Job::Sqlite => stored(trial)?,
    }
    layers_untouched(trial)
}

/// Paths, relative to some folder, with what they are.
type Items = BTreeMap<PathBuf, Item>;

fn of_stack(e: StackError) -> ProbeError {
    match e {
        StackError::Io { operation, path, errno } => ProbeError::Io { operation, path, errno },
        other => ProbeError::Wrong(other.to_string()),
    }
}

/// Everything of the tree as its layers have it, by paths relative to the folder above it.
fn expected(trial: &Trial, tree: &Tree) -> Result<Items, ProbeError> {
    let below = |item: Item| Some((item.path.0.strip_prefix(tree.above).ok()?.to_owned(), item));
    let items = trial.stack.merged().map_err(of_stack)?.into_iter().filter_map(below);
    Ok(items.filter(|(path, _)| tree.has(path)).collect())
}

/// What a job leaves where it should have changed or copied something.
fn after(job: Job, mut item: Item) -> Item {
    match job {
        Job::Chown => {
            (item.uid, item.gid) = (OWNER, OWNER);
            // The kernel takes from whoever gets another owner what the old one had lent (chown(2)); set-group-id without leave to execute is
            // something else.
            if item.kind != ItemKind::Dir {
                item.mode &= if item.mode & 0o010 == 0 { !0o4000 } else { !0o6000 };
                item.xattrs.remove("security.capability");
            }
        }
        // GNU's format has whole seconds, and no attributes.
        Job::Unpack => {
            item.mtime.1 = 0;
            item.xattrs.clear();
        }
        _ => {}
    }
    item
}

/// Whether a folder has exactly these items.
fn check(folder: &Path, found: &Items, expected: &Items, owners: bool) -> Result<(), ProbeError> {
    for (path, item) in expected {
        let what = match found.get(path) {
            None => "is not there".to_owned(),
            Some(found) => match item.difference(found, owners) {
                None => continue,
                Some(what) => format!("{what} is not what it should be"),
            },
        };
        return Err(wrong(&folder.join(path), &what));
    }
    match found.keys().find(|path| !expected.contains_key(*path)) {
        Some(path) => Err(wrong(&folder.join(path), "should not be there")),
        None => Ok(()),
    }
}

/// The tree is what its layers have, but for what the job changes in it; and the other folder has a copy where the job makes one.
fn kept_or_made(trial: &mut Trial, job: Job) -> Result<(), ProbeError> {
    let tree = Tree::of(trial);
    let above = trial.first()?.merged.join(tree.above);
    let owners = trial.privileges == Privileges::Root;
    let (mut kept, mut made) = (Items::new(), Items::new());
    for mut item in Item::below(&above).map_err(of_stack)? {
        // What a union notes for itself.
        item.xattrs.retain(|name, _| !name.contains(".overlay."));
        let path = item.path.0.clone();
        if tree.has(&path) {
            kept.insert(path, item);
        } else if let Some(path) = path.strip_prefix(MADE).ok().filter(|path| !path.as_os_str().is_empty()) {
            made.insert(path.to_owned(), item);
        }
    }
    let expected = expected(trial, &tree)?;
    let mut changed: Items = expected.iter().map(|(path, item)| (path.clone(), after(job, item.clone()))).collect();
    if job == Job::Chown {
        let renewed = forgive_times(&mut changed, &kept);
        if renewed > 0 {
            trial.notes.push(format!(
                "chown: {renewed} folders, links and special files have another time than in their layers"
            ));
        }
    }
    check(&above, &kept, if job == Job::Chown { &changed } else { &expected }, owners)?;
    if matches!(job, Job::Copy | Job::Unpack) {
        let folder = above.join(MADE);
        check(&folder, &made, &changed, owners)?;
        same_files(trial, &tree, &folder)?;
    }
    Ok(())
}

/// Takes the times of what is no regular file as they are found; of how many they are others. A copy_up of fuse-overlayfs does not keep them:
/// what the union is worth is not asked here, but it is to be known.
fn forgive_times(expected: &mut Items, found: &Items) -> usize {
    let mut renewed = 0;
    for (path, item) in expected {
        let Some(found) = found.get(path).filter(|_| !matches!(item.kind, ItemKind::File { .. })) else { continue };
        renewed += usize::from(item.mtime != found.mtime);
        item.mtime = found.mtime;
    }
    renewed
}

/// Names that are one file in a layer are one file in the copy.
fn same_files(trial: &Trial, tree: &Tree, folder: &Path) -> Result<(), ProbeError> {
    for names in links(trial, tree)? {
        let mut inodes = BTreeSet::new();
        for name in &names {
            let path = folder.join(name);
            inodes.insert(fs::symlink_metadata(&path).map_err(at("stat", &path))?.ino());
        }
        if inodes.len() > 1 {
            let names: Vec<String> = names.iter().map(|name| name.display().to_string()).collect();
            return Err(wrong(folder, &format!("{} are no longer one file", names.join(", "))));
        }
    }
    Ok(())
}

/// Names of the tree that are one file, by paths relative to the folder above it.
fn links(trial: &Trial, tree: &Tree) -> Result<Vec<Vec<PathBuf>>, ProbeError> {
    let below = |names: Vec<PathBuf>| -> Vec<PathBuf> {
        let names = names.iter().filter_map(|name| name.strip_prefix(tree.above).ok());
        names.filter(|name| tree.has(name)).map(Path::to_owned).collect()
    };
    Ok(trial.stack.hard_links().map_err(of_stack)?.into_iter().map(below).collect())
}

pub(super) fn wrong(path: &Path, what: &str) -> ProbeError {
    ProbeError::Wrong(format!("{}: {what}", path.display()))
}

/// The archive of the tree is as long as it has to be.
pub(super) fn stream(trial: &Trial, bytes: u64) -> Result<(), ProbeError> {
    let tree = Tree::of(trial);
    let expected = archive_bytes(&expected(trial, &tree)?, &links(trial, &tree)?);
    if !expected.contains(&bytes) {
        let (least, most) = expected.into_inner();
        return Err(ProbeError::Wrong(format!("the archive has {bytes} bytes, not {least} to {most}")));
    }
    Ok(())
}

/// The length of a GNU archive: a header of 512 bytes for each entry, contents in whole blocks of 512, two empty ones at the end, and all of
/// that in records of 20 blocks (tar(5)). A name or target of more than 100 bytes has an entry of its own before. Of a file with several names, the
/// others are links to the one that the program met first: that it may be any is why there are two bounds.
fn archive_bytes(items: &Items, links: &[Vec<PathBuf>]) -> RangeInclusive<u64> {
    /// Bytes of a name that a header has room for.
    const ROOM: usize = 100;
    let long = |length: usize| match length > ROOM {
        true => 512 + (length as u64 + 1).next_multiple_of(512),
        false => 0,
    };
    let long_name = |path: &Path| long(path.as_os_str().len());
    // Of each file with several names the content is there once.
    let again: BTreeSet<&PathBuf> = links.iter().flat_map(|names| names.iter().skip(1)).collect();
    let mut bytes = 1024;
    for (path, item) in items {
        bytes += match &item.kind {
            // With a slash at the end.
            ItemKind::Dir => 512 + long(path.as_os_str().len() + 1),
            ItemKind::File { size_bytes, .. } if !again.contains(path) => {
                512 + long_name(path) + size_bytes.next_multiple_of(512)
            }
            ItemKind::Symlink { target } if !again.contains(path) => 512 + long_name(path) + long_name(&target.0),
            // No archive has sockets.
            ItemKind::Special { format, .. } if *format == libc::S_IFSOCK => 0,
            _ => 512 + long_name(path),
        };
    }
    let (mut least, mut most) = (bytes, bytes);
    for names in links {
        let others = names.len().saturating_sub(1) as u64;
        least += others * names.iter().map(|name| long_name(name)).min().unwrap_or(0);
        most += others * names.iter().map(|name| long_name(name)).max().unwrap_or(0);
    }
    least.next_multiple_of(20 * 512)..=most.next_multiple_of(20 * 512)
}

/// git found nothing changed (it wrote no line), and all files of the tree are in its repository.
pub(super) fn clean(trial: &Trial, bytes: u64) -> Result<(), ProbeError> {
    let (container, tree) = (trial.first()?, Tree::of(trial));
    let place = container.merged.join(tree.root);
    if bytes != 0 {
        return Err(wrong(&place, &format!("git status had {bytes} bytes to say of it")));
    }
    let said = scratch(trial)?.join("said");
    let output = git(trial, container, &said)?.args(["ls-files", "-z"]).stdout(Stdio::piped()).output();
    let output = output.map_err(at("start", Path::new("git")))?;
    program(Job::Git).check(Ok(output.status), &said)?;
    // It knows nothing of folders, nor of devices and pipes.
    let is_known = |item: &&Item| matches!(item.kind, ItemKind::File { .. } | ItemKind::Symlink { .. });
    let expected = expected(trial, &tree)?.values().filter(is_known).count();
    let found = output.stdout.iter().filter(|byte| **byte == 0).count();
    if found != expected {
        return Err(wrong(&place, &format!("git knows {found} of its {expected} files")));
    }
    Ok(())
}

/// Nothing of the tree can be found, by name or in a listing.
fn removed(trial: &Trial) -> Result<(), ProbeError> {
    let tree = Tree::of(trial);
    let above = trial.first()?.merged.join(tree.above);
    for name in expected(trial, &tree)?.keys() {
        let path = above.join(name);
        match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(at("stat", &path)(e)),
            Ok(_) => return Err(wrong(&path, "is still there")),
        }
    }
    for entry in fs::read_dir(&above).map_err(at("list", &above))? {
        let name = entry.map_err(at("list", &above))?.file_name();
        if tree.has(Path::new(&name)) {
            return Err(wrong(&above.join(name), "is still listed"));
        }
    }
    Ok(())
}

/// The program runs, and holds the functions of every source.
fn compiled(trial: &mut Trial) -> Result<(), ProbeError> {
    let folder = trial.first()?.merged.join(Tree::of(trial).above).join(MADE);
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
    kept_or_made(trial, Job::Compile)
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

/// The layers are what they were: the job was done in upper. A volume has no layers.
fn layers_untouched(trial: &Trial) -> Result<(), ProbeError> {
    if trial.volume.is_some() {
        return Ok(());
    }
    let report = trial.stack.verify_here(trial.privileges == Privileges::Root).map_err(of_stack)?;
    if let Some(problem) = report.problems.first() {
        return Err(wrong(trial.stack.root(), &format!("a layer was changed: {problem}")));
    }
    // Whose the files of a built stack are is not written down.
    for name in &trial.targets.hits {
        let fact = trial.fact(name)?;
        let meta = fs::symlink_metadata(&fact.path).map_err(at("stat", &fact.path))?;
        if meta.uid() == OWNER {
            return Err(wrong(&fact.path, "was changed in its layer"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_as_long_as_tar_makes_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join("tree").join(name);
        let long = "l".repeat(101);
        for name in ["", "empty", &long] {
            fs::create_dir(at(name)).unwrap();
        }
        for (name, size) in [("a", 0), ("b", 1), ("c", 512), ("d", 513), (&"x".repeat(100), 7)] {
            fs::write(at(name), vec![1; size]).unwrap();
        }
        fs::write(at(&long).join("inside"), "abc").unwrap();
        fs::hard_link(at("d"), at("e")).unwrap();
        fs::hard_link(at("d"), at(&long).join("f")).unwrap();
        std::os::unix::fs::symlink("a", at("link")).unwrap();
        std::os::unix::fs::symlink("t".repeat(700), at("long-link")).unwrap();
        std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let items: Items =
            Item::below(folder.path()).unwrap().into_iter().map(|item| (item.path.0.clone(), item)).skip(1).collect();
        let output = Command::new("tar").args(["--format=gnu", "-cf", "-", "tree"]).current_dir(folder.path()).output();
        let length = match output {
            Ok(output) => output.stdout.len() as u64,
            Err(e) => return eprintln!("skipped: tar: {e}"),
        };
        let names = ["d", "e"].map(|name| Path::new("tree").join(name));
        let links = [names.into_iter().chain([Path::new("tree").join(&long).join("f")]).collect()];
        let expected = archive_bytes(&items, &links);
        assert!(expected.contains(&length), "{length} is not in {expected:?}");
    }

    #[test]
    fn a_tree_that_differs_in_anything_is_found_out() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "content").unwrap();
        let items = || -> Items {
            Item::below(folder.path()).unwrap().into_iter().skip(1).map(|item| (item.path.0.clone(), item)).collect()
        };
        let known = items();
        let said = |expected: &Items| check(folder.path(), &items(), expected, true).unwrap_err().to_string();
        check(folder.path(), &items(), &known, true).unwrap();
        let owned: Items = known.iter().map(|(path, item)| (path.clone(), after(Job::Chown, item.clone()))).collect();
        assert!(said(&owned).contains("the owner"));
        check(folder.path(), &items(), &owned, false).unwrap();
        assert!(said(&Items::new()).contains("should not be there"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(said(&known).contains("the mode"));
        fs::write(&path, "Content").unwrap();
        assert!(said(&known).contains("the content"));
        fs::remove_file(&path).unwrap();
        assert!(said(&known).contains("is not there"));
    }

    #[test]
    fn another_owner_has_no_set_id_bits_but_a_mark_for_locks_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let items = Item::below(folder.path()).unwrap();
        let modes = |index: usize| {
            [0o6755, 0o4755, 0o2755, 0o2745, 0o1777]
                .map(|mode| after(Job::Chown, Item { mode, ..items[index].clone() }).mode)
        };
        assert_eq!(modes(0), [0o6755, 0o4755, 0o2755, 0o2745, 0o1777], "of a folder");
        assert_eq!(modes(1), [0o755, 0o755, 0o755, 0o2745, 0o1777]);
    }
}
