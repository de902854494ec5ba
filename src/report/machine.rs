//! Where and how the run was made: machine, stores, drivers as mounted, seed, command, and how to make it again.

use std::collections::{BTreeMap, BTreeSet};

use super::content::{or_unknown, section};
use super::page::{Block, Span, Spans, Table, marked, plain};
use crate::analysis::human;
use crate::record::{Feature, Guest, Outcome, Privileges, Run, StoreInfo};

/// The section of what was measured on.
pub(super) fn blocks(run: &Run) -> Vec<Block> {
    let mut blocks =
        vec![section("machine", "Machine"), machine(run), Block::Heading("Stores".to_owned()), stores(run)];
    blocks.extend(without_journal(run));
    blocks.push(Block::Heading("Drivers, as the kernel reports their mounts".to_owned()));
    blocks.push(mounts(run));
    blocks.extend(notes(run));
    blocks
}

fn pairs(rows: Vec<(&str, Spans)>) -> Block {
    let rows = rows.into_iter().map(|(name, value)| vec![plain(name), value]).collect();
    Block::Table(Table { head: vec!["What".to_owned(), "Value".to_owned()], rows, numeric: Vec::new() })
}

fn feature(feature: &Feature) -> Spans {
    match feature {
        Feature::Available { detail } if detail.is_empty() => plain("available"),
        Feature::Available { detail } => plain(format!("available: {detail}")),
        Feature::Missing { reason, remedy } => marked(&format!("not available: {reason}; {remedy}")),
    }
}

fn machine(run: &Run) -> Block {
    let m = &run.manifest;
    let h = &m.host;
    let privileges = match h.privileges {
        Privileges::Root => "root",
        Privileges::UserNamespace => "ordinary user, cases in a user namespace",
        Privileges::None => "ordinary user without user namespaces: nothing can be mounted",
    };
    let c = &h.capabilities;
    let guest = m.guest.iter().map(|g| {
        let words = format!("{}, {}; on Linux {}, {}", g.qemu, Guest::kind(Some(g)), g.host_kernel, g.host_cpu_model);
        ("Virtual machine", plain(words))
    });
    let found = vec![
        ("Kernel", plain(or_unknown(&h.kernel))),
        ("System", plain(or_unknown(&h.os))),
        ("CPU", plain(format!("{}, {}, {} usable", or_unknown(&h.cpu_model), or_unknown(&h.architecture), h.cpus))),
        ("Frequency governor", plain(h.cpu_governor.as_deref().unwrap_or("none reported"))),
        ("Hypervisor", plain(h.hypervisor.as_deref().unwrap_or("none reported"))),
        (
            "Memory",
            plain(format!(
                "{}, pages of {}",
                human::bytes(h.memory_bytes as f64),
                human::bytes(h.page_size_bytes as f64)
            )),
        ),
        ("Privileges", plain(privileges)),
        ("New mount API", feature(&c.mount_api)),
        ("FUSE", feature(&c.fuse)),
        ("FUSE passthrough", feature(&c.fuse_passthrough)),
    ]
    .into_iter()
    // Older records do not say.
    .chain(c.fuse_uring.as_ref().map(|state| ("FUSE by io_uring", feature(state))))
    .chain([
        ("cachestat", feature(&c.cachestat)),
        ("drop_caches", feature(&c.drop_caches)),
        ("pagemap with frame numbers", feature(&c.pagemap)),
    ]);
    pairs(guest.chain(found).collect())
}

/// What kind of device a store is on, and what reads from it cost.
fn medium(store: &StoreInfo) -> String {
    let Some(medium) = &store.medium else { return "not measured".to_owned() };
    let times = match (medium.random_read_ns, medium.sequential_read_ns) {
        (Some(random), Some(sequential)) => {
            format!(": {} random, {} in turn", human::ns(random as f64), human::ns(sequential as f64))
        }
        _ => String::new(),
    };
    let model = medium.model.as_ref().map(|model| format!("; modelled: {model}")).unwrap_or_default();
    format!("{}{times} ({}){model}", medium.class, medium.how)
}

/// What is known of the stores, a column each: they are few, and what is known of them is long.
fn stores(run: &Run) -> Block {
    let stores = &run.manifest.stores;
    let row = |name: &str, of: &dyn Fn(&StoreInfo) -> Spans| -> Vec<Spans> {
        std::iter::once(plain(name)).chain(stores.iter().map(of)).collect()
    };
    let code = |text: &str| vec![Span::Code(text.to_owned())];
    let rows = vec![
        row("File system", &|s| plain(or_unknown(&s.fs_type))),
        row("Medium (measured)", &|s| plain(medium(s))),
        row("Reflink", &|s| feature(&s.reflink)),
        row("Journal", &|s| {
            plain(match s.journal {
                Some(true) => "yes",
                Some(false) => "none",
                None => "not recorded",
            })
        }),
        row("Options", &|s| code(&s.mount_options)),
        row("Device", &|s| code(&s.device)),
        row("Scheduler", &|s| plain(s.scheduler.as_deref().unwrap_or("none"))),
        row("Rotational (the kernel’s word)", &|s| {
            plain(match s.rotational_flag {
                Some(true) => "yes",
                Some(false) => "no",
                None => "unknown",
            })
        }),
        row("Free", &|s| plain(human::bytes(s.free_bytes as f64))),
        row("Size", &|s| plain(human::bytes(s.total_bytes as f64))),
        row("Path", &|s| code(&s.path)),
    ];
    let head = std::iter::once("Store".to_owned()).chain(stores.iter().map(|s| s.label.clone())).collect();
    Block::Table(Table { head, rows, numeric: Vec::new() })
}

/// What waiting for the disk costs depends on what has to be written.
fn without_journal(run: &Run) -> Option<Block> {
    let without = run.manifest.stores.iter().filter(|store| store.journal == Some(false));
    let without: Vec<&str> = without.map(|store| store.label.as_str()).collect();
    (!without.is_empty()).then(|| {
        Block::Warning(plain(format!(
            "The file system of {} has no journal, as most machines’ has: to wait for the disk, as overlay2 does in each copy_up and as fsync does, costs \
             another time there.",
            human::list(&without)
        )))
    })
}

fn mounts(run: &Run) -> Block {
    let mut options: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for record in run.last_attempts() {
        if let Outcome::Measured { mount_options, .. } = &record.outcome {
            *options.entry(&record.case.driver.label).or_default().entry(mount_options).or_default() += 1;
        }
    }
    let mut rows: Vec<Vec<Spans>> = Vec::new();
    for driver in &run.manifest.drivers {
        let version = match &driver.availability {
            Feature::Available { detail } => detail.clone(),
            Feature::Missing { .. } => "not here".to_owned(),
        };
        let asked = if driver.options.is_empty() { "none".to_owned() } else { driver.options.join(",") };
        let seen = options.get(driver.label.as_str());
        // Options that differ by the number of layers only would fill the page: the commonest stands for the rest.
        let common = seen.and_then(|seen| seen.iter().max_by_key(|(_, n)| **n));
        let mounted = match common {
            Some((options, _)) => vec![Span::Code((*options).to_owned())],
            None => plain("never mounted for a measurement"),
        };
        let variants = seen.map(BTreeMap::len).unwrap_or(0);
        rows.push(vec![
            plain(driver.label.clone()),
            plain(driver.driver.clone()),
            vec![Span::Code(asked)],
            plain(version),
            mounted,
            plain(variants.to_string()),
        ]);
    }
    let head =
        ["Label", "Driver", "Options asked for", "Version", "Options found (commonest)", "Different options found"];
    Block::Table(Table { head: head.map(str::to_owned).to_vec(), rows, numeric: vec![5] })
}

/// What cases have to say, each once, with the drivers that said it.
fn notes(run: &Run) -> Vec<Block> {
    let mut notes: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for record in run.last_attempts() {
        if let Outcome::Measured { notes: of_case, .. } = &record.outcome {
            for note in of_case {
                *notes.entry(note).or_default().entry(&record.case.driver.label).or_default() += 1;
            }
        }
    }
    if notes.is_empty() {
        return Vec::new();
    }
    let measured: BTreeSet<&str> = run
        .last_attempts()
        .filter(|record| matches!(record.outcome, Outcome::Measured { .. }))
        .map(|record| record.case.driver.label.as_str())
        .collect();
    let item = |(note, drivers): (&str, BTreeMap<&str, u64>)| {
        let labels: Vec<&str> = drivers.keys().copied().collect();
        // What everybody says is said of all, and not by a list of all.
        let who = if labels.len() == measured.len() { "every driver".to_owned() } else { human::list(&labels) };
        let cases = human::count(drivers.values().sum::<u64>(), "case");
        let mut spans = marked(note);
        spans.push(Span::Text(format!(" ({cases}: {who})")));
        spans
    };
    vec![Block::Heading("Notes of the cases".to_owned()), Block::List(notes.into_iter().map(item).collect())]
}

/// The section of the command.
pub(super) fn again(run: &Run) -> Vec<Block> {
    let m = &run.manifest;
    let workloads: Vec<String> = m.workloads.iter().map(|w| format!("{} ({})", w.name, w.title)).collect();
    let mut blocks = vec![
        section("again", "How to make it again"),
        pairs(vec![
            ("Run", vec![Span::Code(m.run.clone())]),
            ("Started (UTC)", plain(m.started.clone())),
            ("Workloads", plain(human::list(&workloads))),
            ("Seeds, of contents and of the order", plain(format!("{} and {}", m.seed, order(run)))),
            ("Cases executed of planned", plain(format!("{} of {}", run.last_attempts().count(), m.planned_cases))),
            (
                "layerbench",
                plain(format!("{}, commit {}", m.layerbench_version, m.commit.as_deref().unwrap_or("unknown"))),
            ),
        ]),
    ];
    blocks.push(Block::Text(plain("Measure again, in the same order:")));
    blocks.push(Block::Verbatim(command(run)));
    blocks.push(Block::Text(marked(
        "Render this page again from the raw data, with no measurement: the same records give the same bytes.",
    )));
    blocks.push(Block::Verbatim(format!("layerbench report results/{}", m.run)));
    blocks
}

/// The seed of the order.
fn order(run: &Run) -> u64 {
    run.manifest.order_seed.unwrap_or(run.manifest.seed)
}

/// The command line as given, quoted for a shell, with the seeds that were used if it does not name them.
fn command(run: &Run) -> String {
    let command = &run.manifest.command;
    let mut words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    if !command.iter().any(|word| word == "--seed" || word.starts_with("--seed=")) {
        words.push(format!("--seed {}", run.manifest.seed));
    }
    // In a guest the order is that of the one seed.
    let names_order = command.iter().any(|word| word == "--order" || word.starts_with("--order="));
    if run.manifest.guest.is_none() && !names_order {
        words.push(format!("--order {}", order(run)));
    }
    words.join(" ")
}

fn quote(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, quoted) in
            [("run", "run"), ("a=b/c.toml", "a=b/c.toml"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'")]
        {
            assert_eq!(quote(word), quoted);
        }
    }
}
