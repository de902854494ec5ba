//! Random operations, on the mount and on a tree in memory: every answer and the final tree have to be the same, before and after a new
//! mount; and what lies in the layers has to mean the same to somebody who reads them by aufs's rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::fixture::{Stack, here, write_all};

/// A path of up to three names out of four, so that operations meet.
type Name = Vec<u8>;

#[derive(Debug, Clone)]
enum Op {
    Create(Name),
    Append(Name),
    Truncate(Name),
    Mkdir(Name),
    Unlink(Name),
    Rmdir(Name),
    /// A directory with all that is in it: what single removals would hardly ever empty.
    RemoveTree(Name),
    Symlink(Name),
    Link(Name, Name),
    Rename(Name, Name),
    Chmod(Name, u32),
}

#[derive(Debug, Clone)]
enum Node {
    File(usize),
    Link,
    Dir(Dir),
}

#[derive(Debug, Clone, Default)]
struct Dir {
    mode: u32,
    children: BTreeMap<String, Node>,
    /// Names that the lowers contribute here, as long as the directory is not opaque.
    below: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Body {
    content: String,
    mode: u32,
    links: u64,
}

/// Where the dangling symbolic links point.
const NOWHERE: &str = "nowhere";

#[derive(Debug)]
struct Model {
    root: Dir,
    files: Vec<Body>,
}

impl Model {
    fn new(lowers: &[Vec<(&str, &str)>]) -> Model {
        let mut model = Model { root: Dir { mode: 0o755, ..Dir::default() }, files: Vec::new() };
        // Top first: what is there already wins.
        for (path, content) in lowers.iter().flatten() {
            let mut parts: Vec<&str> = path.split('/').collect();
            let last = parts.pop().unwrap();
            let mut dir = &mut model.root;
            for part in parts {
                dir.below.insert(part.into());
                let new = Dir { mode: 0o755, ..Dir::default() };
                match dir.children.entry(part.into()).or_insert(Node::Dir(new)) {
                    Node::Dir(inner) => dir = inner,
                    _ => panic!("the stack of this test has no such conflict"),
                }
            }
            if last.is_empty() {
                continue;
            }
            dir.below.insert(last.into());
            if !dir.children.contains_key(last) {
                model.files.push(Body { content: content.to_string(), mode: 0o644, links: 1 });
                dir.children.insert(last.into(), Node::File(model.files.len() - 1));
            }
        }
        model
    }

    fn parent(&mut self, path: &[String]) -> Result<&mut Dir, i32> {
        let mut dir = &mut self.root;
        for part in &path[..path.len() - 1] {
            dir = match dir.children.get_mut(part) {
                Some(Node::Dir(inner)) => inner,
                Some(Node::File(_)) => return Err(libc::ENOTDIR),
                Some(Node::Link) | None => return Err(libc::ENOENT),
            };
        }
        Ok(dir)
    }

    fn get(&mut self, path: &[String]) -> Result<Option<Node>, i32> {
        let name = path.last().unwrap().clone();
        Ok(self.parent(path)?.children.get(&name).cloned())
    }

    fn put(&mut self, path: &[String], node: Node) {
        let name = path.last().unwrap().clone();
        self.parent(path).unwrap().children.insert(name, node);
    }

    fn make(&mut self, path: &[String], node: Node) -> Result<(), i32> {
        if self.get(path)?.is_some() {
            return Err(libc::EEXIST);
        }
        self.put(path, node);
        Ok(())
    }

    fn file(&mut self, path: &[String]) -> Result<&mut Body, i32> {
        match self.get(path)?.ok_or(libc::ENOENT)? {
            Node::File(id) => Ok(&mut self.files[id]),
            Node::Dir(_) => Err(libc::EISDIR),
            Node::Link => Err(libc::ELOOP),
        }
    }

    fn drop_link(&mut self, node: &Node) {
        if let Node::File(id) = node {
            self.files[*id].links -= 1;
        }
    }

    fn drop_tree(&mut self, dir: &Dir) {
        for node in dir.children.values() {
            match node {
                Node::Dir(inner) => self.drop_tree(inner),
                other => self.drop_link(other),
            }
        }
    }

    fn apply(&mut self, op: &Op) -> Result<(), i32> {
        match op {
            Op::Create(path) => {
                let path = words(path);
                self.files.push(Body { content: "new".into(), mode: 0o640, links: 1 });
                let node = Node::File(self.files.len() - 1);
                self.make(&path, node)
            }
            Op::Append(path) => self.file(&words(path)).map(|body| body.content.push('+')),
            Op::Truncate(path) => self.file(&words(path)).map(|body| body.content = "t".into()),
            Op::Mkdir(path) => self.make(&words(path), Node::Dir(Dir { mode: 0o750, ..Dir::default() })),
            Op::Symlink(path) => self.make(&words(path), Node::Link),
            Op::Unlink(path) => {
                let path = words(path);
                let node = self.get(&path)?.ok_or(libc::ENOENT)?;
                if matches!(node, Node::Dir(_)) {
                    return Err(libc::EISDIR);
                }
                self.drop_link(&node);
                self.parent(&path)?.children.remove(path.last().unwrap());
                Ok(())
            }
            Op::Rmdir(path) => {
                let path = words(path);
                match self.get(&path)?.ok_or(libc::ENOENT)? {
                    Node::Dir(dir) if dir.children.is_empty() => {}
                    Node::Dir(_) => return Err(libc::ENOTEMPTY),
                    _ => return Err(libc::ENOTDIR),
                }
                self.parent(&path)?.children.remove(path.last().unwrap());
                Ok(())
            }
            Op::RemoveTree(path) => {
                let path = words(path);
                let Node::Dir(dir) = self.get(&path)?.ok_or(libc::ENOENT)? else { return Err(libc::ENOTDIR) };
                self.drop_tree(&dir);
                self.parent(&path)?.children.remove(path.last().unwrap());
                Ok(())
            }
            Op::Link(from, to) => {
                let (from, to) = (words(from), words(to));
                let node = self.get(&from)?.ok_or(libc::ENOENT)?;
                if self.get(&to)?.is_some() {
                    return Err(libc::EEXIST);
                }
                match node {
                    Node::Dir(_) => return Err(libc::EPERM),
                    Node::File(id) => self.files[id].links += 1,
                    Node::Link => {}
                }
                self.put(&to, node);
                Ok(())
            }
            Op::Rename(from, to) => self.rename(&words(from), &words(to)),
            Op::Chmod(path, mode) => {
                let path = words(path);
                let name = path.last().unwrap().clone();
                let id = match self.parent(&path)?.children.get_mut(&name).ok_or(libc::ENOENT)? {
                    Node::Link => return Err(libc::ENOENT),
                    Node::Dir(dir) => {
                        // The test has to look into it afterwards, also without root.
                        dir.mode = mode | 0o700;
                        return Ok(());
                    }
                    Node::File(id) => *id,
                };
                self.files[id].mode = mode | 0o700;
                Ok(())
            }
        }
    }

    /// In the order in which Linux checks (do_renameat2 and vfs_rename in fs/namei.c), then the union.
    fn rename(&mut self, from: &[String], to: &[String]) -> Result<(), i32> {
        self.parent(from)?;
        self.parent(to)?;
        let mut node = self.get(from)?.ok_or(libc::ENOENT)?;
        let target = self.get(to)?;
        if to.len() > from.len() && to.starts_with(from) {
            return Err(libc::EINVAL);
        }
        if from.len() > to.len() && from.starts_with(to) {
            return Err(libc::ENOTEMPTY);
        }
        match (&node, &target) {
            _ if from == to => return Ok(()),
            (Node::File(a), Some(Node::File(b))) if a == b => return Ok(()),
            (Node::Dir(_), Some(Node::File(_) | Node::Link)) => return Err(libc::ENOTDIR),
            (Node::File(_) | Node::Link, Some(Node::Dir(_))) => return Err(libc::EISDIR),
            _ => {}
        }
        if let Node::Dir(dir) = &mut node {
            if dir.below.iter().any(|name| dir.children.contains_key(name)) {
                return Err(libc::EXDEV);
            }
            dir.below.clear();
        }
        if let Some(Node::Dir(dir)) = &target
            && !dir.children.is_empty()
        {
            return Err(libc::ENOTEMPTY);
        }
        if let Some(target) = target {
            self.drop_link(&target);
        }
        self.parent(from)?.children.remove(from.last().unwrap());
        self.put(to, node);
        Ok(())
    }

    fn dump(&self) -> BTreeMap<String, String> {
        fn walk(model: &Model, dir: &Dir, at: &str, into: &mut BTreeMap<String, String>) {
            for (name, node) in &dir.children {
                let path = format!("{at}{name}");
                match node {
                    Node::File(id) => {
                        let body = &model.files[*id];
                        into.insert(path, format!("file {:o} {} {}", body.mode, body.links, body.content));
                    }
                    Node::Link => {
                        into.insert(path, format!("-> {NOWHERE}"));
                    }
                    Node::Dir(inner) => {
                        walk(model, inner, &format!("{path}/"), into);
                        into.insert(path, format!("dir {:o}", inner.mode));
                    }
                }
            }
        }
        let mut lines = BTreeMap::new();
        walk(self, &self.root, "", &mut lines);
        lines
    }
}

fn words(path: &Name) -> Vec<String> {
    path.iter().map(|part| char::from(b'a' + part).to_string()).collect()
}

fn run(mnt: &Path, op: &Op) -> Result<(), i32> {
    let at = |path: &Name| mnt.join(words(path).join("/"));
    let open = |options: &mut OpenOptions, path: &Name, data: &[u8]| {
        options.custom_flags(libc::O_NOFOLLOW).open(at(path)).and_then(|mut file| file.write_all(data))
    };
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
        Op::Chmod(path, mode) => chmod(at(path), mode | 0o700),
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
        5 => (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => (path(), prop_oneof![Just(0o711u32), Just(0o755), Just(0o4744)]).prop_map(|(path, mode)| Op::Chmod(path, mode)),
    ]
}

fn lowers() -> Vec<Vec<(&'static str, &'static str)>> {
    vec![
        vec![("a/a", "top"), ("a/b/a", "top"), ("d", "file"), ("b/", "")],
        vec![("a/a", "hidden"), ("a/b/b", "low"), ("a/c/d", "low"), ("c/a", "low"), ("c/b/", "")],
    ]
}

fn check(ops: &[Op], options: &str) -> Result<(), TestCaseError> {
    let mut stack = Stack::new(2);
    let content = lowers();
    for (n, files) in content.iter().enumerate() {
        write_all(&stack.lower(n), files);
    }
    let mut model = Model::new(&content);
    stack.mount(options);
    for (n, op) in ops.iter().enumerate() {
        prop_assert_eq!(run(&stack.mnt(), op), model.apply(op), "operation {}: {:?}", n, op);
    }
    let expected = model.dump();
    let mut seen = BTreeMap::new();
    dump(&stack.mnt(), "", &mut seen);
    prop_assert_eq!(&seen, &expected);
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

fn random(test: &str, options: &str) {
    if !here(test) {
        return;
    }
    let config = Config { cases: 64, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
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
    random("model::random_operations_answer_as_the_model_does_served_by_the_daemon", "passthrough=off");
}
