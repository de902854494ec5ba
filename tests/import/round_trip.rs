//! Each format, and the merged tree through overlay2 and fuse-union.

use std::fs;
use std::path::Path;

use layerbench::driver::{self, MountRequest};
use layerbench::stack::{self, LayerStack};

use super::writer::{E, Packed, dir, docker_files, file, hard, layer, oci_files, symlink, write_archive, write_folder};
use super::{Bed, assert_same, inside, is_root, text, tree};

/// Three layers with everything that images are made of. `all`: also what only root can make.
pub fn layers(all: bool) -> Vec<Vec<u8>> {
    let root = || E { name: b"./", kind: b'5', mode: 0o755, mtime: "1400000000", ..E::default() };
    let long = format!("usr/{}/{}", "long-name-of-a-folder-".repeat(6), "f".repeat(200));
    let long_folder = long.rsplit_once('/').unwrap().0.to_owned() + "/";
    let zeros = vec![0; 300_000];
    let owner = |id| if all { (id, id + 1) } else { (0, 0) };
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let ping_xattrs = [("security.capability", capability), ("user.lines", &b"one\ntwo=\0three"[..])];
    let mut base = vec![
        root(),
        dir("bin/", 0o755),
        E { mode: 0o4755, ..file("bin/su", b"su") },
        E { owner: owner(42), mtime: "1234567890.123456789", ..file("bin/owned", b"owned") },
        E { mtime: "-86400.5", ..file("bin/before-1970", b"old") },
        hard("bin/other-name", "bin/su"),
        hard("bin/third-name", "/bin/su"),
        E { xattrs: if all { &ping_xattrs } else { &ping_xattrs[1..] }, mode: 0o755, ..file("bin/ping", b"ping") },
        E { mode: 0o700, mtime: "1300000000", ..dir("run/", 0) },
        E { name: b"run/pipe", kind: b'6', ..E::default() },
        E { name: b"run/null", kind: b'3', device: (1, 3), mode: 0o666, ..E::default() },
        E { name: b"run/loop", kind: b'4', device: (7, 200), mode: 0o660, ..E::default() },
        dir("etc", 0o755),
        file("etc/hosts", b"127.0.0.1"),
        file("etc/gone", b"to be whited out"),
        E { mode: 0o600, ..file("etc/shadow", b"secret") },
        symlink("etc/absolute", "/bin/su"),
        symlink("etc/dangling", "../../../nowhere"),
        dir("usr/", 0o755),
        dir(&long_folder, 0o700),
        file(&long, b"at the end of a long path"),
        file("usr/zeros", &zeros),
        file("usr/empty", b""),
        E { name: b"usr/not-utf-8-\xff\xfe", content: b"x", ..E::default() },
        file("usr/back\\slash\nnewline", b"y"),
        dir("usr/replaced/", 0o755),
        file("usr/replaced/by-an-opaque-folder", b"1"),
        dir("usr/replaced/deep/", 0o755),
        file("usr/replaced/deep/file", b"1"),
        dir("usr/gone/", 0o755),
        file("usr/gone/with-it", b"2"),
        dir("usr/becomes-a-file", 0o755),
        file("usr/becomes-a-file/x", b"3"),
        file("usr/becomes-a-folder", b"4"),
        E { mode: 0o1777, ..dir("tmp/", 0) },
    ];
    if !all {
        base.retain(|entry| !matches!(entry.kind, b'3' | b'4'));
    }
    let middle = vec![
        root(),
        dir("etc/", 0o755),
        file("etc/.wh.gone", b""),
        file("etc/.wh.never-was", b""),
        file("etc/hosts", b"127.0.0.1 localhost"),
        dir("usr/", 0o755),
        dir("usr/replaced/", 0o750),
        file("usr/replaced/.wh..wh..opq", b""),
        file("usr/replaced/new", b"new"),
        file("usr/.wh.gone", b""),
        file("usr/.wh.becomes-a-file", b""),
        file("usr/becomes-a-file", b"a file now"),
        E { name: b"usr/.wh.becomes-a-folder", ..E::default() },
        dir("usr/becomes-a-folder", 0o711),
        file("usr/becomes-a-folder/inside", b"inside"),
        dir("only/", 0o755),
        dir("only/here/", 0o755),
        file("only/here/file", b"5"),
    ];
    let top = vec![
        root(),
        dir("only/", 0o755),
        dir("only/here/", 0o755),
        E { owner: owner(1000), mode: 0o640, ..file("only/here/second", b"6") },
        dir("etc/", 0o755),
        file("etc/gone", b"back again"),
        dir("opt/", 0o2755),
        dir("opt/new/", 0o555),
    ];
    vec![layer(&base), layer(&middle), layer(&top)]
}

pub fn packed(layers: &[Vec<u8>], packed: [Packed; 3]) -> Vec<(Vec<u8>, Packed)> {
    layers.iter().cloned().zip(packed).collect()
}

pub fn open(bed: &Bed, name: &str) -> LayerStack {
    let folder = stack::named(&bed.at("store"), name).unwrap().unwrap_or_else(|| panic!("no {name} in the store"));
    LayerStack::open(&folder).unwrap()
}

/// Mounts an imported image with a driver and compares the merged tree. False where the driver is not available.
pub fn compare(bed: &Bed, stack: &LayerStack, name: &str, expected: &Path, owners: bool) {
    let driver = driver::by_name(name).unwrap();
    let host = layerbench::host::fingerprint();
    if let layerbench::record::Feature::Missing { reason, .. } = driver.availability(&host) {
        eprintln!("skipped: {name}: {reason}");
        return;
    }
    let [upper, work, merged] = ["upper", "work", "merged"].map(|folder| bed.at(&format!("{name}-{folder}")));
    for folder in [&upper, &work, &merged] {
        fs::create_dir(folder).unwrap();
    }
    // The root of the merged view is upper's.
    let meta = fs::metadata(expected).unwrap();
    fs::File::open(&upper).unwrap().set_modified(meta.modified().unwrap()).unwrap();
    let request = MountRequest {
        lower: &stack.lowers(driver.layer_form()).unwrap(),
        upper: &upper,
        work: &work,
        merged: &merged,
        options: &[],
        layerbench: Path::new(env!("CARGO_BIN_EXE_layerbench")),
    };
    let mount = driver.mount(&request).unwrap();
    assert_same(&merged, expected, owners);
    mount.unmount().unwrap();
    eprintln!("compared: {name}");
}

/// Imports the image, and compares it through both drivers with what tar makes.
fn round_trip(all: bool) {
    let bed = Bed::new();
    let layers = layers(all);
    write_folder(&bed.at("oci"), &oci_files(Some("v1"), &packed(&layers, [Packed::Gzip, Packed::Zstd, Packed::Plain])));
    let said = bed.layerbench(&["stack", "import", "oci"]);
    assert!(said.status.success(), "{}", text(&said.stderr));
    assert_eq!(text(&said.stderr), "", "something was left out");
    tree::apply_with_tar(&layers, &bed.at("reference"), bed.folder.path(), all);
    let stack = open(&bed, "oci:v1");
    assert_eq!(stack.depth(), 3);
    for driver in ["overlay2", "fuse-union"] {
        compare(&bed, &stack, driver, &bed.at("reference"), all);
    }
    // What was unpacked is still what was unpacked, after overlay's form has been made of it.
    assert_eq!(stack.verify().unwrap().problems, Vec::<String>::new());
    assert!(bed.prints(&["stack", "verify", "oci:v1"]).contains("as imported"));
    fs::write(stack.layer_folders()[2].join("etc/hosts"), "127.0.0.2").unwrap();
    let problems = stack.verify().unwrap().problems;
    assert!(problems.len() == 1 && problems[0].contains("etc/hosts"), "{problems:?}");
}

#[test]
fn the_merged_tree_is_what_tar_makes_of_the_layers() {
    if !is_root() {
        eprintln!("skipped: owners, devices and file capabilities need root");
    } else if inside(false) {
        round_trip(true);
    }
}

#[test]
fn the_merged_tree_is_what_tar_makes_of_the_layers_in_a_user_namespace() {
    if inside(true) {
        round_trip(false);
    }
}

#[test]
fn every_format_gives_the_same_stack() {
    let bed = Bed::new();
    let layers = layers(false);
    let mixed = packed(&layers, [Packed::Plain, Packed::Gzip, Packed::Zstd]);
    write_folder(&bed.at("layout"), &oci_files(Some("example.org/x/redis:7"), &mixed));
    write_archive(&bed.at("layout.tar"), &oci_files(None, &mixed), Packed::Plain);
    write_archive(
        &bed.at("saved.tar"),
        &docker_files(&["redis:latest", "docker.io/library/redis:4"], &mixed),
        Packed::Plain,
    );
    write_archive(&bed.at("packed.tar.gz"), &docker_files(&[], &mixed), Packed::Gzip);
    write_archive(&bed.at("packed.tar.zst"), &docker_files(&[], &mixed), Packed::Zstd);
    let mut keys = Vec::new();
    for (source, name, kind) in [
        ("layout", "example.org/x/redis:7", "OCI image layout"),
        ("layout.tar", "layout:latest", "archive"),
        ("saved.tar", "redis:4 = redis:latest", "docker-archive"),
        ("packed.tar.gz", "packed:latest", "docker-archive"),
        ("packed.tar.zst", "packed:latest", "docker-archive"),
    ] {
        let store = format!("store-of-{source}");
        let said = bed.prints(&["stack", "import", source, "--store", &store]);
        assert!(said.contains(name) && said.contains(kind), "{source}: {said}");
        let listed = bed.prints(&["stack", "list", "--store", &store]);
        assert!(listed.contains(name), "{listed}");
        keys.push(listed.split_whitespace().next().unwrap().to_owned());
    }
    keys.dedup();
    assert_eq!(keys.len(), 1, "{keys:?}");
}

#[test]
fn an_image_has_its_names_until_it_is_removed() {
    let bed = Bed::new();
    let layers = layers(false);
    let [a, b] = [&layers[..], &layers[..2]];
    let plain = |layers: &[Vec<u8>]| -> Vec<_> { layers.iter().map(|layer| (layer.clone(), Packed::Plain)).collect() };
    write_archive(&bed.at("a.tar"), &docker_files(&["redis:latest"], &plain(a)), Packed::Plain);
    write_archive(&bed.at("b.tar"), &docker_files(&["redis:latest"], &plain(b)), Packed::Plain);
    bed.prints(&["stack", "import", "a.tar"]);
    assert!(bed.prints(&["stack", "import", "a.tar", "--name", "again:1"]).contains("was there already"));
    let shown = bed.prints(&["stack", "show", "redis"]);
    assert_eq!(shown, bed.prints(&["stack", "show", "again:1"]));
    let ids = open(&bed, "redis:latest").ids().iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let at = |needle: &str| shown.find(needle).unwrap_or_else(|| panic!("{needle} in {shown}"));
    assert!(at(&format!("redis:latest -> {}", ids[0])) < at(&format!("   1  {}", ids[0])), "{shown}");
    assert!(at(&format!("   2  {}", ids[1])) < at(&format!("   3  {}", ids[2])), "{shown}");
    assert!(shown.contains("base: no parent") && shown.contains("ADD layer-0 in /"), "{shown}");
    // The chain id of a base is its diff_id.
    assert_eq!(ids[2], super::writer::digits(&layers[0]));

    let other = bed.layerbench(&["stack", "import", "b.tar"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other.stderr).contains("redis:latest is another image"), "{}", text(&other.stderr));
    bed.prints(&["stack", "import", "b.tar", "--name", "redis:old"]);
    assert_eq!(bed.stacks().len(), 2);
    bed.prints(&["stack", "rm", "redis:old"]);
    assert_eq!(bed.stacks().len(), 1);
    assert_eq!(bed.layerbench(&["stack", "show", "redis:old"]).status.code(), Some(2));
    bed.prints(&["stack", "rm", "again:1"]);
    assert_eq!(bed.stacks(), Vec::<String>::new());
}
