//! Archives that mean harm, one by one: refused by name, nothing written outside, nothing left in the store.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Output};

use super::writer::{
    E, Packed, dir, docker_files, file, hard, layer, oci_files, pack, symlink, write_archive, write_folder,
};
use super::{Bed, inside, is_root, text};

/// A bed with `image.tar` of one layer, and a file beside the store that must stay as it is.
fn bed_of(archive: &[u8], packed: Packed) -> Bed {
    let bed = Bed::new();
    fs::create_dir_all(bed.at("store")).unwrap();
    fs::write(bed.at("outside"), "untouched").unwrap();
    write_archive(&bed.at("image.tar"), &docker_files(&["x:1"], &[(archive.to_vec(), packed)]), Packed::Plain);
    bed
}

/// The import must fail with these words, and leave nothing.
fn assert_refused(bed: &Bed, words: &[&str], reasons: &[&str]) {
    let output = bed.layerbench(&[&["stack", "import"], words].concat());
    let said = text(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code == 1 || code == 2), "{words:?}: {:?} {said}", output.status);
    assert!(!said.contains("panicked"), "{said}");
    for reason in reasons {
        assert!(said.contains(reason), "{reason:?} is not in: {said}");
    }
    assert_clean(bed);
    assert_eq!(bed.stacks(), Vec::<String>::new(), "{said}");
}

/// Nothing has been written but into the store.
fn assert_clean(bed: &Bed) {
    assert_eq!(fs::read_to_string(bed.at("outside")).unwrap(), "untouched");
    let mut names: Vec<_> = fs::read_dir(bed.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names.retain(|name| !["image.tar", "oci"].contains(&name.as_str()));
    assert_eq!(names, ["outside", "store"]);
}

#[test]
fn entries_that_no_layer_may_have_are_refused_by_name_and_the_others_imported_if_wanted() {
    let long = "n".repeat(256);
    let deep = format!("{}x", "abcdefg/".repeat(500));
    let cases: Vec<(Vec<E>, &str, &str)> = vec![
        (vec![file("../outside", b"changed")], "../outside", "leads out of its folder"),
        (vec![file("a/../../outside", b"changed")], "a/../../outside", "leads out of its folder"),
        (vec![symlink("link", "../../../.."), file("link/outside", b"changed")], "link/outside", "a symbolic link"),
        (vec![symlink("link", "/tmp"), dir("link/made-by-a-test/", 0o755)], "link/made-by-a-test/", "a symbolic link"),
        (vec![symlink("a", "."), symlink("a/b", ".."), file("a/b/outside", b"")], "a/b/outside", "a symbolic link"),
        (vec![hard("taken", "../../../../outside")], "taken", "leads out of its folder"),
        (vec![symlink("link", "../../.."), hard("taken", "link/outside")], "taken", "a symbolic link"),
        (vec![hard("taken", "missing")], "taken", "no such file before it"),
        (vec![dir("d", 0o755), hard("taken", "d")], "taken", "a folder"),
        (vec![file("f", b""), file("f/inside", b"")], "f/inside", "no folder"),
        (vec![file("a/.wh..wh.x", b"")], "a/.wh..wh.x", "a whiteout of a whiteout"),
        (vec![file(".wh..wh..wh..opq", b"")], ".wh..wh..wh..opq", "a whiteout of a whiteout"),
        (vec![file(".wh.a/b", b"")], ".wh.a/b", "inside a whiteout"),
        (vec![dir(".wh.a", 0o755)], ".wh.a", "no regular file"),
        (vec![symlink(".wh.a", "b")], ".wh.a", "no regular file"),
        (vec![file("a/.wh.", b"")], "a/.wh.", "hides no name"),
        (vec![file("a/.wh...", b"")], "a/.wh...", "hides no name"),
        (vec![file("b", b""), file(".wh.c", b""), hard("d", ".wh.c")], "d", "a whiteout"),
        (vec![E { name: b"zero\0byte", ..E::default() }], "zero\\u{0}byte", "a zero byte"),
        (vec![file(&long, b"")], "nnnn", "256 bytes"),
        (vec![file(&deep, b"")], "abcdefg/", "a path of"),
        (vec![E { name: b"wh", kind: b'3', ..E::default() }], "wh", "a whiteout to overlay"),
        (vec![symlink("empty", "")], "empty", "cannot be one"),
        (vec![E { name: b"odd", kind: b'S', ..E::default() }], "odd", "not known"),
        (vec![E { name: b"./", kind: b'2', link: b"/", ..E::default() }], "./", "nothing but a folder"),
        (
            vec![E { xattrs: &[("trusted.overlay.redirect", b"/etc")], ..file("redirected", b"") }],
            "redirected",
            "trusted.overlay.redirect",
        ),
        (vec![E { owner: (u64::from(u32::MAX), 0), ..file("owner", b"") }], "owner", "its uid"),
    ];
    for (mut entries, name, reason) in cases {
        entries.push(file("harmless", b"harmless"));
        let bed = bed_of(&layer(&entries), Packed::Plain);
        assert_refused(&bed, &["image.tar"], &[name, reason, "refused, and nothing was imported", "--skip-refused"]);
        let output = bed.layerbench(&["stack", "import", "image.tar", "--skip-refused"]);
        let said = text(&output.stderr);
        assert!(output.status.success() && said.contains(name) && said.contains(reason), "{said}");
        assert_clean(&bed);
        let shown = bed.prints(&["stack", "show", "x:1"]);
        assert!(shown.contains(reason), "{shown}");
        let folder = layerbench::stack::named(&bed.at("store"), "x:1").unwrap().unwrap();
        let stack = layerbench::stack::LayerStack::open(&folder).unwrap();
        assert_eq!(fs::read_to_string(stack.layer_folders()[0].join("harmless")).unwrap(), "harmless", "{name}");
        assert_eq!(stack.verify().unwrap().problems, Vec::<String>::new());
        // Nobody else reaches programs and devices of an image through the store.
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700);
    }
}

#[test]
fn names_are_relative_to_the_layer_and_links_may_point_anywhere() {
    let archive = layer(&[
        file("/etc/absolute", b"1"),
        file("././usr//lib/./x", b"2"),
        symlink("etc/everywhere", "/etc/shadow"),
        file("twice", b"first"),
        file("twice", b"second"),
        dir("becomes", 0o755),
        file("becomes/x", b""),
        file("becomes", b"a file"),
        symlink("link", "/nowhere"),
        file("link", b"a file in place of a link"),
    ]);
    let bed = bed_of(&archive, Packed::Gzip);
    let output = bed.layerbench(&["stack", "import", "image.tar"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("replaces: twice and 2 more"), "{}", text(&output.stderr));
    let folder = layerbench::stack::named(&bed.at("store"), "x:1").unwrap().unwrap();
    let stack = layerbench::stack::LayerStack::open(&folder).unwrap();
    let read = |name: &str| fs::read_to_string(stack.layer_folders()[0].join(name)).unwrap();
    assert_eq!((read("etc/absolute"), read("usr/lib/x")), ("1".into(), "2".into()));
    assert_eq!((read("twice"), read("becomes")), ("second".into(), "a file".into()));
    assert_eq!(read("link"), "a file in place of a link");
    assert_clean(&bed);
}

#[test]
fn what_unfolds_without_end_is_stopped_early() {
    let zeros = vec![0; 80 << 20];
    let bomb = layer(&[file("zeros", &zeros)]);
    for packed in [Packed::Gzip, Packed::Zstd] {
        let bed = bed_of(&bomb, packed);
        assert_refused(&bed, &["image.tar"], &["unfold to", "--max-ratio"]);
    }
    let bed = bed_of(&bomb, Packed::Gzip);
    assert_refused(&bed, &["image.tar", "--max-ratio", "100000", "--max-bytes", "1 MiB"], &["--max-bytes"]);
    bed.prints(&["stack", "import", "image.tar", "--max-ratio", "100000"]);
    // A length that is only stated.
    let mut header = tar::Header::new_gnu();
    header.set_path("endless").unwrap();
    header.set_size(1 << 60);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    assert_refused(&bed_of(header.as_bytes(), Packed::Gzip), &["image.tar"], &["--max-bytes"]);
    // A name of any length before an entry.
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_cksum();
    assert_refused(&bed_of(header.as_bytes(), Packed::Gzip), &["image.tar"], &["before an entry"]);
}

#[test]
fn tiny_entries_are_counted() {
    let names: Vec<String> = (0..3000).map(|n| format!("d{}/{n}", n % 7)).collect();
    let entries: Vec<E> = names.iter().map(|name| file(name, b"")).collect();
    let bed = bed_of(&layer(&entries), Packed::Zstd);
    assert_refused(&bed, &["image.tar", "--max-entries", "2999"], &["more than 2999 entries", "--max-entries"]);
    let said = bed.prints(&["stack", "import", "image.tar", "--max-entries", "3000"]);
    assert!(said.contains("3000 files"), "{said}");
}

#[test]
fn a_content_that_is_not_what_its_digest_says_is_refused() {
    let archive = layer(&[file("a", b"a")]);
    let other = layer(&[file("a", b"b")]);
    let bed = bed_of(&archive, Packed::Plain);
    let mut files = docker_files(&["x:1"], &[(archive.clone(), Packed::Gzip)]);
    for (name, content) in &mut files {
        if name.ends_with("layer.tar") {
            *content = pack(&other, Packed::Gzip);
        }
    }
    write_archive(&bed.at("image.tar"), &files, Packed::Plain);
    assert_refused(&bed, &["image.tar"], &["layer.tar", "its digest is sha256:", "was promised"]);
    // Of an OCI layout every blob: the layer, the configuration, the manifest.
    let files = oci_files(None, &[(archive, Packed::Gzip)]);
    let blobs = files.iter().filter(|(name, _)| name.starts_with("blobs/")).count();
    assert_eq!(blobs, 3);
    for index in 0..blobs {
        let bed = bed_of(b"", Packed::Plain);
        let mut files = files.clone();
        let (name, content) = files.iter_mut().filter(|(name, _)| name.starts_with("blobs/")).nth(index).unwrap();
        // Behind the end of gzip's stream, or of the text.
        content.push(if content.starts_with(b"{") { b'\n' } else { 0 });
        let name = name.clone();
        write_folder(&bed.at("oci"), &files);
        let output = bed.layerbench(&["stack", "import", "oci"]);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(name.rsplit('/').next().unwrap()), "{said}");
        assert_eq!(bed.stacks(), Vec::<String>::new());
    }
}

#[test]
fn what_is_cut_off_or_no_archive_is_refused() {
    let archive = layer(&[file("a", &[7; 5000]), file("b", &[8; 5000])]);
    for packed in [Packed::Plain, Packed::Gzip, Packed::Zstd] {
        let whole = pack(&archive, packed);
        for length in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
            let bed = bed_of(b"", Packed::Plain);
            let mut files = docker_files(&["x:1"], &[(archive.clone(), packed)]);
            for (name, content) in &mut files {
                if name.ends_with("layer.tar") {
                    content.truncate(length);
                }
            }
            write_archive(&bed.at("image.tar"), &files, Packed::Plain);
            assert_refused(&bed, &["image.tar"], &["layer"]);
        }
    }
    // The archive of the image itself.
    let bed = bed_of(&archive, Packed::Plain);
    let whole = fs::read(bed.at("image.tar")).unwrap();
    for length in [0, 1, 511, 513, 5000, whole.len() / 2] {
        fs::write(bed.at("image.tar"), &whole[..length]).unwrap();
        assert_refused(&bed, &["image.tar"], &["image.tar"]);
    }
    for (content, reason) in
        [(&b"no archive at all"[..], "image.tar"), (b"\x1f\x8bnot gzip either", "image.tar"), (b"BZh9", "bzip2")]
    {
        fs::write(bed.at("image.tar"), content).unwrap();
        assert_refused(&bed, &["image.tar"], &[reason]);
    }
    let nothing = docker_files(&["x:1"], &[]);
    write_archive(&bed.at("image.tar"), &nothing, Packed::Plain);
    assert_refused(&bed, &["image.tar"], &["without layers"]);
    write_archive(&bed.at("image.tar"), &[("readme".into(), b"x".to_vec())], Packed::Plain);
    assert_refused(&bed, &["image.tar"], &["looked for", "oci-layout", "manifest.json"]);
}

#[test]
fn manifests_that_lead_elsewhere_are_refused() {
    let archive = layer(&[file("a", b"a")]);
    for (from, to) in [("/layer.tar", "/../../../../etc/passwd"), ("\"Layers\":[", "\"Layers\":[\"../../outside\",")] {
        let bed = bed_of(&archive, Packed::Plain);
        let mut files = docker_files(&["x:1"], &[(archive.clone(), Packed::Plain)]);
        let manifest = &mut files.last_mut().unwrap().1;
        *manifest = text(manifest).replace(from, to).into_bytes();
        write_folder(&bed.at("oci"), &files);
        assert_refused(&bed, &["oci"], &[]);
    }
    // A layer that is a link out of a source's folder.
    let bed = bed_of(&archive, Packed::Plain);
    let files = docker_files(&["x:1"], &[(archive.clone(), Packed::Plain)]);
    write_folder(&bed.at("oci"), &files);
    let place = bed.at("oci").join(&files[1].0);
    fs::remove_file(&place).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &place).unwrap();
    assert_refused(&bed, &["oci"], &["layer.tar"]);
    for name in ["x y:1", "../../x:1", "a\nb:1"] {
        let bed = bed_of(&archive, Packed::Plain);
        write_archive(&bed.at("image.tar"), &docker_files(&[name], &[(archive.clone(), Packed::Plain)]), Packed::Plain);
        assert_refused(&bed, &["image.tar"], &["no name of an image", "--name"]);
    }
}

#[test]
fn an_import_that_is_killed_leaves_nothing_that_looks_whole() {
    let names: Vec<String> = (0..30_000).map(|n| format!("d{}/{n}", n % 7)).collect();
    let entries: Vec<E> = names.iter().map(|name| file(name, b"content")).collect();
    let bed = bed_of(&layer(&entries), Packed::Plain);
    let mut child = Command::new(env!("CARGO_BIN_EXE_layerbench"))
        .args(["stack", "import", "image.tar"])
        .current_dir(bed.folder.path())
        .spawn()
        .unwrap();
    while !bed.stacks().iter().any(|name| name.contains(".partial-")) {
        if let Some(status) = child.try_wait().unwrap() {
            panic!("it ended before it could be killed: {status}");
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(bed.stacks().iter().all(|name| name.starts_with('.')), "{:?}", bed.stacks());
    assert_eq!(bed.layerbench(&["stack", "show", "x:1"]).status.code(), Some(2));
    bed.prints(&["clean"]);
    assert_eq!(bed.stacks(), Vec::<String>::new());
}

#[test]
fn a_content_that_is_not_what_its_digest_says_is_refused_where_the_image_is_there_already_too() {
    let bed = bed_of(&layer(&[file("a", b"a")]), Packed::Plain);
    bed.prints(&["stack", "import", "image.tar"]);
    let again = bed.prints(&["stack", "import", "image.tar", "--name", "other:1"]);
    assert!(again.contains("it was there already"), "{again}");
    let mut files = docker_files(&["x:1"], &[(layer(&[file("a", b"a")]), Packed::Plain)]);
    for (_, content) in files.iter_mut().filter(|(name, _)| name.ends_with("layer.tar")) {
        *content = layer(&[file("a", b"b")]);
    }
    write_archive(&bed.at("image.tar"), &files, Packed::Plain);
    let output = bed.layerbench(&["stack", "import", "image.tar", "--name", "third:1"]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("was promised"), "{said}");
    assert!(!bed.prints(&["stack", "list"]).contains("third:1"));
}

#[test]
fn arguments_that_cannot_be_meant_are_bad_usage() {
    // The configuration says linux/amd64.
    let bed = bed_of(&layer(&[file("a", b"a")]), Packed::Plain);
    for (words, said) in [
        (["--platform", "linux/arm64"], "x:1 is for linux/amd64"),
        (["--platform", "foo"], "not OS/ARCHITECTURE"),
        (["--platform", "linux/"], "not OS/ARCHITECTURE"),
        (["--name", "BAD NAME"], "is no name of an image"),
        (["--image", "y:1"], "it has no image y:1"),
    ] {
        let output = bed.layerbench(&[&["stack", "import", "image.tar"], &words[..]].concat());
        let err = text(&output.stderr);
        assert!(output.status.code() == Some(2) && err.contains(said), "{words:?}: {:?} {err}", output.status);
    }
    assert_eq!(bed.stacks(), Vec::<String>::new());
    bed.prints(&["stack", "import", "image.tar", "--platform", "linux/amd64"]);
}

fn device_image() -> Vec<u8> {
    layer(&[
        E { name: b"null", kind: b'3', device: (1, 3), mode: 0o666, ..E::default() },
        E { owner: (1234, 5678), ..file("owned", b"x") },
        E { xattrs: &[("trusted.root", b"1")], ..file("attribute", b"y") },
        file("plain", b"z"),
    ])
}

#[test]
fn who_may_not_keep_everything_is_told_what_was_left_out() {
    if !inside(true) {
        return;
    }
    let bed = bed_of(&device_image(), Packed::Plain);
    let output = bed.layerbench(&["stack", "import", "image.tar"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    for words in
        ["devices, which only root may make: null", "owners, which this user may not give: owned", "trusted.root"]
    {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert!(bed.prints(&["stack", "show", "x:1"]).contains("devices, which only root may make: null"));
}

/// layerbench as `nobody`, in a bed that is nobody's.
fn as_nobody(bed: &Bed, words: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--", env!("CARGO_BIN_EXE_layerbench")]);
    command.args(words).current_dir(bed.folder.path()).output().unwrap()
}

#[test]
fn an_ordinary_user_imports_without_a_namespace() {
    if !is_root() {
        eprintln!("skipped: needs root, to become another user");
        return;
    }
    let bed = bed_of(&device_image(), Packed::Plain);
    for path in [bed.folder.path().to_owned(), bed.at("store")] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    let output = as_nobody(&bed, &["stack", "import", "image.tar"]);
    if output.status.code().is_none_or(|code| code == 126 || code == 127) {
        eprintln!("skipped: nobody cannot reach the program: {}", text(&output.stderr));
        return;
    }
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("devices, which only root may make: null") && said.contains("owners"), "{said}");
    let output = as_nobody(&bed, &["stack", "verify", "x:1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = as_nobody(&bed, &["stack", "rm", "x:1"]);
    assert!(output.status.success() && bed.stacks().is_empty(), "{}", text(&output.stderr));
}
