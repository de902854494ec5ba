//! Requests by io_uring. The kernel offers that to whom an administrator has allowed it: tests/with-io-uring.sh does, for a while, and runs
//! these tests and all others of mounts.

use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::process::Command;

use layerbench::sys::fuse_ring::{SWITCH, is_offered};
use layerbench::union::NO_URING;

use crate::bed::{Bed, PROGRAM, has_ended, wait_until};
use crate::fixture::{self, here, text, write_all};

/// Whether this test can run: as the others, and where the kernel offers FUSE by io_uring.
fn offered(test: &str) -> bool {
    if !is_offered().unwrap_or(false) {
        eprintln!("skipped: {test} needs {SWITCH} to say Y");
        return false;
    }
    here(test)
}

fn lanes(bed: &Bed) -> u64 {
    bed.counters()["io_uring"]["lanes_count"].as_u64().unwrap()
}

#[test]
fn it_is_used_where_the_kernel_offers_it_unless_told_not_to() {
    if !offered("io_uring::it_is_used_where_the_kernel_offers_it_unless_told_not_to") {
        return;
    }
    for (words, used) in [("", true), ("uring=on", true), ("uring=off", false)] {
        let bed = Bed::new();
        bed.mount(words);
        assert_eq!(lanes(&bed) >= 2, used, "{words}: {}", bed.counters());
        assert_eq!(text(bed.at("mnt/d/both")), "above");
        fs::write(bed.at("mnt/b"), "new").unwrap();
        assert_eq!((text(bed.at("mnt/b")), text(bed.at("upper/b"))), ("new".into(), "new".into()));
        bed.unmount();
    }
}

#[test]
fn the_largest_requests_and_answers_arrive_whole() {
    if !offered("io_uring::the_largest_requests_and_answers_arrive_whole") {
        return;
    }
    let bed = Bed::new();
    let long = "n".repeat(255);
    let files: Vec<String> = (0..3000).map(|n| format!("many/{n}")).collect();
    write_all(&bed.at("base"), &files.iter().map(|file| (file.as_str(), "x")).collect::<Vec<_>>());
    // Without passthrough all data goes through the rings.
    bed.mount("passthrough=off");
    let data: Vec<u8> = (0..5_000_001_u32).map(|n| (n / 7) as u8).collect();
    let mut file = fs::File::options().read(true).write(true).create_new(true).open(bed.at("mnt").join(&long)).unwrap();
    file.write_all(&data).unwrap();
    file.rewind().unwrap();
    let mut back = Vec::new();
    file.read_to_end(&mut back).unwrap();
    assert!(back == data);
    assert!(fs::read(bed.at("upper").join(&long)).unwrap() == data);
    assert_eq!(fixture::names(&bed.at("mnt/many")).len(), files.len());
    drop(file);
    bed.unmount();
}

#[test]
fn callers_on_processors_that_the_daemon_may_not_use_are_served() {
    const NAME: &str = "io_uring::callers_on_processors_that_the_daemon_may_not_use_are_served";
    if !offered(NAME) {
        return;
    }
    if std::thread::available_parallelism().unwrap().get() < 2 {
        eprintln!("skipped: {NAME} needs two processors");
        return;
    }
    let bed = Bed::new();
    let confined = |words: &str| {
        let words = bed.words(words);
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0", PROGRAM, "-o", &words, "mnt"]).current_dir(bed.at("."));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    // Not unless told to.
    let said = confined("");
    assert!(lanes(&bed) == 0 && !said.contains("io_uring"), "{said}");
    bed.unmount();
    wait_until("the end of the first mount", || has_ended(bed.pid()));
    confined("uring=on");
    assert!(lanes(&bed) >= 2);
    for processor in ["0", "1"] {
        let file = bed.at(&format!("mnt/d/new{processor}"));
        let write = Command::new("taskset")
            .args(["--cpu-list", processor, "sh", "-c", "echo written > \"$0\" && cat \"$0\""])
            .arg(&file)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&write.stdout), "written\n");
    }
    bed.unmount();
}

#[test]
fn with_few_descriptors_it_is_done_without_and_said() {
    if !offered("io_uring::with_few_descriptors_it_is_done_without_and_said") {
        return;
    }
    let bed = Bed::new();
    let words = bed.words("");
    let output = Command::new("prlimit")
        .args(["--nofile=100:100", PROGRAM, "-o", &words, "mnt"])
        .current_dir(bed.at("."))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines = said.lines().filter(|line| line.starts_with(NO_URING) && line.contains("of at most 100"));
    assert_eq!(lines.count(), 1, "{said}");
    assert_eq!(lanes(&bed), 0);
    assert_eq!(text(bed.at("mnt/b")), "of the base");
    bed.unmount();
}
