//! What makes a stack and does not end well, by an error or a signal, leaves the store as it was.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::writer::{Packed, docker_files, file, layer, write_archive};
use super::{Bed, text};

#[test]
fn a_failed_import_leaves_nothing_that_was_not_there() {
    let bed = Bed::new();
    fs::write(bed.at("junk"), "no image").unwrap();
    fs::create_dir(bed.at("empty")).unwrap();
    for store in ["new/and/below", "empty"] {
        let output = bed.layerbench(&["stack", "import", "junk", "--store", store]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    }
    assert!(!bed.at("new").exists(), "the folder above the store is new as well");
    assert_eq!(fs::read_dir(bed.at("empty")).unwrap().count(), 0);
    // What is in a store stays, and so does what somebody has beside it in a folder that becomes one.
    bed.prints(&["stack", "build", "--depth", "1"]);
    let stacks = bed.stacks();
    fs::write(bed.at("empty/mine"), "").unwrap();
    for store in ["store", "empty"] {
        assert!(!bed.layerbench(&["stack", "import", "junk", "--store", store]).status.success());
    }
    assert_eq!(bed.stacks(), stacks);
    assert!(bed.at("store/lock").exists() && bed.at("empty/mine").exists() && !bed.at("empty/lock").exists());
}

#[test]
fn a_signal_ends_the_making_of_a_stack_in_order() {
    let bed = Bed::new();
    let zeros = layer(&[file("a", &vec![0; 64 << 20]), file("b", &vec![0; 64 << 20])]);
    write_archive(&bed.at("image.tar"), &docker_files(&["x:1"], &[(zeros, Packed::Gzip)]), Packed::Plain);
    let build: &[&str] = &["build", "--depth", "2", "--files", "64", "--file-size", "16 MiB"];
    let import: &[&str] = &["import", "image.tar", "--max-ratio", "1000000"];
    for (words, signal, status) in
        [(build, Signal::INT, 130), (import, Signal::INT, 130), (import, Signal::TERM, 143), (build, Signal::HUP, 129)]
    {
        // Whoever runs the tests may ignore signals, as a shell makes its background jobs do.
        let child = Command::new("env")
            .args(["--default-signal=INT,TERM,HUP", env!("CARGO_BIN_EXE_layerbench"), "stack"])
            .args(words)
            .current_dir(bed.folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while bed.stacks().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(1));
        }
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(
            text(&ended.stderr),
            "interrupted: no stack was made, and nothing of it is left; give the command again to make it\n"
        );
        assert_eq!((ended.status.code(), text(&ended.stdout)), (Some(status), String::new()));
        assert!(!bed.at("store").exists(), "{words:?}");
    }
}

#[test]
fn a_stack_that_cannot_be_read_is_in_nobodys_way_and_can_be_removed() {
    let bed = Bed::new();
    write_archive(
        &bed.at("image.tar"),
        &docker_files(&["x:1"], &[(layer(&[file("a", b"a")]), Packed::Plain)]),
        Packed::Plain,
    );
    bed.prints(&["stack", "import", "image.tar"]);
    let key = bed.stacks().remove(0);
    bed.prints(&["stack", "build", "--depth", "1"]);
    fs::write(bed.at("store/stacks").join(&key).join("image.json"), "{\"x\": 1}").unwrap();
    for words in [["stack", "list"], ["stack", "verify"]] {
        let output = bed.layerbench(&words);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("seed 1") && said.contains("cannot be read: "), "{said}");
        assert!(said.contains(&key) && said.contains("remove it with `layerbench stack rm`"), "{said}");
    }
    assert!(bed.prints(&["info"]).contains("(base)"));
    bed.prints(&["stack", "rm", &key]);
    bed.prints(&["stack", "verify"]);
    bed.prints(&["stack", "import", "image.tar"]);
}
