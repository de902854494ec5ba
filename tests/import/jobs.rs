//! Jobs on an imported image: each on all of its files, with everything that images are made of, and verified to the last attribute.

use std::fs;

use layerbench::record::{CaseRecord, Outcome, Privileges, Run, list_runs};
use layerbench::workload::Job;

use super::round_trip::{layers, open, packed};
use super::writer::{E, Packed, dir, docker_files, file, layer, oci_files, symlink, write_archive, write_folder};
use super::{Bed, inside, is_root, text};

const DRIVERS: &str = "[[driver]]\nuse = 'bind'\n[[driver]]\nuse = 'overlay2'\n[[driver]]\nuse = 'overlay2'\noptions = ['volatile']\n\
    [[driver]]\nuse = 'fuse-union'\n";

fn can_mount() -> bool {
    let can = layerbench::host::fingerprint().privileges != Privileges::None;
    if !can {
        eprintln!("skipped: an ordinary user without user namespaces cannot mount");
    }
    can
}

fn workload(measure: &str) -> String {
    format!("title = 't'\nwhy = 'w'\n{DRIVERS}[[measure]]\nprobe = 'jobs'\nwhy = 'w'\n{measure}\n")
}

fn on_images() -> Vec<&'static str> {
    Job::ALL.into_iter().filter(|job| job.works_on_images()).map(Job::as_str).collect()
}

/// Runs a measure on the image `app:1` of the bed's store.
fn run(bed: &Bed, measure: &str) -> Run {
    fs::write(bed.at("jobs.toml"), workload(&format!("stack = 'app:1'\n{measure}"))).unwrap();
    let output = bed.layerbench(&["run", "jobs.toml"]);
    let recorded = list_runs(&bed.at("results")).unwrap().pop();
    let run = Run::load(&recorded.unwrap_or_else(|| panic!("{}", text(&output.stderr)))).unwrap();
    for case in run.last_attempts() {
        match &case.outcome {
            Outcome::Failed { error } => panic!("{}: {error}", case.case.id),
            Outcome::Skipped { reason, .. } => eprintln!("skipped: {}: {reason}", case.case.id),
            Outcome::Measured { .. } => {}
        }
    }
    assert!(output.status.success(), "{}", text(&output.stderr));
    run
}

#[test]
fn jobs_are_done_on_all_of_an_image_and_everything_of_it_is_verified() {
    if !can_mount() {
        return;
    }
    let bed = Bed::new();
    let layers = packed(&layers(is_root()), [Packed::Plain, Packed::Gzip, Packed::Zstd]);
    write_folder(&bed.at("oci"), &oci_files(None, &layers));
    bed.prints(&["stack", "import", "oci", "--name", "app:1"]);
    let caches = if is_root() { "['fresh', 'warm', 'cold']" } else { "['fresh', 'warm']" };
    let run = run(&bed, &format!("cache = {caches}\njob = {:?}", on_images()));
    let files = open(&bed, "app:1").totals().count;
    let mut measured = 0;
    for case in run.last_attempts() {
        let (id, job) = (&case.case.id, case.case.params.job.unwrap());
        let Outcome::Measured { observations, notes, .. } = &case.outcome else { continue };
        measured += 1;
        assert!(id.contains(&format!("files={files},")) && id.contains("depth=3"), "{id}");
        assert!(id.ends_with(&format!(",job={},stack=app:1/block=1", job.as_str())), "{id}");
        assert!(notes.iter().any(|note| note.starts_with(&format!("the whole image: {files} files"))), "{notes:?}");
        let sample = |name: &str| observations.iter().find(|o| o.metric.name == name).map(|o| o.samples[0]);
        assert!(sample("job_ns").unwrap() > 0, "{id}");
        let inodes = sample("upper_inodes_count");
        match (case.case.driver.driver.as_str(), job) {
            ("bind", _) => assert_eq!(inodes, None, "{id}"),
            (_, Job::Tar | Job::Git) => assert_eq!(inodes, Some(0), "{id}"),
            // A whiteout for each name at the root.
            (_, Job::Remove) => assert!((1..20).contains(&inodes.unwrap()), "{id}: {inodes:?}"),
            _ => assert!(inodes.unwrap() > u64::from(files), "{id}: {inodes:?}"),
        }
    }
    // On a volume at least, in two states of the caches; chown is root's.
    assert!(measured >= 2 * 5, "{measured} cases were measured");
    assert!(bed.prints(&["stack", "verify", "app:1"]).contains("as imported"));

    bed.prints(&["report", run.folder.to_str().unwrap(), "--out", "reports"]);
    let page = fs::read_to_string(bed.at("reports").join(run.folder.file_name().unwrap()).join("index.md")).unwrap();
    for words in [
        "## Images".to_owned(),
        "### app:1, 3 layers".to_owned(),
        format!("| read the tree with tar, {files} files | **"),
        format!("| copy the tree with cp -a, {files} files, warm | **"),
    ] {
        assert!(page.contains(&words), "{words:?} is not in {page}");
    }
    // That section is about built trees.
    assert!(!page.contains("## Jobs"), "{page}");
}

#[test]
fn copies_of_an_image_that_have_no_room_are_refused_before_anything_runs() {
    if !inside(false) {
        return;
    }
    let bed = Bed::new();
    fs::create_dir(bed.at("store")).unwrap();
    let mounted = nix::mount::mount(
        Some("store"),
        &bed.at("store"),
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some("size=4m"),
    );
    mounted.unwrap();
    let content = vec![7; 1 << 20];
    let files = docker_files(&["app:1"], &[(layer(&[file("large", &content)]), Packed::Plain)]);
    write_archive(&bed.at("image.tar"), &files, Packed::Plain);
    bed.prints(&["stack", "import", "image.tar"]);
    fs::write(bed.at("w.toml"), workload("stack = 'app:1'\njob = 'copy'\ncache = 'fresh'")).unwrap();
    let output = bed.layerbench(&["run", "w.toml"]);
    // The job may copy everything, and pack it, beside the volume.
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("needs 3 MiB for"), "{said}");
    nix::mount::umount2(&bed.at("store"), nix::mount::MntFlags::MNT_DETACH).unwrap();
}

#[test]
fn an_image_with_a_repository_of_its_own_has_no_git_status() {
    if !can_mount() {
        return;
    }
    let bed = Bed::new();
    let base = [
        dir("src/", 0o755),
        dir("src/.git/", 0o755),
        file("src/.git/HEAD", b"ref: refs/heads/main\n"),
        // What a repository would not look at, if it was asked.
        file("src/.gitignore", b"*\n"),
        file("-rf", b"a name that looks like an option"),
        symlink("--checkpoint-action=exec=false", "src"),
    ];
    let image = |name: &str, entries: &[E]| {
        let files = docker_files(&[name], &[(layer(entries), Packed::Plain)]);
        write_archive(&bed.at("image.tar"), &files, Packed::Plain);
        bed.prints(&["stack", "import", "image.tar"]);
    };
    image("app:1", &base);
    let count = |run: &Run, job: Job, wanted: &str| {
        let cases = run.last_attempts().filter(|case| case.case.params.job == Some(job));
        cases.filter(|case| matches!(&case.outcome, Outcome::Skipped { reason, .. } if reason == wanted)).count()
    };
    let reason = "the image has a repository of its own, src/.git/HEAD";
    let with = run(&bed, "job = ['git', 'tar', 'copy', 'remove']");
    assert!(count(&with, Job::Git, reason) > 0 && count(&with, Job::Tar, reason) == 0);
    bed.prints(&["stack", "rm", "app:1"]);
    let (head, tail) = (&base[..1], &base[3..]);
    image("app:1", &[head, tail].concat());
    // Measured, with every file in the repository: anything else would have failed.
    let without = run(&bed, "job = 'git'");
    assert_eq!(count(&without, Job::Git, reason), 0);
    let measured = |case: &&CaseRecord| matches!(case.outcome, Outcome::Measured { .. });
    assert!(without.last_attempts().any(|case| measured(&case)) || !has_git());
}

fn has_git() -> bool {
    std::process::Command::new("git").arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_job_that_needs_a_built_tree_is_refused_and_says_what_an_image_can_do() {
    let bed = Bed::new();
    let refused = |measure: &str| {
        fs::write(bed.at("jobs.toml"), workload(measure)).unwrap();
        let output = bed.layerbench(&["run", "jobs.toml", "--dry-run"]);
        assert_eq!(output.status.code(), Some(2), "{measure}");
        text(&output.stderr)
    };
    for job in Job::ALL.into_iter().filter(|job| !job.works_on_images()) {
        let measure = format!("stack = 'app:1'\njob = [\n'tar',\n'{}',\n]", job.as_str());
        let said = refused(&measure);
        let line = 1 + workload(&measure).lines().position(|line| line.contains(job.as_str())).unwrap();
        let able = format!("an imported image can do ({})", on_images().join(", "));
        for words in [&format!("jobs.toml:{line}: the job {} needs", job.as_str()), &able] {
            assert!(said.contains(words), "{words:?} is not in: {said}");
        }
    }
    for line in ["depth = 2", "file_size = '4 KiB'", "files = 10"] {
        let said = refused(&format!("stack = 'app:1'\njob = 'tar'\n{line}"));
        let own = line.split(' ').next().unwrap();
        assert!(said.contains(&format!("has its own {own}")) && said.contains("jobs.toml:"), "{said}");
    }
    assert!(refused("stack = 'app:1'\njob = 'tra'").contains("did you mean \"tar\"?"));
}
