//! Images that other programs made, and what these programs make of images: umoci and skopeo, as `make tools` unpacks them or as they are
//! installed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::round_trip::{compare, layers, open, packed};
use super::writer::{Packed, oci_files, write_folder};
use super::{Bed, inside, is_root, text};

/// A program, started in the test's folder; `None`, and why, where it is not here.
fn tool(bed: &Bed, name: &str) -> Option<Command> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/images/usr");
    let folders = fs::read_dir(unpacked.join("lib")).into_iter().flatten().flatten().map(|entry| entry.path());
    let libraries = std::env::join_paths(folders).unwrap();
    for program in [unpacked.join("bin").join(name), PathBuf::from(name)] {
        let mut command = Command::new(&program);
        command.env("LD_LIBRARY_PATH", &libraries).current_dir(bed.folder.path());
        // Nobody's settings, and no store but the one that is named.
        command.env("HOME", bed.folder.path()).env("XDG_RUNTIME_DIR", bed.folder.path());
        if Command::new(&program)
            .arg("--version")
            .env("LD_LIBRARY_PATH", &libraries)
            .output()
            .is_ok_and(|o| o.status.success())
        {
            return Some(command);
        }
    }
    eprintln!("skipped: {name} is neither in target/tools/images (make tools) nor on PATH");
    None
}

/// Runs a tool that must succeed.
fn run(bed: &Bed, name: &str, words: &[&str]) -> Option<()> {
    let output = tool(bed, name)?.args(words).output().unwrap();
    assert!(output.status.success(), "{name} {words:?}: {}", text(&output.stderr));
    Some(())
}

/// Unpacks an image with umoci; where its tree is.
fn unpack(bed: &Bed, image: &str, bundle: &str) -> Option<PathBuf> {
    let rootless: &[&str] = if is_root() { &[] } else { &["--rootless"] };
    run(bed, "umoci", &[&["unpack", "--image", image], rootless, &[bundle]].concat())?;
    Some(bed.at(bundle).join("rootfs"))
}

fn same_through_both(bed: &Bed, name: &str, expected: &Path) {
    let stack = open(bed, name);
    for driver in ["overlay2", "fuse-union"] {
        compare(bed, &stack, driver, expected, true);
        for folder in ["upper", "work", "merged"] {
            fs::remove_dir_all(bed.at(&format!("{driver}-{folder}"))).unwrap();
        }
    }
}

#[test]
fn the_merged_tree_is_what_umoci_makes_of_the_image() {
    if !is_root() {
        eprintln!("skipped: owners, devices and file capabilities need root");
        return;
    }
    if !inside(false) {
        return;
    }
    let bed = Bed::new();
    let layers = layers(true);
    write_folder(&bed.at("oci"), &oci_files(Some("v1"), &packed(&layers, [Packed::Gzip, Packed::Gzip, Packed::Plain])));
    let Some(expected) = unpack(&bed, "oci:v1", "bundle") else { return };
    bed.prints(&["stack", "import", "oci"]);
    same_through_both(&bed, "oci:v1", &expected);
}

#[test]
fn an_image_that_umoci_made_and_skopeo_copied_is_the_same_in_every_form() {
    if !is_root() {
        eprintln!("skipped: skopeo's own store needs root");
        return;
    }
    if !inside(false) {
        return;
    }
    let bed = Bed::new();
    if run(&bed, "umoci", &["init", "--layout", "made"]).is_none() {
        return;
    }
    run(&bed, "umoci", &["new", "--image", "made:1"]);
    let root = unpack(&bed, "made:1", "bundle").unwrap();
    let write = |name: &str, content: &str| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("etc/kept", "kept");
    write("etc/removed", "removed");
    write("etc/becomes-a-folder", "file");
    write("usr/folder/inside", "1");
    write("usr/folder/other", "2");
    fs::hard_link(root.join("etc/kept"), root.join("usr/second-name")).unwrap();
    symlink("../etc/kept", root.join("usr/link")).unwrap();
    rustix::fs::setxattr(root.join("etc/kept"), "user.note", b"value", rustix::fs::XattrFlags::empty()).unwrap();
    fs::set_permissions(root.join("usr/folder"), fs::Permissions::from_mode(0o2750)).unwrap();
    std::os::unix::fs::chown(root.join("usr/folder/other"), Some(1234), Some(5678)).unwrap();
    run(&bed, "umoci", &["repack", "--refresh-bundle", "--image", "made:1", "bundle"]);
    // What umoci writes whiteouts for.
    fs::remove_file(root.join("etc/removed")).unwrap();
    fs::remove_file(root.join("etc/becomes-a-folder")).unwrap();
    write("etc/becomes-a-folder/inside", "now");
    fs::remove_dir_all(root.join("usr/folder")).unwrap();
    write("usr/new", "new");
    run(&bed, "umoci", &["repack", "--image", "made:1", "bundle"]);
    let expected = unpack(&bed, "made:1", "again").unwrap();
    assert!(expected.join("usr/new").exists() && !expected.join("usr/folder").exists());

    bed.prints(&["stack", "import", "made", "--name", "umoci:1"]);
    assert_eq!(open(&bed, "umoci:1").depth(), 2);
    same_through_both(&bed, "umoci:1", &expected);
    let store =
        format!("containers-storage:[overlay@{}+{}]app:1", bed.at("storage").display(), bed.at("run").display());
    for (form, source, name) in [
        ("docker-archive:saved.tar:app:1", "saved.tar", "archive:1"),
        ("dir:plain", "plain", "dir:1"),
        ("oci-archive:packed.tar:app", "packed.tar", "packed:1"),
        (store.as_str(), "storage", "storage:1"),
    ] {
        if run(&bed, "skopeo", &["--insecure-policy", "copy", "oci:made:1", form]).is_none() {
            return;
        }
        let said = bed.layerbench(&["stack", "import", source, "--name", name]);
        assert!(said.status.success(), "{form}: {}", text(&said.stderr));
        eprintln!("{form}: {}", text(&said.stdout));
        same_through_both(&bed, name, &expected);
    }
}
