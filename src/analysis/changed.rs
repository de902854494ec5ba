//! What differs between two runs besides their figures: what a reader has to know before a ratio of one to the other means anything.
//! Reads manifests only. Used by [`super::between`].

use serde::Serialize;

use crate::record::{Feature, Medium, RunManifest, StoreInfo};

/// What a change concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every figure.
    Run,
    /// The figures of the store with this label.
    Store(String),
    /// The figures of the driver variant with this label.
    Driver(String),
}

/// One thing that is not the same in both runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it concerns.
    pub scope: Scope,
    /// Which thing: `kernel`.
    pub what: String,
    /// What it was in A.
    pub a: String,
    /// What it was in B.
    pub b: String,
}

impl Change {
    /// Whether a figure of a store and a driver variant is concerned.
    pub fn concerns(&self, store: &str, driver: &str) -> bool {
        match &self.scope {
            Scope::Run => true,
            Scope::Store(label) => label == store,
            Scope::Driver(label) => label == driver,
        }
    }
}

/// A driver variant that has the same label in both runs and is not the same thing: its figures must not be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherOptions {
    /// The label.
    pub driver: String,
    /// What it was in A: the driver and its options.
    pub a: String,
    /// What it was in B.
    pub b: String,
}

/// What differs, the machine first, then stores and drivers in the order of A. Things that only one run knows are no change.
pub(super) fn changes(a: &RunManifest, b: &RunManifest) -> Vec<Change> {
    let mut found = Vec::new();
    let mut add = |scope: &Scope, what: &str, a: String, b: String| {
        if a != b {
            found.push(Change { scope: scope.clone(), what: what.to_owned(), a, b });
        }
    };
    let (ha, hb) = (&a.host, &b.host);
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    let guest = |m: &RunManifest| m.guest.as_ref().map_or("none".to_owned(), |guest| guest.qemu.clone());
    add(&Scope::Run, "QEMU", guest(a), guest(b));
    add(&Scope::Run, "kernel", ha.kernel.clone(), hb.kernel.clone());
    add(&Scope::Run, "architecture", ha.architecture.clone(), hb.architecture.clone());
    add(&Scope::Run, "CPU", ha.cpu_model.clone(), hb.cpu_model.clone());
    add(&Scope::Run, "number of CPUs", ha.cpus.to_string(), hb.cpus.to_string());
    add(&Scope::Run, "CPU governor", text(&ha.cpu_governor), text(&hb.cpu_governor));
    add(&Scope::Run, "hypervisor", text(&ha.hypervisor), text(&hb.hypervisor));
    add(&Scope::Run, "privileges", format!("{:?}", ha.privileges), format!("{:?}", hb.privileges));
    add(&Scope::Run, "layerbench", built(a), built(b));
    if let (Some(ia), Some(ib)) = (&a.instrument, &b.instrument) {
        add(&Scope::Run, "clock", ia.clock.source.clone(), ib.clock.source.clone());
        add(&Scope::Run, "processors kept awake", there(&ia.awake), there(&ib.awake));
        let pinned = |cpu: Option<u32>| if cpu.is_some() { "pinned" } else { "not pinned" }.to_owned();
        add(&Scope::Run, "probe", pinned(ia.probe_cpu), pinned(ib.probe_cpu));
    } else {
        let known = |known: bool| if known { "recorded" } else { "not recorded" }.to_owned();
        add(&Scope::Run, "how time was taken", known(a.instrument.is_some()), known(b.instrument.is_some()));
    }
    for sa in &a.stores {
        let Some(sb) = b.stores.iter().find(|sb| sb.label == sa.label) else { continue };
        let scope = Scope::Store(sa.label.clone());
        for (what, of) in MEDIUM {
            add(&scope, what, of(sa), of(sb));
        }
    }
    for da in &a.drivers {
        let Some(db) = b.drivers.iter().find(|db| db.label == da.label) else { continue };
        if let (Feature::Available { detail: va }, Feature::Available { detail: vb }) =
            (&da.availability, &db.availability)
        {
            add(&Scope::Driver(da.label.clone()), "version", va.clone(), vb.clone());
        }
    }
    found
}

/// How to say one property of a store.
type Property = fn(&StoreInfo) -> String;

/// What makes a medium, by name.
const MEDIUM: [(&str, Property); 7] = [
    ("file system", |store| store.fs_type.clone()),
    ("mount options", |store| store.mount_options.clone()),
    ("device", |store| store.device.clone()),
    ("I/O scheduler", |store| store.scheduler.clone().unwrap_or_else(|| "none".to_owned())),
    ("rotational flag", |store| store.rotational_flag.map_or_else(|| "unknown".to_owned(), |flag| flag.to_string())),
    ("medium", |store| match &store.medium {
        Some(Medium { model: Some(model), .. }) => format!("modelled: {model}"),
        Some(medium) => medium.class.to_string(),
        None => "not measured".to_owned(),
    }),
    ("reflink", |store| there(&store.reflink)),
];

fn there(feature: &Feature) -> String {
    if feature.is_available() { "yes" } else { "no" }.to_owned()
}

fn built(manifest: &RunManifest) -> String {
    let commit = manifest.commit.as_deref().unwrap_or("of an unknown commit");
    let short = commit.get(..12).filter(|_| commit.len() >= 40).unwrap_or(commit);
    let dirty = if commit.ends_with('+') && !short.ends_with('+') { "+" } else { "" };
    format!("{} {short}{dirty}", manifest.layerbench_version)
}

/// Variants whose label stands for different things.
pub(super) fn other_options(a: &RunManifest, b: &RunManifest) -> Vec<OtherOptions> {
    let words = |driver: &str, options: &[String]| {
        let options = if options.is_empty() { "no options".to_owned() } else { options.join(",") };
        format!("{driver} with {options}")
    };
    a.drivers
        .iter()
        .filter_map(|da| {
            let db = b.drivers.iter().find(|db| db.label == da.label)?;
            let (wa, wb) = (words(&da.driver, &da.options), words(&db.driver, &db.options));
            (wa != wb).then(|| OtherOptions { driver: da.label.clone(), a: wa, b: wb })
        })
        .collect()
}
