//! Stacks where it takes a mount to tell: overlay's form of the layers shows what the definition says, and a small file system is
//! found too small. Each test runs in a process with a private mount namespace (as an ordinary user, a user namespace as well).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use layerbench::stack::{self, Entry, LayerForm, LayerStack, StackDefinition, StackError};

/// Set in a child process that is to run its test, being in its namespace.
const INSIDE: &str = "LAYERBENCH_STACK_TEST_INSIDE";

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this process is the child that is to run the calling test. In the parent it runs that child and takes its outcome over.
fn inside() -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let thread = std::thread::current();
    let test = thread.name().expect("libtest names a test's thread after the test");
    let user: &[&str] = if is_root() { &[] } else { &["--user", "--map-root-user"] };
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(user).args(["--mount", "--propagation", "private", "--"]);
        command
    };
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: {test}: this process may not make a mount namespace");
        return false;
    }
    let output = unshare()
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, if user.is_empty() { "root" } else { "user" })
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    eprint!("{text}");
    assert!(output.status.success() && text.contains("1 passed"), "{test}: its process ended with {}", output.status);
    false
}

fn inside_user_namespace() -> bool {
    std::env::var_os(INSIDE).is_some_and(|who| who == "user")
}

/// A mount; the scratch folder below it cannot be removed before it is gone, also when its test fails.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        if !Command::new("umount").arg(&self.0).status().is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted until this process ends", self.0.display());
        }
    }
}

fn mount(kind: &str, options: &str, at: &Path) -> Mounted {
    fs::create_dir_all(at).unwrap();
    let status = Command::new("mount").args(["-t", kind, "-o", options, kind]).arg(at).status().unwrap();
    assert!(status.success(), "mount -t {kind} -o {options}: {status}");
    Mounted(at.to_owned())
}

fn file(path: &str, size_bytes: u64) -> Entry {
    Entry::File { path: path.into(), size_bytes, mode: 0o644 }
}
fn dir(path: &str, mode: u32) -> Entry {
    Entry::Dir { path: path.into(), mode }
}
fn whiteout(path: &str) -> Entry {
    Entry::Whiteout { path: path.into() }
}
fn opaque(path: &str) -> Entry {
    Entry::Opaque { path: path.into() }
}

/// What unions disagree about when they are wrong: every kind of entry over every other, whiteouts that hide nothing, folders implied.
fn odd_stack() -> StackDefinition {
    StackDefinition {
        layers: vec![
            vec![
                whiteout("hidden-file"),
                whiteout("hidden-folder"),
                opaque("opaque"),
                file("opaque/above", 10),
                file("was-folder", 3),
                whiteout("was-file"),
                whiteout("only-here/nothing"),
                file("only-here/x", 0),
                whiteout("nowhere"),
            ],
            vec![
                dir("merged", 0o555),
                file("merged/middle", 20),
                file("hidden-file", 5),
                opaque("twice"),
                whiteout("twice/old"),
                file("twice/new", 1),
                Entry::Symlink { path: "link".into(), target: "merged/middle".into() },
                Entry::Symlink { path: "dangling".into(), target: "/nowhere".into() },
                file("only-here-below/y", 4),
                whiteout("only-here-below/nothing"),
            ],
            vec![
                dir("merged", 0o700),
                file("merged/base", 70_000),
                file("merged/middle", 30),
                file("hidden-folder/deep/in/it", 6),
                file("opaque/below", 7),
                file("opaque/deep/below", 7),
                file("was-folder/x", 8),
                file("was-file", 9),
                file("twice/old", 1),
                file("link", 2),
                Entry::File { path: "secret".into(), size_bytes: 11, mode: 0o400 },
                whiteout("base/nothing"),
                file("base/z", 0),
            ],
        ],
    }
}

/// Kind, mode, and content or target of everything below a folder, but for the folder itself.
fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(path) = pending.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("listed but not there: {path:?}: {e}"));
            let what = if meta.is_dir() {
                pending.push(path.clone());
                format!("folder {:o}", meta.mode())
            } else if meta.is_symlink() {
                format!("link to {:?}", fs::read_link(&path).unwrap())
            } else {
                format!("{:o} {}", meta.mode(), blake3::hash(&fs::read(&path).unwrap()))
            };
            found.insert(path.strip_prefix(folder).unwrap().to_owned(), what);
        }
    }
    found
}

fn names(tree: &BTreeMap<PathBuf, String>) -> Vec<&str> {
    tree.keys().map(|path| path.to_str().unwrap()).collect()
}

#[test]
fn overlay_shows_the_merged_view_of_the_materialised_layers() {
    if !inside() {
        return;
    }
    let store = scratch();
    for (n, definition) in [odd_stack(), StackDefinition::study(5, 3, 4, 5000)].iter().enumerate() {
        let stack = LayerStack::ensure(store.path(), definition, 1, &|_| ()).unwrap();
        let lowers = stack.lowers(LayerForm::Overlay).unwrap();
        assert_eq!(lowers, stack.lowers(LayerForm::Overlay).unwrap());
        // The same inodes, so the same pages; layers that hide nothing are used as they are.
        for (stored, lower) in stack.layer_folders().iter().zip(&lowers) {
            assert_eq!(stored == lower, !tree(stored).keys().any(|path| path.to_string_lossy().contains(".wh.")));
        }
        if n == 0 {
            let inode = |folder: &Path| fs::metadata(folder.join("merged/middle")).unwrap().ino();
            assert_eq!(inode(&stack.layer_folders()[1]), inode(&lowers[1]));
        }
        let merged = store.path().join(format!("merged-{n}"));
        let lowerdir = lowers.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>().join(":");
        let userxattr = if inside_user_namespace() { ",userxattr" } else { "" };
        let mounted = mount("overlay", &format!("lowerdir={lowerdir}{userxattr}"), &merged);
        let flat = store.path().join(format!("flat-{n}"));
        fs::create_dir(&flat).unwrap();
        stack.populate_flat(&flat).unwrap();
        assert_eq!(tree(&merged), tree(&flat));
        if n == 0 {
            assert_eq!(
                names(&tree(&flat)),
                [
                    "base",
                    "base/z",
                    "dangling",
                    "link",
                    "merged",
                    "merged/base",
                    "merged/middle",
                    "only-here",
                    "only-here/x",
                    "only-here-below",
                    "only-here-below/y",
                    "opaque",
                    "opaque/above",
                    "secret",
                    "twice",
                    "twice/new",
                    "was-folder",
                ]
            );
            assert_eq!(fs::metadata(flat.join("merged")).unwrap().mode() & 0o7777, 0o555, "of the upper of two");
        }
        assert_eq!(stack.verify().unwrap().problems, Vec::<String>::new());
        drop(mounted);
        // Folders that nobody may write do not keep a stack from being removed, nor what a test leaves.
        stack::remove(stack.root()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(flat.join(if n == 0 { "merged" } else { "data" }), mode).unwrap();
    }
    assert_eq!(stack::list(store.path()).unwrap(), Vec::<PathBuf>::new());
    assert_eq!(stack::leftovers(store.path()).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn marks_that_only_root_may_write_are_added_when_root_comes() {
    if !inside() {
        return;
    }
    if inside_user_namespace() {
        eprintln!("skipped: only root outside a user namespace may write trusted attributes");
        return;
    }
    let store = scratch();
    let stack = LayerStack::ensure(store.path(), &odd_stack(), 1, &|_| ()).unwrap();
    let opaque = stack.lowers(LayerForm::Overlay).unwrap()[0].join("opaque");
    // As an ordinary user leaves it.
    rustix::fs::removexattr(&opaque, "trusted.overlay.opaque").unwrap();
    stack.lowers(LayerForm::Overlay).unwrap();
    let mut value = [0; 8];
    for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
        assert_eq!(rustix::fs::getxattr(&opaque, name, &mut value), Ok(1), "{name}");
        assert_eq!(value[0], b'y');
    }
}

#[test]
fn a_file_system_that_is_too_small_is_found_out_before_the_first_file() {
    if !inside() {
        return;
    }
    let folder = scratch();
    let definition = StackDefinition::study(4, 4, 64, 64 << 10);
    for (options, wanted) in [("size=2m", "bytes"), ("size=64m,nr_inodes=60", "inodes")] {
        let store = folder.path().join(wanted);
        let _mounted = mount("tmpfs", options, &store);
        let written = AtomicUsize::new(0);
        let progress = |_| {
            written.fetch_add(1, Ordering::Relaxed);
        };
        match LayerStack::ensure(&store, &definition, 1, &progress) {
            Err(StackError::Space { unit, needed, available, .. }) => {
                assert_eq!(unit, wanted);
                assert!(needed > available && available > 0, "{needed} needed, {available} available");
                // The estimate is above what the files alone take, and not far above.
                let files: u64 = if wanted == "bytes" { 4 << 20 } else { 4 + 64 + 64 + 64 };
                assert!(needed > files && needed < 2 * files + (1 << 20), "{needed} needed for {files}");
            }
            other => panic!("{options}: {other:?}"),
        }
        assert_eq!(written.load(Ordering::Relaxed), 0);
        assert_eq!(fs::read_dir(store.join("stacks")).unwrap().count(), 0, "nothing is left");
    }
    // What is asked for suffices.
    let store = folder.path().join("enough");
    let _mounted = mount("tmpfs", &format!("size={}", definition.total_bytes() + (64 << 10)), &store);
    let stack = LayerStack::ensure(&store, &definition, 1, &|_| ()).unwrap();
    stack.lowers(LayerForm::Overlay).unwrap();
}
