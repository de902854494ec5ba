//! What is counted, exactly, for a known sequence of operations.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::bed::{Bed, has_ended, wait_until};
use crate::fixture::{here, real_root, text, write_all};

fn number(counters: &Value, path: &str) -> u64 {
    counters.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {counters}"))
}

#[test]
fn counts_are_exact_and_times_belong_to_their_steps() {
    if !here("counters::counts_are_exact_and_times_belong_to_their_steps") {
        return;
    }
    for options in ["passthrough=on,opens=on", "passthrough=off,opens=on,fsync=on"] {
        let bed = Bed::new();
        fs::create_dir(bed.at("base/e")).unwrap();
        std::os::unix::fs::symlink("nowhere", bed.at("base/e/link")).unwrap();
        bed.mount(options);
        let first = bed.counters();
        assert_eq!(number(&first, "/report_number"), 1);
        assert_eq!(first["lookups"], json!({"found_count": 0, "missing_count": 0, "listed_count": 0}));

        fs::metadata(bed.at("mnt/t")).unwrap();
        for _ in 0..3 {
            // The kernel remembers both answers.
            fs::metadata(bed.at("mnt/t")).unwrap();
            fs::metadata(bed.at("mnt/missing")).unwrap_err();
        }
        // Two look-ups, d and low; one directory and one file are copied up.
        let opened = fs::OpenOptions::new().append(true).open(bed.at("mnt/d/low")).unwrap();
        // Two look-ups; a directory and a symbolic link.
        let link = bed.at("mnt/e/link");
        let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
        nix::unistd::fchownat(
            nix::fcntl::AT_FDCWD,
            &link,
            Some(uid),
            Some(gid),
            nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .unwrap();
        // A look-up and an open for reading.
        assert_eq!(text(bed.at("mnt/b")), "of the base");
        // A look-up that misses, then a file that nobody copied: neither it nor its directory counts.
        fs::write(bed.at("mnt/e/new"), "12345").unwrap();

        // The kernel lets go of a file behind close(2).
        wait_until("the release of two files", || number(&bed.new_counters(), "/now/open_files_count") == 1);
        let now = bed.new_counters();
        assert_eq!(now["lookups"], json!({"found_count": 6, "missing_count": 2, "listed_count": 0}), "{options}");
        let requests = |kind: &str| number(&now, &format!("/requests_count/{kind}"));
        assert_eq!((requests("lookup"), requests("open"), requests("create"), requests("mkdir")), (8, 2, 1, 0));
        assert_eq!((requests("setattr"), requests("readdir") + requests("readdirplus")), (1, 0));
        let passthrough = real_root() && options == "passthrough=on,opens=on";
        assert_eq!(
            now["opens"],
            json!({"asked": true, "all_count": 3, "passthrough_count": if passthrough { 3 } else { 0 }})
        );
        assert_eq!((requests("write"), requests("read")), if passthrough { (0, 0) } else { (1, requests("read")) });
        assert!(passthrough || requests("read") > 0);
        let copy_ups = |field: &str| number(&now, &format!("/copy_ups/{field}"));
        assert_eq!((copy_ups("files_count"), copy_ups("directories_count"), copy_ups("others_count")), (1, 2, 1));
        // Eight bytes, by whichever of the two the file system can.
        assert_eq!(copy_ups("copied_bytes") + copy_ups("shared_bytes"), 8);
        for step in ["look_up_ns", "parents_ns", "data_ns", "attributes_ns", "rename_ns"] {
            assert!(copy_ups(step) > 0, "{step}");
        }
        assert_eq!(copy_ups("fsync_ns") > 0, options.contains("fsync=on"));
        let age = number(&now, "/age_ns");
        let steps = ["look_up_ns", "parents_ns", "data_ns", "attributes_ns", "rename_ns", "fsync_ns"];
        let sum: u64 = steps.into_iter().map(copy_ups).sum();
        assert!(sum < age, "{sum} ns in copy_ups of a mount of {age} ns");
        assert!(number(&now, "/now/nodes_count") >= 7 && number(&now, "/now/cached_descriptors_count") > 0);
        let state = match (options, real_root()) {
            ("passthrough=on,opens=on", true) => "on",
            ("passthrough=on,opens=on", false) => "refused",
            _ => "off",
        };
        assert_eq!(now["passthrough"]["state"], state);

        drop(opened);
        assert_eq!(fs::read_dir(bed.at("mnt/d")).unwrap().count(), 2);
        let last = bed.new_counters();
        assert!(number(&last, "/requests_count/readdirplus") > 0);
        assert_eq!(number(&last, "/lookups/listed_count"), 2);
        bed.unmount();
    }
}

#[test]
fn a_later_write_costs_the_open_alone() {
    if !here("counters::a_later_write_costs_the_open_alone") {
        return;
    }
    if !real_root() {
        eprintln!("skipped: passthrough takes root");
        return;
    }
    let bed = Bed::new();
    bed.mount("passthrough=on");
    let write = |n: u64| {
        let mut opened = fs::OpenOptions::new().write(true).open(bed.at("mnt/d/low")).unwrap();
        std::io::Write::write_all(&mut opened, b"x").unwrap();
        drop(opened);
        // What is done at a close the kernel does behind close(2).
        wait_until("the release", || number(&bed.new_counters(), "/requests_count/release") == n);
    };
    // The copy_up, and one more after which the kernel knows that the file has no capabilities.
    (1..=2).for_each(write);
    let before = bed.counters();
    (3..=12).for_each(write);
    let after = bed.counters();
    let requests = |counters: &Value| {
        let all = counters["requests_count"].as_object().expect("an object");
        all.iter().map(|(kind, n)| (kind.clone(), n.as_u64().expect("a count"))).collect::<Vec<_>>()
    };
    for ((kind, before), (_, after)) in requests(&before).into_iter().zip(requests(&after)) {
        let expected = if kind == "open" || kind == "release" { 10 } else { 0 };
        assert_eq!(after - before, expected, "{kind}");
    }
    bed.unmount();
}

#[test]
fn the_kernel_copies_by_itself_what_cannot_share_its_blocks() {
    if !here("counters::the_kernel_copies_by_itself_what_cannot_share_its_blocks") {
        return;
    }
    for options in ["passthrough=on", "passthrough=off"] {
        let bed = Bed::new();
        let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        fs::write(bed.at("base/source"), &content).unwrap();
        bed.mount(options);
        let source = fs::File::open(bed.at("mnt/source")).unwrap();
        let copy = |to: &fs::File, (mut from, mut at): (u64, u64), length: usize| {
            rustix::fs::copy_file_range(&source, Some(&mut from), to, Some(&mut at), length).unwrap()
        };
        for n in 0..5 {
            let to = fs::File::create(bed.at(&format!("mnt/copy{n}"))).unwrap();
            // All of it, though more is asked for; then a piece behind the end, and nothing from behind the end of the source.
            assert_eq!(copy(&to, (0, 0), 1 << 30), content.len());
            assert_eq!(copy(&to, (100, 300_000), 50), 50);
            assert_eq!(copy(&to, (300_000, 0), 50), 0);
        }
        let shares = {
            // In the upper, below the mount.
            let file = |name: &str| fs::File::options().read(true).write(true).open(bed.at(name)).unwrap();
            fs::File::create(bed.at("upper/probe")).unwrap();
            rustix::fs::ioctl_ficlone(file("upper/probe"), file("upper/copy0")).is_ok()
        };
        let asked = number(&bed.new_counters(), "/requests_count/copy_file_range");
        let asks = shares || options == "passthrough=off" || !real_root();
        if asks {
            assert!(asked >= 10, "{options}: {asked}");
        } else {
            assert_eq!(asked, 1, "{options}: once, and never again");
        }
        drop(source);
        bed.unmount();
        let wanted = [content.as_slice(), content.get(100..150).unwrap()].concat();
        for n in 0..5 {
            assert!(fs::read(bed.at(&format!("upper/copy{n}"))).unwrap() == wanted, "{options}: copy{n}");
        }
    }
}

#[test]
fn so_many_files_stay_open_and_no_more() {
    if !here("counters::so_many_files_stay_open_and_no_more") {
        return;
    }
    // A quarter of 64 open files may be kept, and none where the layers may change.
    for (options, most) in [("", 16), ("ttl=60", 0), ("opens=off", 16)] {
        let bed = Bed::new();
        let files: Vec<_> = (0..100).map(|n| format!("many/f{n}")).collect();
        for file in &files {
            write_all(&bed.at("base"), &[(file, file)]);
        }
        let program = bed.program(&["-o", &bed.words(options), "mnt"]);
        let status = Command::new("prlimit")
            .args(["--nofile=64:64"])
            .arg(program.get_program())
            .args(program.get_args())
            .current_dir(bed.at("."))
            .status()
            .unwrap();
        assert!(status.success());
        let now = |field: &str| number(&bed.new_counters(), &format!("/now/{field}"));
        for round in 1..=2 {
            for file in &files {
                assert_eq!(text(bed.at("mnt").join(file)), *file);
            }
            wait_until("all releases", || now("open_files_count") == 0);
            assert_eq!(now("kept_files_count"), most, "{options}, round {round}");
        }
        let open: Vec<_> = fs::read_dir(format!("/proc/{}/fd", bed.pid()))
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .filter(|file| file.to_string_lossy().contains("/many/f"))
            .collect();
        assert_eq!(open.len() as u64, most, "{open:?}");
        // A file that is kept can be replaced by its copy as any other.
        fs::write(bed.at("mnt/many/f99"), "new").unwrap();
        assert_eq!(text(bed.at("mnt/many/f99")), "new");
        bed.unmount();
    }
}

#[test]
fn a_report_is_replaced_as_a_whole() {
    if !here("counters::a_report_is_replaced_as_a_whole") {
        return;
    }
    let bed = Bed::new();
    bed.mount("");
    let held = fs::File::open(bed.at("c.json")).unwrap();
    for number in 2..20 {
        assert_eq!(bed.new_counters()["report_number"], number);
    }
    let first: Value = serde_json::from_reader(held).unwrap();
    assert_eq!(first["report_number"], 1, "who has opened a report keeps it");
    let pid = bed.pid();
    bed.unmount();
    wait_until("the last report", || has_ended(pid));
    let names = crate::fixture::names(bed.dir.path());
    assert_eq!(names.iter().filter(|name| name.starts_with("c.json")).count(), 1, "{names:?}");
}
