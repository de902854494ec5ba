//! Importing images: each format, the merged tree against what tar makes of the same layers, hostile archives one by one, who may not
//! keep everything, and what is measured on them.

#[path = "import/ended.rs"]
mod ended;
#[path = "import/hostile.rs"]
mod hostile;
#[path = "import/jobs.rs"]
mod jobs;
#[path = "import/round_trip.rs"]
mod round_trip;
#[path = "import/stores.rs"]
mod stores;
#[path = "import/tools.rs"]
mod tools;
#[path = "import/tree.rs"]
mod tree;
#[path = "import/workload.rs"]
mod workload;
#[path = "import/writer.rs"]
mod writer;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder on a real file system, and in it the store.
struct Bed {
    folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Bed {
        Bed { folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs layerbench in the folder.
    fn layerbench(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerbench"));
        command.args(words).current_dir(self.folder.path()).output().unwrap()
    }

    /// What a command that must succeed prints.
    fn prints(&self, words: &[&str]) -> String {
        let output = self.layerbench(words);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// What is in the store's folder of stacks, by any name.
    fn stacks(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.at("store/stacks")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this process is the child that is to run the calling test, in namespaces of its own. In the parent it runs that child and takes
/// its outcome over. With `user`, also root's child is in a user namespace, where it is root of one number alone.
fn inside(user: bool) -> bool {
    const INSIDE: &str = "LAYERBENCH_IMPORT_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let thread = std::thread::current();
    let test = thread.name().expect("libtest names a test's thread after the test");
    let user: &[&str] = if user || !is_root() { &["--user", "--map-root-user"] } else { &[] };
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(user).args(["--mount", "--propagation", "private", "--"]);
        command
    };
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: {test}: this process may not make namespaces");
        return false;
    }
    let mut command = unshare();
    command.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture", "--test-threads=1"]);
    let output = command.env(INSIDE, "1").output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    eprint!("{said}");
    assert!(output.status.success() && said.contains("1 passed"), "{test}: its process ended with {}", output.status);
    false
}

/// Everything below a folder, as [`tree::tree`] has it, must be the same.
fn assert_same(found: &Path, expected: &Path, owners: bool) {
    let (found_tree, expected_tree) = (tree::tree(found, owners), tree::tree(expected, owners));
    for (path, what) in &expected_tree {
        assert_eq!(found_tree.get(path), Some(what), "{}", found.join(path).display());
    }
    for path in found_tree.keys() {
        assert!(expected_tree.contains_key(path), "{} should not be there", found.join(path).display());
    }
}
