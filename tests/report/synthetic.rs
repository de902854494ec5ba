//! A run that nobody measured: records of a made-up machine from a formula and a small generator of random numbers. It has the shape
//! of a real run, so that reports can be tested, and looked at, without one.

use layerbench::record::{
    Capabilities, CaseRecord, DriverInfo, Feature, Host, Instrument, Medium, MediumClass, Metric, Observation, Outcome,
    Privileges, Run, RunManifest, SCHEMA_VERSION, StoreInfo, metric,
};
use layerbench::workload::{
    CacheState, Case, DriverVariant, Durability, Job, Measure, Params, ProbeName, TargetLayer, Trigger, Workload,
    expand, shuffle,
};

/// What to make up.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Label and driver; those whose driver is in `missing` are skipped.
    pub drivers: Vec<(String, String)>,
    /// Drivers that are not here.
    pub missing: Vec<String>,
    pub stores: Vec<String>,
    pub depth: Vec<u32>,
    pub file_size_bytes: Vec<u64>,
    pub cache: Vec<CacheState>,
    pub containers: Vec<u32>,
    pub files: u32,
    pub blocks: u32,
    /// Labels of variants that are measured twice; the twin comes right after its original.
    pub twins: Vec<String>,
    /// Jobs, if any, on a tree over the fewest layers.
    pub jobs: Vec<Job>,
    /// Numbers of processes, if any, that append to the same files and read them, over the fewest layers.
    pub processes: Vec<u32>,
    /// How writes to files of the upper end, if any, over the fewest layers.
    pub writes: Vec<Durability>,
    pub smoke: bool,
    /// Every time and every count of bytes is 0.
    pub zeros: bool,
}

impl Default for Spec {
    fn default() -> Spec {
        let drivers = [
            ("bind", "bind"),
            ("overlay2", "overlay2"),
            ("overlay2 volatile", "overlay2"),
            ("fuse-union", "fuse-union"),
            ("aufs", "aufs"),
        ];
        Spec {
            drivers: drivers.map(|(label, driver)| (label.to_owned(), driver.to_owned())).to_vec(),
            missing: vec!["aufs".to_owned()],
            stores: vec!["default".to_owned()],
            depth: vec![1, 8, 40, 120],
            file_size_bytes: vec![4 << 10, 64 << 10, 1 << 20, 16 << 20],
            cache: vec![CacheState::Warm, CacheState::Fresh, CacheState::Cold],
            containers: vec![1, 2, 4, 8],
            files: 12,
            blocks: 3,
            twins: vec!["overlay2 volatile".to_owned()],
            jobs: vec![],
            processes: vec![],
            writes: vec![],
            smoke: false,
            zeros: false,
        }
    }
}

/// Numbers from a name: SplitMix64 seeded by FNV-1a, in integers only, so that they are the same everywhere.
struct Noise(u64);

impl Noise {
    fn of(name: &str) -> Noise {
        Noise(name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// About `value`: up to 18 % more, and one in eleven a few times as much, as latencies are.
    fn about(&mut self, value: u64) -> u64 {
        let per_mille = match self.next() % 11 {
            0 => 1500 + self.next() % 2500,
            _ => 1000 + self.next() % 180,
        };
        value * per_mille / 1000
    }
}

/// The made-up run.
pub fn run(spec: &Spec) -> Run {
    let mut drivers: Vec<DriverVariant> = Vec::new();
    for (label, driver) in &spec.drivers {
        let variant = DriverVariant {
            driver: driver.clone(),
            options: if label.contains("volatile") { vec!["volatile".to_owned()] } else { Vec::new() },
            label: label.clone(),
            twin_of: None,
        };
        let twin = spec.twins.contains(label).then(|| variant.twin());
        drivers.extend([variant].into_iter().chain(twin));
    }
    let workload = workload(spec, drivers.clone());
    let mut cases = expand(&workload, &spec.stores);
    shuffle(&mut cases, 42);
    let records: Vec<CaseRecord> = cases.iter().enumerate().map(|(i, case)| record(spec, case, i as u32 + 1)).collect();
    let manifest = RunManifest {
        schema_version: SCHEMA_VERSION,
        run: "2026-01-02.1".to_owned(),
        layerbench_version: "0.1.0".to_owned(),
        commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
        started: "2026-01-02T03:04:05Z".to_owned(),
        command: ["layerbench", "run", "workloads/synthetic.toml"].map(str::to_owned).to_vec(),
        seed: 42,
        order_seed: None,
        stacks_each_block: true,
        smoke: spec.smoke,
        workloads: vec![workload],
        guest: None,
        host: host(),
        instrument: Some(Instrument { awake: Feature::available("held"), mounts_alone: true, ..Instrument::default() }),
        stores: spec.stores.iter().enumerate().map(|(i, label)| store(label, i)).collect(),
        drivers: drivers.iter().map(|driver| info(spec, driver)).collect(),
        planned_cases: records.len() as u32,
    };
    Run { folder: "results/2026-01-02.1".into(), manifest, cases: records, truncated: false, damaged: Vec::new() }
}

fn workload(spec: &Spec, drivers: Vec<DriverVariant>) -> Workload {
    let measure =
        |probe, file_size_bytes: Vec<u64>, depth: Vec<u32>, cache: Vec<CacheState>, containers: Vec<u32>| Measure {
            stack: None,
            program: None,
            probe,
            why: "made up".to_owned(),
            depth,
            file_size_bytes,
            files: spec.files,
            bytes_max: 1 << 30,
            target_layer: vec![TargetLayer::Bottom],
            cache,
            containers,
            trigger: vec![],
            durability: vec![],
            directories: vec![],
            xattrs: vec![],
            processes: vec![],
            job: vec![],
            blocks: spec.blocks,
        };
    let small = spec.file_size_bytes.iter().copied().take(1).collect();
    let large = spec.file_size_bytes.iter().copied().rev().take(1).collect();
    let large_only: Vec<u64> = spec.file_size_bytes.iter().copied().rev().take(1).collect();
    let shallow: Vec<u32> = spec.depth.iter().copied().take(1).collect();
    let first: Vec<CacheState> = spec.cache.iter().copied().take(1).collect();
    // A run of single samples has none of these.
    let more = spec.blocks > 1;
    Workload {
        name: "synthetic".to_owned(),
        title: "A run that nobody measured".to_owned(),
        why: "To test reports and to look at them.".to_owned(),
        drivers,
        twins: Vec::new(),
        measures: [
            (
                true,
                measure(ProbeName::CopyUp, spec.file_size_bytes.clone(), spec.depth.clone(), first.clone(), vec![1]),
            ),
            (
                more,
                Measure {
                    trigger: vec![Trigger::Append, Trigger::Chmod, Trigger::Rename],
                    ..measure(ProbeName::CopyUp, large_only.clone(), shallow.clone(), first.clone(), vec![1])
                },
            ),
            (
                !spec.writes.is_empty(),
                Measure {
                    durability: spec.writes.clone(),
                    ..measure(ProbeName::Write, large_only.clone(), shallow.clone(), vec![CacheState::Warm], vec![1])
                },
            ),
            (more, measure(ProbeName::Start, large_only, shallow.clone(), first.clone(), spec.containers.clone())),
            (true, measure(ProbeName::Lookup, small, spec.depth.clone(), spec.cache.clone(), vec![1])),
            (
                !spec.jobs.is_empty(),
                Measure {
                    job: spec.jobs.clone(),
                    ..measure(ProbeName::Jobs, vec![4096], shallow.clone(), first.clone(), vec![1])
                },
            ),
            (
                !spec.processes.is_empty(),
                Measure {
                    processes: spec.processes.clone(),
                    ..measure(ProbeName::Read, vec![4096], shallow.clone(), first.clone(), vec![1])
                },
            ),
            (
                !spec.processes.is_empty(),
                Measure {
                    trigger: vec![Trigger::Append],
                    processes: spec.processes.clone(),
                    ..measure(ProbeName::CopyUp, vec![4096], shallow.clone(), first.clone(), vec![1])
                },
            ),
            (true, measure(ProbeName::PageCache, large, shallow, first, spec.containers.clone())),
        ]
        .into_iter()
        .filter_map(|(wanted, measure)| wanted.then_some(measure))
        .collect(),
    }
}

fn record(spec: &Spec, case: &Case, order: u32) -> CaseRecord {
    let outcome = if spec.missing.contains(&case.driver.driver) {
        let (reason, remedy) = why_missing(&case.driver.driver);
        Outcome::Skipped { reason, remedy }
    } else {
        let observations = observe(spec, case)
            .into_iter()
            .map(|(metric, samples)| {
                let samples = if spec.zeros { samples.iter().map(|_| 0).collect() } else { samples };
                Observation::new(metric, samples)
            })
            .collect();
        let mount_options = match case.driver.driver.as_str() {
            "overlay2" => format!("rw,lowerdir={} layers,upperdir=$STORE/u,workdir=$STORE/w", case.params.depth),
            "bind" => "rw,relatime".to_owned(),
            _ => "rw,user_id=0,group_id=0,allow_other".to_owned(),
        };
        Outcome::Measured { mount_options, observations, notes: Vec::new() }
    };
    CaseRecord {
        case: case.clone(),
        order,
        started_ms: u64::from(order) * 20,
        elapsed_ms: 18,
        attempt: 1,
        superseded: false,
        conditions: None,
        outcome,
    }
}

/// Costs in nanoseconds: fixed, for each KiB copied, for each layer searched, for the second write.
fn costs(label: &str) -> (u64, u64, u64, u64) {
    match label {
        "bind" => (6_000, 0, 0, 5_800),
        "overlay2" => (810_000, 330, 900, 6_100),
        "overlay2 volatile" => (70_000, 320, 900, 6_100),
        "fuse-union" => (95_000, 350, 0, 31_000),
        other => {
            let n = Noise::of(other).next();
            (100_000 + n % 400_000, 300 + n % 700, n % 5_000, 20_000 + n % 50_000)
        }
    }
}

fn observe(spec: &Spec, case: &Case) -> Vec<(Metric, Vec<u64>)> {
    let Params { depth, file_size_bytes, files, cache, containers, .. } = case.params;
    let (fixed, per_kib, per_layer, second) = costs(case.driver.twin_of.as_ref().unwrap_or(&case.driver.label));
    let store = 1 + spec.stores.iter().position(|label| *label == case.store).unwrap_or(0) as u64 * 4;
    let mut noise = Noise::of(&case.id);
    let mut many = |value: u64| -> Vec<u64> { (0..files).map(|_| noise.about(value)).collect() };
    let bind = case.driver.driver == "bind";
    let (layers, kib) = (u64::from(depth), file_size_bytes / 1024);
    match case.probe {
        // Reading is the same everywhere; what writes pays for every file.
        ProbeName::Jobs => {
            let writes = if case.params.job == Some(Job::Tar) { 1 } else { fixed / 6_000 };
            vec![(metric::JOB_NS, vec![50_000_000 * writes + Noise::of(&case.id).next() % 1_000_000])]
        }
        ProbeName::Start => {
            let mut each = |value: u64| -> Vec<u64> { (0..containers).map(|_| noise.about(value)).collect() };
            vec![
                (metric::START_NS, each(fixed * 4 + per_layer * layers)),
                (metric::MOUNT_NS, each(fixed * 3 + per_layer * layers)),
                (metric::EXEC_NS, each(fixed)),
                (metric::UPPER_BYTES, vec![if bind { 0 } else { 4096 }; containers as usize]),
            ]
        }
        ProbeName::CopyUp => {
            let mut observed = vec![
                (metric::FIRST_WRITE_NS, many(fixed + (per_kib * kib + per_layer * layers) * store)),
                (metric::SECOND_WRITE_NS, many(second)),
                (metric::UPPER_BYTES, vec![if bind { 0 } else { file_size_bytes * u64::from(files) }]),
                (metric::UPPER_INODES, vec![if bind { 0 } else { u64::from(files) }]),
            ];
            // Copies wait for each other.
            if !spec.processes.is_empty() {
                observed.push((metric::WALL_NS, vec![40_000_000 + noise.next() % 1_000_000]));
            }
            observed
        }
        // Two processors, and a lock in the union.
        ProbeName::Read => {
            let at_once = if case.driver.driver == "fuse-union" { 1 } else { u64::from(case.params.processes.min(2)) };
            let samples = many(10_000);
            vec![(metric::READ_NS, samples), (metric::WALL_NS, vec![6_000_000 / at_once + noise.next() % 1_000])]
        }
        // The disk takes what it takes; what a request to a daemon adds is lost in it.
        ProbeName::Write => {
            let request = match case.driver.driver.as_str() {
                "bind" => 0,
                "overlay2" => 20,
                _ => 9_000,
            };
            let mut observed = vec![
                (metric::REWRITE_NS, many(400 * kib + request)),
                (metric::OVERWRITE_NS, many(1_000 + request)),
                (metric::CREATE_NS, many(12_000 + 3 * request)),
            ];
            if case.params.durability == Durability::Fsync {
                observed.extend([
                    (metric::REWRITE_DURABLE_NS, many(900 * kib + request)),
                    (metric::OVERWRITE_DURABLE_NS, many(300_000 + request)),
                    (metric::CREATE_DURABLE_NS, many(400_000 + request)),
                ]);
            }
            observed
        }
        ProbeName::Lookup => {
            let (base, through) = match cache {
                CacheState::Warm => (1_100, 0),
                CacheState::Fresh => (3_000, if bind { 0 } else { 250 }),
                CacheState::Cold => (21_000, if bind { 0 } else { 1_500 }),
            };
            let through = if case.driver.driver == "fuse-union" { through / 50 } else { through };
            let fuse = if case.driver.driver == "fuse-union" && cache != CacheState::Warm { 11_000 } else { 0 };
            let base = base + fuse;
            let mut observed = vec![
                (metric::LOOKUP_HIT_NS, many(base + through * layers * store)),
                (metric::LOOKUP_MISS_NS, many(base * 8 / 10 + through * layers * store * 11 / 10)),
                (metric::LOOKUP_WHITEOUT_NS, many(base * 9 / 10 + through * layers.min(2) * store)),
                (metric::LOOKUP_OPAQUE_NS, many(base + through * layers.min(1) * store)),
                (metric::LOOKUP_MERGED_NS, many(base + through * layers * 3 * store)),
                (metric::LOOKUP_PATH_NS, many(base * 15 + through * layers * store)),
                (metric::OPEN_NS, many(base * 2 + through * layers * store)),
                (metric::READDIR_NS, many(base * 2 + through * layers * 30 * store)),
            ];
            // Every driver looks into every layer once.
            if cache != CacheState::Warm {
                let once = if bind { 0 } else { layers * if cache == CacheState::Cold { 50_000 } else { 2_000 } };
                observed.push((metric::LOOKUP_FIRST_NS, many(base * 3 + once * store)));
                observed.push((metric::LOOKUP_FIRST_MISS_NS, many(base * 2 + once * store)));
            }
            observed
        }
        ProbeName::PageCache => {
            let once = file_size_bytes * u64::from(files);
            let shares = case.driver.driver != "fuse-union";
            let resident = if shares { once } else { once * u64::from(containers) };
            let pages = if containers > 1 { once / 4096 } else { 0 };
            let mut observed = vec![
                (metric::FIRST_READ_NS, many(kib * 140 * store + 9_000)),
                (metric::RESIDENT_BYTES, vec![resident]),
                (metric::MEMINFO_CACHED_BYTES, vec![resident + (1 << 20)]),
                (metric::READ_SET_BYTES, vec![once]),
                (metric::CHECKED_PAGES, vec![pages]),
                (metric::SHARED_PAGES, vec![if shares { pages } else { 0 }]),
            ];
            let charged = |n: u32| if shares && n > 0 { 0 } else { once };
            observed.push((metric::CHARGED_BYTES, (0..containers).map(charged).collect()));
            if containers > 1 {
                observed.push((metric::SECOND_READ_NS, many(if shares { kib * 70 } else { kib * 150 })));
                observed.push((metric::MAPPED_SECOND_NS, many(if shares { kib * 9 } else { kib * 120 })));
                observed.push((metric::MAPPED_CHECKED_PAGES, vec![pages]));
                observed.push((metric::MAPPED_SHARED_PAGES, vec![if shares { pages } else { 0 }]));
            }
            observed.push((metric::MAPPED_FIRST_NS, many(kib * 130 * store + 9_000)));
            observed
        }
    }
}

fn why_missing(driver: &str) -> (String, String) {
    (
        format!("`{driver}` is not in /proc/filesystems"),
        format!("use a kernel that has {driver}, or build its module for this one: `modprobe {driver}`"),
    )
}

fn info(spec: &Spec, driver: &DriverVariant) -> DriverInfo {
    let availability = if spec.missing.contains(&driver.driver) {
        let (reason, remedy) = why_missing(&driver.driver);
        Feature::missing(reason, remedy)
    } else {
        Feature::available("made up 1.0")
    };
    DriverInfo {
        label: driver.label.clone(),
        driver: driver.driver.clone(),
        options: driver.options.clone(),
        twin_of: driver.twin_of.clone(),
        availability,
    }
}

fn host() -> Host {
    let there = || Feature::available("made up");
    Host {
        kernel: "6.18.0-synthetic".to_owned(),
        os: "Nowhere Linux 1".to_owned(),
        architecture: "x86_64".to_owned(),
        cpu_model: "Imaginary CPU".to_owned(),
        cpus: 2,
        cpu_governor: None,
        hypervisor: Some("none such".to_owned()),
        memory_bytes: 8 << 30,
        page_size_bytes: 4096,
        privileges: Privileges::Root,
        capabilities: Capabilities {
            mount_api: there(),
            fuse: there(),
            fuse_passthrough: there(),
            fuse_uring: None,
            cachestat: there(),
            drop_caches: there(),
            pagemap: there(),
        },
    }
}

fn store(label: &str, index: usize) -> StoreInfo {
    StoreInfo {
        label: label.to_owned(),
        path: format!("/store{index}"),
        fs_type: "ext4".to_owned(),
        mount_options: "rw,relatime".to_owned(),
        device: format!("/dev/made-up{index}"),
        scheduler: Some("none".to_owned()),
        rotational_flag: Some(index > 0),
        medium: Some(Medium {
            class: if index > 0 { MediumClass::Spinning } else { MediumClass::SolidState },
            random_read_ns: Some(if index > 0 { 12_300_000 } else { 92_000 }),
            sequential_read_ns: Some(if index > 0 { 130_000 } else { 61_000 }),
            how: format!("64 reads of 4 KiB each, O_DIRECT, of /dev/made-up{index}"),
            model: (index > 1).then(|| "hdd-7200, a made-up disk".to_owned()),
        }),
        journal: Some(index == 0),
        reflink: Feature::missing("FICLONE: Operation not supported (os error 95)", "use XFS or Btrfs"),
        free_bytes: 40 << 30,
        total_bytes: 100 << 30,
    }
}
