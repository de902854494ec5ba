//! Jobs: a real program works on a whole tree of files through the mount, and is timed from its start to its end.
//!
//! Other probes time one operation; this one says whether their differences are something that a person feels. The programs are those of the
//! machine, not of the container, so that they are the same for every driver; their files are resident before they are timed.

mod package;
mod program;
mod verify;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::copy_up::usage;
use super::{Container, Probe, ProbeError, Trial, at, timed};
use crate::record::{Metric, Observation, metric};
use crate::stack::{DATABASE, PACKAGES, TREE};
use crate::workload::{CacheState, Job, Params, ProbeName};

use program::Program;

/// The probe.
pub(super) struct Jobs;

static METRICS: [Metric; 3] = [metric::JOB_NS, metric::UPPER_BYTES, metric::UPPER_INODES];

/// The folder beside the tree in which copies, extracted files and objects are made.
const MADE: &str = "layerbench-made";
/// The owner that `chown` gives: nobody that any file belongs to.
const OWNER: u32 = 54_321;
/// Transactions of `sqlite`.
const TRANSACTIONS: u32 = 100;
/// How far apart the rows are that they change: each in a page of its own.
const ROWS_APART: u32 = 91;

/// What a job works on: the tree of a built stack, or all of an image.
struct Tree {
    /// The folder that holds everything of it and nothing else, relative to the root of a container.
    root: &'static Path,
    /// The folder in which programs are started, likewise.
    above: &'static Path,
    /// What of that folder is the tree: what programs are told.
    names: Vec<OsString>,
}

impl Tree {
    fn of(trial: &Trial) -> Tree {
        let nowhere = Path::new("");
        if trial.stack.image().is_some() {
            return Tree { root: nowhere, above: nowhere, names: trial.stack.names_in(nowhere) };
        }
        let root = Path::new(TREE);
        let names = root.file_name().into_iter().map(OsString::from).collect();
        Tree { root, above: root.parent().unwrap_or(nowhere), names }
    }

    /// Whether a path, relative to `above`, is of the tree.
    fn has(&self, path: &Path) -> bool {
        path.iter().next().is_some_and(|first| self.names.iter().any(|name| name == first))
    }
}

/// What the case runs.
fn job(trial: &Trial) -> Result<Job, ProbeError> {
    trial.params.job.ok_or_else(|| ProbeError::Wrong("a case of jobs that names no job".to_owned()))
}

/// The program of a job.
fn program(job: Job) -> Program {
    match job {
        Job::Tar | Job::Unpack => Program { name: "tar", package: "tar" },
        Job::Git => Program { name: "git", package: "git" },
        Job::Chown => Program { name: "chown", package: "coreutils" },
        Job::Copy => Program { name: "cp", package: "coreutils" },
        Job::Remove => Program { name: "rm", package: "coreutils" },
        Job::Install => Program { name: "dpkg", package: "dpkg" },
        Job::Compile => Program { name: "cc", package: "gcc libc6-dev" },
        Job::Sqlite => Program { name: "sqlite3", package: "sqlite3" },
    }
}

/// Makes a job's program resident, and what it loads when it has something to do; returns its version, for the record.
fn warm(job: Job, scratch: &Path) -> Result<String, ProbeError> {
    let program = program(job);
    let note = program.warm(scratch)?;
    let owners = format!("{OWNER}:{OWNER}");
    match job {
        Job::Compile => program::warm_compiler(&program, scratch)?,
        // Names of owners come from libraries that are loaded for the first of them.
        Job::Chown => program.warm_on_a_file(&[&owners], scratch)?,
        Job::Tar => program.warm_on_a_file(&["-cf", "-"], scratch)?,
        _ => {}
    }
    Ok(note)
}

/// The case's own folder beside upper and mount, which goes with the case.
fn scratch(trial: &Trial) -> Result<PathBuf, ProbeError> {
    let merged = &trial.first()?.merged;
    Ok(merged.parent().unwrap_or(merged).to_owned())
}

/// Where the archive lies that `unpack` extracts.
fn archive(trial: &Trial) -> Result<PathBuf, ProbeError> {
    Ok(scratch(trial)?.join("tree.tar"))
}

/// A command of git on the repository of `git`, which lies beside the mount: what is timed is the tree. Its work tree is the tree of a container.
fn git(trial: &Trial, container: &Container, said: &Path) -> Result<Command, ProbeError> {
    let place = scratch(trial)?;
    let mut command = program(Job::Git).command(&container.merged, said)?;
    // What this machine and its users have set is not what is measured.
    command.envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")]);
    command.env("GIT_DIR", place.join("repository"));
    command.env("GIT_WORK_TREE", container.merged.join(Tree::of(trial).root));
    Ok(command)
}

/// The statements of `sqlite`: each is a transaction of its own, as nobody says otherwise.
fn statements() -> String {
    (0..TRANSACTIONS)
        .map(|n| format!("UPDATE items SET value = value + 1 WHERE id = {};\n", 1 + n * ROWS_APART))
        .collect()
}

/// What was timed, beside the time.
#[derive(Debug, Default)]
struct Done {
    /// Bytes that a pipe gave.
    piped_bytes: u64,
}

/// A command that writes the tree as an archive to its standard output.
fn pack(container: &Container, tree: &Tree, options: &[&str], said: &Path) -> Result<Command, ProbeError> {
    let mut command = program(Job::Tar).command(&container.merged.join(tree.above), said)?;
    // No other order or format than that of the tree: the length of the stream is known then.
    command.arg("--format=gnu").args(options).args(["-cf", "-", "--"]).args(&tree.names);
    Ok(command)
}

/// Does a job from the folder above the tree.
fn run(trial: &Trial, job: Job, said: &Path) -> Result<(u64, Done), ProbeError> {
    let (container, tree) = (trial.first()?, Tree::of(trial));
    let merged = &container.merged;
    let above = merged.join(tree.above);
    let made = above.join(MADE);
    let program = program(job);
    let plain = |args: &[&str]| {
        let mut command = program.command(&above, said)?;
        command.args(args).arg("--").args(&tree.names);
        let (ns, ended) = timed(|| command.status());
        program.check(ended, said)?;
        Ok((ns, Done::default()))
    };
    let into_made = |mut command: Command| {
        let (ns, done) = timed(|| {
            fs::create_dir(&made).map_err(at("create folder", &made))?;
            program.check(command.status(), said)
        });
        done.map(|()| (ns, Done::default()))
    };
    let piped = |mut command: Command| {
        let (ns, result) = timed(|| program::read_to_end(&mut command));
        let (bytes, status) = result.map_err(at("read what was written by", Path::new(program.name)))?;
        program.check(Ok(status), said)?;
        Ok((ns, Done { piped_bytes: bytes }))
    };
    match job {
        Job::Tar => piped(pack(container, &tree, &[], said)?),
        Job::Git => {
            let mut command = git(trial, container, said)?;
            command.args(["status", "--porcelain"]);
            piped(command)
        }
        Job::Chown => plain(&["-R", &format!("{OWNER}:{OWNER}")]),
        Job::Remove => plain(&["-rf"]),
        Job::Copy => {
            let mut command = program.command(&above, said)?;
            command.args(["-a", "--target-directory", MADE, "--"]).args(&tree.names);
            into_made(command)
        }
        Job::Unpack => {
            let mut command = program.command(&above, said)?;
            command.args(["--directory", MADE, "-xf"]).arg(archive(trial)?);
            into_made(command)
        }
        Job::Install => {
            let option = |name: &str, path: &Path| {
                let mut option = OsString::from(format!("--{name}="));
                option.push(path);
                option
            };
            let mut command = program.command(&above, said)?;
            // It asks for root by number, and for programs that no script of this package uses.
            command.args(["--force-not-root", "--force-bad-path", "--log=/dev/null"]);
            command.arg(option("admindir", &merged.join(PACKAGES))).arg(option("instdir", &above));
            command.arg("--install").arg(package::path(trial)?);
            let (ns, ended) = timed(|| command.status());
            program.check(ended, said)?;
            Ok((ns, Done::default()))
        }
        Job::Compile => compile(trial, &program, &made, said),
        Job::Sqlite => {
            let mut command = program.command(&above, said)?;
            command.args(["-batch", "-bail"]).arg(merged.join(DATABASE));
            let text = statements();
            let (ns, ended) = timed(|| program::feed(&mut command, &text));
            program.check(ended, said)?;
            Ok((ns, Done::default()))
        }
    }
}

/// The C sources of a built tree, relative to the root of a container.
fn sources(trial: &Trial) -> Vec<PathBuf> {
    tree(trial).filter(|path| path.extension().is_some_and(|extension| extension == "c")).map(Path::to_owned).collect()
}

/// The files of a built tree.
fn tree<'a>(trial: &Trial<'a>) -> impl Iterator<Item = &'a Path> + use<'a> {
    trial.targets.hits.iter().map(PathBuf::as_path).filter(|path| path.starts_with(TREE))
}

/// Compiles every source to an object in a new folder, then links the objects to a program.
fn compile(trial: &Trial, cc: &Program, folder: &Path, said: &Path) -> Result<(u64, Done), ProbeError> {
    let merged = &trial.first()?.merged;
    let sources: Vec<PathBuf> = sources(trial).iter().map(|source| merged.join(source)).collect();
    let stems = sources.iter().filter_map(|source| source.file_stem());
    let objects: Vec<PathBuf> = stems.map(|stem| PathBuf::from(stem).with_extension("o")).collect();
    let (ns, done) = timed(|| {
        fs::create_dir(folder).map_err(at("create folder", folder))?;
        // Pipes rather than files in /tmp, which is not what is measured.
        let mut compile = cc.command(folder, said)?;
        cc.check(compile.args(["-O1", "-pipe", "-c"]).args(&sources).status(), said)?;
        let mut link = cc.command(folder, said)?;
        cc.check(link.args(["-o", "program"]).args(&objects).status(), said)
    });
    done.map(|()| (ns, Done::default()))
}

impl Probe for Jobs {
    fn name(&self) -> ProbeName {
        ProbeName::Jobs
    }

    fn about(&self) -> &'static str {
        "a real program on a whole tree of files (tar, git, chown, cp, rm, dpkg, cc, sqlite3), timed from its start to its end"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    /// A repository knows its files by their numbers and times, and an archive is read through a mount as well: both are made through another one
    /// of the same layers, so that the case's own has seen nothing of them.
    fn rehearses(&self, params: &Params) -> bool {
        matches!(params.job, Some(Job::Git | Job::Unpack))
    }

    fn rehearse(&self, trial: &Trial, container: &Container) -> Result<(), ProbeError> {
        let said = scratch(trial)?.join("said");
        if job(trial)? == Job::Unpack {
            let archive = archive(trial)?;
            let file = File::create(&archive).map_err(at("create", &archive))?;
            let stream = file.try_clone().map_err(at("duplicate the descriptor of", &archive))?;
            // By numbers: an image's users are not those of this machine.
            let mut command = pack(container, &Tree::of(trial), &["--numeric-owner"], &said)?;
            command.stdout(stream);
            program(Job::Unpack).check(command.status(), &said)?;
            // What is dirty would be written back while the job is timed.
            return file.sync_all().map_err(at("fsync", &archive));
        }
        if let Some(path) = trial.targets.names().find(|path| path.iter().any(|name| name == ".git")) {
            return Err(ProbeError::Unavailable {
                reason: format!("the image has a repository of its own, {}", path.display()),
                remedy: "another image, or leave out that job".into(),
            });
        }
        // Nothing that a .gitignore of the image says; and no tidying up in the background.
        let add = ["add", "--all", "--force"];
        let commit = [
            "-c",
            "gc.auto=0",
            "-c",
            "user.name=nobody",
            "-c",
            "user.email=nobody@localhost",
            "commit",
            "--quiet",
            "--message=tree",
        ];
        for arguments in [&["init", "--quiet"][..], &add, &commit] {
            let mut command = git(trial, container, &said)?;
            let ended = command.args(arguments).status();
            program(Job::Git).check(ended, &said)?;
        }
        Ok(())
    }

    fn prepare(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        let job = job(trial)?;
        let scratch = scratch(trial)?;
        let note = warm(job, &scratch)?;
        trial.notes.push(note);
        if job == Job::Install {
            package::build(trial, &scratch.join("said"))?;
        }
        Ok(())
    }

    fn settle(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        trial.settle()?;
        if trial.params.cache == CacheState::Cold {
            // The program is not the container's: it is not to be read from the disk of the machine while it is timed.
            warm(job(trial)?, &scratch(trial)?)?;
        }
        Ok(())
    }

    fn measure(&self, trial: &mut Trial) -> Result<Vec<Observation>, ProbeError> {
        let job = job(trial)?;
        let said = scratch(trial)?.join("said");
        let upper = trial.first()?.upper.clone();
        // A volume is no upper: what the job leaves in it is not what a layer costs.
        let used = || match trial.volume {
            None => usage(&upper).map(Some).map_err(at("walk", &upper)),
            Some(_) => Ok(None),
        };
        let before = used()?;
        let (ns, done) = run(trial, job, &said)?;
        let after = used()?;
        let mut observations = vec![Observation::new(metric::JOB_NS, vec![ns])];
        if let Some((before, after)) = before.zip(after) {
            observations.extend([
                Observation::new(metric::UPPER_BYTES, vec![after.bytes.saturating_sub(before.bytes)]),
                Observation::new(metric::UPPER_INODES, vec![after.inodes.saturating_sub(before.inodes)]),
            ]);
        }
        match job {
            Job::Tar => verify::stream(trial, done.piped_bytes)?,
            Job::Git => verify::clean(trial, done.piped_bytes)?,
            _ => {}
        }
        Ok(observations)
    }

    fn verify(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        verify::verify(trial, job(trial)?)
    }
}
