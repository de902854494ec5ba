//! Records the commit that is built, so that a result can name it.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Without its locks `git status` leaves the index as it is, which it would otherwise write anew.
    let git = |args: &[&str]| -> Option<String> {
        let output = Command::new("git")
            .arg("--no-optional-locks")
            .args(args)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    // What every commit writes to, wherever the checkout keeps it; the index changes with each look at it.
    let commits = git(&["rev-parse", "--git-path", "logs/HEAD"]).unwrap_or_default();
    for path in [commits.as_str(), "src", "Cargo.toml", "Cargo.lock"] {
        if std::path::Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    // Without git, or outside a checkout, the record says that the commit is unknown.
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", "src", "Cargo.toml", "Cargo.lock"]);
        let mark = if changed.is_some_and(|text| !text.is_empty()) { "+" } else { "" };
        println!("cargo:rustc-env=LAYERBENCH_COMMIT={commit}{mark}");
    }
}
