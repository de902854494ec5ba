//! What every test of the suite stands on: a process in a private mount namespace, the variants to test, and a mounted stack.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use layerbench::driver::{self, Driver, Mount, MountError, MountRequest};
use layerbench::host;
use layerbench::record::{Feature, Host, Privileges};
use layerbench::stack::{Entry, LayerForm, LayerStack, StackDefinition};

/// Set in a child process that is to run its test, being in its namespace.
const INSIDE: &str = "LAYERBENCH_CONFORMANCE";
/// A union that hangs must not hang the suite.
const LIMIT: Duration = Duration::from_secs(180);

/// A driver with options.
#[derive(Clone, Copy)]
pub struct Variant {
    pub driver: &'static str,
    pub options: &'static [&'static str],
    /// Whether an ordinary user's user namespace cannot mount it.
    pub needs_root: bool,
}

impl Variant {
    pub fn label(&self) -> String {
        [self.driver, &self.options.join(",")].join(" ").trim().to_owned()
    }
    pub fn driver(&self) -> &'static dyn Driver {
        driver::by_name(self.driver).unwrap()
    }
    pub fn is_control(&self) -> bool {
        self.driver().layer_form() == LayerForm::Flat
    }
    /// Whether a file is copied up when it is opened for writing. aufs waits for the first write, and so does our union where it is not asked at opens.
    pub fn copies_up_at_open(&self) -> bool {
        let passthrough = || host::fingerprint().capabilities.fuse_passthrough.is_available();
        match self.driver {
            "aufs" => false,
            "fuse-union" => self.options.contains(&"opens=on") || !self.options.contains(&"opens=off") && passthrough(),
            _ => true,
        }
    }
    fn options(&self) -> Vec<String> {
        self.options.iter().map(|option| (*option).to_owned()).collect()
    }
}

const fn variant(driver: &'static str, options: &'static [&'static str]) -> Variant {
    Variant { driver, options, needs_root: false }
}

/// Every driver at least once, and options that change how copy_up and look-up work.
pub const VARIANTS: &[Variant] = &[
    variant("bind", &[]),
    variant("overlay2", &[]),
    variant("overlay2", &["volatile", "index=off"]),
    // Overlay keeps redirects and metacopies in trusted.*, never in user.* (Documentation/filesystems/overlayfs.rst).
    Variant { driver: "overlay2", options: &["metacopy=on", "redirect_dir=on"], needs_root: true },
    variant("aufs", &[]),
    variant("fuse-union", &[]),
    variant("fuse-union", &["passthrough=off", "opens=on", "threads=1"]),
    variant("fuse-union", &["opens=off"]),
    // Where the kernel offers it: tests/with-io-uring.sh.
    variant("fuse-union", &["uring=on"]),
    variant("fuse-overlayfs", &[]),
];

#[test]
fn every_driver_has_a_variant_and_every_variant_is_valid() {
    for driver in driver::all() {
        assert!(VARIANTS.iter().any(|v| v.driver == driver.name()), "{} is not in the suite", driver.name());
    }
    for variant in VARIANTS {
        variant.driver().check_options(&variant.options()).unwrap();
    }
}

/// Runs `body` for every variant that is available, in a child process with a private mount namespace (as an ordinary user, a user
/// namespace as well): no mount can outlive it. Variants that are not available say why.
pub fn for_each(body: impl Fn(&Variant)) {
    if !inside() {
        return;
    }
    let host = host::fingerprint();
    let mut ran = 0;
    for variant in VARIANTS {
        if let Some(reason) = missing(variant, &host) {
            eprintln!("skipped: {}: {reason}", variant.label());
            continue;
        }
        // A failure names its variant by being the last that is named.
        eprintln!("with {}", variant.label());
        body(variant);
        ran += 1;
    }
    assert!(ran > 0, "bind is available wherever anything can be mounted");
}

/// Why a variant cannot run here.
fn missing(variant: &Variant, host: &Host) -> Option<String> {
    match variant.driver().availability_with(&variant.options(), host) {
        Feature::Missing { reason, remedy } => Some(format!("{reason}; {remedy}")),
        Feature::Available { .. } if variant.needs_root && host.privileges != Privileges::Root => {
            Some("needs root outside a user namespace".into())
        }
        Feature::Available { .. } => None,
    }
}

/// Whether a promise is one that the external fuse-overlayfs is known to break (seen with 1.10, by hand as well); it is said, not asserted.
pub fn known_to_differ(variant: &Variant, what: &str) -> bool {
    let differs = variant.driver == "fuse-overlayfs";
    if differs {
        eprintln!("not asserted: {} is known to differ: {what}", variant.label());
    }
    differs
}

/// Whether this process is the child that is to run the calling test. In the parent it runs that child and takes its outcome over.
pub fn inside() -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // libtest names a test's thread after the test.
    let thread = std::thread::current();
    let test = thread.name().expect("the name of the test's thread");
    let unshare: &[&str] = match host::fingerprint().privileges {
        Privileges::Root => &["--mount", "--propagation", "private"],
        Privileges::UserNamespace => &["--user", "--map-root-user", "--mount", "--propagation", "private"],
        Privileges::None => {
            eprintln!("skipped: {test}: an ordinary user without user namespaces cannot mount");
            return false;
        }
    };
    let mut said = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut child = Command::new("unshare")
        .args(unshare)
        .arg("--")
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(said.try_clone().unwrap())
        .stderr(said.try_clone().unwrap())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if start.elapsed() > LIMIT => {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let mut text = String::new();
    std::io::Seek::rewind(&mut said).unwrap();
    said.read_to_string(&mut text).unwrap();
    // libtest shows this when the test fails.
    eprint!("{text}");
    let status = status.unwrap_or_else(|| panic!("{test} hung for {} s and was killed", LIMIT.as_secs()));
    assert!(status.success(), "{test}: its process ended with {status}");
    assert!(text.contains("1 passed"), "{test}: its process ran no test");
    false
}

/// Shorthands for entries of a layer.
pub fn dir(path: &str) -> Entry {
    Entry::Dir { path: path.into(), mode: 0o755 }
}
pub fn file(path: &str, size_bytes: u64, mode: u32) -> Entry {
    Entry::File { path: path.into(), size_bytes, mode }
}
pub fn whiteout(path: &str) -> Entry {
    Entry::Whiteout { path: path.into() }
}
pub fn opaque(path: &str) -> Entry {
    Entry::Opaque { path: path.into() }
}

/// A stack, a container on it, and its mount.
pub struct Bed {
    variant: Variant,
    pub stack: LayerStack,
    root: PathBuf,
    mount: Option<Mount>,
    // Goes last: the mount lies in it.
    _folder: Option<tempfile::TempDir>,
}

impl Bed {
    /// A stack of these layers, the top one first; not mounted yet. With bind as the driver the container holds the merged view.
    pub fn new(variant: &Variant, layers: Vec<Vec<Entry>>) -> Bed {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut bed = Bed::in_folder(variant, layers, &folder.path().join("bed"));
        bed._folder = Some(folder);
        bed
    }

    /// The same in a folder of the caller's.
    pub fn in_folder(variant: &Variant, layers: Vec<Vec<Entry>>, root: &Path) -> Bed {
        let stack = LayerStack::ensure(&root.join("store"), &StackDefinition { layers }, 7, &|_| ()).unwrap();
        Bed::on(variant, stack, root)
    }

    /// The layers' folders in the driver's form, the top one first.
    pub fn lowers(&self) -> Vec<PathBuf> {
        self.stack.lowers(self.variant.driver().layer_form()).unwrap()
    }

    /// A container in `root` on a stack that is there.
    pub fn on(variant: &Variant, stack: LayerStack, root: &Path) -> Bed {
        for name in ["upper", "work", "merged"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        if variant.is_control() {
            stack.populate_flat(&root.join("upper")).unwrap();
        }
        Bed { variant: *variant, stack, root: root.to_owned(), mount: None, _folder: None }
    }

    pub fn try_mount(&self) -> Result<Mount, MountError> {
        self.variant.driver().mount(&MountRequest {
            lower: &self.lowers(),
            upper: &self.root.join("upper"),
            work: &self.work(),
            merged: &self.root.join("merged"),
            options: &self.variant.options(),
            layerbench: Path::new(env!("CARGO_BIN_EXE_layerbench")),
        })
    }

    /// A volatile overlay does not mount again on a work folder that it has used: it cannot know whether everything reached the disk.
    fn work(&self) -> PathBuf {
        let work = self.root.join("work");
        if self.variant.options.contains(&"volatile") {
            remove_with_mode_0(&work);
            fs::create_dir(&work).unwrap();
        }
        work
    }

    pub fn mount(&mut self) -> &Mount {
        let mount = self.try_mount().unwrap_or_else(|e| panic!("{e}"));
        self.mount.insert(mount)
    }

    pub fn mounted(mut self) -> Bed {
        self.mount();
        self
    }

    pub fn unmount(&mut self) {
        if let Some(mount) = self.mount.take() {
            mount.unmount().unwrap_or_else(|e| panic!("{e}"));
        }
    }

    /// Unmounts and mounts again: what is seen afterwards is what lies on disk.
    pub fn remount(&mut self) {
        self.unmount();
        self.mount();
    }

    /// A path in the container.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join("merged").join(path)
    }
    /// The same path in the writable layer.
    pub fn upper(&self, path: &str) -> PathBuf {
        self.root.join("upper").join(path)
    }
    /// The same path in a layer, 0 the top one, as stored.
    pub fn lower(&self, layer: usize, path: &str) -> PathBuf {
        self.stack.layer_folders()[layer].join(path)
    }

    /// Names in a folder of the container, sorted.
    pub fn names(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.at(path)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Panics unless looking for a name finds nothing.
    pub fn assert_not_found(&self, path: &str) {
        let error = fs::symlink_metadata(self.at(path)).expect_err(path);
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "stat of {path}: {error}");
    }

    /// Panics unless the container has nothing of that name: it is neither found nor listed.
    pub fn assert_absent(&self, path: &str) {
        self.assert_not_found(path);
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        assert!(!self.names(parent).contains(&name.to_owned()), "{path} is still listed");
    }

    /// Panics unless every layer is as it was built.
    pub fn assert_lowers_untouched(&self) {
        let report = self.stack.verify().unwrap();
        assert!(report.problems.is_empty(), "the lower layers have changed: {:#?}", report.problems);
    }
}

/// Removes a work folder; overlay makes a folder of mode 0 in it, which stops an ordinary user's `remove_dir_all`.
fn remove_with_mode_0(work: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    if work.join("work").is_dir() {
        fs::set_permissions(work.join("work"), fs::Permissions::from_mode(0o700)).unwrap();
    }
    fs::remove_dir_all(work).unwrap();
}
