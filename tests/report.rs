//! Reports of runs that nobody measured: the same records give the same bytes, a known run gives a known page, and odd runs give a page
//! that says what is odd. `UPDATE_GOLDEN=1 cargo test --test report` writes the known page anew; read the difference before committing.

use std::fs;
use std::path::{Path, PathBuf};

use layerbench::analysis::{Answer, ResultSet, Verdict, checklist, claims, human};
use layerbench::chart;
use layerbench::record::{DamagedLine, Feature, Instrument, Observation, Outcome, Run, RunWriter, metric};
use layerbench::report::{ReportError, render};
use layerbench::workload::{CacheState, Interned, ProbeName};

#[path = "report/synthetic.rs"]
mod synthetic;

use layerbench::workload::{Durability, Job};
use synthetic::Spec;

/// A run that is quick to render.
fn small() -> Spec {
    Spec {
        depth: vec![1, 8, 120],
        file_size_bytes: vec![4 << 10, 1 << 20, 16 << 20],
        cache: vec![CacheState::Warm, CacheState::Cold],
        containers: vec![1, 2, 4],
        files: 6,
        jobs: vec![Job::Tar, Job::Chown],
        writes: Durability::ALL.to_vec(),
        processes: vec![1, 2, 8],
        ..Spec::default()
    }
}

/// One point, one sample.
fn single() -> Spec {
    Spec {
        depth: vec![1],
        file_size_bytes: vec![4096],
        cache: vec![CacheState::Warm],
        containers: vec![1],
        files: 1,
        blocks: 1,
        ..Spec::default()
    }
}

/// A folder of this test alone, removed with it.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for the test")
}

/// Every file below a folder, by its path in it.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("list") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).expect("read");
                found.push((path.strip_prefix(folder).expect("below").to_owned(), bytes));
            }
        }
    }
    found.sort();
    found
}

/// A rendered run as text: the two pages, and the figures by name.
struct Pages {
    html: String,
    markdown: String,
    figures: Vec<String>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Pages {
    fn csv(&self, name: &str) -> String {
        self.chart(&format!("{name}.csv"))
    }

    /// What is written in a drawing, whatever lines it is broken into.
    fn drawn_words(&self, name: &str) -> String {
        let svg = self.chart(&format!("{name}.svg"));
        let texts = svg.split('<').filter_map(|tag| tag.split_once('>')).map(|(_, text)| text.trim());
        texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
    }

    fn chart(&self, file: &str) -> String {
        let path = Path::new("charts").join(file);
        let (_, bytes) = self.files.iter().find(|(at, _)| *at == path).unwrap_or_else(|| panic!("no {path:?}"));
        String::from_utf8(bytes.clone()).expect("UTF-8")
    }
}

/// Renders, and checks what holds for every report: the files it names are there, the drawings are well-formed, no number is broken.
fn pages(run: &Run) -> Pages {
    let scratch = scratch();
    let out = scratch.path().join("report");
    let rendered = render(run, &out).expect("render");
    let found = files(&out);
    let mut expected = vec![PathBuf::from("index.html"), PathBuf::from("index.md")];
    for figure in &rendered.figures {
        expected.extend(["csv", "svg"].map(|ext| PathBuf::from(format!("charts/{figure}.{ext}"))));
    }
    expected.sort();
    assert_eq!(found.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), expected);
    for (path, bytes) in &found {
        let text = String::from_utf8(bytes.clone()).expect("UTF-8");
        assert!(
            !text.contains("NaN") && !text.contains("inf ") && !text.contains("inf×"),
            "{path:?} has a broken number"
        );
        if path.extension().is_some_and(|ext| ext == "svg") {
            well_formed(path, &text);
        }
        if path.extension().is_some_and(|ext| ext == "csv") {
            assert!(text.lines().count() > 1, "{path:?} has no row");
        }
    }
    let read = |path: &Path| fs::read_to_string(path).expect("read");
    Pages { html: read(&rendered.html), markdown: read(&rendered.markdown), figures: rendered.figures, files: found }
}

/// Every tag of an XML text is closed in order. Enough to notice a label that broke out of its text.
fn well_formed(path: &Path, xml: &str) {
    let mut open: Vec<String> = Vec::new();
    for part in xml.split('<').skip(1) {
        let tag = part.split('>').next().unwrap_or_default();
        let name = tag.split([' ', '\n', '/']).find(|word| !word.is_empty()).unwrap_or_default();
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "{path:?}: </{name}> closes another tag");
        } else if !tag.starts_with('?') && !tag.ends_with('/') {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{path:?}: {open:?} not closed");
}

/// Names of the charts that a run with one store has: but for those that lay several side by side.
fn of_one_store() -> Vec<&'static str> {
    chart::all().iter().filter(|chart| !chart.holds_all_stores()).map(|chart| chart.name()).collect()
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let scratch = scratch();
    let run = synthetic::run(&small());
    let (a, b) = (scratch.path().join("a"), scratch.path().join("b"));
    render(&run, &a).expect("first");
    render(&run, &b).expect("second");
    let (a, b) = (files(&a), files(&b));
    assert_eq!(a.len(), 2 + 2 * of_one_store().len());
    assert!(a == b, "two renderings of one run differ");
}

#[test]
fn a_run_written_and_read_back_gives_the_same_report() {
    let scratch = scratch();
    let run = synthetic::run(&single());
    let (_, folder) = RunWriter::reserve(scratch.path(), "2026-01-02").expect("reserve");
    let mut writer = RunWriter::create(&folder, &run.manifest).expect("create");
    for case in &run.cases {
        writer.append(case).expect("append");
    }
    let read = Run::load(&folder).expect("load");
    assert!(pages(&run).files == pages(&read).files, "the report depends on more than the records");
}

#[test]
fn a_known_run_gives_the_known_page() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/report");
    let pages = pages(&synthetic::run(&small()));
    let known = |path: &Path| {
        let name = path.to_string_lossy();
        name == "index.md" || name.ends_with(".csv") || name == "charts/first_write_by_size.svg"
    };
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mut compared = 0;
    for (path, bytes) in pages.files.iter().filter(|(path, _)| known(path)) {
        let at = golden.join(path);
        if update {
            fs::create_dir_all(at.parent().expect("parent")).expect("create folder");
            fs::write(&at, bytes).expect("write");
        }
        let expected = fs::read(&at).unwrap_or_else(|e| panic!("{}: {e}", at.display()));
        let (found, expected) = (String::from_utf8_lossy(bytes), String::from_utf8_lossy(&expected));
        for (i, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
            assert_eq!(found, expected, "{}:{}: if this is meant, UPDATE_GOLDEN=1", path.display(), i + 1);
        }
        assert_eq!(found.len(), expected.len(), "{} has another length", path.display());
        compared += 1;
    }
    assert_eq!(compared, 1 + of_one_store().len() + 1);
    let kept: Vec<_> = files(&golden).into_iter().map(|(path, _)| path).filter(|path| !known(path)).collect();
    assert!(kept.is_empty(), "files that no report has: {kept:?}");
}

#[test]
fn the_page_says_what_the_figures_say() {
    let run = synthetic::run(&small());
    let pages = pages(&run);
    assert_eq!(pages.figures, of_one_store());
    // Tables with words beside words say in each cell what it is, for narrow pages; those of figures alone stay tables.
    assert!(pages.html.contains("<table class=\"words\">") && pages.html.contains("<td data-head=\"Answer\">"));
    let key_figures = pages.html.split("id=\"key-figures\"").nth(1).and_then(|rest| rest.split("</table>").next());
    assert!(key_figures.is_some_and(|table| table.contains("<table>") && !table.contains("data-head")));
    for text in [&pages.html, &pages.markdown] {
        assert!(text.contains("what all read is in memory once, but with fuse-union several times."));
        assert!(text.contains("aufs itself was not measured"));
        assert!(text.contains("modprobe aufs"));
        assert!(
            !text.contains("This is a smoke run") && !text.contains("interrupted") && !text.contains("see “Failed”")
        );
    }
    // Nothing from elsewhere: links lead into the report.
    for attribute in ["src=", "href=\"http", "<script", "@import", "url("] {
        assert!(!pages.html.contains(attribute), "index.html has {attribute}");
    }
    let results = ResultSet::of(&run);
    let claims = claims(&results);
    let verdict = |id: &str, driver: &str| {
        let claim = claims.iter().find(|claim| claim.id == id).unwrap_or_else(|| panic!("no claim {id}"));
        claim.findings.iter().find(|finding| finding.driver == driver).map(|finding| finding.verdict)
    };
    // What the formula of the made-up run has: all grow with size; overlay2 with depth; nothing is compounded; fuse-union shares nothing.
    for (id, driver, expected) in [
        ("less-efficient-first-write", "overlay2", None),
        ("less-efficient-first-write", "overlay2 volatile", Some(Verdict::Refuted)),
        ("grows-with-size", "overlay2 volatile", Some(Verdict::Supported)),
        ("grows-with-depth", "overlay2 volatile", Some(Verdict::Supported)),
        ("page-cache-memory", "overlay2", Some(Verdict::Supported)),
        ("page-cache-memory", "fuse-union", Some(Verdict::Refuted)),
        ("page-cache-frames", "overlay2", Some(Verdict::Supported)),
        ("page-cache-frames", "fuse-union", Some(Verdict::Refuted)),
        ("significant-first-write", "overlay2", Some(Verdict::Supported)),
        ("volumes-best-first-write", "fuse-union", Some(Verdict::Supported)),
        // The made-up noise is the same share of everything: longer operations spread more, and no more for what they take.
        ("volumes-most-predictable", "overlay2", Some(Verdict::Undecided)),
        ("fast-start", "overlay2", Some(Verdict::Refuted)),
        ("little-disk", "overlay2", Some(Verdict::Supported)),
        ("ssd-reads", "overlay2", Some(Verdict::NotMeasured)),
    ] {
        assert_eq!(verdict(id, driver), expected, "{id} {driver}: {claims:#?}");
    }
    for claim in &claims {
        assert_eq!(verdict(claim.id, "aufs"), Some(Verdict::NotMeasured));
        assert_eq!(verdict(claim.id, "bind"), None, "the control is no driver to judge");
        assert_eq!(verdict(claim.id, "overlay2 volatile (twin)"), None, "a twin is no driver of its own");
        for finding in &claim.findings {
            assert_eq!(finding.effect.is_none(), finding.verdict == Verdict::NotMeasured, "{finding:?}");
            assert_eq!(finding.groups.is_empty(), finding.effect.is_none(), "{finding:?}");
            assert!(!finding.words.is_empty());
        }
    }
}

#[test]
fn the_answer_comes_first_and_the_details_are_shut() {
    let pages = pages(&synthetic::run(&small()));
    let sections: Vec<&str> = pages.markdown.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(
        sections[..6],
        [
            "In short",
            "What to do: volume or layer?",
            "Figures",
            "What Docker’s page on aufs says, and what was found",
            "What decides the verdicts",
            "Key figures"
        ]
    );
    // Every section is in the table of contents of both pages, and the first lines say what was measured.
    for (section, id) in [("Key figures", "key-figures"), ("In short", "in-short"), ("Method", "method")] {
        assert!(pages.markdown.contains(&format!("[{section}](#{id})")), "{section}");
        assert!(pages.html.contains(&format!("<a href=\"#{id}\">{section}</a>")), "{section}");
        assert_eq!(pages.html.matches(&format!(" id=\"{id}\"")).count(), 1, "{section}");
    }
    let head = pages.markdown.split("\n## ").next().unwrap();
    assert!(head.contains("with bind, overlay2 (waits), overlay2 volatile and fuse-union: "), "{head}");
    assert!(head.contains("at most 3 blocks of each. Not measured: aufs."), "{head}");
    // What a figure shows stands before it; a few figures are open, the others are in a section that is shut.
    let figures = pages.markdown.split("\n## Figures\n").nth(1).unwrap().split("\n## ").next().unwrap();
    assert!(!figures.contains("<details>"));
    let shows = figures.find("The first write to a file of 16 MiB instead of 4 KiB takes longer").unwrap();
    assert!(shows < figures.find("charts/first_write_by_size.svg").unwrap());
    let more = pages.markdown.split("\n## More figures\n").nth(1).unwrap().split("\n## ").next().unwrap();
    for name in &pages.figures {
        let at = format!("(charts/{name}.svg)");
        assert!(figures.contains(&at) != more.contains(&at), "{name}");
    }
    assert!(more.contains("<details>\n<summary>7 figures</summary>") && more.contains("heatmap.svg"), "{more}");
    for text in [&pages.html, &pages.markdown] {
        assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
    }
}

#[test]
fn advice_says_what_the_verdicts_say_and_what_they_leave_open() {
    let markdown = pages(&synthetic::run(&Spec { jobs: vec![Job::Tar, Job::Copy], ..small() })).markdown;
    let section = markdown.split("\n## What to do: volume or layer?\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let items: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("- ")).collect();
    assert_eq!(items.len(), 7, "{section}");
    let item = |work: &str| *items.iter().find(|item| item.starts_with(work)).unwrap_or_else(|| panic!("{work}"));
    // By hand: 1 µs, 20 ns more with overlay2, 10 times as long through the union; the disk takes 300 µs from everybody.
    let in_place = item("Writes in place to a file that stays open: ");
    assert!(
        in_place.contains("**a volume** with fuse-union (≥\u{a0}8")
            && in_place.contains("**a layer will do** with overlay2 (≤\u{a0}1.0"),
        "{in_place}"
    );
    let durable = item("The same, made durable one by one, as of a database: ");
    assert!(durable.contains("**not decided here** with"), "{durable}");
    assert!(durable.ends_with("**no answer** with overlay2 volatile, which makes nothing durable."), "{durable}");
    let first = item("First writes to files of the image: ");
    assert!(first.contains("**a volume** with overlay2 (≥\u{a0}") && !first.contains("layer will do"), "{first}");
    assert!(
        section.contains("**Whatever the driver, a volume is faster for first writes to files of the image"),
        "{section}"
    );
    // Nothing decided, nothing advised.
    let open = pages(&synthetic::run(&Spec { twins: vec![], ..small() })).markdown;
    assert!(!open.contains("## What to do"));
}

#[test]
fn processor_time_is_told_where_the_records_hold_it() {
    let mut run = synthetic::run(&small());
    assert!(!pages(&run).markdown.contains("What processor time"));
    for record in &mut run.cases {
        // 10 µs a file on a volume, 30 µs through the kernel, and as much again in the daemon.
        let each = match &*record.case.driver.driver {
            "bind" => 10_000,
            "fuse-union" => 60_000,
            _ => 30_000,
        };
        if let Outcome::Measured { observations, .. } = &mut record.outcome
            && record.case.probe == ProbeName::CopyUp
        {
            let samples = vec![each + u64::from(record.case.block)];
            observations.push(Observation::new(metric::FIRST_PROCESSOR_NS, samples));
        }
    }
    let markdown = pages(&run).markdown;
    let row = markdown.lines().find(|line| line.starts_with("| What processor time does it take")).unwrap();
    assert!(row.contains("(4 KiB, 1 layer; caller and daemon; × of bind)"), "{row}");
    assert!(row.contains("**More than on a volume, 3.00× to 6.00×.**"), "{row}");
    assert!(
        row.contains("**10.0 µs** |") && row.contains("**30.0 µs** 3.00×") && row.contains("**60.0 µs** 6.00×"),
        "{row}"
    );
}

#[test]
fn no_column_is_drawn_for_a_state_of_the_caches_that_was_not_asked_for() {
    let words = |cache: Vec<CacheState>, name| pages(&synthetic::run(&Spec { cache, ..small() })).drawn_words(name);
    for name in ["lookup_atlas", "lookup_by_depth"] {
        let two = words(vec![CacheState::Warm, CacheState::Cold], name);
        assert!(two.contains(", cold caches") && two.contains(", warm caches"), "{two}");
        assert!(!two.contains("fresh caches") && !two.contains("Fresh:") && !two.contains("not measured"), "{two}");
        let one = words(vec![CacheState::Fresh], name);
        assert!(
            one.contains(", fresh caches") && !one.contains("old caches") && !one.contains("not measured"),
            "{one}"
        );
    }
}

#[test]
fn processes_at_once_are_drawn_as_files_a_second() {
    let pages = pages(&synthetic::run(&small()));
    let csv = pages.csv("parallel");
    let head: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let at = head.iter().position(|column| *column == "files_per_second").unwrap();
    // The label of the work has commas, and so is quoted.
    let rate = |driver: &str, processes: u32| -> f64 {
        let row =
            csv.lines().find(|line| line.contains("\"read, ") && line.contains(&format!("\",{driver},{processes},6,")));
        let cells: Vec<&str> = row.unwrap().split("\",").nth(1).unwrap().split(',').collect();
        cells[at - 2].parse().unwrap()
    };
    // By hand: 6 files in 6 ms by one process, in 3 ms by two or more; the union has a lock.
    for (driver, processes, expected) in [("overlay2", 1, 1e3), ("overlay2", 8, 2e3), ("fuse-union", 8, 1e3)] {
        assert!(
            (rate(driver, processes) / expected - 1.0).abs() < 0.01,
            "{driver}, {processes}: {}",
            rate(driver, processes)
        );
    }
    assert!(
        pages.markdown.contains(
            "By 8 processes instead of one, “read, 6 files of 4 KiB, 1 layer, warm caches” takes less time, "
        )
    );
    let words = pages.drawn_words("parallel");
    assert!(
        words.contains("1 k/s")
            && words.contains("processes at once")
            && words.contains("read, 6 files of 4 KiB, warm"),
        "{words}"
    );
}

#[test]
fn stores_are_columns_of_what_is_known_of_them() {
    let pages = pages(&synthetic::run(&Spec { stores: vec!["ssd".into(), "hdd".into()], ..small() }));
    let table = pages.markdown.split("### Stores\n").nth(1).unwrap();
    assert_eq!(table.lines().find(|line| line.starts_with("| Store")), Some("| Store | ssd | hdd |"));
    assert!(table.lines().any(|line| line.starts_with("| Medium (measured) | ")));
}

#[test]
fn without_a_twin_nothing_is_concluded_from_times() {
    let run = synthetic::run(&Spec { twins: vec![], ..small() });
    let results = ResultSet::of(&run);
    let timed =
        claims(&results).into_iter().filter(|claim| !claim.id.starts_with("page-cache") && claim.id != "little-disk");
    let findings: Vec<_> = timed.flat_map(|claim| claim.findings).collect();
    assert!(!findings.is_empty());
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::NotMeasured), "{findings:#?}");
    assert!(findings.iter().any(|finding| finding.words.contains("no A against A")));
    let answers = checklist(&run, &results);
    let answer = |id: &str| answers.iter().find(|item| item.id == id).map(|item| item.answer);
    assert_eq!((answer("a-a"), answer("a-a-covers")), (Some(Answer::No), Some(Answer::NotKnown)));
    assert_eq!((answer("blocks"), answer("interleaved")), (Some(Answer::No), Some(Answer::Yes)));
}

#[test]
fn volumes_are_compared_for_work_that_keeps_writing() {
    let run = synthetic::run(&Spec { jobs: vec![Job::Tar, Job::Copy, Job::Sqlite], ..small() });
    let claims = claims(&ResultSet::of(&run));
    let finding = |claim: &str, driver: &str| {
        let claim = claims.iter().find(|found| found.id == claim).unwrap_or_else(|| panic!("no claim {claim}"));
        claim.findings.iter().find(|finding| finding.driver == driver).expect("the driver").clone()
    };
    for (claim, driver, verdict) in [
        ("volumes-best-overwrites", "fuse-union", Verdict::Supported),
        ("volumes-best-overwrites", "overlay2", Verdict::Refuted),
        ("volumes-best-durable-overwrites", "fuse-union", Verdict::Undecided),
        ("volumes-best-new-files", "fuse-union", Verdict::Supported),
        ("volumes-best-programs", "fuse-union", Verdict::Supported),
    ] {
        let found = finding(claim, driver);
        assert_eq!(found.verdict, verdict, "{claim}, {driver}: {}", found.words);
    }
    // Of jobs those that write, by their names; tar only reads.
    let programs = finding("volumes-best-programs", "fuse-union");
    assert!(
        programs.words.contains("mean of 2 points") && programs.words.contains("SQLite transactions"),
        "{programs:#?}"
    );
    let durable = finding("volumes-best-durable-overwrites", "fuse-union");
    assert!(durable.groups.iter().all(|group| group.contains("durability=fsync")), "{durable:#?}");
    assert_eq!(finding("volumes-best-overwrites", "aufs").verdict, Verdict::NotMeasured);
}

#[test]
fn media_are_compared_where_a_run_has_both() {
    let run = synthetic::run(&Spec { stores: vec!["ssd".into(), "hdd".into()], ..small() });
    let claims = claims(&ResultSet::of(&run));
    let claim = claims.iter().find(|claim| claim.id == "ssd-writes").expect("the claim");
    let finding = claim.findings.iter().find(|finding| finding.driver == "overlay2 volatile").expect("the driver");
    assert_eq!((finding.verdict, finding.store.as_str()), (Verdict::Supported, "ssd and hdd"), "{finding:#?}");
    let alike = claims.iter().find(|claim| claim.id == "grows-with-size").expect("the claim");
    assert_eq!(alike.findings.iter().filter(|finding| finding.driver == "fuse-union").count(), 2, "one a store");
}

#[test]
fn every_number_drawn_is_in_the_csv_with_its_samples_and_bounds() {
    let pages = pages(&synthetic::run(&small()));
    let csv = pages.csv("first_write_by_size");
    let head: Vec<&str> = csv.lines().next().expect("head").split(',').collect();
    for column in ["n", "p10_ns", "p50_ns", "p90_ns", "p50_low_ns", "p50_high_ns"] {
        assert!(head.contains(&column), "no column {column} in {head:?}");
    }
    // 4 drivers measured x 3 sizes; 6 files x 3 blocks.
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 12);
    let n = head.iter().position(|column| *column == "n").expect("n");
    assert!(rows.iter().all(|row| row[n] == "18"), "{csv}");
    for name in [
        "first_write_by_depth",
        "first_write_heatmap",
        "lookup_by_depth",
        "lookup_atlas",
        "resident_by_containers",
        "tax_over_bind",
    ] {
        let head = pages.csv(name).lines().next().map(str::to_owned).expect("head");
        assert!(head.contains("_low") && head.contains("_high"), "{name}: {head}");
    }
}

/// Keeps the observations of a run that are wanted.
fn retain(run: &mut Run, wanted: impl Fn(&str) -> bool) {
    for record in &mut run.cases {
        if let Outcome::Measured { observations, .. } = &mut record.outcome {
            observations.retain(|observation| wanted(&observation.metric.name));
        }
    }
}

#[test]
fn the_first_look_up_is_told_apart_from_the_next_and_old_runs_say_that_theirs_hold_it() {
    let mut run = synthetic::run(&small());
    let now = pages(&run);
    let csv = now.csv("lookup_by_depth");
    assert!(
        csv.contains(",\"first look-up, hit\",cold,120,") && csv.contains(",\"first look-up, miss\",cold,120,"),
        "{csv}"
    );
    assert!(!csv.contains("first look-up, hit\",warm"), "{csv}");
    for told in [
        "Does the first look-up in a directory take longer through many layers? (cold caches, ",
        "Does finding the next name there",
    ] {
        assert!(now.markdown.contains(told), "{told}");
    }
    let drawn = |pages: &Pages, name: &str| pages.drawn_words(name).contains("The directory has been visited");
    assert!(drawn(&now, "lookup_by_depth") && drawn(&now, "lookup_atlas"));

    retain(&mut run, |name| !name.starts_with("lookup_first"));
    let old = pages(&run);
    assert!(!old.markdown.contains("irst look-up") && !old.markdown.contains("next look-up"));
    assert!(old.markdown.contains("Does finding a name take longer through many layers? (cold caches, "));
    assert!(!old.csv("lookup_by_depth").contains("first look-up"));
    assert!(!drawn(&old, "lookup_by_depth") && old.drawn_words("lookup_by_depth").contains("had been opened"));
}

#[test]
fn starts_are_told_by_their_place_where_the_clock_held_nothing_that_grows_with_it() {
    let spec = Spec { containers: vec![1, 40], ..small() };
    let mut run = synthetic::run(&spec);
    let instrument = run.manifest.instrument.replace(Instrument::default());
    assert!(!pages(&run).figures.contains(&"start_by_place".to_owned()));
    run.manifest.instrument = instrument;
    // One driver gets slower with each container.
    for record in run.cases.iter_mut().filter(|record| record.case.driver.label == "overlay2") {
        let Outcome::Measured { observations, .. } = &mut record.outcome else { continue };
        for observation in observations.iter_mut().filter(|o| o.metric == metric::START_NS) {
            for (place, sample) in observation.samples.iter_mut().enumerate() {
                *sample += 1_000_000 * place as u64;
            }
        }
    }
    let pages = pages(&run);
    let csv = pages.csv("start_by_place");
    // Four drivers, four times ten containers.
    assert_eq!(csv.lines().count(), 1 + 4 * 4, "{csv}");
    assert!(csv.contains("default,overlay2,1,40,31,40,30,"), "{csv}");
    for told in [
        "Of 40 containers over",
        "the last ten took, against the first ten, ",
        "Being among the last ten takes longer, ",
    ] {
        assert!(pages.markdown.contains(told), "{told}");
    }
    assert!(pages.drawn_words("start_by_place").contains("one after the other"));
}

#[test]
fn the_first_write_of_a_process_can_be_left_out() {
    let mut run = synthetic::run(&small());
    for record in &mut run.cases {
        let Outcome::Measured { observations, .. } = &mut record.outcome else { continue };
        for observation in observations.iter_mut().filter(|o| o.metric == metric::FIRST_WRITE_NS) {
            observation.samples[0] *= 50;
        }
    }
    let pages = pages(&run);
    let csv = pages.csv("first_write_distribution");
    // Four drivers; three blocks of six files.
    let lines = |writes: &str, n: u32| {
        let wanted = |line: &&str| line.contains(&format!(",{writes},")) && line.contains(&format!(",{n},"));
        csv.lines().filter(wanted).count()
    };
    assert!(lines("every write", 18) > 0 && lines("without the first of each process", 15) > 0, "{csv}");
    // Three blocks of four drivers.
    let words = pages.drawn_words("first_write_distribution");
    assert!(words.contains("is its slowest in 12 of 12 cases"), "{words}");
}

#[test]
fn jobs_are_told_where_a_run_has_them_and_nowhere_else() {
    let without = pages(&synthetic::run(&Spec { jobs: vec![], ..small() }));
    assert!(!without.markdown.contains("Jobs: ") && !without.figures.contains(&"jobs".to_owned()));
    let with = pages(&synthetic::run(&small()));
    assert!(with.figures.contains(&"jobs".to_owned()));
    let table: Vec<&str> = with.markdown.lines().filter(|line| line.starts_with("| ")).collect();
    let row = |job: &str| table.iter().find(|line| line.starts_with(&format!("| {job} |"))).copied().unwrap();
    // By hand: 50 ms for everybody; 50 ms x 810000 / 6000 for overlay2.
    assert!(row("read the tree with tar").contains("[not resolved, n=3: 1"), "{}", row("read the tree with tar"));
    assert!(row("chown -R of the tree").contains("**6.7") && row("chown -R of the tree").contains("[13"), "{table:?}");
    let csv = with.csv("jobs");
    let chown = csv.lines().find(|line| line.contains("chown") && line.contains(",overlay2,")).unwrap();
    assert!(chown.contains(",slower,"), "{chown}");
}

#[test]
fn a_run_begins_with_what_it_measured() {
    let mut processes = synthetic::run(&Spec { processes: vec![1, 8], ..small() });
    for record in &mut processes.cases {
        if let Outcome::Measured { observations, .. } = &mut record.outcome {
            observations.retain(|observation| observation.metric.name == metric::WALL_NS.name);
        }
    }
    let mut image = synthetic::run(&small());
    image.cases.retain(|record| record.case.probe == ProbeName::Jobs);
    for record in &mut image.cases {
        record.case.params.stack = Some(Interned::new("debian:12"));
    }
    for (run, begins, words) in [
        (
            &processes,
            ["## In short", "## Figures", "## What Docker’s page on aufs says", "## In parallel: one process and many"],
            "| Does the same work take longer by 8 processes than by one? | **Of 2, with one driver or more, 0 found slower and 1 faster.** | 1 faster, to 0.500×; 1 ≈ | ",
        ),
        (
            &image,
            ["## In short", "## Images", "## What Docker’s page on aufs says", "## More figures"],
            "| Does debian:12 take longer than a volume that holds a copy of it? | **Of ",
        ),
    ] {
        let markdown = pages(run).markdown;
        let sections: Vec<&str> = markdown.lines().filter(|line| line.starts_with("## ")).collect();
        // No verdict was found, so there is no word on what was found, nor advice.
        assert_eq!(sections[..4], begins);
        for section in ["## Key figures", "## Cost model", "## Where the time of a first write goes"] {
            assert!(!sections.contains(&section), "{section}");
        }
        let rows = || markdown.lines().skip_while(|line| !line.starts_with("| Question |")).skip(2);
        let short = rows().next().unwrap();
        assert!(short.starts_with(words), "{short}");
        let place = if begins[1] == "## Images" { " on stacks of known depth and size" } else { "" };
        let not = format!("| **Not measured{place}: what the first write to a file of a lower layer costs, ");
        assert!(markdown.contains(&not), "{not}");
        assert!(!markdown.contains("was measured with"), "no table of what was not measured");
    }
}

#[test]
fn numbers_of_processes_stand_side_by_side_where_a_run_has_several_and_nowhere_else() {
    for processes in [vec![], vec![1], vec![8]] {
        let pages = pages(&synthetic::run(&Spec { processes, ..small() }));
        assert!(!pages.markdown.contains("In parallel"), "one number is no comparison");
    }
    let markdown = pages(&synthetic::run(&Spec { processes: vec![1, 2, 8], ..small() })).markdown;
    let (_, section) = markdown.split_once("## In parallel: one process and many\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let headings: Vec<&str> = section.lines().filter(|line| line.starts_with("### ")).collect();
    let shape = "6 files of 4 KiB, 1 layer, warm caches";
    assert_eq!(headings, [format!("### append, {shape}"), format!("### read, {shape}")]);
    let read = section.split("### read").nth(1).unwrap();
    let rows: Vec<Vec<&str>> = read
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows[0][1..6], ["Processes", "bind", "overlay2 (waits)", "overlay2 volatile", "fuse-union"]);
    let cell = |processes: &str, driver: &str| {
        let row = rows.iter().find(|row| row[1] == processes).unwrap();
        row[rows[0].iter().position(|name| *name == driver).unwrap()]
    };
    // By hand: 6 ms by one process; half of that by two or more, which have two processors; no less through the union, which has a lock.
    for (processes, driver, begins) in [
        ("1 process", "overlay2 (waits)", "**6.00 ms**"),
        ("2 processes", "overlay2 (waits)", "**3.00 ms** \\[0.50"),
        ("8 processes", "bind", "**3.00 ms** \\[0.50"),
        ("8 processes", "fuse-union", "**6.00 ms** \\[not resolved, n=3: 1.00"),
    ] {
        assert!(cell(processes, driver).starts_with(begins), "{processes}, {driver}: {}", cell(processes, driver));
    }
    assert_eq!(cell("1 process", "bind").matches('[').count(), 0, "one process is compared with nothing");
    // Without one process there is nothing to divide by, and the times still stand side by side.
    let markdown = pages(&synthetic::run(&Spec { processes: vec![2, 8], ..small() })).markdown;
    let (_, section) = markdown.split_once("## In parallel").unwrap();
    assert!(section.split("### read").nth(1).unwrap().contains("| 2 processes | **3.00 ms** | **3.00 ms** |"));
}

#[test]
fn a_run_whose_processors_could_sleep_says_so_in_front_and_how_to_keep_them_awake() {
    let mut run = synthetic::run(&small());
    let said = |run: &Run| {
        let pages = pages(run);
        let found = pages.markdown.find("Nothing kept processors awake (nobody may)");
        found.map(|at| {
            (at < pages.markdown.find("## In short").unwrap(), pages.html.contains("keep processors awake: be root."))
        })
    };
    for (awake, expected) in
        [(Feature::missing("nobody may", "be root"), Some((true, true))), (Feature::available("held"), None)]
    {
        run.manifest.instrument.as_mut().unwrap().awake = awake;
        assert_eq!(said(&run), expected);
    }
}

#[test]
fn an_interrupted_run_says_so_and_shows_what_it_has() {
    let mut run = synthetic::run(&small());
    run.cases.truncate(60);
    run.truncated = true;
    let pages = pages(&run);
    for text in [&pages.html, &pages.markdown] {
        assert!(text.contains("This run was interrupted: 60 of "), "{text}");
        assert!(text.contains("The last line of its records was cut off"));
    }
    assert!(!pages.figures.is_empty());
}

#[test]
fn damaged_lines_are_told_before_the_first_figure_and_are_no_interruption() {
    let mut run = synthetic::run(&small());
    run.cases.drain(..25);
    run.damaged = (1..=25).map(|line| DamagedLine { line: 2 * line, reason: "made up".to_owned() }).collect();
    let several = pages(&run);
    for (text, first) in [(&several.html, "<h2 "), (&several.markdown, "\n## ")] {
        let warning = "25 lines of this run’s records cannot be read and are left out: lines 2, 4, 6,";
        let at = text.find(warning).unwrap_or_else(|| panic!("{text}"));
        assert!(at < text.find(first).expect("a section"), "the warning stands below the first section");
        assert!(text.contains("38, 40, and 5 more of cases.jsonl") && !text.contains("interrupted"));
    }
    run.damaged.truncate(1);
    let page = pages(&run).markdown;
    assert!(page.contains("1 line of this run’s records cannot be read and is left out: line 2 of cases.jsonl"));
    assert!(page.contains("This run was interrupted"), "24 cases are neither recorded nor damaged");
}

#[test]
fn a_run_without_cases_and_a_run_of_skipped_cases_give_a_page() {
    let mut empty = synthetic::run(&small());
    empty.cases.clear();
    let spec = Spec { missing: small().drivers.into_iter().map(|(_, driver)| driver).collect(), ..small() };
    let skipped = synthetic::run(&spec);
    for (run, sentence) in [(&empty, "0 cases skipped, 0 failed"), (&skipped, "cases skipped, 0 failed")] {
        let pages = pages(run);
        assert!(pages.figures.is_empty());
        for text in [&pages.html, &pages.markdown] {
            assert!(text.contains("Nothing was measured in this run: ") && text.contains(sentence), "{text}");
            assert!(text.contains("Not measured in this run:"));
        }
    }
    assert!(pages(&skipped).html.contains("is not in /proc/filesystems"));
}

#[test]
fn a_smoke_run_is_marked_on_the_page_and_in_every_figure() {
    let pages = pages(&synthetic::run(&Spec { smoke: true, ..single() }));
    assert!(pages.html.contains("must not be quoted") && pages.markdown.contains("must not be quoted"));
    let drawings: Vec<_> =
        pages.files.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "svg")).collect();
    assert!(!drawings.is_empty());
    for (path, bytes) in drawings {
        assert!(String::from_utf8_lossy(bytes).contains("SMOKE RUN"), "{path:?} is not marked");
    }
}

#[test]
fn one_sample_claims_nothing() {
    let pages = pages(&synthetic::run(&single()));
    for text in [&pages.html, &pages.markdown] {
        assert!(text.contains("There are too few blocks to say what a volume would save"));
        assert!(text.contains("how it grows with size is not measured"));
        assert!(text.contains("how it grows with depth is not measured"));
        assert!(text.contains("no interval"));
        assert!(
            !text.contains("takes longer")
                && !text.contains("<strong>supported</strong>")
                && !text.contains("**supported**")
        );
    }
}

#[test]
fn zeros_are_drawn_and_compared_with_nothing() {
    let pages = pages(&synthetic::run(&Spec { zeros: true, ..small() }));
    assert!(pages.figures.contains(&"first_write_by_size".to_owned()));
    assert!(!pages.figures.contains(&"tax_over_bind".to_owned()), "a ratio to 0");
    assert!(!pages.markdown.contains("takes longer"));
    // Zeros among other values: at the foot of a logarithmic axis, which the figure says.
    let mut run = synthetic::run(&small());
    for record in run.cases.iter_mut().filter(|r| r.case.probe == ProbeName::CopyUp && r.case.driver.label == "bind") {
        if let Outcome::Measured { observations, .. } = &mut record.outcome {
            observations.retain(|o| o.metric != metric::FIRST_WRITE_NS);
            observations.push(Observation::new(metric::FIRST_WRITE_NS, vec![0, 0, 0]));
        }
    }
    let drawing = self::pages(&run).files.into_iter().find(|(path, _)| path.ends_with("first_write_by_size.svg"));
    let drawing = String::from_utf8_lossy(&drawing.expect("drawn").1).into_owned();
    // A subtitle is broken into lines, each a text of its own.
    let texts = drawing.split('<').filter_map(|piece| piece.split_once('>')).map(|(_, text)| text.trim());
    let words = texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
    assert!(words.contains("drawn at the foot"), "{words}");
}

/// Markdown without its spans of code, where markup is text anyway.
fn without_code(markdown: &str) -> String {
    let mut prose = String::new();
    let mut rest = markdown;
    while let Some(start) = rest.find('`') {
        if rest[..start].ends_with('\\') {
            prose.push_str(&rest[..=start]);
            rest = &rest[start + 1..];
            continue;
        }
        prose.push_str(&rest[..start]);
        let after = rest[start..].trim_start_matches('`');
        let fence = "`".repeat(rest.len() - start - after.len());
        // A run of exactly as many backticks ends the span.
        let mut end = 0;
        while let Some(found) = after[end..].find(&fence) {
            let begin = end + found;
            let run = after.len() - begin - after[begin..].trim_start_matches('`').len();
            end = begin + run;
            if run == fence.len() {
                break;
            }
        }
        rest = &after[end..];
    }
    prose + rest
}

#[test]
fn hostile_and_long_labels_stay_text() {
    let hostile = "<script>alert(\"1\")</script> & | `x` *y* [z](javascript:0)";
    let mut spec = Spec { stores: vec!["../<b>ssd</b>".into(), "__/_b_ssd__b_".into()], ..single() };
    spec.drivers.push((hostile.to_owned(), "odd".to_owned()));
    spec.drivers.push(("very long ".repeat(30), "odd".to_owned()));
    spec.drivers.extend((0..6).map(|i| (format!("variant {i}"), "odd".to_owned())));
    let mut run = synthetic::run(&spec);
    if let Some(record) = run.cases.iter_mut().find(|r| r.case.driver.label == hostile) {
        record.outcome = Outcome::Failed { error: format!("mount: {hostile}\nsecond line") };
    }
    let pages = pages(&run);
    assert!(!pages.html.contains("<script") && !pages.html.contains("<b>"));
    assert!(pages.html.contains("&lt;script&gt;alert"));
    let prose = without_code(&pages.markdown);
    assert!(!prose.contains("<script") && prose.contains("&lt;script&gt;alert"));
    // Every row of a Markdown table keeps its cells: a bar in a label is escaped.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let lines: Vec<&str> = pages.markdown.lines().collect();
    let tables = lines.split(|line| !line.starts_with('|')).filter(|table| table.len() > 2);
    assert!(tables.clone().count() > 0);
    for table in tables {
        table.iter().for_each(|row| assert_eq!(cells(row), cells(table[0]), "{row}"));
    }
    // Two stores whose labels give the same file name keep their own files.
    let mut unique = pages.figures.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), pages.figures.len(), "{:?}", pages.figures);
    assert!(
        pages.figures.iter().any(|name| name.ends_with("-1")) && pages.figures.iter().any(|name| name.ends_with("-2"))
    );
    assert!(pages.figures.iter().all(|name| !name.contains(['/', '<', '.'])), "{:?}", pages.figures);
}

#[test]
fn failed_cases_are_listed_with_their_errors() {
    let mut run = synthetic::run(&single());
    let id = run.cases[0].case.id.clone();
    run.cases[0].outcome = Outcome::Failed { error: "verify: upper holds another file".to_owned() };
    let pages = pages(&run);
    for text in [&pages.html, &pages.markdown] {
        assert!(
            text.contains("1 case failed") && text.contains("verify: upper holds another file") && text.contains(&id)
        );
    }
}

#[test]
fn stores_are_never_mixed_and_share_their_scales() {
    let pages = pages(&synthetic::run(&Spec { stores: vec!["ssd".into(), "hdd".into()], ..small() }));
    assert_eq!(
        pages.figures.len(),
        chart::all().len() + of_one_store().len(),
        "two a chart, and one that holds both stores"
    );
    for store in ["ssd", "hdd"] {
        let csv = pages.csv(&format!("first_write_by_size-{store}"));
        assert!(csv.lines().skip(1).all(|line| line.starts_with(&format!("{store},"))), "{csv}");
        assert!(pages.markdown.contains(&format!("### Store {store}")));
    }
    // The same labels on the axes: the scale is shared although one store is five times as slow.
    let labels = |store: &str| -> Vec<String> {
        let path = PathBuf::from(format!("charts/first_write_by_size-{store}.svg"));
        let (_, bytes) = pages.files.iter().find(|(at, _)| *at == path).expect("drawn");
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.lines().map(str::trim).filter(|line| line.ends_with("s") && line.len() < 8).map(str::to_owned).collect()
    };
    assert!(!labels("ssd").is_empty());
    assert_eq!(labels("ssd"), labels("hdd"));
}

#[test]
fn stores_are_laid_against_the_first_one() {
    let pages = pages(&synthetic::run(&Spec { stores: vec!["ssd".into(), "hdd".into()], ..small() }));
    let csv = pages.csv("first_write_by_store");
    // 4 drivers measured x 3 sizes, in each store.
    for store in ["ssd,", "hdd,"] {
        assert_eq!(csv.lines().filter(|line| line.starts_with(store)).count(), 12, "{csv}");
    }
    let median = |store: &str| -> f64 {
        let head: Vec<&str> = csv.lines().next().expect("head").split(',').collect();
        let row =
            csv.lines().find(|line| line.starts_with(&format!("{store},overlay2 volatile,1,16777216,"))).expect("row");
        let at = head.iter().position(|column| *column == "p50_ns").expect("p50_ns");
        row.split(',').nth(at).and_then(|cell| cell.parse().ok()).expect("a number")
    };
    let ratio = human::ratio(median("hdd") / median("ssd"));
    let section = pages.markdown.split("\n## Stores against each other").nth(1).expect("a section");
    let table = section.split("\n### overlay2 volatile").nth(1).expect("a table a driver");
    let row = table.lines().find(|line| line.starts_with("| first write, 16 MiB, 1 layer |")).expect("a row");
    assert!(median("hdd") > 2.0 * median("ssd") && row.contains(&format!("\\[{ratio}, ")), "{ratio}: {row}");
    assert!(
        pages.markdown.contains("| Does a first write take longer on hdd than on ssd? (16 MiB, 1 layer) | **Yes, ")
    );
    assert!(!crate::pages(&synthetic::run(&small())).markdown.contains("Stores against each other"));
}

#[test]
fn an_earlier_report_is_replaced_as_a_whole_and_a_foreign_folder_is_not() {
    let scratch = scratch();
    let out = scratch.path().join("report");
    render(&synthetic::run(&small()), &out).expect("first");
    assert!(out.join("charts/first_write_by_size.svg").exists());
    let spec = Spec { missing: small().drivers.into_iter().map(|(_, driver)| driver).collect(), ..single() };
    render(&synthetic::run(&spec), &out).expect("second");
    let names: Vec<_> = files(scratch.path()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        names,
        ["report/index.html", "report/index.md"].map(PathBuf::from),
        "a stale figure or a leftover folder"
    );

    fs::write(out.join("thesis.txt"), "mine").expect("write");
    let refused = render(&synthetic::run(&single()), &out);
    assert!(matches!(&refused, Err(ReportError::Out { .. })), "{refused:?}");
    assert_eq!(fs::read_to_string(out.join("thesis.txt")).expect("read"), "mine");
}
