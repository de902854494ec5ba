//! The union in memory: what it answers to an operation and what it shows, by aufs's rules, without layers, locks and system calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::fixture::write_all;

/// A path of up to three names out of four, so that operations meet.
pub type Name = Vec<u8>;

#[derive(Debug, Clone)]
pub enum Op {
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
    /// RENAME_NOREPLACE.
    Move(Name, Name),
    /// RENAME_EXCHANGE.
    Exchange(Name, Name),
    Chmod(Name, u32),
    /// A reader that stays until the next mount.
    Hold(Name),
    /// Nothing is in the kernel's caches but what is open.
    Forget,
    Remount,
}

/// What a file is, whatever its names are: a counter of the model's.
pub type Id = usize;

#[derive(Debug, Clone)]
enum Node {
    /// Its place in the list of bodies.
    File(usize),
    Link(Id),
    Dir(Dir),
}

#[derive(Debug, Clone)]
struct Dir {
    id: Id,
    mode: u32,
    children: BTreeMap<String, Node>,
    /// Names that the lowers contribute here, as long as the directory is not opaque.
    below: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Body {
    id: Id,
    content: String,
    mode: u32,
    links: u64,
    /// What its lower says of its links, until it is copied up.
    lower_links: Option<u64>,
}

impl Dir {
    fn new(id: Id, mode: u32) -> Dir {
        Dir { id, mode, children: BTreeMap::new(), below: BTreeSet::new() }
    }
}

impl Body {
    fn new(id: Id, content: &str, mode: u32) -> Body {
        Body { id, content: content.into(), mode, links: 1, lower_links: None }
    }
}

/// One lower: its files with their content, and the names (all but the first are new) that are one file.
#[derive(Debug)]
pub struct Lower {
    pub files: Vec<(&'static str, &'static str)>,
    pub links: Vec<&'static str>,
}

impl Lower {
    pub fn build(&self, at: &Path) {
        write_all(at, &self.files);
        for name in self.links.iter().skip(1) {
            fs::create_dir_all(at.join(name).parent().unwrap()).unwrap();
            fs::hard_link(at.join(self.links[0]), at.join(name)).unwrap();
        }
    }

    /// All files: content, and how many links it has.
    fn all(&self) -> Vec<(&'static str, &'static str, u64)> {
        let count = self.links.len() as u64;
        let links = |name| if self.links.contains(&name) { count } else { 1 };
        let mut all: Vec<_> = self.files.iter().map(|(name, content)| (*name, *content, links(*name))).collect();
        if let Some(first) = self.links.first() {
            let content = self.files.iter().find(|(name, _)| name == first).unwrap().1;
            all.extend(self.links.iter().skip(1).map(|name| (*name, content, count)));
        }
        all
    }
}

/// Where the dangling symbolic links point.
pub const NOWHERE: &str = "nowhere";

#[derive(Debug)]
pub struct Model {
    root: Dir,
    files: Vec<Body>,
    next: Id,
}

impl Model {
    pub fn new(lowers: &[Lower]) -> Model {
        let mut model = Model { root: Dir::new(0, 0o755), files: Vec::new(), next: 1 };
        // Top first: what is there already wins.
        for lower in lowers {
            let mut linked = None;
            for (path, content, links) in lower.all() {
                model.add_lower(path, content, links, &mut linked);
            }
        }
        model
    }

    fn add_lower(&mut self, path: &str, content: &str, links: u64, linked: &mut Option<usize>) {
        let mut parts: Vec<&str> = path.split('/').collect();
        let last = parts.pop().unwrap();
        let mut dir = &mut self.root;
        for part in parts {
            dir.below.insert(part.into());
            let new = Dir::new(self.next, 0o755);
            self.next += 1;
            match dir.children.entry(part.into()).or_insert(Node::Dir(new)) {
                Node::Dir(inner) => dir = inner,
                // A file of a layer above hides the directory.
                _ => return,
            }
        }
        if last.is_empty() {
            return;
        }
        dir.below.insert(last.into());
        if dir.children.contains_key(last) {
            return;
        }
        let id = match *linked {
            Some(id) if links > 1 => {
                self.files[id].links += 1;
                id
            }
            _ => {
                let lower_links = (links > 1).then_some(links);
                self.files.push(Body { lower_links, ..Body::new(self.next, content, 0o644) });
                self.next += 1;
                self.files.len() - 1
            }
        };
        if links > 1 {
            *linked = Some(id);
        }
        dir.children.insert(last.into(), Node::File(id));
    }

    fn id(&mut self) -> Id {
        self.next += 1;
        self.next - 1
    }

    fn parent(&mut self, path: &[String]) -> Result<&mut Dir, i32> {
        let mut dir = &mut self.root;
        for part in &path[..path.len() - 1] {
            dir = match dir.children.get_mut(part) {
                Some(Node::Dir(inner)) => inner,
                Some(Node::File(_)) => return Err(libc::ENOTDIR),
                Some(Node::Link(_)) | None => return Err(libc::ENOENT),
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
            Node::File(id) => {
                self.copied_up(id);
                Ok(&mut self.files[id])
            }
            Node::Dir(_) => Err(libc::EISDIR),
            Node::Link(_) => Err(libc::ELOOP),
        }
    }

    /// From now on the links that are visible are those that there are.
    fn copied_up(&mut self, id: usize) {
        self.files[id].lower_links = None;
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

    pub fn apply(&mut self, op: &Op) -> Result<(), i32> {
        match op {
            Op::Create(path) => {
                let path = words(path);
                let id = self.id();
                self.files.push(Body::new(id, "new", 0o640));
                let node = Node::File(self.files.len() - 1);
                self.make(&path, node)
            }
            Op::Append(path) => self.file(&words(path)).map(|body| body.content.push('+')),
            Op::Truncate(path) => self.file(&words(path)).map(|body| body.content = "t".into()),
            Op::Mkdir(path) => {
                let new = Dir::new(self.id(), 0o750);
                self.make(&words(path), Node::Dir(new))
            }
            Op::Symlink(path) => {
                let new = Node::Link(self.id());
                self.make(&words(path), new)
            }
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
                    Node::File(id) => {
                        self.copied_up(id);
                        self.files[id].links += 1;
                    }
                    Node::Link(_) => {}
                }
                self.put(&to, node);
                Ok(())
            }
            Op::Hold(path) => match self.get(&words(path))?.ok_or(libc::ENOENT)? {
                Node::Link(_) => Err(libc::ELOOP),
                _ => Ok(()),
            },
            Op::Forget | Op::Remount => Ok(()),
            Op::Rename(from, to) => self.rename(&words(from), &words(to), false),
            Op::Move(from, to) => self.rename(&words(from), &words(to), true),
            Op::Exchange(from, to) => self.exchange(&words(from), &words(to)),
            Op::Chmod(path, mode) => {
                let path = words(path);
                let name = path.last().unwrap().clone();
                let id = match self.parent(&path)?.children.get_mut(&name).ok_or(libc::ENOENT)? {
                    Node::Link(_) => return Err(libc::ENOENT),
                    Node::Dir(dir) => {
                        // The test has to look into it afterwards, also without root.
                        dir.mode = mode | 0o700;
                        return Ok(());
                    }
                    Node::File(id) => *id,
                };
                self.copied_up(id);
                self.files[id].mode = mode | 0o700;
                Ok(())
            }
        }
    }

    /// In the order in which Linux checks (do_renameat2 and vfs_rename in fs/namei.c), then the union.
    fn rename(&mut self, from: &[String], to: &[String], no_replace: bool) -> Result<(), i32> {
        self.parent(from)?;
        self.parent(to)?;
        let node = self.get(from)?.ok_or(libc::ENOENT)?;
        let target = self.get(to)?;
        if no_replace && target.is_some() {
            return Err(libc::EEXIST);
        }
        if to.len() > from.len() && to.starts_with(from) {
            return Err(libc::EINVAL);
        }
        if from.len() > to.len() && from.starts_with(to) {
            return Err(libc::ENOTEMPTY);
        }
        match (&node, &target) {
            _ if from == to => return Ok(()),
            (Node::File(a), Some(Node::File(b))) if a == b => return Ok(()),
            (Node::Dir(_), Some(Node::File(_) | Node::Link(_))) => return Err(libc::ENOTDIR),
            (Node::File(_) | Node::Link(_), Some(Node::Dir(_))) => return Err(libc::EISDIR),
            _ => {}
        }
        self.prepare(from)?;
        let node = self.get(from)?.unwrap();
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

    fn exchange(&mut self, from: &[String], to: &[String]) -> Result<(), i32> {
        self.parent(from)?;
        self.parent(to)?;
        let node = self.get(from)?.ok_or(libc::ENOENT)?;
        let target = self.get(to)?.ok_or(libc::ENOENT)?;
        if from != to && (to.starts_with(from) || from.starts_with(to)) {
            return Err(libc::EINVAL);
        }
        match (&node, &target) {
            _ if from == to => return Ok(()),
            (Node::File(a), Node::File(b)) if a == b => return Ok(()),
            _ => {}
        }
        self.prepare(from)?;
        self.prepare(to)?;
        let (node, target) = (self.get(from)?.unwrap(), self.get(to)?.unwrap());
        self.put(from, target);
        self.put(to, node);
        Ok(())
    }

    /// What is to be moved comes to the upper first; a directory only if nothing of it is below.
    fn prepare(&mut self, path: &[String]) -> Result<(), i32> {
        let name = path.last().unwrap();
        match self.parent(path)?.children.get_mut(name) {
            Some(Node::Dir(dir)) => {
                if dir.below.iter().any(|name| dir.children.contains_key(name)) {
                    return Err(libc::EXDEV);
                }
                dir.below.clear();
            }
            Some(Node::File(id)) => {
                let id = *id;
                self.copied_up(id);
            }
            _ => {}
        }
        Ok(())
    }

    /// Which file each path leads to.
    pub fn ids(&self) -> BTreeMap<String, Id> {
        fn walk(model: &Model, dir: &Dir, at: &str, into: &mut BTreeMap<String, Id>) {
            for (name, node) in &dir.children {
                let path = format!("{at}{name}");
                let id = match node {
                    Node::File(body) => model.files[*body].id,
                    Node::Link(id) => *id,
                    Node::Dir(inner) => {
                        walk(model, inner, &format!("{path}/"), into);
                        inner.id
                    }
                };
                into.insert(path, id);
            }
        }
        let mut ids = BTreeMap::new();
        walk(self, &self.root, "", &mut ids);
        ids
    }

    pub fn dump(&self) -> BTreeMap<String, String> {
        fn walk(model: &Model, dir: &Dir, at: &str, into: &mut BTreeMap<String, String>) {
            for (name, node) in &dir.children {
                let path = format!("{at}{name}");
                match node {
                    Node::File(id) => {
                        let body = &model.files[*id];
                        let links = body.lower_links.unwrap_or(body.links);
                        into.insert(path, format!("file {:o} {links} {}", body.mode, body.content));
                    }
                    Node::Link(_) => {
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

pub fn words(path: &Name) -> Vec<String> {
    path.iter().map(|part| char::from(b'a' + part).to_string()).collect()
}
