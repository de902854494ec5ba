//! One suite over every driver that is available: what the drivers promise alike, with bind, which has no layers, as the control.
//!
//! Each test runs in a process with a private mount namespace; as an ordinary user also in a user namespace. What a test needs is built
//! by `stack`, so that the forms of layers are tested with the drivers that take them.

#[path = "conformance/bed.rs"]
mod bed;
#[path = "conformance/lifetime.rs"]
mod lifetime;
#[path = "conformance/reads.rs"]
mod reads;
#[path = "conformance/triggers.rs"]
mod triggers;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use layerbench::stack::{LayerForm, LayerStack, OPAQUE_NAME, StackDefinition};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

use bed::{Bed, Variant, dir, file, for_each, known_to_differ, opaque, whiteout};

/// Two layers with the same names in one, the other, and both.
fn two_layers() -> Vec<Vec<layerbench::stack::Entry>> {
    vec![
        vec![dir("d"), file("d/both", 3000, 0o644), file("d/top", 100, 0o644)],
        vec![dir("d"), file("d/both", 5000, 0o644), file("d/base", 70_000, 0o640)],
    ]
}

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> Option<i32> {
    result.unwrap_err().raw_os_error()
}

// --- reading -------------------------------------------------------------------------------------------------------------------------

#[test]
fn a_file_not_in_the_container_layer_is_found_in_the_first_image_layer_from_the_top() {
    for_each(|variant| {
        let bed = Bed::new(variant, two_layers()).mounted();
        for (path, layer) in [("d/both", 0), ("d/top", 0), ("d/base", 1)] {
            assert!(fs::read(bed.at(path)).unwrap() == fs::read(bed.lower(layer, path)).unwrap(), "content of {path}");
        }
        assert_eq!(bed.names("d"), ["base", "both", "top"]);
        assert_eq!(errno(fs::read(bed.at("d/nowhere"))), Some(libc::ENOENT));
        if !variant.is_control() {
            let written = fs::read_dir(bed.upper("")).unwrap().map(|entry| entry.unwrap().file_name());
            // aufs keeps its own books at the root of upper.
            let written: Vec<_> = written.filter(|name| !name.as_encoded_bytes().starts_with(b".wh..wh.")).collect();
            assert!(written.is_empty(), "reading has written to the upper layer: {written:?}");
        }
    });
}

#[test]
fn a_file_only_in_the_container_layer_is_read_from_there() {
    for_each(|variant| {
        let mut bed = Bed::new(variant, two_layers());
        // It lay there before: a container that is started again.
        fs::create_dir_all(bed.upper("d")).unwrap();
        fs::write(bed.upper("d/before"), "before").unwrap();
        bed.mount();
        fs::write(bed.at("d/now"), "now").unwrap();
        fs::create_dir(bed.at("new")).unwrap();
        fs::write(bed.at("new/now"), "new").unwrap();
        for remounted in [false, true] {
            if remounted {
                bed.remount();
            }
            for (path, content) in [("d/before", "before"), ("d/now", "now"), ("new/now", "new")] {
                assert_eq!(fs::read_to_string(bed.at(path)).unwrap(), content, "{path}, remounted: {remounted}");
                assert_eq!(fs::read_to_string(bed.upper(path)).unwrap(), content, "{path} in the upper layer");
            }
            assert_eq!(bed.names("d"), ["base", "before", "both", "now", "top"]);
        }
        bed.assert_lowers_untouched();
    });
}

#[test]
fn a_file_in_both_hides_that_of_the_image_layers() {
    for_each(|variant| {
        let mut bed = Bed::new(variant, two_layers());
        fs::create_dir_all(bed.upper("d")).unwrap();
        fs::write(bed.upper("d/both"), "the container's").unwrap();
        bed.mount();
        assert_eq!(fs::read_to_string(bed.at("d/both")).unwrap(), "the container's");
        assert_eq!(bed.names("d"), ["base", "both", "top"], "a name is listed once");
        bed.assert_lowers_untouched();
    });
}

// --- copy_up -------------------------------------------------------------------------------------------------------------------------

#[test]
fn the_first_write_copies_up_and_keeps_mode_owner_times_and_attributes() {
    for_each(|variant| {
        let mut bed = Bed::new(variant, two_layers());
        let source = match variant.is_control() {
            true => bed.upper("d/base"),
            false => bed.lower(1, "d/base"),
        };
        // Refused where that user is not mapped; then the owner that is there has to be kept.
        std::os::unix::fs::chown(&source, Some(1234), Some(4321)).ok();
        let mode = if known_to_differ(variant, "the copy loses the set-user-id bit") { 0o750 } else { 0o4750 };
        fs::set_permissions(&source, fs::Permissions::from_mode(mode)).unwrap();
        rustix::fs::setxattr(&source, "user.layerbench", b"kept", XattrFlags::empty()).unwrap();
        let old = Timespec { tv_sec: 1_000_000_000, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: old, last_modification: old };
        rustix::fs::utimensat(CWD, &source, &times, AtFlags::empty()).unwrap();
        let facts = |path: &Path| {
            let meta = fs::metadata(path).unwrap();
            let mut value = [0; 16];
            let length = rustix::fs::getxattr(path, "user.layerbench", &mut value[..]).unwrap();
            (meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec(), value[..length].to_vec())
        };
        let (expected, original) = (facts(&source), fs::read(&source).unwrap());
        assert_eq!((expected.3, expected.4), (1_000_000_000, 123_456_789));
        bed.mount();
        assert_eq!(facts(&bed.at("d/base")), expected, "before the first write");

        // As nothing has been written, the time of modification is still the old one.
        let opened = OpenOptions::new().read(true).write(true).open(bed.at("d/base")).unwrap();
        assert_eq!(facts(&bed.at("d/base")), expected, "opened for writing");
        if variant.copies_up_at_open() {
            assert_eq!(
                fs::read(bed.upper("d/base")).unwrap().len(),
                original.len(),
                "the upper layer has no whole copy"
            );
            assert_eq!(facts(&bed.upper("d/base")), expected, "in the upper layer");
        } else if !variant.is_control() {
            assert!(!bed.upper("d/base").exists(), "the upper layer has a copy of what nobody wrote to");
        }
        opened.write_at(b"X", 40_000).unwrap();
        let mut seen = [0; 1];
        opened.read_exact_at(&mut seen, 40_000).unwrap();
        assert_eq!(&seen, b"X");
        drop(opened);

        let mut changed = original.clone();
        changed[40_000] = b'X';
        for remounted in [false, true] {
            if remounted {
                bed.remount();
            }
            assert!(fs::read(bed.at("d/base")).unwrap() == changed, "content after the write, remounted: {remounted}");
            assert!(fs::read(bed.upper("d/base")).unwrap() == changed, "content in the upper layer");
        }
        assert!(fs::metadata(bed.at("d/base")).unwrap().mtime() > 1_500_000_000, "a write is a modification");
        if !variant.is_control() {
            assert!(fs::read(&source).unwrap() == original, "the lower file was written to");
            assert_eq!(facts(&source), expected, "the lower file's attributes have changed");
            let copied = fs::read_dir(bed.upper("d")).unwrap().count();
            assert_eq!(copied, 1, "something else is copied up");
        }
    });
}

#[test]
fn chmod_truncate_append_and_a_second_name_leave_the_lower_file_alone() {
    for_each(|variant| {
        let layers = vec![vec![
            dir("d"),
            file("d/chmod", 9000, 0o644),
            file("d/truncate", 9000, 0o644),
            file("d/append", 9000, 0o644),
            file("d/link", 9000, 0o644),
            file("d/rename", 9000, 0o644),
        ]];
        let mut bed = Bed::new(variant, layers).mounted();
        let original = |name: &str| bed_content(&bed, name);
        let contents: Vec<Vec<u8>> = ["chmod", "truncate", "append", "link", "rename"].map(original).to_vec();
        fs::set_permissions(bed.at("d/chmod"), fs::Permissions::from_mode(0o600)).unwrap();
        OpenOptions::new().write(true).open(bed.at("d/truncate")).unwrap().set_len(10).unwrap();
        std::io::Write::write_all(&mut OpenOptions::new().append(true).open(bed.at("d/append")).unwrap(), b"end")
            .unwrap();
        fs::hard_link(bed.at("d/link"), bed.at("d/second")).unwrap();
        fs::write(bed.at("d/second"), "both names").unwrap();
        fs::rename(bed.at("d/rename"), bed.at("renamed")).unwrap();
        for remounted in [false, true] {
            if remounted {
                bed.remount();
            }
            assert_eq!(fs::metadata(bed.at("d/chmod")).unwrap().mode() & 0o7777, 0o600);
            assert!(fs::read(bed.at("d/chmod")).unwrap() == contents[0]);
            assert!(fs::read(bed.at("d/truncate")).unwrap() == contents[1][..10]);
            assert!(fs::read(bed.at("d/append")).unwrap() == [contents[2].as_slice(), b"end"].concat());
            assert_eq!(fs::read_to_string(bed.at("d/link")).unwrap(), "both names");
            // Of a file with several names aufs keeps one more, in .wh..wh.plnk, and hides it; unmounted without its own helper (auplink),
            // it leaves that name behind, which then counts.
            let own = u64::from(variant.driver == "aufs" && remounted);
            assert_eq!(fs::metadata(bed.at("d/link")).unwrap().nlink(), 2 + own);
            assert!(fs::read(bed.at("renamed")).unwrap() == contents[4]);
            bed.assert_absent("d/rename");
        }
        bed.assert_lowers_untouched();
    });
}

fn bed_content(bed: &Bed, name: &str) -> Vec<u8> {
    fs::read(bed.lower(0, "d").join(name)).unwrap()
}

// --- whiteouts and opaque directories ------------------------------------------------------------------------------------------------

/// Panics unless the upper layer hides a name the way the variant's form asks.
fn assert_whiteout(bed: &Bed, variant: &Variant, folder: &str, name: &str) {
    let device = fs::symlink_metadata(bed.upper(folder).join(name));
    let is_device = device.is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0);
    let file = fs::symlink_metadata(bed.upper(folder).join(format!(".wh.{name}")));
    let is_file = file.is_ok_and(|meta| meta.is_file() && meta.len() == 0);
    let good = match (variant.driver, variant.driver().layer_form()) {
        (_, LayerForm::Flat) => !is_device && !is_file,
        // It takes the one where it may create devices, the other where it may not.
        ("fuse-overlayfs", _) => is_device != is_file,
        (_, LayerForm::Aufs) => is_file && !is_device,
        (_, LayerForm::Overlay) => is_device && !is_file,
    };
    assert!(good, "whiteout of {folder}/{name} in the upper layer: device {is_device}, file {is_file}");
}

#[test]
fn removing_a_lower_file_leaves_a_whiteout_in_the_drivers_form() {
    for_each(|variant| {
        let mut bed = Bed::new(variant, two_layers()).mounted();
        fs::remove_file(bed.at("d/base")).unwrap();
        // Copied up first, then removed; and one that is in two layers.
        fs::write(bed.at("d/both"), "copied up").unwrap();
        fs::remove_file(bed.at("d/both")).unwrap();
        // Never in a lower layer: nothing is left to hide.
        fs::write(bed.at("d/own"), "own").unwrap();
        fs::remove_file(bed.at("d/own")).unwrap();
        for remounted in [false, true] {
            if remounted {
                bed.remount();
            }
            for path in ["d/base", "d/both", "d/own"] {
                bed.assert_absent(path);
            }
            assert_eq!(bed.names("d"), ["top"]);
            assert_whiteout(&bed, variant, "d", "base");
            assert_whiteout(&bed, variant, "d", "both");
        }
        for name in ["own", ".wh.own"] {
            assert!(fs::symlink_metadata(bed.upper("d").join(name)).is_err(), "{name} is left in the upper layer");
        }
        bed.assert_lowers_untouched();

        // The name can be used again, for something else.
        fs::create_dir(bed.at("d/base")).unwrap();
        fs::write(bed.at("d/both"), "again").unwrap();
        bed.remount();
        assert_eq!(bed.names("d/base"), Vec::<String>::new());
        assert_eq!(fs::read_to_string(bed.at("d/both")).unwrap(), "again");
        bed.assert_lowers_untouched();
    });
}

#[test]
fn a_stored_whiteout_hides_what_is_below_and_not_what_is_above() {
    for_each(|variant| {
        let layers = vec![
            vec![dir("d"), file("d/back", 10, 0o644)],
            vec![dir("d"), whiteout("d/gone"), whiteout("d/back"), whiteout("d/tree"), file("d/stays", 20, 0o644)],
            vec![
                dir("d"),
                file("d/gone", 30, 0o644),
                file("d/back", 40, 0o644),
                dir("d/tree"),
                file("d/tree/leaf", 50, 0o644),
            ],
        ];
        let mut bed = Bed::new(variant, layers).mounted();
        bed.assert_absent("d/gone");
        bed.assert_absent("d/tree");
        assert_eq!(bed.names("d"), ["back", "stays"], "no mark is visible");
        assert!(fs::read(bed.at("d/back")).unwrap() == fs::read(bed.lower(0, "d/back")).unwrap());
        // What is made in its place starts empty.
        fs::write(bed.at("d/gone"), "new").unwrap();
        fs::create_dir(bed.at("d/tree")).unwrap();
        bed.remount();
        assert_eq!(fs::read_to_string(bed.at("d/gone")).unwrap(), "new");
        assert_eq!(bed.names("d/tree"), Vec::<String>::new());
        bed.assert_lowers_untouched();
    });
}

#[test]
fn a_directory_made_in_the_place_of_a_removed_one_is_opaque() {
    for_each(|variant| {
        let layers = vec![
            vec![dir("tree"), file("tree/top", 10, 0o644)],
            vec![dir("tree"), file("tree/base", 10, 0o644), dir("tree/sub"), file("tree/sub/leaf", 10, 0o644)],
        ];
        let mut bed = Bed::new(variant, layers).mounted();
        assert_eq!(bed.names("tree"), ["base", "sub", "top"]);
        assert_eq!(errno(fs::remove_dir(bed.at("tree"))), Some(libc::ENOTEMPTY));
        fs::remove_dir_all(bed.at("tree")).unwrap();
        bed.assert_absent("tree");
        assert_whiteout(&bed, variant, "", "tree");
        fs::create_dir(bed.at("tree")).unwrap();
        for remounted in [false, true] {
            if remounted {
                bed.remount();
            }
            assert_eq!(bed.names("tree"), Vec::<String>::new(), "old children are back, remounted: {remounted}");
            if remounted
                || !known_to_differ(variant, "removed children are still found by name until it is mounted again")
            {
                ["tree/top", "tree/base", "tree/sub"].iter().for_each(|path| bed.assert_absent(path));
            }
        }
        assert_opaque(&bed, variant, "tree");
        fs::write(bed.at("tree/new"), "new").unwrap();
        bed.remount();
        assert_eq!(bed.names("tree"), ["new"]);
        bed.assert_lowers_untouched();
    });
}

/// Panics unless a folder of the upper layer is opaque the way the variant's form asks.
fn assert_opaque(bed: &Bed, variant: &Variant, folder: &str) {
    let marked = |name: &str| {
        let mut value = [0; 8];
        rustix::fs::getxattr(bed.upper(folder), name, &mut value[..]).is_ok_and(|length| &value[..length] == b"y")
    };
    let by_file = bed.upper(folder).join(OPAQUE_NAME).is_file();
    let by_attribute = marked("trusted.overlay.opaque") || marked("user.overlay.opaque");
    let good = match (variant.driver, variant.driver().layer_form()) {
        (_, LayerForm::Flat) => !by_file && !by_attribute,
        ("fuse-overlayfs", _) => by_file || by_attribute || marked("user.fuseoverlayfs.opaque"),
        (_, LayerForm::Aufs) => by_file && !by_attribute,
        (_, LayerForm::Overlay) => by_attribute && !by_file,
    };
    assert!(good, "{folder} in the upper layer: marked by a file {by_file}, by an attribute {by_attribute}");
}

#[test]
fn a_stored_opaque_directory_hides_what_is_below_and_merges_with_what_is_above() {
    for_each(|variant| {
        let layers = vec![
            vec![dir("d"), file("d/above", 10, 0o644)],
            vec![dir("d"), opaque("d"), file("d/with", 10, 0o644)],
            vec![dir("d"), file("d/below", 10, 0o644), dir("d/sub"), file("d/sub/leaf", 10, 0o644)],
        ];
        let mut bed = Bed::new(variant, layers).mounted();
        assert_eq!(bed.names("d"), ["above", "with"]);
        bed.assert_absent("d/below");
        bed.assert_absent("d/sub");
        fs::create_dir(bed.at("d/sub")).unwrap();
        bed.remount();
        assert_eq!(bed.names("d/sub"), Vec::<String>::new());
        bed.assert_lowers_untouched();
    });
}

// --- EXDEV ---------------------------------------------------------------------------------------------------------------------------

#[test]
fn renaming_a_directory_with_children_below_is_exdev_unless_the_driver_redirects() {
    for_each(|variant| {
        let layers =
            vec![vec![dir("tree"), file("tree/leaf", 10, 0o644), dir("tree/sub"), file("tree/sub/leaf", 10, 0o644)]];
        let mut bed = Bed::new(variant, layers);
        let options = bed.mount().options().to_owned();
        let redirects = match variant.driver {
            "bind" => true,
            // An option that is the kernel's default is not reported back.
            "overlay2" if options.contains("redirect_dir=") => options.contains("redirect_dir=on"),
            "overlay2" => {
                !options.contains("userxattr")
                    && fs::read_to_string("/sys/module/overlay/parameters/redirect_dir").unwrap().trim() == "Y"
            }
            _ => false,
        };
        let renamed = fs::rename(bed.at("tree"), bed.at("moved"));
        if redirects {
            renamed.unwrap();
            for _ in 0..2 {
                bed.assert_absent("tree");
                assert_eq!(bed.names("moved"), ["leaf", "sub"]);
                assert_eq!(bed.names("moved/sub"), ["leaf"]);
                bed.remount();
            }
        } else {
            assert_eq!(errno(renamed), Some(libc::EXDEV), "{options}");
            assert_eq!(bed.names(""), ["tree"], "a refused rename has changed something");
            assert_eq!(bed.names("tree"), ["leaf", "sub"]);
        }
        // One that is in the container layer alone can be renamed with every driver but aufs, to which children are children.
        fs::create_dir(bed.at("own")).unwrap();
        fs::write(bed.at("own/file"), "own").unwrap();
        if variant.driver != "aufs" {
            fs::rename(bed.at("own"), bed.at("renamed")).unwrap();
            bed.remount();
            bed.assert_absent("own");
            assert_eq!(fs::read_to_string(bed.at("renamed/file")).unwrap(), "own");
        }
        bed.assert_lowers_untouched();
    });
}

#[test]
fn overlay2_without_redirect_dir_refuses_to_rename_a_directory() {
    if !bed::inside() {
        return;
    }
    let variant = Variant { driver: "overlay2", options: &["redirect_dir=nofollow"], needs_root: false };
    let bed = Bed::new(&variant, vec![vec![dir("tree"), file("tree/leaf", 10, 0o644)]]).mounted();
    assert_eq!(errno(fs::rename(bed.at("tree"), bed.at("moved"))), Some(libc::EXDEV));
}

// --- depth ---------------------------------------------------------------------------------------------------------------------------

fn a_stack_of_depth(depth: u32) {
    if !bed::inside() {
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let definition = StackDefinition::study(depth, depth, 3, 5000).with_atlas(depth, 3);
    for_each(|variant| {
        if depth > variant.driver().depth_max() {
            eprintln!("skipped: {} stacks at most {} layers", variant.label(), variant.driver().depth_max());
            return;
        }
        let stack = LayerStack::ensure(&folder.path().join("store"), &definition, 7, &|_| ()).unwrap();
        let root = folder.path().join(variant.label().replace(' ', "-"));
        let mut bed = Bed::on(variant, stack, &root);
        let options = bed.mount().options().to_owned();
        if variant.driver == "overlay2" {
            assert!(options.contains(&format!("lowerdir=<{depth} layers>")), "{options}");
        }
        assert!(options.len() < 1000, "the record of a mount lists its layers: {options}");
        let targets = bed.stack.targets();
        for path in &targets.hits {
            let fact = bed.stack.file(path).unwrap();
            assert_eq!(fact.layer, depth);
            assert!(
                blake3::hash(&fs::read(bed.at(path.to_str().unwrap())).unwrap()) == fact.digest,
                "content of {path:?}"
            );
        }
        // Overlay lists the whiteouts of a folder that only one layer has (it reads that layer's folder itself), but finds none of them:
        // with one layer they hide nothing.
        for path in targets.misses.iter().chain(&targets.whiteouts) {
            bed.assert_not_found(path.to_str().unwrap());
        }
        let markers = bed.names("data").iter().filter(|name| name.starts_with("marker-")).count();
        assert_eq!(markers, depth as usize, "every layer is merged");
        assert_eq!(bed.names("opaque").contains(&"above".to_owned()), depth > 1);
        for path in targets.paths.iter().chain(&targets.unseen) {
            let fact = bed.stack.file(path).unwrap();
            assert!(
                blake3::hash(&fs::read(bed.at(path.to_str().unwrap())).unwrap()) == fact.digest,
                "content of {path:?}"
            );
        }
        assert_eq!(targets.opaque.len(), if depth > 1 { 3 } else { 0 });
        let base = format!("of-{depth:04}");
        let of_every_layer: Vec<String> = (1..=depth).map(|layer| format!("of-{layer:04}")).collect();
        let ends = if depth > 1 { vec!["of-0001".to_owned(), base] } else { vec![base] };
        for (folders, held) in
            [(&targets.opaque, &vec!["above".to_owned()]), (&targets.merged, &ends), (&targets.listed, &of_every_layer)]
        {
            for folder in folders {
                assert_eq!(bed.names(folder.to_str().unwrap()), *held, "{folder:?}");
                let by_the_stack = bed.stack.names_in(folder);
                assert!(by_the_stack.iter().eq(held.iter().map(String::as_str)), "{folder:?}: {by_the_stack:?}");
            }
        }
        let target = targets.hits[0].to_str().unwrap();
        OpenOptions::new().write(true).open(bed.at(target)).unwrap().write_at(b"X", 4999).unwrap();
        bed.remount();
        let content = fs::read(bed.at(target)).unwrap();
        assert!(content.len() == 5000 && content[4999] == b'X');
        bed.assert_lowers_untouched();
        bed.unmount();
    });
}

#[test]
fn a_stack_of_1_layer() {
    a_stack_of_depth(1);
}

#[test]
fn a_stack_of_127_layers() {
    a_stack_of_depth(127);
}

#[test]
fn a_stack_of_500_layers() {
    a_stack_of_depth(500);
}
