//! `layerbench doctor`: what can be measured here, and how to get the rest.

use std::ffi::OsString;
use std::fmt::Write as _;

use serde::Serialize;

use crate::driver;
use crate::host;
use crate::record::{DriverInfo, Feature, Host, Privileges, StoreInfo};

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// Store to look at; may be given several times
    #[arg(long, value_name = "[LABEL=]DIR", default_value = super::STORE)]
    store: Vec<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Findings {
    layerbench_version: &'static str,
    host: Host,
    drivers: Vec<DriverInfo>,
    stores: Vec<StoreInfo>,
}

pub(super) fn run(args: DoctorArgs) -> anyhow::Result<()> {
    let host = host::fingerprint();
    let drivers = driver::all()
        .iter()
        .map(|driver| DriverInfo {
            label: driver.name().to_owned(),
            driver: driver.name().to_owned(),
            options: Vec::new(),
            availability: driver.availability(&host),
        })
        .collect();
    let mut stores = Vec::new();
    for store in &args.store {
        let (label, path) = super::labelled_store(store)?;
        stores.push(host::store_info_of(&label, &path).map_err(super::bad_input)?);
    }
    let findings = Findings { layerbench_version: env!("CARGO_PKG_VERSION"), host, drivers, stores };
    if args.json {
        return super::print(&(serde_json::to_string_pretty(&findings)? + "\n"));
    }
    super::print(&describe(&findings)?)
}

/// Two columns: a name, and what is to be said of it; remedies on a line of their own.
fn describe(findings: &Findings) -> Result<String, std::fmt::Error> {
    let host = &findings.host;
    let mut text = String::new();
    let mut row = |name: &str, value: &str| writeln!(text, "{name:16} {value}");
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
    for (name, state) in [
        ("mount API", &c.mount_api),
        ("FUSE", &c.fuse),
        ("FUSE passthrough", &c.fuse_passthrough),
        ("cachestat", &c.cachestat),
        ("drop_caches", &c.drop_caches),
        ("page frames", &c.pagemap),
    ] {
        feature(&mut text, name, state)?;
    }
    for store in &findings.stores {
        writeln!(text, "\nStore {} ({})", store.label, store.path)?;
        let mut row = |name: &str, value: &str| writeln!(text, "  {name:16} {value}");
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
        row("free", &format!("{} of {}", mebibytes(store.free_bytes), mebibytes(store.total_bytes)))?;
        feature(&mut text, "reflink", &store.reflink)?;
    }
    Ok(text)
}

fn feature(text: &mut String, name: &str, state: &Feature) -> std::fmt::Result {
    match state {
        Feature::Available { detail } => writeln!(text, "  {name:16} yes: {detail}"),
        Feature::Missing { reason, remedy } => {
            writeln!(text, "  {name:16} no: {reason}")?;
            writeln!(text, "  {:16} to get it: {remedy}", "")
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
