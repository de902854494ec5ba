//! Random operations, on the mount and on a tree in memory: every answer and the final tree have to be the same, before and after a new
//! mount; and what lies in the layers has to mean the same to somebody who reads them by aufs's rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::fixture::{Stack, forget_all, here};
use crate::reference::{Id, Lower, Model, NOWHERE, Name, Op, words};

/// Does it on the mount. `held` keeps what is held open.
fn run(stack: &mut Stack, options: &str, held: &mut Vec<File>, op: &Op) -> Result<(), i32> {
    let mnt = stack.mnt();
    let at = |path: &Name| mnt.join(words(path).join("/"));
    let open = |options: &mut OpenOptions, path: &Name, data: &[u8]| {
        options.custom_flags(libc::O_NOFOLLOW).open(at(path)).and_then(|mut file| file.write_all(data))
    };
    let rename2 = |from: PathBuf, to: PathBuf, flags| renameat_with(CWD, from, CWD, to, flags).map_err(Into::into);
    let chmod = |path: PathBuf, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    match op {
        Op::Create(path) => {
            let made = open(OpenOptions::new().write(true).create_new(true), path, b"new");
            made.and_then(|()| chmod(at(path), 0o640))
        }
        Op::Append(path) => open(OpenOptions::new().append(true), path, b"+"),
        Op::Truncate(path) => open(OpenOptions::new().write(true).truncate(true), path, b"t"),
        Op::Mkdir(path) => fs::create_dir(at(path)).and_then(|()| chmod(at(path), 0o750)),
        Op::Unlink(path) => fs::remove_file(at(path)),
        Op::Rmdir(path) => fs::remove_dir(at(path)),
        Op::RemoveTree(path) => match fs::symlink_metadata(at(path)) {
            Ok(meta) if !meta.is_dir() => Err(std::io::Error::from_raw_os_error(libc::ENOTDIR)),
            Ok(_) => fs::remove_dir_all(at(path)),
            Err(error) => Err(error),
        },
        Op::Symlink(path) => symlink(NOWHERE, at(path)),
        Op::Link(from, to) => fs::hard_link(at(from), at(to)),
        Op::Rename(from, to) => fs::rename(at(from), at(to)),
        Op::Move(from, to) => rename2(at(from), at(to), RenameFlags::NOREPLACE),
        Op::Exchange(from, to) => rename2(at(from), at(to), RenameFlags::EXCHANGE),
        Op::Chmod(path, mode) => chmod(at(path), mode | 0o700),
        Op::Hold(path) => {
            OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(at(path)).map(|file| held.push(file))
        }
        Op::Forget => {
            forget_all(&mnt);
            Ok(())
        }
        Op::Remount => {
            held.clear();
            stack.unmount();
            stack.mount(options);
            Ok(())
        }
    }
    .map_err(|error| error.raw_os_error().unwrap())
}

fn line(path: &Path) -> String {
    let meta = fs::symlink_metadata(path).unwrap();
    if meta.is_dir() {
        format!("dir {:o}", meta.mode() & 0o7777)
    } else if meta.is_symlink() {
        format!("-> {}", fs::read_link(path).unwrap().display())
    } else {
        format!("file {:o} {} {}", meta.mode() & 0o7777, meta.nlink(), fs::read_to_string(path).unwrap())
    }
}

fn dump(root: &Path, at: &str, into: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(root.join(at)).unwrap() {
        let path = format!("{at}{}", entry.unwrap().file_name().to_str().unwrap());
        let text = line(&root.join(&path));
        if text.starts_with("dir") {
            dump(root, &format!("{path}/"), into);
        }
        into.insert(path, text);
    }
}

/// Reads layers, top first, as aufs documents them. Written for this test alone, to share nothing with the union.
fn flatten(layers: &[PathBuf], at: &str, into: &mut BTreeMap<String, String>) {
    let mut hidden = BTreeSet::new();
    let mut dirs: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for layer in layers {
        let Ok(listing) = fs::read_dir(layer.join(at)) else { continue };
        let found: Vec<String> = listing.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        for name in found.iter().filter(|name| !name.starts_with(".wh.")) {
            if hidden.contains(name) {
                continue;
            }
            let text = line(&layer.join(at).join(name));
            if text.starts_with("dir") {
                dirs.entry(name.clone()).or_default().push(layer.clone());
                into.entry(format!("{at}{name}")).or_insert(text);
            } else {
                // It ends a directory of the layers above, or is what there is.
                hidden.insert(name.clone());
                into.entry(format!("{at}{name}")).or_insert(text);
            }
        }
        hidden.extend(found.iter().filter_map(|name| name.strip_prefix(".wh.").map(str::to_string)));
        if found.iter().any(|name| name == ".wh..wh..opq") {
            break;
        }
    }
    for (name, own) in dirs {
        flatten(&own, &format!("{at}{name}/"), into);
    }
}

fn path() -> impl Strategy<Value = Name> {
    proptest::collection::vec(0u8..4, 1..=3)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => path().prop_map(Op::Create),
        2 => path().prop_map(Op::Append),
        1 => path().prop_map(Op::Truncate),
        3 => path().prop_map(Op::Mkdir),
        3 => path().prop_map(Op::Unlink),
        2 => path().prop_map(Op::Rmdir),
        1 => path().prop_map(Op::RemoveTree),
        1 => path().prop_map(Op::Symlink),
        2 => (path(), path()).prop_map(|(from, to)| Op::Link(from, to)),
        4 => (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => (path(), path()).prop_map(|(from, to)| Op::Move(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Op::Exchange(from, to)),
        1 => (path(), prop_oneof![Just(0o711u32), Just(0o755), Just(0o4744)]).prop_map(|(path, mode)| Op::Chmod(path, mode)),
        2 => path().prop_map(Op::Hold),
        2 => Just(Op::Forget),
        1 => Just(Op::Remount),
    ]
}

fn lowers() -> Vec<Lower> {
    vec![
        Lower { files: vec![("a/a", "top"), ("a/b/a", "top"), ("d", "file"), ("b/", "")], links: vec!["a/b/a", "b/c"] },
        Lower {
            files: vec![("a/a", "hidden"), ("a/b/b", "low"), ("a/c/d", "low"), ("c/a", "links"), ("c/b/", "")],
            // The last two are hidden: by another file, and by a file in place of their directory.
            links: vec!["c/a", "c/d", "a/c/a", "b/d", "b/b/a", "a/b/a", "d/a"],
        },
    ]
}

/// What the mount said of the numbers of files, since it was made.
#[derive(Default)]
struct Numbers {
    seen: BTreeMap<Id, u64>,
    /// Which files are held open.
    held: Vec<Id>,
}

impl Numbers {
    /// Looks at all of them: no file has another number than before, and no two files have the same.
    fn look(&mut self, mnt: &Path, model: &Model, held: &[File]) -> Result<(), TestCaseError> {
        let ids = model.ids();
        let named =
            ids.iter().map(|(path, id)| (path.as_str(), *id, fs::symlink_metadata(mnt.join(path)).unwrap().ino()));
        let held = self.held.iter().zip(held).map(|(id, file)| ("held open", *id, file.metadata().unwrap().ino()));
        let (mut now, mut owners) = (BTreeMap::new(), BTreeMap::new());
        for (path, id, number) in named.chain(held) {
            let before = *now.entry(id).or_insert_with(|| self.seen.get(&id).copied().unwrap_or(number));
            prop_assert_eq!(before, number, "the number of {}", path);
            let owner = *owners.entry(number).or_insert(id);
            prop_assert_eq!(owner, id, "{} and another file share number {}", path, number);
        }
        self.seen = now;
        Ok(())
    }
}

fn check(ops: &[Op], options: &str) -> Result<(), TestCaseError> {
    let mut stack = Stack::new(2);
    let content = lowers();
    for (n, lower) in content.iter().enumerate() {
        lower.build(&stack.lower(n));
    }
    let mut model = Model::new(&content);
    stack.mount(options);
    let (mut held, mut numbers) = (Vec::new(), Numbers::default());
    for (n, op) in ops.iter().enumerate() {
        let looks = matches!(op, Op::Forget | Op::Remount);
        if looks {
            numbers.look(&stack.mnt(), &model, &held)?;
        }
        let answer = run(&mut stack, options, &mut held, op);
        prop_assert_eq!(answer, model.apply(op), "operation {}: {:?}", n, op);
        match op {
            Op::Hold(path) if answer.is_ok() => numbers.held.push(model.ids()[&words(path).join("/")]),
            Op::Remount => numbers = Numbers::default(),
            _ => {}
        }
        if looks {
            numbers.look(&stack.mnt(), &model, &held)?;
        }
    }
    numbers.look(&stack.mnt(), &model, &held)?;
    let expected = model.dump();
    let mut seen = BTreeMap::new();
    dump(&stack.mnt(), "", &mut seen);
    prop_assert_eq!(&seen, &expected);
    held.clear();
    stack.unmount();
    let mut flat = BTreeMap::new();
    flatten(&[stack.upper(), stack.lower(0), stack.lower(1)], "", &mut flat);
    prop_assert_eq!(&flat, &expected, "as aufs reads it");
    stack.mount(options);
    let mut again = BTreeMap::new();
    dump(&stack.mnt(), "", &mut again);
    prop_assert_eq!(&again, &expected, "after a new mount");
    stack.unmount();
    Ok(())
}

/// How many random sequences to try, new ones each time, instead of the few that are the same in every run.
const CASES: &str = "LAYERBENCH_MODEL_CASES";

fn random(test: &str, options: &str) {
    if !here(test) {
        return;
    }
    let more = std::env::var(CASES).ok().and_then(|cases| cases.parse().ok());
    let config =
        Config { cases: more.unwrap_or(64), failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let fixed = || TestRunner::new_with_rng(config.clone(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut runner = if more.is_some() { TestRunner::new(config.clone()) } else { fixed() };
    let outcome = runner.run(&proptest::collection::vec(op(), 1..=60), |ops| check(&ops, options));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn random_operations_answer_as_the_model_does_with_passthrough() {
    random("model::random_operations_answer_as_the_model_does_with_passthrough", "passthrough=on");
}

#[test]
fn random_operations_answer_as_the_model_does_served_by_the_daemon() {
    random("model::random_operations_answer_as_the_model_does_served_by_the_daemon", "passthrough=off,opens=on");
}

#[test]
fn random_operations_answer_as_the_model_does_where_nobody_is_asked_at_opens() {
    random("model::random_operations_answer_as_the_model_does_where_nobody_is_asked_at_opens", "opens=off");
}
