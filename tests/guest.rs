//! The same study under another kernel: Debian's cloud kernel, in QEMU. `make tools` downloads both without installing them;
//! LAYERBENCH_TEST_KERNEL and LAYERBENCH_TEST_MODULES name another kernel.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use layerbench::analysis::ResultSet;
use layerbench::record::{Accelerator, Observation, Outcome, Run};

/// Small enough for an emulated CPU and a program that is not optimised.
const WORKLOAD: &str = r#"
title = "Tiny"
why = "To prove that a guest measures."

[[driver]]
use = "bind"

[[driver]]
use = "overlay2"
options = ["volatile"]

[[driver]]
use = "aufs"

[[measure]]
probe = "copy_up"
why = "A first write."
depth = 2
file_size = "4 KiB"
files = 16
blocks = 3

[[measure]]
probe = "page_cache"
why = "Kernels before 6.5 say what is resident in another way."
depth = 2
file_size = "64 KiB"
files = 2
containers = 2
"#;

struct Kernel {
    image: PathBuf,
    /// `None` where everything is built in.
    modules: Option<PathBuf>,
}

/// The kernel to boot; `None`, having said why, where there is none or no QEMU.
fn kernel(test: &str) -> Option<Kernel> {
    let skip = |why: &str| {
        eprintln!("skipped: {test}: {why}");
        None
    };
    let unpacked = tool("qemu/usr/bin/qemu-system-x86_64").exists();
    let tried = Command::new(if unpacked { QEMU } else { "qemu-system-x86_64" }).arg("--version").output();
    if !tried.is_ok_and(|output| output.status.success()) {
        return skip("qemu-system-x86_64 neither runs from PATH nor from target/tools/qemu (make tools)");
    }
    if let Some(image) = std::env::var_os("LAYERBENCH_TEST_KERNEL") {
        let modules = std::env::var_os("LAYERBENCH_TEST_MODULES").map(PathBuf::from);
        return Some(Kernel { image: image.into(), modules });
    }
    let folder = tool("linux-cloud");
    let boot = std::fs::read_dir(folder.join("boot")).ok();
    let image = boot.and_then(|entries| {
        let names = entries.flatten().map(|entry| entry.path());
        names.into_iter().find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz")))
    });
    match image {
        Some(image) => Some(Kernel { image, modules: Some(folder.join("lib/modules")) }),
        None => skip("no kernel in target/tools/linux-cloud (make tools)"),
    }
}

/// Starts the QEMU that `make tools` unpacked.
const QEMU: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/qemu.sh");

/// What `make tools` has put below its folder.
fn tool(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(path)
}

/// Enough for a program that is not optimised.
const MACHINE: [&str; 6] = ["--memory", "1536 MiB", "--disk", "128 MiB,fs=ext4", "--time-limit", "5m"];

fn guest_run(kernel: &Kernel, folder: &Path, machine: &[&str]) -> Output {
    if !folder.join("tiny.toml").exists() {
        std::fs::write(folder.join("tiny.toml"), WORKLOAD).unwrap();
    }
    let qemu = folder.join("qemu-system-x86_64");
    if tool("qemu").exists() && !qemu.exists() {
        std::os::unix::fs::symlink(QEMU, qemu).unwrap();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path))).unwrap();
    Command::new(env!("CARGO_BIN_EXE_layerbench"))
        .args(["guest", "run", "--counted", "--kernel"])
        .arg(&kernel.image)
        .args(kernel.modules.iter().flat_map(|modules| [std::ffi::OsStr::new("--modules"), modules.as_os_str()]))
        .args(machine)
        .arg("tiny.toml")
        .env("PATH", path)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Medians of first and second writes, by driver.
fn medians(run: &Run) -> BTreeMap<(String, String), f64> {
    let results = ResultSet::of(run);
    let mut found = BTreeMap::new();
    for group in &results.groups {
        for metric in ["first_write_ns", "second_write_ns"] {
            if let Some(data) = group.metric(metric) {
                found.insert((group.key.driver.clone(), metric.to_owned()), data.p50());
            }
        }
    }
    found
}

/// Whatever this kernel counts with: a file that two containers of these drivers have read is in memory once.
fn shared(case: &str, observations: &[Observation]) {
    let value = |name: &str| observations.iter().find(|o| o.metric.name == name).map(|o| o.samples[0]);
    if let Some(read_set) = value("read_set_bytes") {
        assert_eq!(value("resident_bytes"), Some(read_set), "{case}");
        assert_eq!(value("shared_pages_count"), value("checked_pages_count"), "{case}");
    }
}

#[test]
fn two_counted_runs_agree_and_are_marked_and_compared_with_no_others() {
    let Some(kernel) = kernel("two_counted_runs_agree_and_are_marked_and_compared_with_no_others") else { return };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut runs = Vec::new();
    for number in 1..=2 {
        let output = guest_run(&kernel, folder.path(), &MACHINE);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let run = folder.path().join(text(&output.stdout).trim());
        assert!(run.ends_with(format!("{}.{number}", run.file_stem().unwrap().to_string_lossy())), "{}", run.display());
        assert!(run.join("console.log").metadata().unwrap().len() > 1000);
        runs.push(Run::load(&run).unwrap());
    }
    for run in &runs {
        let guest = run.manifest.guest.as_ref().expect("a guest in the record");
        assert_eq!((guest.accelerator, guest.counted), (Accelerator::Tcg, true));
        assert_ne!(run.manifest.host.kernel, guest.host_kernel);
        assert_eq!(
            run.cases.len(),
            4 * 4,
            "bind, overlay2 and its twin, aufs; first writes in three blocks and sharing in one"
        );
        for case in &run.cases {
            match &case.outcome {
                Outcome::Measured { observations, .. } => shared(&case.case.id, observations),
                // Debian's has none.
                Outcome::Skipped { reason, .. } => assert!(reason.contains("has no aufs"), "{case:?}"),
                Outcome::Failed { .. } => panic!("{case:?}"),
            }
        }
    }
    let (a, b) = (medians(&runs[0]), medians(&runs[1]));
    assert_eq!(a.len(), b.len());
    assert!(a.len() >= 6, "{a:?}");
    // Not times: what is asserted is that instructions are counted. One figure in a dozen is off by more, when a thread of the kernel came in
    // between.
    let mut ratios: Vec<f64> = a.iter().map(|(key, value)| b[key] / value).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    assert!((0.98..1.02).contains(&ratios[ratios.len() / 2]), "{a:?} and {b:?}");
    let layerbench = |words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_layerbench")).args(words).current_dir(folder.path()).output().unwrap()
    };
    let names: Vec<String> = runs.iter().map(|run| run.manifest.run.clone()).collect();
    assert!(layerbench(&["compare", &names[0], &names[1]]).status.success());
    // A run of a real CPU, as far as its record says.
    let manifest = runs[1].folder.join("run.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("guest");
    std::fs::write(&manifest, json.to_string()).unwrap();
    let mixed = layerbench(&["compare", &names[0], &names[1]]);
    assert_eq!(mixed.status.code(), Some(2));
    assert!(text(&mixed.stderr).contains("counted instructions"), "{}", text(&mixed.stderr));

    assert!(layerbench(&["report", &names[0]]).status.success());
    let report = folder.path().join("reports").join(&names[0]);
    let page = std::fs::read_to_string(report.join("index.md")).unwrap();
    assert!(page.contains("COUNTED INSTRUCTIONS"), "{page}");
    let chart = std::fs::read_to_string(report.join("charts/first_write_by_size.svg")).unwrap();
    assert!(chart.contains("COUNTED INSTRUCTIONS"));
}

/// The only console log of a folder of results.
fn console(folder: &Path) -> String {
    let runs: Vec<_> = std::fs::read_dir(folder.join("results")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    String::from_utf8_lossy(&std::fs::read(runs[0].join("console.log")).unwrap()).into_owned()
}

#[test]
fn a_guest_that_cannot_go_on_says_why_and_keeps_its_console() {
    let Some(sound) = kernel("a_guest_that_cannot_go_on_says_why_and_keeps_its_console") else { return };
    let refused = |kernel: &Kernel, machine: &[&str], prepare: &dyn Fn(&Path), said: &[&str]| {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        prepare(folder.path());
        let output = guest_run(kernel, folder.path(), machine);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(said.iter().all(|said| stderr.contains(said)), "{said:?}: {stderr}");
        console(folder.path())
    };
    let nothing = |_: &Path| {};

    let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // What has the header of a kernel, and nothing behind it.
    let mut none = vec![0; 0x202];
    none.extend(b"HdrS");
    none.resize(4096, 0);
    std::fs::write(made.path().join("none"), none).unwrap();
    let none = Kernel { image: made.path().join("none"), modules: sound.modules.clone() };
    refused(&none, &MACHINE, &nothing, &["the guest ended"]);

    // A program that the guest brings along, and less memory than it takes to unpack it: the kernel panics.
    let heavy = |folder: &Path| {
        std::fs::write(folder.join("tiny.toml"), WORKLOAD.replace("\"aufs\"", "\"fuse-overlayfs\"")).unwrap();
        let program = std::fs::File::create(folder.join("fuse-overlayfs")).unwrap();
        let own = std::fs::metadata(env!("CARGO_BIN_EXE_layerbench")).unwrap().len();
        program.set_len((200_u64 << 20).saturating_sub(own).max(1)).unwrap();
        program.set_permissions(Permissions::from_mode(0o755)).unwrap();
    };
    let small = ["--memory", "256 MiB", "--disk", "64 MiB,fs=ext4", "--time-limit", "5m"];
    let log = refused(&sound, &small, &heavy, &["Kernel panic", "console.log"]);
    assert!(log.contains("Kernel panic"), "{log}");

    // No guest is done as soon as that. How far it came, and so what its console says, is up to the machine.
    let short = ["--memory", "1536 MiB", "--disk", "128 MiB,fs=ext4", "--time-limit", "3s"];
    refused(&sound, &short, &nothing, &["the guest was ended after 3s", "still running", "console.log"]);
}

#[test]
fn what_cannot_be_booted_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(folder.path().join("tiny.toml"), WORKLOAD).unwrap();
    for (words, why) in [
        (&["--kernel", "missing", "tiny.toml"][..], "missing"),
        (&["--kernel", "tiny.toml", "--counted", "--cpus", "2", "tiny.toml"], "one processor"),
        (&["--kernel", "tiny.toml", "--disk", "/dev/sda", "tiny.toml"], "/dev/sda"),
        (&["--kernel", "tiny.toml", "--disk", "8 GiB", "tiny.toml"], "--memory"),
        (&["--kernel", "tiny.toml", "--disk", "1 GiB,fs=zfs", "tiny.toml"], "zfs"),
        (&["--kernel", "tiny.toml", "missing.toml"], "missing.toml"),
        (&["--kernel", "tiny.toml", "tiny.toml"], "tiny.toml: is no kernel"),
        (&["--kernel", "tiny.toml", "--out", "tiny.toml", "tiny.toml"], "--out tiny.toml"),
        (&["--kernel", "tiny.toml", "--memory", "1 GiB", "--memory", "2 GiB", "tiny.toml"], "multiple times"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_layerbench"))
            .args(["guest", "run"])
            .args(words)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(text(&output.stderr).contains(why), "{words:?}: {}", text(&output.stderr));
        assert!(!folder.path().join("results").exists(), "{words:?}");
    }
}
