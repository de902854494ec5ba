//! `layerbench doctor`: what can be measured here, and how to get the rest.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::driver;
use crate::guest::{self, Disk, GuestMachine};
use crate::record::{DriverInfo, Feature, Host, Privileges, StoreInfo};
use crate::runner::can_keep_awake;
use crate::{host, medium};

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// Store to look at; may be given several times
    #[arg(long, value_name = "[LABEL=]DIR", value_hint = clap::ValueHint::DirPath, default_value = super::STORE)]
    store: Vec<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Look at another kernel instead: boot this bzImage in a virtual machine and say what it can measure
    #[arg(long, value_name = "BZIMAGE", conflicts_with = "store")]
    kernel: Option<PathBuf>,
    /// That kernel's modules: a folder, or its Debian package
    #[arg(long, value_name = "DEB|DIR", requires = "kernel")]
    modules: Option<PathBuf>,
}

/// Memory and time for a kernel that is only looked at.
const GUEST_MEMORY: u64 = 1 << 30;
const GUEST_LIMIT: Duration = Duration::from_secs(180);

/// What this program's doctor says in a guest.
fn in_guest(kernel: PathBuf, modules: Option<PathBuf>, json: bool) -> anyhow::Result<()> {
    guest::check_kernel(&kernel).map_err(super::bad_input)?;
    let disk = Disk { bytes: 64 << 20, file_system: "tmpfs".to_owned() };
    let machine = GuestMachine {
        kernel,
        modules,
        memory_bytes: GUEST_MEMORY,
        cpus: 1,
        disks: vec![disk],
        counted: false,
        limit: GUEST_LIMIT,
    };
    let mut words = vec!["doctor", "--store", "/disk/0-tmpfs/store"];
    if json {
        words.push("--json");
    }
    guest::print(&machine, &words, &mut |line| eprintln!("{line}"), &mut |line| super::print(&format!("{line}\n")))
}

#[derive(Debug, Serialize)]
struct Findings {
    layerbench_version: &'static str,
    host: Host,
    /// Whether processors can be kept from sleeping while a run lasts.
    awake: Feature,
    drivers: Vec<DriverInfo>,
    /// Programs of others that something here needs, with what for.
    programs: Vec<(&'static str, Feature)>,
    stores: Vec<StoreInfo>,
}

pub(super) fn run(args: DoctorArgs) -> anyhow::Result<()> {
    if let Some(kernel) = args.kernel {
        return in_guest(kernel, args.modules, args.json);
    }
    let host = host::fingerprint();
    let drivers = driver::all()
        .iter()
        .map(|driver| DriverInfo {
            label: driver.name().to_owned(),
            driver: driver.name().to_owned(),
            options: Vec::new(),
            twin_of: None,
            availability: driver.availability(&host),
        })
        .collect();
    let mut stores = Vec::new();
    for store in &args.store {
        let (label, path) = super::labelled_store(store)?;
        super::is_folder_or_free("--store", &path)?;
        let mut store = host::store_info_of(&label, &path).map_err(super::bad_input)?;
        store.medium = Some(medium::medium_of(&store));
        stores.push(store);
    }
    let awake = can_keep_awake();
    let findings =
        Findings { layerbench_version: env!("CARGO_PKG_VERSION"), host, awake, drivers, programs: programs(), stores };
    if args.json {
        return super::print(&(serde_json::to_string_pretty(&findings)? + "\n"));
    }
    super::print(&describe(&findings)?)
}

/// Programs that come with FUSE, without which some ways to mount do not go.
fn programs() -> Vec<(&'static str, Feature)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // mount(8) looks in these whatever PATH says.
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from)).collect();
    let needs = [
        ("fusermount3", "fuse-union for ordinary users outside of a user namespace"),
        ("mount.fuse3", "mount -t fuse.fuse-union, and fuse-union in fstab"),
    ];
    let state = |name: &str, what_for: &str| match folders.iter().map(|folder| folder.join(name)).find(|p| p.is_file())
    {
        Some(path) => Feature::available(format!("{}; for {what_for}", path.display())),
        None => Feature::missing(format!("{name} is not installed; it is needed for {what_for}"), "apt install fuse3"),
    };
    needs.map(|(name, what_for)| (name, state(name, what_for))).into()
}

/// Two columns: a name, and what is to be said of it; remedies on a line of their own.
fn describe(findings: &Findings) -> Result<String, std::fmt::Error> {
    let host = &findings.host;
    let mut text = String::from("Machine\n");
    let mut row = |name: &str, value: &str| entry(&mut text, name, value);
    row("layerbench", findings.layerbench_version)?;
    row("kernel", &format!("Linux {} ({}), {}", host.kernel, host.architecture, host.os))?;
    let hypervisor = host.hypervisor.as_ref().map(|name| format!(", virtual machine ({name})")).unwrap_or_default();
    row("CPU", &format!("{} x {}{hypervisor}", host.cpus, host.cpu_model))?;
    row("governor", host.cpu_governor.as_deref().unwrap_or("not shown by this kernel"))?;
    row("memory", &mebibytes(host.memory_bytes))?;
    row(
        "privileges",
        match host.privileges {
            Privileges::Root => "root",
            Privileges::UserNamespace => "ordinary user; cases run in a user namespace",
            Privileges::None => "ordinary user without user namespaces: nothing can be mounted",
        },
    )?;
    writeln!(text, "\nDrivers")?;
    for driver in &findings.drivers {
        feature(&mut text, &driver.driver, &driver.availability)?;
    }
    writeln!(text, "\nKernel")?;
    let c = &host.capabilities;
    for (name, state) in [("mount API", &c.mount_api), ("FUSE", &c.fuse), ("FUSE passthrough", &c.fuse_passthrough)]
        .into_iter()
        .chain(c.fuse_uring.as_ref().map(|state| ("FUSE by io_uring", state)))
        .chain([("cachestat", &c.cachestat), ("drop_caches", &c.drop_caches), ("page frames", &c.pagemap)])
        .chain([("stay awake", &findings.awake)])
    {
        feature(&mut text, name, state)?;
    }
    writeln!(text, "\nPrograms")?;
    for (name, state) in &findings.programs {
        feature(&mut text, name, state)?;
    }
    for store in &findings.stores {
        writeln!(text, "\nStore {} ({})", store.label, store.path)?;
        let mut row = |name: &str, value: &str| entry(&mut text, name, value);
        row("file system", &store.fs_type)?;
        row("options", &store.mount_options)?;
        row("device", &store.device)?;
        row("scheduler", store.scheduler.as_deref().unwrap_or("none shown"))?;
        row(
            "rotational",
            match store.rotational_flag {
                Some(true) => "the kernel's flag says yes (a claim, not a measurement)",
                Some(false) => "the kernel's flag says no (a claim, not a measurement)",
                None => "the kernel says nothing",
            },
        )?;
        if let Some(medium) = &store.medium {
            let us =
                |ns: Option<u64>| ns.map_or_else(|| "unknown".to_owned(), |ns| format!("{:.0} us", ns as f64 / 1e3));
            let model = medium.model.as_ref().map(|model| format!("; modelled: {model}")).unwrap_or_default();
            row(
                "medium",
                &format!(
                    "{}: a random read takes {}, one behind the last {} ({}){model}",
                    medium.class,
                    us(medium.random_read_ns),
                    us(medium.sequential_read_ns),
                    medium.how
                ),
            )?;
        }
        row("free", &format!("{} of {}", mebibytes(store.free_bytes), mebibytes(store.total_bytes)))?;
        feature(&mut text, "reflink", &store.reflink)?;
    }
    Ok(text)
}

/// What a terminal surely has.
const WIDTH: usize = 80;
/// Where the second column begins.
const INDENT: usize = 19;

/// A name, and its value broken into lines of the second column.
fn entry(text: &mut String, name: &str, value: &str) -> std::fmt::Result {
    let mut name = name;
    for line in wrap(value, WIDTH - INDENT) {
        writeln!(text, "{:INDENT$}{line}", format!("  {name}"))?;
        name = "";
    }
    Ok(())
}

fn feature(text: &mut String, name: &str, state: &Feature) -> std::fmt::Result {
    match state {
        Feature::Available { detail } => entry(text, name, &format!("yes: {detail}")),
        Feature::Missing { reason, remedy } => {
            entry(text, name, &format!("no: {reason}"))?;
            entry(text, "", &format!("to get it: {remedy}"))
        }
    }
}

/// Lines of at most `width` characters, broken at spaces and after commas; a longer word has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive([' ', ',']) {
        match lines.last_mut() {
            Some(line) if line.is_empty() || line.chars().count() + word.trim_end().chars().count() <= width => {
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    lines
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_commas_and_are_no_longer_than_asked() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("rw,relatime,discard", 12), ["rw,relatime,", "discard"]);
        assert_eq!(wrap("a /very/long/path b", 6), ["a", "/very/long/path", "b"]);
        assert_eq!(wrap("", 6), [""]);
    }

    #[test]
    fn a_remedy_stands_below_its_reason_in_the_second_column() {
        let mut text = String::new();
        let missing = Feature::missing("it is not here, and that for a reason that does not fit into one line", "wait");
        feature(&mut text, "thing", &missing).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("  thing            no: it is"), "{text}");
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{text}");
        assert!(lines[1..].iter().all(|line| line.starts_with(&" ".repeat(INDENT))), "{text}");
        assert_eq!(lines.last().unwrap().trim(), "to get it: wait");
    }
}
