//! Directories that change while they are listed, and large ones.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, RawDir, SeekFrom};

use crate::fixture::{Stack, each_mode, errno, forget_all, here, names, write_all};

/// Reads on from where the descriptor stands: up to `limit` names, each with the position behind it (telldir(3)).
fn read_on(dir: BorrowedFd<'_>, limit: usize) -> Vec<(String, u64)> {
    // A small buffer, so that the listing takes many requests.
    let mut buffer = Vec::with_capacity(512);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut found = Vec::new();
    while found.len() < limit {
        let Some(entry) = entries.next() else { break };
        let entry = entry.unwrap();
        found.push((entry.file_name().to_str().unwrap().to_string(), entry.next_entry_cookie()));
    }
    found
}

fn open_dir(path: &Path) -> rustix::fd::OwnedFd {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

#[test]
fn what_stays_is_listed_once_while_other_names_come_and_go() {
    each_mode(
        "listing::what_stays_is_listed_once_while_other_names_come_and_go",
        2,
        |s| {
            for n in 0..300 {
                let kind = if n % 3 == 0 { "goes" } else { "stays" };
                write_all(&s.lower(n % 2), &[(&format!("d/{kind}-{n:03}"), "")]);
            }
        },
        |s| {
            let path = s.mnt().join("d");
            fs::write(path.join("stays-upper"), "").unwrap();
            let dir = open_dir(&path);
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for round in 0.. {
                let some = read_on(dir.as_fd(), 17);
                let Some((_, behind)) = some.last().cloned() else { break };
                // Whatever the kernel and this test have read ahead: seekdir(3) goes back to behind the last name that was taken.
                rustix::fs::seek(&dir, SeekFrom::Start(behind)).unwrap();
                some.into_iter().for_each(|(name, _)| *seen.entry(name).or_default() += 1);
                fs::write(path.join(format!("comes-{round}")), "").unwrap();
                for n in (round * 30..(round + 1) * 30).filter(|n| n % 3 == 0 && *n < 300) {
                    fs::remove_file(path.join(format!("goes-{n:03}"))).unwrap();
                }
                if round > 0 {
                    fs::rename(path.join(format!("comes-{}", round - 1)), path.join(format!("moved-{round}"))).unwrap();
                }
            }
            let stayed: Vec<_> = seen.iter().filter(|(name, _)| name.starts_with("stays-")).collect();
            assert_eq!(stayed.len(), 201);
            assert!(seen.values().all(|count| *count == 1), "{seen:?}");
            // rewinddir(3) shows what is there now.
            rustix::fs::seek(&dir, SeekFrom::Start(0)).unwrap();
            let mut again: Vec<String> = read_on(dir.as_fd(), usize::MAX).into_iter().map(|(name, _)| name).collect();
            again.retain(|name| name != "." && name != "..");
            again.sort();
            assert_eq!(again, names(&path));
            assert!(again.iter().all(|name| !name.starts_with("goes-")));
        },
    );
}

#[test]
fn who_makes_or_renames_a_file_for_each_one_listed_comes_to_an_end() {
    each_mode(
        "listing::who_makes_or_renames_a_file_for_each_one_listed_comes_to_an_end",
        1,
        |s| {
            for n in 0..40 {
                write_all(&s.lower(0), &[(&format!("copied/{n}"), ""), (&format!("renamed/{n}"), "")]);
            }
        },
        |s| {
            for (name, times) in [("copied", 2), ("renamed", 1)] {
                let dir = s.mnt().join(name);
                let mut listed = 0;
                for entry in fs::read_dir(&dir).unwrap() {
                    listed += 1;
                    assert!(listed <= 40, "what was made meanwhile is listed, too");
                    let (from, to) = (entry.as_ref().unwrap().path(), dir.join(format!("new-{listed}")));
                    if name == "copied" { fs::write(to, "").unwrap() } else { fs::rename(from, to).unwrap() }
                }
                assert_eq!(listed, 40);
                assert_eq!(names(&dir).len(), 40 * times);
            }
        },
    );
}

#[test]
fn every_position_leads_back_to_the_name_behind_it() {
    each_mode(
        "listing::every_position_leads_back_to_the_name_behind_it",
        1,
        |s| {
            for n in 0..100 {
                write_all(&s.lower(0), &[(&format!("d/{n}"), "")]);
            }
        },
        |s| {
            let dir = open_dir(&s.mnt().join("d"));
            let all = read_on(dir.as_fd(), usize::MAX);
            assert_eq!(all.len(), 102);
            for pair in all.windows(2).rev() {
                rustix::fs::seek(&dir, SeekFrom::Start(pair[0].1)).unwrap();
                assert_eq!(read_on(dir.as_fd(), 1), pair[1..]);
            }
            rustix::fs::seek(&dir, SeekFrom::Start(all[101].1)).unwrap();
            assert_eq!(read_on(dir.as_fd(), 1), []);
        },
    );
}

#[test]
fn a_directory_of_a_hundred_thousand_entries() {
    if !here("listing::a_directory_of_a_hundred_thousand_entries") {
        return;
    }
    // Once: no file is opened here, so that both modes are one.
    let mut s = Stack::new(2);
    for n in 0..2 {
        fs::create_dir(s.lower(n).join("d")).unwrap();
    }
    for n in 0..100_000 {
        fs::File::create(s.lower(n % 2).join("d").join(format!("entry-{n}"))).unwrap();
    }
    s.mount("");
    let path = s.mnt().join("d");
    let listed = |expected: usize| {
        let mut names = names(&path);
        assert_eq!(names.len(), expected);
        names.dedup();
        assert_eq!(names.len(), expected);
    };
    listed(100_000);
    // A listing with a look at every file, as `ls -l` does.
    let sizes: u64 = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(sizes, 0);
    for n in 0..1000 {
        fs::write(path.join(format!("new-{n}")), "").unwrap();
        fs::remove_file(path.join(format!("entry-{}", n * 100))).unwrap();
    }
    listed(100_000);
    assert!(!path.join("entry-0").exists() && path.join("entry-99999").exists());
    s.unmount();
}

/// What one getdents64(2) returns; nothing at the end.
fn one_read(dir: BorrowedFd<'_>) -> Vec<String> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut found = Vec::new();
    while let Some(entry) = entries.next() {
        found.push(entry.unwrap().file_name().to_str().unwrap().to_string());
        if entries.is_buffer_empty() {
            break;
        }
    }
    found
}

/// What is left of a listing, in a few large reads.
fn rest(dir: BorrowedFd<'_>) -> Vec<String> {
    std::iter::from_fn(|| Some(one_read(dir)).filter(|some| !some.is_empty())).flatten().collect()
}

/// A listing that was begun earlier than the one that the kernel keeps goes on where it was. With some numbers of names, what the kernel
/// keeps fills its pages to the last byte: 32 bytes for each of these names, for `.` and for `..`.
#[test]
fn a_listing_goes_on_whatever_the_kernel_keeps_meanwhile() {
    if !here("listing::a_listing_goes_on_whatever_the_kernel_keeps_meanwhile") {
        return;
    }
    // Once: no file is read here, so that both modes are one.
    for (count, removes, begins_earlier) in [
        (2044, false, false),
        (2045, false, false),
        (2045, true, false),
        (2046, true, false),
        (2044, false, true),
        (2045, false, true),
        (2047, true, true),
    ] {
        let case = format!("{count} names, removes: {removes}, begins earlier: {begins_earlier}");
        let mut s = Stack::new(1);
        fs::create_dir(s.lower(0).join("d")).unwrap();
        for n in 0..count {
            fs::File::create(s.lower(0).join(format!("d/f{n:04}"))).unwrap();
        }
        s.mount("");
        let path = s.mnt().join("d");
        let sorted = |mut names: Vec<String>| {
            names.retain(|name| name != "." && name != "..");
            names.sort();
            names
        };
        for _ in 0..2 {
            assert_eq!(names(&path).len(), count);
        }
        if !begins_earlier {
            fs::write(path.join("new0"), "").unwrap();
        }
        let first = open_dir(&path);
        let mut seen = one_read(first.as_fd());
        if removes {
            fs::remove_file(path.join(format!("f{}", count - 1))).unwrap();
        } else {
            fs::write(path.join("new1"), "").unwrap();
        }
        let expected = names(&path);
        if begins_earlier {
            // It began with what the kernel kept, which another listing has replaced. What went or came meanwhile may be shown or not.
            seen.extend(rest(first.as_fd()));
            let changed = if removes { format!("f{}", count - 1) } else { "new1".to_string() };
            let without = |names: Vec<String>| names.into_iter().filter(|name| *name != changed).collect::<Vec<_>>();
            assert_eq!(sorted(without(seen)), without(expected), "{case}");
        } else {
            // The kernel keeps what the first one shows.
            let later = open_dir(&path);
            let mut seen = one_read(later.as_fd());
            rest(first.as_fd());
            seen.extend(rest(later.as_fd()));
            assert_eq!(sorted(seen), expected, "{case}");
        }
        for _ in 0..2 {
            assert_eq!(sorted(rest(open_dir(&path).as_fd())), names(&path), "{case}");
        }
        drop(first);
        s.unmount();
    }
}

#[test]
fn a_name_that_is_removed_is_in_no_listing_that_begins_later() {
    if !here("listing::a_name_that_is_removed_is_in_no_listing_that_begins_later") {
        return;
    }
    // Of the upper, and of a lower, which leaves a whiteout; by its removal, and by a rename over another name or to a new one.
    for of_lower in [false, true] {
        for how in ["remove", "rename", "replace"] {
            let mut s = Stack::new(1);
            let root = if of_lower { s.lower(0) } else { s.upper() };
            fs::create_dir(root.join("d")).unwrap();
            for n in 0..2000 {
                fs::File::create(root.join(format!("d/f{n:04}"))).unwrap();
            }
            s.mount("");
            let path = s.mnt().join("d");
            let earlier = open_dir(&path);
            let mut last = String::new();
            // As far as the end, which it is not told of yet.
            let mut listed = 0;
            while listed < 2002 {
                let some = one_read(earlier.as_fd());
                listed += some.len();
                last.clone_from(some.last().unwrap());
            }
            let gone = path.join(&last);
            match how {
                "remove" => fs::remove_file(&gone).unwrap(),
                "rename" => fs::rename(&gone, s.mnt().join("elsewhere")).unwrap(),
                _ => fs::rename(&gone, path.join("f0000")).unwrap(),
            }
            let later = open_dir(&path);
            let mut seen = one_read(later.as_fd());
            assert_eq!(rest(earlier.as_fd()), Vec::<String>::new());
            seen.extend(rest(later.as_fd()));
            assert!(!seen.contains(&last), "{last}, {how}, of the lower: {of_lower}");
            assert_eq!(seen.len(), 2001, "{how}, of the lower: {of_lower}");
            drop((earlier, later));
            s.unmount();
        }
    }
}

#[test]
fn a_listing_that_is_given_up_leaves_no_node_behind() {
    each_mode(
        "listing::a_listing_that_is_given_up_leaves_no_node_behind",
        1,
        |s| {
            for n in 0..300 {
                write_all(&s.lower(0), &[(&*format!("d/file-{n:03}"), "")]);
            }
        },
        |s| {
            let begun = |dir: &Path| {
                let dir = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
                assert_eq!(read_on(dir.as_fd(), 5).len(), 5);
            };
            begun(&s.mnt().join("d"));
            forget_all(&s.mnt());
            let start = Instant::now();
            // The root is known as long as the mount.
            let nodes =
                || serde_json::to_value(s.mounted().counters()).unwrap()["now"]["nodes_count"].as_u64().unwrap();
            while nodes() > 1 {
                assert!(start.elapsed() < Duration::from_secs(20), "{} are left", nodes());
                std::thread::yield_now();
            }
        },
    );
}

#[test]
fn a_name_that_nobody_can_look_at_is_listed_all_the_same() {
    if !here("listing::a_name_that_nobody_can_look_at_is_listed_all_the_same") {
        return;
    }
    let mut s = Stack::new(2);
    write_all(&s.lower(0), &[("d/dead/", ""), ("d/f", ""), ("inner/", "")]);
    write_all(&s.lower(1), &[("d/g", "")]);
    // A mount whose server has died, as a file system that is on a broken disk: its attributes are an error.
    let dead = s.lower(0).join("d/dead");
    // By /dev/fuse: rings are taken apart a moment later, with other errors until then.
    let words = format!("lowerdir={},ttl=0,uring=off", s.lower(0).join("inner").display());
    let script = r#""$1" -f -o "$2" union "$3" & until mountpoint -q "$3"; do sleep 0.01; done; kill -9 $!; wait"#;
    let program = [env!("CARGO_BIN_EXE_fuse-union"), &words];
    assert!(Command::new("sh").args(["-c", script, "sh"]).args(program).arg(&dead).status().unwrap().success());
    assert_eq!(errno(fs::metadata(&dead)), libc::ENOTCONN);
    s.mount("");
    for _ in 0..2 {
        assert_eq!(names(&s.mnt().join("d")), ["dead", "f", "g"]);
    }
    assert_eq!(errno(fs::metadata(s.mnt().join("d/dead"))), libc::ENOTCONN);
    let kinds = fs::read_dir(s.mnt().join("d")).unwrap().filter(|entry| {
        let entry = entry.as_ref().unwrap();
        entry.file_name() == "dead" && entry.file_type().unwrap().is_dir()
    });
    assert_eq!(kinds.count(), 1);
    s.unmount();
    nix::mount::umount2(&dead, nix::mount::MntFlags::MNT_DETACH).unwrap();
}

#[test]
fn positions_fit_into_31_bits_where_numbers_have_to() {
    if !here("listing::positions_fit_into_31_bits_where_numbers_have_to") {
        return;
    }
    let mut s = Stack::new(1);
    for n in 0..300 {
        write_all(&s.lower(0), &[(&*format!("d/{n}"), "")]);
    }
    s.mount("inode32");
    let path = s.mnt().join("d");
    // Until the directory has changed more often than two numbers in a position can tell.
    for round in 0..2 {
        let dir = open_dir(&path);
        let all = read_on(dir.as_fd(), usize::MAX);
        assert_eq!(all.len(), 302);
        assert!(all.iter().all(|(_, behind)| *behind < 1 << 31), "{all:?}");
        for pair in all.windows(2).rev() {
            rustix::fs::seek(&dir, SeekFrom::Start(pair[0].1)).unwrap();
            assert_eq!(read_on(dir.as_fd(), 1), pair[1..]);
        }
        for n in 0..if round == 0 { 20_000 } else { 0 } {
            let name = |n: usize| path.join(format!("name-{}", n % 2));
            if n == 0 { fs::write(name(0), "").unwrap() } else { fs::rename(name(n - 1), name(n)).unwrap() }
        }
        let _ = fs::remove_file(path.join("name-1"));
    }
    s.unmount();
}
