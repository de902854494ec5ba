//! `layerbench limits`: how many layers each driver stacks here, and what it says of one more.
//!
//! Found by mounting, not read off a table: bisection between one layer and [`MOST`] layers of a small file each. A depth counts when the
//! mount comes to be and every layer's file can be seen through it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::driver::{self, Driver, Mount, MountError, MountRequest};
use crate::host;
use crate::record::{Feature, Host, Privileges, StoreInfo};
use crate::runner;
use crate::stack::LayerForm;
use crate::sys;
use crate::workload::count;

/// Most layers that are tried: past overlay's own limit of 500.
const MOST: u32 = 512;

#[derive(Debug, clap::Args)]
pub(super) struct LimitsArgs {
    /// Where the layers lie
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, default_value = super::STORE)]
    store: OsString,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Findings {
    layerbench_version: &'static str,
    host: Host,
    store: StoreInfo,
    most_tried_count: u32,
    limits: Vec<Limit>,
}

/// What was found of one way to mount.
#[derive(Debug, Serialize)]
struct Limit {
    driver: &'static str,
    how: &'static str,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Outcome {
    /// It mounts this many, and of one more it says this.
    Limited { depth_max_count: u32, errno: Option<String>, error: String },
    /// It mounts as many as were tried.
    NotReached { depth_max_count: u32 },
    /// It was not tried.
    Skipped { reason: String, remedy: String },
}

/// A way to mount: a driver, or a part of one that it takes on other kernels.
struct Way {
    driver: &'static dyn Driver,
    how: &'static str,
    mount: fn(&'static dyn Driver, &MountRequest) -> Result<Mount, MountError>,
}

/// Every driver with layers, and overlay2 the way of older kernels too.
fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for driver in driver::all().iter().copied().filter(|driver| driver.layer_form() != LayerForm::Flat) {
        ways.push(Way { driver, how: "as the driver mounts here", mount: |driver, request| driver.mount(request) });
        if driver.name() == "overlay2" {
            ways.push(Way {
                driver,
                how: "mount(2), one line of options (kernels before 6.8)",
                mount: |_, request| driver::mount_overlay_by_line(request),
            });
        }
    }
    ways
}

pub(super) fn run(args: LimitsArgs) -> anyhow::Result<()> {
    let host = host::fingerprint();
    let (label, path) = super::labelled_store(&args.store)?;
    let store = super::lock_store(&path)?;
    let info = host::store_info_of(&label, &path).map_err(super::bad_input)?;
    let scratch = store.scratch(0, 0);
    if host.privileges != Privileges::None {
        sys::namespace::enter_private(host.privileges == Privileges::Root)
            .map_err(|e| anyhow::anyhow!("enter a private mount namespace: {e}"))?;
    }
    let (store, turn) = (Arc::new(store), Arc::new(Mutex::new(())));
    let signalled = (store.clone(), turn.clone());
    runner::on_signal(move |status| {
        let (store, turn) = signalled;
        // What is being mounted is mounted to its end and unmounted again; after that, nothing is begun any more.
        let _turn = take(&turn);
        let left = store.remove_all_scratch().err().map(|e| format!("; {e}")).unwrap_or_default();
        store.give_back();
        eprintln!("interrupted: nothing is found{left}");
        std::process::exit(status)
    })?;
    let found = find_all(&host, &scratch, &turn);
    // Whatever was found, nothing stays.
    let _turn = take(&turn);
    store.remove_all_scratch()?;
    store.give_back();
    let limits = found?;
    let findings =
        Findings { layerbench_version: env!("CARGO_PKG_VERSION"), host, store: info, most_tried_count: MOST, limits };
    if args.json {
        return super::print(&(serde_json::to_string_pretty(&findings)? + "\n"));
    }
    super::print(&describe(&findings)?)
}

/// The turn, which guards nothing that a panic could leave half done.
fn take(turn: &Mutex<()>) -> MutexGuard<'_, ()> {
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tries every way. Each step, after which nothing is mounted, has the turn.
fn find_all(host: &Host, scratch: &Path, turn: &Mutex<()>) -> anyhow::Result<Vec<Limit>> {
    let layers = {
        let _turn = take(turn);
        make_layers(scratch)?
    };
    let layerbench = std::env::current_exe()?;
    let mut attempts = 0u32;
    let mut limits = Vec::new();
    for way in ways() {
        let outcome = match way.driver.availability(host) {
            Feature::Missing { reason, remedy } => Outcome::Skipped { reason, remedy },
            Feature::Available { .. } => bisect(MOST, |depth| {
                let _turn = take(turn);
                attempts += 1;
                let folder = scratch.join(format!("m{attempts}"));
                let layers = layers.get(..depth as usize).unwrap_or(&layers);
                let tried = attempt(&way, layers, &folder, &layerbench)?;
                // An error names the folders of this attempt, which nobody will find.
                let hide = |text: String| {
                    text.replace(&*folder.to_string_lossy(), "").replace(&*scratch.to_string_lossy(), "")
                };
                Ok(tried.map_err(|refusal| Refusal { text: hide(refusal.text), ..refusal }))
            })?,
        };
        limits.push(Limit { driver: way.driver.name(), how: way.how, outcome });
    }
    Ok(limits)
}

/// Layers with a file each, named as those of a stack are, since the length of a path counts in some ways to mount.
fn make_layers(scratch: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut layers = Vec::new();
    for n in 1..=MOST {
        let layer = scratch.join("diff").join(format!("{n:064x}"));
        let make = || {
            fs::create_dir_all(&layer)?;
            fs::write(layer.join(format!("of-{n:04}")), "")
        };
        make().map_err(|e| anyhow::anyhow!("make the layer {}: {e}", layer.display()))?;
        layers.push(layer);
    }
    Ok(layers)
}

/// Why a depth is too much.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    errno: Option<i32>,
    text: String,
}

/// Mounts layers, looks at them through the mount and unmounts. The outer error is one of ours.
fn attempt(way: &Way, layers: &[PathBuf], folder: &Path, layerbench: &Path) -> anyhow::Result<Result<(), Refusal>> {
    let make = |name: &str| {
        let path = folder.join(name);
        fs::create_dir_all(&path).map_err(|e| anyhow::anyhow!("create folder {}: {e}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    let (upper, work, merged) = (make("upper")?, make("work")?, make("merged")?);
    let request = MountRequest { lower: layers, upper: &upper, work: &work, merged: &merged, options: &[], layerbench };
    let mount = match (way.mount)(way.driver, &request) {
        Ok(mount) => mount,
        Err(e) => {
            let errno = match &e {
                MountError::Io { errno, .. } => errno.raw_os_error(),
                _ => None,
            };
            return Ok(Err(Refusal { errno, text: e.to_string() }));
        }
    };
    let seen = fs::read_dir(&merged).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let result = match seen {
        Ok(seen) if seen.len() == layers.len() => Ok(()),
        Ok(seen) => Err(Refusal {
            errno: None,
            text: format!("it mounts {} and shows the files of {}", count(layers.len(), "layer"), seen.len()),
        }),
        Err(e) => Err(Refusal { errno: e.raw_os_error(), text: format!("it mounts, and cannot be listed: {e}") }),
    };
    mount.unmount()?;
    Ok(result)
}

/// The largest depth up to `most` that works, and what one more says. It takes for granted that what does not fit at some depth does not
/// fit at a larger one; the depth found has been mounted, and the next has been refused.
fn bisect(most: u32, mut attempt: impl FnMut(u32) -> anyhow::Result<Result<(), Refusal>>) -> anyhow::Result<Outcome> {
    let Err(mut refusal) = attempt(most)? else { return Ok(Outcome::NotReached { depth_max_count: most }) };
    let (mut works, mut fails) = (0, most);
    while fails - works > 1 {
        let middle = works + (fails - works) / 2;
        match attempt(middle)? {
            Ok(()) => works = middle,
            Err(e) => (fails, refusal) = (middle, e),
        }
    }
    let errno = refusal.errno.map(|n| format!("{:?}", nix::errno::Errno::from_raw(n)));
    Ok(Outcome::Limited { depth_max_count: works, errno, error: refusal.text })
}

fn describe(findings: &Findings) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let host = &findings.host;
    writeln!(text, "Most layers that each driver stacks, of {} tried", findings.most_tried_count)?;
    writeln!(
        text,
        "Linux {} ({}), {}; {}; layers on {}\n",
        host.kernel,
        host.architecture,
        host.os,
        match host.privileges {
            Privileges::Root => "root",
            Privileges::UserNamespace => "ordinary user, in a user namespace",
            Privileges::None => "ordinary user without user namespaces",
        },
        findings.store.fs_type
    )?;
    for limit in &findings.limits {
        writeln!(text, "{} ({})", limit.driver, limit.how)?;
        match &limit.outcome {
            Outcome::Limited { depth_max_count, errno, error } => {
                let errno = errno.as_ref().map(|errno| format!(" {errno}")).unwrap_or_default();
                let layers = count(*depth_max_count, "layer");
                writeln!(text, "  {layers}; with {}:{errno}\n    {error}", depth_max_count + 1)?;
            }
            Outcome::NotReached { depth_max_count } => {
                writeln!(text, "  {}, and no limit was reached", count(*depth_max_count, "layer"))?;
            }
            Outcome::Skipped { reason, remedy } => {
                writeln!(text, "  not tried: {reason}\n    to get it: {remedy}")?;
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bisection_ends_at_the_cliff_and_keeps_the_error_behind_it() {
        for limit in [0, 1, 2, 126, 500, 511] {
            let mut tried = 0;
            let outcome = bisect(512, |depth| {
                tried += 1;
                Ok(if depth <= limit {
                    Ok(())
                } else {
                    Err(Refusal { errno: Some(libc::EINVAL), text: format!("{depth} are too many") })
                })
            });
            match outcome.unwrap() {
                Outcome::Limited { depth_max_count, errno, error } => {
                    assert_eq!(depth_max_count, limit);
                    assert_eq!(error, format!("{} are too many", limit + 1));
                    assert_eq!(errno.as_deref(), Some("EINVAL"));
                }
                other => panic!("{limit}: {other:?}"),
            }
            assert!(tried <= 11, "{tried} mounts");
        }
        assert!(matches!(bisect(512, |_| Ok(Ok(()))), Ok(Outcome::NotReached { depth_max_count: 512 })));
    }
}
