//! Stacks of layers on disk, in the layout of Docker's aufs store, reproducible from a definition and a seed.
//!
//! `<store>/stacks/<key>/` holds `diff/<id>/` (one tree a layer), `layers/<id>` (the ids of all layers below, top first, one a line; empty for
//! the base), `mnt/<id>/` (empty), and beside these `stack.json` with the definition and a digest of every file. Whiteouts and opaque
//! directories are stored the aufs way; [`LayerStack::lowers`] materialises another form for a driver that needs it.
//!
//! An imported image lies the same way, with `image.json` and `index/<id>.json` in place of `stack.json`: see [`import`].
//!
//! It mounts nothing and measures nothing. `driver`, `probe`, `runner` and the command line use it.

mod atlas;
mod build;
mod content;
mod database;
mod definition;
pub(crate) mod folder;
mod forms;
mod image;
pub mod import;
mod manifest;
mod packages;
mod parallel;
mod partial;
mod program;
mod scan;
mod select;
mod source;
mod tree;
mod verify;
mod view;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

pub use definition::{Entry, StackDefinition, Targets, attribute, whiteout_path};
pub use forms::LayerForm;
pub use image::{Image, ImageLayer, Item, ItemKind, Name};
pub use manifest::{FileRecord, LayerRecord, Manifest};
pub use packages::PACKAGES;
pub use select::{FileTotals, Selection};
pub use tree::{DATABASE, TREE};
pub use verify::VerifyReport;
pub use view::FileFact;

use partial::{Partial, is_partial};
pub use partial::{Stopped, stop};
use view::View;

/// Prefix of a whiteout's name (aufs's `AUFS_WH_PFX`).
pub const WHITEOUT_PREFIX: &str = ".wh.";
/// Name of the file that makes a directory opaque (aufs's `AUFS_WH_DIROPQ`).
pub const OPAQUE_NAME: &str = ".wh..wh..opq";
/// Mode of both.
const WHITEOUT_MODE: u32 = 0o444;
/// Mode of folders for which nobody asked for another.
const DIR_MODE: u32 = 0o755;

/// Folder of stacks in a store.
const STACKS: &str = "stacks";

/// What can go wrong with a stack.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A system call failed.
    #[error("{operation} {path}: {errno}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        errno: io::Error,
    },
    /// A definition that cannot be a stack.
    #[error("{path} cannot be in a stack: {reason}", path = path.display())]
    Definition {
        /// The entry.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// No room.
    #[error(
        "{path}: the stack needs {needed} {unit}, {available} are available: free space, or give another --store",
        path = path.display()
    )]
    Space {
        /// Where.
        path: PathBuf,
        /// `bytes` or `inodes`.
        unit: &'static str,
        /// How many are needed.
        needed: u64,
        /// How many are free.
        available: u64,
    },
    /// A manifest that is none.
    #[error("{path}:{line}: not the manifest of a stack: {reason}; remove it with `layerbench stack rm`, then build or import it again", path = path.display())]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
}

/// Names operation and path of an errno.
fn at<'a, E: Into<io::Error>>(operation: &'static str, path: &'a Path) -> impl FnOnce(E) -> StackError + 'a {
    move |errno| StackError::Io { operation, path: path.to_owned(), errno: errno.into() }
}

/// Where a stack comes from, and what is known of it.
#[derive(Debug)]
enum Origin {
    /// Built from a definition.
    Built(Manifest),
    /// An image, with the entries of each layer.
    Imported(Image, Vec<Vec<Item>>),
}

/// A complete stack on disk.
#[derive(Debug)]
pub struct LayerStack {
    root: PathBuf,
    origin: Origin,
    view: View,
}

/// What a layer hides, as paths relative to it.
#[derive(Debug, Default)]
struct Marks<'a> {
    whiteouts: Vec<&'a Path>,
    opaque: Vec<&'a Path>,
}

impl LayerStack {
    /// The stack of a definition and a seed in a store: the one that is there, if every part of it is in its place with the right kind,
    /// size and mode (contents are what [`LayerStack::verify`] reads), else a new one. `progress` is told how many bytes of content have
    /// been written so far, from several threads but by one of them at a time. Of several processes or threads that ask for the same
    /// stack one builds it.
    ///
    /// # Errors
    /// A definition that cannot be built, and too little space, are found out before the first file. A build that fails leaves nothing,
    /// one that is killed only what [`leftovers`] lists.
    pub fn ensure(
        store: &Path,
        definition: &StackDefinition,
        seed: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<LayerStack, StackError> {
        definition.validate()?;
        let stacks = store.join(STACKS);
        let root = stacks.join(definition.key(seed));
        if let Some(stack) = LayerStack::reuse(&root, definition, seed)? {
            return Ok(stack);
        }
        fs::create_dir_all(&stacks).map_err(at("create folder", &stacks))?;
        let _lock = lock(&stacks)?;
        // Whoever held the lock may have built it.
        if let Some(stack) = LayerStack::reuse(&root, definition, seed)? {
            return Ok(stack);
        }
        if root.exists() {
            Partial::retire(&root)?;
        }
        build::build(&root, definition, seed, progress)?;
        LayerStack::open(&root)
    }

    /// The stack at `root`, if it is what the definition says.
    fn reuse(root: &Path, definition: &StackDefinition, seed: u64) -> Result<Option<LayerStack>, StackError> {
        match LayerStack::open(root) {
            Ok(stack) => {
                let same = stack.manifest().is_some_and(|manifest| {
                    manifest.seed == seed && manifest.definition == *definition && verify::is_complete(&stack, manifest)
                });
                Ok(same.then_some(stack))
            }
            Err(StackError::Io { errno, .. }) if errno.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(StackError::Manifest { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens a stack by its folder.
    pub fn open(root: &Path) -> Result<LayerStack, StackError> {
        if Image::is_at(root) {
            let image = Image::load(root)?;
            let items = image.items(root)?;
            let view = View::of_image(root, &image, &items);
            return Ok(LayerStack { root: root.to_owned(), origin: Origin::Imported(image, items), view });
        }
        let manifest = Manifest::load(root)?;
        let view = View::new(root, &manifest);
        Ok(LayerStack { root: root.to_owned(), origin: Origin::Built(manifest), view })
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Definition, seed and digests of a stack that was built; `None` for an imported one.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.origin {
            Origin::Built(manifest) => Some(manifest),
            Origin::Imported(..) => None,
        }
    }

    /// What is known of an imported image; `None` for a stack that was built.
    pub fn image(&self) -> Option<&Image> {
        match &self.origin {
            Origin::Built(_) => None,
            Origin::Imported(image, _) => Some(image),
        }
    }

    /// The entries of an imported image's layers, the top layer first; none of a stack that was built.
    pub fn items(&self) -> &[Vec<Item>] {
        match &self.origin {
            Origin::Built(_) => &[],
            Origin::Imported(_, items) => items,
        }
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.ids().len()
    }

    /// Ids of the layers, the top one first.
    pub fn ids(&self) -> Vec<&str> {
        match &self.origin {
            Origin::Built(manifest) => manifest.layers.iter().map(|layer| layer.id.as_str()).collect(),
            Origin::Imported(image, _) => image.layers.iter().map(|layer| layer.id.as_str()).collect(),
        }
    }

    /// What a layer hides; `index` counts from 0 (the top).
    fn marks(&self, index: usize) -> Marks<'_> {
        let mut marks = Marks::default();
        match &self.origin {
            Origin::Built(manifest) => {
                for entry in manifest.definition.layers.get(index).into_iter().flatten() {
                    match entry {
                        Entry::Whiteout { path } => marks.whiteouts.push(path),
                        Entry::Opaque { path } => marks.opaque.push(path),
                        _ => {}
                    }
                }
            }
            Origin::Imported(_, items) => {
                for item in items.get(index).into_iter().flatten() {
                    match item.kind {
                        ItemKind::Whiteout => marks.whiteouts.push(&item.path.0),
                        ItemKind::Opaque => marks.opaque.push(&item.path.0),
                        _ => {}
                    }
                }
            }
        }
        marks
    }

    /// The layers' folders as stored (`diff/<id>`), the top one first.
    pub fn layer_folders(&self) -> Vec<PathBuf> {
        self.ids().into_iter().map(|id| diff(&self.root, id)).collect()
    }

    /// The folders that a driver takes as lower layers, the top one first. For [`LayerForm::Overlay`] layers with whiteouts or opaque
    /// directories are materialised in `overlay/<id>/` when asked for the first time; for [`LayerForm::Flat`] there are none.
    pub fn lowers(&self, form: LayerForm) -> Result<Vec<PathBuf>, StackError> {
        match form {
            LayerForm::Aufs => Ok(self.layer_folders()),
            LayerForm::Overlay => forms::overlay(self),
            LayerForm::Flat => Ok(Vec::new()),
        }
    }

    /// Copies the merged view, whiteouts and opaque directories applied, into an empty folder: what a volume would hold.
    pub fn populate_flat(&self, into: &Path) -> Result<(), StackError> {
        forms::flat(self, into)
    }

    /// The names that a study operates on; none in an imported image.
    pub fn targets(&self) -> Targets {
        self.manifest().map(|manifest| manifest.definition.targets()).unwrap_or_default()
    }

    /// What is known of the file that a path of the merged view means; `None` where there is no file.
    pub fn file(&self, path: &Path) -> Option<FileFact> {
        self.view.file(path)
    }

    /// The file that a command means in a container on this stack: its name as the container calls it, and the file once every symbolic link is
    /// followed, relative to the root. A name without a slash is looked for in `path`, folders with colons between them.
    pub fn command(&self, name: &str, path: &str) -> Option<(PathBuf, PathBuf)> {
        let candidates: Vec<PathBuf> = match name.contains('/') {
            true => vec![Path::new("/").join(name)],
            false => path.split(':').map(|folder| Path::new("/").join(folder).join(name)).collect(),
        };
        candidates.into_iter().find_map(|called| {
            let file = self.view.resolve(&called)?;
            let executable = self.file(&file).is_some_and(|fact| fact.mode & 0o111 != 0);
            executable.then_some((called, file))
        })
    }

    /// Names of what a folder of the merged view holds, sorted; nothing where there is no folder.
    pub fn names_in(&self, folder: &Path) -> Vec<std::ffi::OsString> {
        self.view.names_in(folder)
    }

    /// Every path of the merged view, sorted, and where it lies in the layers: of a folder that several have, in the topmost of them.
    fn places(&self) -> impl Iterator<Item = (&Path, PathBuf)> {
        let folders = self.layer_folders();
        let place = move |layer: usize, path| Some(folders.get(layer)?.join(path));
        self.view.entries().filter_map(move |(path, layer, _)| Some((path, place(layer, path)?)))
    }

    /// Everything in the merged view but its root, sorted by path: what [`Item::below`] finds in a container that nobody has written to. Contents
    /// are those that the layers were made with; all else is read from the layers' folders.
    ///
    /// # Errors
    /// What cannot be looked at.
    pub fn merged(&self) -> Result<Vec<Item>, StackError> {
        let known = |path: &Path| {
            let fact = self.view.file(path).ok_or(io::ErrorKind::InvalidData)?;
            Ok((fact.digest, (fact.size_bytes > 0).then_some(fact.first_byte)))
        };
        let item = |(path, place): (&Path, PathBuf)| {
            let meta = fs::symlink_metadata(&place).map_err(at("stat", &place))?;
            scan::item(path, &place, &meta, &|_, _| known(path)).map_err(at("read", &place))
        };
        self.places().map(item).collect()
    }

    /// Where the file of a path lies in the layers is one file with other names of the view: these, sorted, for each such file.
    ///
    /// # Errors
    /// What cannot be looked at.
    pub fn hard_links(&self) -> Result<Vec<Vec<PathBuf>>, StackError> {
        let mut names: HashMap<(u64, u64), Vec<PathBuf>> = HashMap::new();
        for (path, place) in self.places() {
            let meta = fs::symlink_metadata(&place).map_err(at("stat", &place))?;
            if !meta.is_dir() && meta.nlink() > 1 {
                names.entry((meta.dev(), meta.ino())).or_default().push(path.to_owned());
            }
        }
        let mut names: Vec<_> = names.into_values().filter(|names| names.len() > 1).collect();
        names.sort();
        Ok(names)
    }

    /// Checks everything on disk against the manifest.
    pub fn verify(&self) -> Result<VerifyReport, StackError> {
        self.verify_here(true)
    }

    /// Checks everything on disk against the manifest, owners if wanted: in a user namespace they have other numbers.
    pub fn verify_here(&self, owners: bool) -> Result<VerifyReport, StackError> {
        match &self.origin {
            Origin::Built(manifest) => verify::verify(self, manifest),
            Origin::Imported(image, items) => verify::verify_image(self, image, items, owners),
        }
    }
}

/// Removes the stack of a folder, whatever state it is in. Killed on the way, it leaves what [`leftovers`] lists.
pub fn remove(folder: &Path) -> Result<(), StackError> {
    Partial::retire(folder)
}

/// Held while a stack is built; the kernel lets go of it when the process ends, however it ends.
fn lock(stacks: &Path) -> Result<Option<File>, StackError> {
    let folder = File::open(stacks).map_err(at("open", stacks))?;
    match rustix::fs::flock(&folder, FlockOperation::LockExclusive) {
        Ok(()) => Ok(Some(folder)),
        // NFS locks only what is open for writing. Without the lock two processes may both build, and one build is thrown away.
        Err(Errno::BADF | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK) => Ok(None),
        Err(e) => Err(at("lock", stacks)(e)),
    }
}

/// Id of a layer of the stack with a key; `index` counts from 0 (the top).
fn layer_id(key: &str, index: usize) -> String {
    blake3::hash(format!("layerbench layer {key} {index}").as_bytes()).to_hex().to_string()
}

fn diff(root: &Path, id: &str) -> PathBuf {
    root.join("diff").join(id)
}

fn layers_file(root: &Path, id: &str) -> PathBuf {
    root.join("layers").join(id)
}

fn mnt(root: &Path, id: &str) -> PathBuf {
    root.join("mnt").join(id)
}

/// The imported image of that name in a store.
///
/// # Errors
/// A store that cannot be listed. A stack that cannot be read is not that image.
pub fn named(store: &Path, name: &str) -> Result<Option<PathBuf>, StackError> {
    let Ok(name) = import::reference(name) else { return Ok(None) };
    let is_it = |folder: &PathBuf| Image::load(folder).is_ok_and(|image| image.names.contains(&name));
    Ok(list(store)?.into_iter().find(is_it))
}

/// Number of layers of the imported image of that name in a store; `None` where it has none.
pub fn depth_of_image(store: &Path, name: &str) -> Result<Option<u32>, StackError> {
    let Some(folder) = named(store, name)? else { return Ok(None) };
    Ok(u32::try_from(Image::load(&folder)?.layers.len()).ok())
}

/// The files of the imported image of that name; `None` where the store has no such image.
pub fn files_of_image(store: &Path, name: &str) -> Result<Option<FileTotals>, StackError> {
    let Some(folder) = named(store, name)? else { return Ok(None) };
    Ok(Some(LayerStack::open(&folder)?.totals()))
}

/// Whether a folder holds a stack, built or imported.
pub fn is_stack(folder: &Path) -> bool {
    folder.join(manifest::NAME).is_file() || Image::is_at(folder)
}

/// Whether a folder of a store is a stack that was made there: it has a stack's name besides, which is a key of 16 hexadecimal digits.
pub fn is_in_store(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) && is_stack(folder)
}

/// Whether a folder holds an imported image.
pub fn is_image(folder: &Path) -> bool {
    Image::is_at(folder)
}

/// Folders of complete stacks in a store, sorted.
pub fn list(store: &Path) -> Result<Vec<PathBuf>, StackError> {
    Ok(children(&store.join(STACKS))?.into_iter().filter(|path| !is_partial(path)).collect())
}

/// Folders whose making was killed, of stacks and of layers in another form, sorted. One that is being made right now is among them:
/// whoever removes them must know that nobody builds in this store.
pub fn leftovers(store: &Path) -> Result<Vec<PathBuf>, StackError> {
    let mut found = Vec::new();
    for path in children(&store.join(STACKS))? {
        if is_partial(&path) {
            found.push(path);
        } else if is_in_store(&path) {
            found.extend(children(&path.join(forms::OVERLAY))?.into_iter().filter(|path| is_partial(path)));
        }
    }
    Ok(found)
}

fn children(path: &Path) -> Result<Vec<PathBuf>, StackError> {
    folder::children(path).map_err(at("list", path))
}
