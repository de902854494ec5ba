//! Stacks on disk: the layout of the seed document, reuse, verification that finds every kind of change, and what a kill leaves.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use layerbench::stack::{self, Entry, LayerForm, LayerStack, StackDefinition};

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn build(store: &Path, definition: &StackDefinition, seed: u64) -> LayerStack {
    LayerStack::ensure(store, definition, seed, &|_| ()).unwrap()
}

#[test]
fn the_layout_is_that_of_dockers_aufs_store() {
    let store = scratch();
    let stack = build(store.path(), &StackDefinition::study(18, 18, 2, 100), 1);
    let names = |folder: &str| -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(stack.root().join(folder))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let ids = names("diff");
    assert_eq!(ids.len(), 18);
    assert!(
        ids.iter().all(|id| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()))
    );
    assert_eq!((names("layers"), names("mnt")), (ids.clone(), ids));
    // Top first: the listing of a layer is that of the layer below, with that layer in front. As in the seed: 65 bytes a layer.
    let order: Vec<String> =
        stack.layer_folders().iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    for (index, id) in order.iter().enumerate() {
        let text = fs::read_to_string(stack.root().join("layers").join(id)).unwrap();
        assert_eq!(text.len(), 65 * (17 - index));
        assert_eq!(text.lines().collect::<Vec<_>>(), order[index + 1..]);
        assert_eq!(fs::read_dir(stack.root().join("mnt").join(id)).unwrap().count(), 0);
    }
    // Whiteouts and opaque directories, the aufs way.
    assert!(stack.layer_folders()[16].join("data/.wh.w-000000").is_file());
    assert!(stack.layer_folders()[0].join("opaque/.wh..wh..opq").is_file());
}

#[test]
fn an_unchanged_definition_is_reused_and_a_changed_one_is_another_stack() {
    let store = scratch();
    let definition = StackDefinition::study(2, 2, 3, 5000);
    let first = build(store.path(), &definition, 1);
    let file = first.file(Path::new("data/f-000001")).unwrap();
    let before = fs::metadata(&file.path).unwrap();
    let again = build(store.path(), &definition, 1);
    let after = fs::metadata(&file.path).unwrap();
    assert_eq!((before.ino(), before.ctime(), before.ctime_nsec()), (after.ino(), after.ctime(), after.ctime_nsec()));
    assert_eq!(first.root(), again.root());
    for other in [build(store.path(), &definition, 2), build(store.path(), &StackDefinition::study(2, 1, 3, 5000), 1)] {
        assert_ne!(other.root(), first.root());
    }
    // The same seed gives the same content anywhere, and no two files are alike.
    let elsewhere = scratch();
    let copy = build(elsewhere.path(), &definition, 1);
    assert_eq!(copy.file(Path::new("data/f-000001")).unwrap().digest, file.digest);
    assert_ne!(copy.file(Path::new("data/f-000000")).unwrap().digest, file.digest);
    assert_eq!(blake3::hash(&fs::read(&file.path).unwrap()), file.digest);
}

#[test]
fn a_stack_that_is_not_whole_is_built_again() {
    type Damage = fn(&LayerStack);
    let damages: [(&str, Damage); 6] = [
        ("a file is missing", |stack| fs::remove_file(stack.layer_folders()[1].join("data/f-000000")).unwrap()),
        ("a file is cut off", |stack| fs::write(stack.layer_folders()[1].join("data/f-000001"), "").unwrap()),
        ("a whiteout is missing", |stack| {
            fs::remove_file(stack.layer_folders()[0].join("data/.wh.w-000000")).unwrap();
        }),
        ("a listing is wrong", |stack| {
            let id = stack.layer_folders()[0].file_name().unwrap().to_owned();
            fs::write(stack.root().join("layers").join(id), "").unwrap();
        }),
        ("the manifest is missing", |stack| fs::remove_file(stack.root().join("stack.json")).unwrap()),
        ("the manifest is damaged", |stack| fs::write(stack.root().join("stack.json"), "{").unwrap()),
    ];
    for (what, damage) in damages {
        let store = scratch();
        let definition = StackDefinition::study(2, 2, 2, 5000);
        let first = build(store.path(), &definition, 1);
        // A build starts from nothing: what somebody left in the folder is there only as long as the stack is reused.
        let trace = first.root().join("trace");
        fs::write(&trace, "").unwrap();
        build(store.path(), &definition, 1);
        assert!(trace.exists(), "a whole stack is reused");
        damage(&first);
        let again = build(store.path(), &definition, 1);
        assert_eq!(again.root(), first.root());
        assert!(!trace.exists(), "{what}");
        assert_eq!(again.verify().unwrap().problems, Vec::<String>::new(), "{what}");
        assert_eq!(stack::leftovers(store.path()).unwrap(), Vec::<PathBuf>::new(), "{what}");
    }
}

#[test]
fn of_several_who_ask_for_a_stack_at_once_one_builds_it() {
    let store = scratch();
    let definition = StackDefinition::study(3, 3, 50, 20_000);
    let files = AtomicU64::new(0);
    let inodes: Vec<u64> = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let progress = |_| {
                        files.fetch_add(1, Ordering::Relaxed);
                    };
                    let stack = LayerStack::ensure(store.path(), &definition, 1, &progress).unwrap();
                    fs::metadata(stack.root()).unwrap().ino()
                })
            })
            .collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).collect()
    });
    assert!(inodes.iter().all(|inode| *inode == inodes[0]), "{inodes:?}");
    // Each file was written once: targets, hidden names, markers and those of the opaque directory.
    assert_eq!(files.load(Ordering::Relaxed), 50 + 50 + 3 + 2);
    assert_eq!(stack::list(store.path()).unwrap().len(), 1);
    assert_eq!(stack::leftovers(store.path()).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn what_a_kill_leaves_is_listed_and_does_not_disturb() {
    let store = scratch();
    let definition = StackDefinition::study(2, 2, 2, 100);
    let stack = build(store.path(), &definition, 1);
    stack.lowers(LayerForm::Overlay).unwrap();
    // With this process's number, as after a restart of the machine.
    let pid = std::process::id();
    let name = |path: &Path| format!(".{}.partial-{pid}-0", path.file_name().unwrap().to_str().unwrap());
    let overlay = stack.root().join("overlay");
    let form = fs::read_dir(&overlay).unwrap().next().unwrap().unwrap().path();
    let partials = [store.path().join("stacks").join(name(stack.root())), overlay.join(name(&form))];
    for partial in &partials {
        fs::create_dir(partial).unwrap();
        fs::write(partial.join("half"), "a file").unwrap();
    }
    assert_eq!(stack::leftovers(store.path()).unwrap(), partials);
    fs::remove_dir_all(&form).unwrap();
    stack.lowers(LayerForm::Overlay).unwrap();
    assert!(form.is_dir());
    assert_eq!(stack::list(store.path()).unwrap(), [stack.root()]);
    let root = stack.root().to_owned();
    stack::remove(stack.root()).unwrap();
    assert_eq!(stack::leftovers(store.path()).unwrap(), [partials[0].clone()]);
    assert_eq!(build(store.path(), &definition, 1).root(), root);
    assert!(partials[0].join("half").is_file(), "what is not ours to remove stays");
}

#[test]
fn verification_finds_every_kind_of_change() {
    type Change = fn(&Path, &[PathBuf]);
    let changes: [(&str, Change); 12] = [
        ("f-000000", |_, layers| {
            let path = layers[1].join("data/f-000000");
            let mut bytes = fs::read(&path).unwrap();
            bytes[77] ^= 1;
            fs::write(&path, bytes).unwrap();
        }),
        ("f-000001", |_, layers| fs::remove_file(layers[1].join("data/f-000001")).unwrap()),
        ("stranger", |_, layers| fs::write(layers[0].join("data/stranger"), "").unwrap()),
        (".wh.w-000000", |_, layers| fs::remove_file(layers[0].join("data/.wh.w-000000")).unwrap()),
        (".wh..wh..opq", |_, layers| fs::remove_file(layers[0].join("opaque/.wh..wh..opq")).unwrap()),
        ("layers/", |root, layers| {
            fs::write(root.join("layers").join(layers[0].file_name().unwrap()), "").unwrap();
        }),
        ("f-000000: 1 bytes, not 5000", |_, layers| fs::write(layers[1].join("data/f-000000"), "x").unwrap()),
        ("opaque: mode 0700, not 0755", |_, layers| {
            fs::set_permissions(layers[0].join("opaque"), fs::Permissions::from_mode(0o700)).unwrap();
        }),
        ("marker-0002: not a regular file", |_, layers| {
            fs::remove_file(layers[1].join("data/marker-0002")).unwrap();
            std::os::unix::fs::symlink("f-000000", layers[1].join("data/marker-0002")).unwrap();
        }),
        ("diff/stranger", |root, _| fs::create_dir(root.join("diff/stranger")).unwrap()),
        ("data: missing", |_, layers| fs::remove_dir_all(&layers[1]).unwrap()),
        ("mnt/", |root, layers| fs::remove_dir(root.join("mnt").join(layers[1].file_name().unwrap())).unwrap()),
    ];
    for (word, change) in changes {
        let store = scratch();
        let stack = build(store.path(), &StackDefinition::study(2, 2, 2, 5000), 1);
        assert_eq!(stack.verify().unwrap().problems, Vec::<String>::new());
        change(stack.root(), &stack.layer_folders());
        let problems = stack.verify().unwrap().problems;
        assert!(!problems.is_empty() && problems.iter().any(|p| p.contains(word)), "{word}: {problems:?}");
    }
}

#[test]
fn the_flat_form_is_the_merged_view() {
    let store = scratch();
    let file = |path: &str| Entry::File { path: path.into(), size_bytes: 10, mode: 0o640 };
    let dir = |path: &str| Entry::Dir { path: path.into(), mode: 0o755 };
    let definition = StackDefinition {
        layers: vec![
            vec![
                dir("d"),
                file("d/top"),
                Entry::Whiteout { path: "gone".into() },
                dir("o"),
                Entry::Opaque { path: "o".into() },
            ],
            vec![dir("d"), file("d/both"), Entry::Symlink { path: "link".into(), target: "d/both".into() }],
            vec![dir("d"), file("d/both"), file("d/base"), file("gone"), dir("o"), file("o/hidden")],
        ],
    };
    let stack = build(store.path(), &definition, 1);
    let flat = store.path().join("flat");
    fs::create_dir(&flat).unwrap();
    stack.populate_flat(&flat).unwrap();
    let found: Vec<bool> = ["d/top", "d/both", "d/base", "gone", "o", "o/hidden", ".wh.gone", "o/.wh..wh..opq"]
        .iter()
        .map(|path| flat.join(path).exists())
        .collect();
    assert_eq!(found, [true, true, true, false, true, false, false, false]);
    let both = stack.file(Path::new("d/both")).unwrap();
    assert_eq!(both.layer, 2, "the upper of two hides the lower");
    assert_eq!(blake3::hash(&fs::read(flat.join("d/both")).unwrap()), both.digest);
    assert_eq!(fs::metadata(flat.join("d/both")).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_link(flat.join("link")).unwrap(), Path::new("d/both"));
    assert!(stack.lowers(LayerForm::Flat).unwrap().is_empty());
}

#[test]
fn five_hundred_layers_can_be_built() {
    let store = scratch();
    let stack = build(store.path(), &StackDefinition::study(500, 500, 2, 100), 1);
    assert_eq!(stack.layer_folders().len(), 500);
    assert_eq!(stack.verify().unwrap().problems, Vec::<String>::new());
    assert_eq!(stack.file(Path::new("data/f-000000")).unwrap().layer, 500);
}

#[test]
fn too_little_space_is_said_before_the_first_file() {
    let store = scratch();
    // More than any disk has; nothing is written, so nothing is lost.
    let definition = StackDefinition::study(1, 1, 100_000, 1 << 40);
    let message = LayerStack::ensure(store.path(), &definition, 1, &|_| ()).unwrap_err().to_string();
    assert!(message.contains("needs") && message.contains("available"), "{message}");
    assert!(message.chars().filter(char::is_ascii_digit).count() > 10, "{message}");
    assert_eq!(stack::list(store.path()).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn a_damaged_manifest_is_named_with_its_line() {
    let store = scratch();
    let stack = build(store.path(), &StackDefinition::study(1, 1, 1, 10), 1);
    let path = stack.root().join("stack.json");
    fs::write(&path, "{\n  \"schema_version\": 1,\n  oops\n").unwrap();
    let message = LayerStack::open(stack.root()).unwrap_err().to_string();
    assert!(message.contains("stack.json:3"), "{message}");
    // An id is a path: one that the definition does not give is not followed.
    let stack = build(store.path(), &StackDefinition::study(1, 1, 1, 10), 1);
    let id = stack.layer_folders()[0].file_name().unwrap().to_str().unwrap().to_owned();
    let text = fs::read_to_string(&path).unwrap();
    for (from, to) in [(id.as_str(), "../../../elsewhere"), ("\"seed\": 1", "\"seed\": 2"), ("data/f-", "data/../f-")] {
        fs::write(&path, text.replace(from, to)).unwrap();
        let message = LayerStack::open(stack.root()).unwrap_err().to_string();
        assert!(message.contains("not the manifest of a stack"), "{from}: {message}");
    }
    fs::write(&path, text.replace("\"schema_version\": 1", "\"schema_version\": 9, \"new\": 0")).unwrap();
    let message = LayerStack::open(stack.root()).unwrap_err().to_string();
    assert!(message.contains("schema version 9"), "{message}");
}

#[test]
fn a_build_that_is_killed_leaves_only_what_clean_removes() {
    let folder = scratch();
    let build = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerbench"));
        command.args([
            "stack",
            "build",
            "--depth",
            "4",
            "--files",
            "400",
            "--file-size",
            "256 KiB",
            "--store",
            "store",
        ]);
        command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    for moment in [5, 20, 50] {
        let mut child = build().spawn().unwrap();
        std::thread::sleep(Duration::from_millis(moment));
        child.kill().unwrap();
        child.wait().unwrap();
        // What is listed as complete is complete.
        for root in stack::list(&folder.path().join("store")).unwrap() {
            assert_eq!(LayerStack::open(&root).unwrap().verify().unwrap().problems, Vec::<String>::new());
        }
    }
    assert!(build().status().unwrap().success(), "a build after kills");
    let clean =
        Command::new(env!("CARGO_BIN_EXE_layerbench")).arg("clean").current_dir(folder.path()).output().unwrap();
    assert!(clean.status.success(), "{}", String::from_utf8_lossy(&clean.stderr));
    assert!(!folder.path().join("store").exists());
}
