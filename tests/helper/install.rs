//! `make install` and `make uninstall`.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::bed::{PROGRAM, has};
use crate::fixture;

fn make(target: &str, root: &Path, built: &Path) -> (bool, String) {
    let output = Command::new("make")
        .arg(target)
        .arg(format!("DESTDIR={}", root.display()))
        .arg(format!("BUILT={}", built.display()))
        .arg("PREFIX=/usr")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn files(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            assert!(std::fs::metadata(&path).unwrap().len() > 0, "{} is empty", path.display());
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn what_is_installed_works_and_can_be_removed() {
    if !has("make") || !has("install") {
        eprintln!("skipped: make or install(1) is not there");
        return;
    }
    let folder = fixture::scratch();
    let root = folder.path().join("root");
    let (ok, said) = make("install", &root, Path::new("/nowhere"));
    assert!(!ok && said.contains("make build"), "{said}");
    assert!(!root.exists(), "nothing built, nothing installed");

    let (ok, said) = make("install", &root, Path::new(PROGRAM).parent().unwrap());
    assert!(ok, "{said}");
    let mut found = Vec::new();
    files(&root, &mut found);
    for wanted in [
        "/usr/bin/layerbench",
        "/usr/bin/fuse-union",
        "/usr/share/man/man1/layerbench.1",
        "/usr/share/man/man1/layerbench-run.1",
        "/usr/share/man/man1/fuse-union.1",
        "/usr/share/bash-completion/completions/fuse-union",
        "/usr/share/zsh/site-functions/_fuse-union",
        "/usr/share/fish/vendor_completions.d/layerbench.fish",
    ] {
        assert!(found.iter().any(|path| path.ends_with(wanted)), "{wanted} is not in {found:?}");
    }
    let page = std::fs::read_to_string(root.join("usr/share/man/man1/fuse-union.1")).unwrap();
    assert!(page.contains("lowerdir") && page.contains("SIGUSR1"), "{page}");
    let version = Command::new(root.join("usr/bin/fuse-union")).arg("--version").output().unwrap();
    assert!(version.status.success());

    let (ok, said) = make("uninstall", &root, Path::new("/nowhere"));
    assert!(ok, "{said}");
    let mut left = Vec::new();
    files(&root, &mut left);
    assert!(left.is_empty(), "left: {left:?}");
}
