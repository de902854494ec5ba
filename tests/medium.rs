//! What a store lies on, measured; and the modelled spinning disk, from `disk` to `umount`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

fn layerbench(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerbench"));
    command.args(words).current_dir(env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Held by a test that makes a disk, since each looks at all that there are.
static TURN: Mutex<()> = Mutex::new(());

/// Who can make a modelled disk; otherwise why not.
fn able() -> Result<MutexGuard<'static, ()>, String> {
    if !rustix::process::geteuid().is_root()
        || !fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295")
    {
        return Err("a modelled disk needs root".into());
    }
    for program in ["mkfs.ext4", "losetup"] {
        Command::new(program).arg("-V").output().map_err(|e| format!("{program}: {e}"))?;
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        fs::File::options().read(true).write(true).open(device).map_err(|e| format!("{device}: {e}"))?;
    }
    Ok(TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The medium that `doctor` finds under a store.
fn medium(store: &str) -> serde_json::Value {
    let output = layerbench(&["doctor", "--json", "--store", store]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    found["stores"][0]["medium"].clone()
}

/// Folders of modelled disks, and loop devices over them.
fn left() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains("fuse.layerbench-disk")).map(str::to_owned).collect()
}

#[test]
fn a_modelled_disk_spins_keeps_what_is_written_and_goes_without_a_trace() {
    let _turn = match able() {
        Ok(turn) => turn,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = folder.path().join("a disk");
    fs::create_dir(&place).unwrap();
    let before = left();
    let made = layerbench(&["disk", "--size", "256 MiB", place.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_eq!(left().len(), before.len() + 1);
    let again = layerbench(&["disk", "--size", "256 MiB", place.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("is mounted there: unmount it"), "{}", text(&again.stderr));
    assert_eq!(left().len(), before.len() + 1);

    let found = medium(place.join("store").to_str().unwrap());
    assert_eq!(found["class"], "spinning", "{found}");
    assert!(found["model"].as_str().unwrap().starts_with("hdd-7200"), "{found}");
    // Twice a turn's half at the least, as the model has it: a sleep is never too short.
    assert!(found["random_read_ns"].as_u64().unwrap() > 4_000_000, "{found}");
    let own = medium(folder.path().to_str().unwrap());
    assert!(own["model"].is_null(), "{own}");

    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(place.join("f"), &bytes).unwrap();
    fs::File::open(place.join("f")).unwrap().sync_all().unwrap();
    // Read from the disk, not from memory.
    let file = fs::File::open(place.join("f")).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert!(fs::read(place.join("f")).unwrap() == bytes);

    // Busy: nothing is taken away.
    let busy = layerbench(&["umount", place.to_str().unwrap()]);
    assert!(
        !busy.status.success() && text(&busy.stderr).contains("busy (os error 16); a process has a file"),
        "{}",
        text(&busy.stderr)
    );
    drop(file);
    let gone = layerbench(&["umount", place.to_str().unwrap()]);
    assert!(gone.status.success(), "{}", text(&gone.stderr));
    assert_eq!(left(), before);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    let again = layerbench(&["umount", place.to_str().unwrap()]);
    assert_eq!((again.status.code(), text(&again.stderr).contains("nothing is mounted there")), (Some(2), true));
}

/// Loop devices over modelled disks, and their folders.
fn traces() -> Vec<String> {
    let mut found = left();
    for device in fs::read_dir("/sys/block").unwrap().flatten() {
        let backing = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        found.extend(backing.contains("layerbench-disk.").then(|| backing.trim().to_owned()));
    }
    let folders = fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|entry| entry.path().display().to_string());
    found.extend(folders.filter(|path| path.contains("layerbench-disk.")));
    found
}

#[test]
fn a_modelled_disk_goes_without_a_trace_whoever_unmounts_it() {
    let _turn = match able() {
        Ok(turn) => turn,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (place, other) = (folder.path().join("disk"), folder.path().join("other"));
    fs::create_dir(&place).unwrap();
    fs::create_dir(&other).unwrap();
    let made = layerbench(&["disk", "--size", "64 MiB", place.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(place.to_str().unwrap())).unwrap();
    let device = line.split(" - ").nth(1).unwrap().split(' ').nth(1).unwrap();
    let name = Path::new(device).file_name().unwrap().to_str().unwrap();
    let backing = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).unwrap();
    let served = Path::new(backing.trim()).parent().unwrap().display().to_string();
    let ours = || traces().into_iter().filter(|trace| trace.contains(&served)).collect::<Vec<_>>();
    assert_eq!(ours().len(), 3, "{:?}", traces());
    // Somebody looks at the file itself: that ends nothing.
    drop(fs::File::open(backing.trim()).unwrap());
    // Mounted at two places, it stays until neither has it.
    rustix::mount::mount_bind(&place, &other).unwrap();
    let first = layerbench(&["umount", place.to_str().unwrap()]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(ours().len(), 3);
    fs::write(other.join("f"), "x").unwrap();
    let plain = Command::new("umount").arg(&other).status().unwrap();
    assert!(plain.success());
    let start = std::time::Instant::now();
    while !ours().is_empty() {
        assert!(start.elapsed().as_secs() < 10, "{:?}", ours());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_signal_in_the_making_leaves_no_disk() {
    use rustix::process::{Pid, Signal, kill_process};
    let _turn = match able() {
        Ok(turn) => turn,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = folder.path().join("disk");
    fs::create_dir(&place).unwrap();
    let before = traces();
    // Whoever runs the tests may ignore signals, as a shell makes its background jobs do.
    let child = Command::new("env")
        .args(["--default-signal=INT", env!("CARGO_BIN_EXE_layerbench"), "disk", "--size", "64 MiB"])
        .arg(&place)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while traces() == before {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(text(&ended.stderr), "interrupted: no disk is left\n");
    assert_eq!((ended.status.code(), text(&ended.stdout)), (Some(130), String::new()));
    assert_eq!(traces(), before);
    // Its mount point is free again.
    assert!(layerbench(&["umount", place.to_str().unwrap()]).status.code() == Some(2));
}

#[test]
fn what_cannot_be_made_is_refused_before_anything_is_made() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = left();
    let here = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = here.path().join("no folder");
    fs::write(&file, "").unwrap();
    for (words, code, said) in [
        (&["disk", "--model", "ssd", "."][..], 2, "no such disk; there are hdd-7200 and hdd-5400"),
        (&["disk", "--size", "1 MiB", "."], 2, "64 MiB or more"),
        (&["disk", "--size", "900000GiB", "."], 2, "of memory, and"),
        (&["disk", "--size", "10", "."], 2, "is not a size"),
        (&["disk", "nowhere"], 2, "No such file or directory"),
        (&["disk", file.to_str().unwrap()], 2, "not a directory"),
    ] {
        let output = layerbench(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        assert!(text(&output.stderr).contains(said), "{words:?}: {}", text(&output.stderr));
    }
    assert_eq!(left(), before);
}

#[test]
fn a_record_from_before_says_that_its_medium_was_not_measured() {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/2026-11-24.3");
    let run = layerbench::record::Run::load(&old).unwrap();
    assert!(run.manifest.stores.iter().all(|store| store.medium.is_none()));
    let results = layerbench::analysis::ResultSet::of(&run);
    let claims = layerbench::analysis::claims(&results);
    let reads = claims.iter().find(|claim| claim.id == "ssd-reads").unwrap();
    // aufs was not there.
    let here: Vec<_> = reads.findings.iter().filter(|finding| finding.driver != "aufs").collect();
    assert!(here.len() > 3 && here.iter().all(|finding| finding.words.contains("layerbench disk")), "{here:?}");
}
