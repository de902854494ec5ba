//! The figures that the documents quote are those of a committed run, and regenerate from it.

use std::fs;
use std::path::{Path, PathBuf};

use layerbench::analysis::{
    Claim, Finding, JobView, Operation, ParallelView, ResultSet, Test, Verdict, claims, compare, human, operations,
};
use layerbench::record::{MediumClass, Privileges, Run, list_runs};
use layerbench::report::{RenderedReport, render};

/// Where the quoted figures begin and end.
const MARKS: (&str, &str) = ("<!-- figures of the run -->\n", "<!-- end of figures -->");

#[test]
fn the_readme_quotes_the_reference_run() {
    quotes("README.md", |_, report| in_short(report));
}

#[test]
fn the_page_of_media_quotes_a_run_with_both_kinds_of_disk() {
    let (run, _) = quotes("docs/media.md", |run, _| verdicts(run, |claim, _| claim.id.starts_with("ssd-")));
    let classes: Vec<_> =
        run.manifest.stores.iter().filter_map(|store| store.medium.as_ref()).map(|m| m.class).collect();
    assert_eq!(classes, [MediumClass::SolidState, MediumClass::Spinning]);
}

#[test]
fn the_page_of_file_systems_quotes_a_run_with_several() {
    let (run, _) = quotes("docs/file-systems.md", |_, report| {
        let section = in_short(report);
        let (legend, tables) = section.split_once("### Stores against each other\n").unwrap();
        let (across, _) = tables.split_once("### ").expect("each store by itself");
        format!("{}\n\n{}\n", legend.trim_end(), across.trim())
    });
    let kinds: Vec<_> = run.manifest.stores.iter().map(|store| (store.fs_type.as_str(), store.journal)).collect();
    assert_eq!(kinds, [("ext4", Some(true)), ("ext4", Some(false)), ("xfs", Some(true)), ("btrfs", None)]);
}

#[test]
fn the_page_of_io_uring_quotes_the_same_questions_on_a_prepared_machine_and_on_one_that_is_not() {
    let plain = Run::load(&linked("docs/io_uring.md").pop().unwrap()).unwrap();
    let (prepared, _) = quotes("docs/io_uring.md", |run, _| by_io_uring(run, &plain));
    let awake = |run: &Run| run.manifest.instrument.as_ref().is_some_and(|instrument| instrument.awake.is_available());
    assert!(awake(&prepared) && !awake(&plain));
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    committed(&plain, &render(&plain, &scratch.path().join("report")).unwrap());
}

#[test]
fn the_page_of_the_union_says_which_way_of_serving_is_for_what() {
    let (run, _) = quotes("docs/union.md", |run, _| {
        table_of_two(run, [("fuse-union", "passthrough"), ("fuse-union opens=off", "`opens=off`")])
    });
    let drivers = &run.manifest.drivers;
    assert!(drivers.iter().any(|driver| driver.label == "fuse-union" && driver.availability.is_available()));
}

#[test]
fn the_page_for_ordinary_users_quotes_a_run_of_one_whose_processors_stayed_awake() {
    let (run, _) = quotes("docs/rootless.md", |run, _| {
        table_of_two(run, [("fuse-overlayfs", "fuse-overlayfs"), ("fuse-union (no passthrough)", "fuse-union")])
    });
    assert_eq!(run.manifest.host.privileges, Privileges::UserNamespace);
    assert!(run.manifest.instrument.is_some_and(|instrument| instrument.awake.is_available()));
}

/// A line for each question: what /dev/fuse takes, what io_uring takes, and the second to the first, on both machines.
fn by_io_uring(prepared: &Run, plain: &Run) -> String {
    let [prepared, plain] =
        [prepared, plain].map(|run| side_by_side(run, ["fuse-union uring=off", "fuse-union uring=on"]));
    let head = "overlay2 volatile | /dev/fuse | io_uring | ratio";
    assert_eq!(prepared.len(), plain.len());
    let rows = prepared.into_iter().zip(plain).map(|((label, prepared), (same, plain))| {
        assert_eq!(label, same);
        format!("| {label} | {prepared} | {plain} |\n")
    });
    format!(
        "| | prepared: {head} | as it is: {head} |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n{}",
        rows.collect::<String>()
    )
}

/// [`side_by_side`] as a table, in which two variants are called otherwise.
fn table_of_two(run: &Run, variants: [(&str, &str); 2]) -> String {
    let [one, other] = variants.map(|(_, shown)| shown);
    let rows = side_by_side(run, variants.map(|(label, _)| label));
    let rows: String = rows.into_iter().map(|(label, figures)| format!("| {label} | {figures} |\n")).collect();
    format!("| | overlay2 volatile | {one} | {other} | ratio |\n| --- | ---: | ---: | ---: | ---: |\n{rows}")
}

/// Each question, with what overlay2 takes, what two variants take, and the second of these to the first.
fn side_by_side(run: &Run, variants: [&str; 2]) -> Vec<(String, String)> {
    let set = &ResultSet::of(run);
    let store = set.stores.first().unwrap();
    let parallel = ParallelView::all(set, store).into_iter().flat_map(|view| {
        let label = view.label;
        view.points.into_iter().map(move |(_, point)| Operation { label: format!("{label}, {}", point.label), ..point })
    });
    let jobs = JobView::of(set, store).into_iter().flat_map(|view| view.jobs.into_iter().map(|(_, job)| job));
    let line = |operation: Operation| {
        let of = |label: &str| operation.of(label).unwrap_or_else(|| panic!("{}: no {label}", operation.label));
        let [one, other] = variants.map(of);
        let compared = compare(other, one).unwrap();
        let ratio = human::ratio(compared.ratio);
        // How much it says that no difference shows.
        let shown = match compared.interval {
            _ if compared.difference.is_found() => format!("**{ratio}**"),
            Some(interval) => format!("{ratio} ({})", human::interval(Some(interval), human::ratio)),
            None => ratio,
        };
        let overlay = operation.of("overlay2 volatile").map_or_else(|| "–".to_owned(), |data| human::ns(data.p50()));
        let text = format!("{overlay} | {} | {} | {shown}", human::ns(one.p50()), human::ns(other.p50()));
        (operation.label, text)
    };
    operations(set, store).into_iter().chain(parallel).chain(jobs).map(line).collect()
}

#[test]
fn the_page_of_aufs_quotes_a_run_with_aufs_and_says_what_became_of_each_claim() {
    let (run, _) = quotes("docs/aufs.md", |run, report| {
        let verdicts = verdicts(run, |_, found| found.driver == "aufs");
        format!("{}\nClaim by claim, for aufs:\n\n{verdicts}", in_short(report))
    });
    assert!(run.manifest.guest.is_some_and(|guest| guest.counted), "one that anybody can repeat, whatever the machine");
}

/// The findings that are asked for, as far as they were measured, in a table: question, whose, verdict, the ratio that decides it.
fn verdicts(run: &Run, wanted: impl Fn(&Claim, &Finding) -> bool) -> String {
    let mut table = "| Asked | Of | Verdict | Ratio | Threshold |\n| --- | --- | --- | ---: | ---: |\n".to_owned();
    for claim in claims(&ResultSet::of(run)) {
        let measured = claim.findings.iter().filter(|found| found.verdict != Verdict::NotMeasured);
        for (i, found) in measured.filter(|found| wanted(&claim, found)).enumerate() {
            let effect = found.effect.unwrap();
            let (ratio, threshold) = match claim.test {
                Test::AtMost { limit, .. } => (human::bytes(effect.ratio), human::bytes(limit)),
                _ => (
                    format!("{} ({})", human::ratio(effect.ratio), human::interval(effect.interval, human::ratio)),
                    human::ratio(effect.threshold),
                ),
            };
            let asked = if i == 0 { claim.question } else { "" };
            let (of, verdict) = (found.subject(), found.verdict.words());
            table.push_str(&format!("| {asked} | {of} | **{verdict}** | {ratio} | {threshold} |\n"));
        }
    }
    table
}

/// What the report says in short.
fn in_short(report: &RenderedReport) -> String {
    let page = fs::read_to_string(&report.markdown).unwrap();
    let (_, rest) = page.split_once("\n## In short\n").expect("the section");
    let (section, _) = rest.split_once("\n## ").expect("the next section");
    format!("{}\n", section.trim())
}

/// Checks that a page has `figures` of the run in results/ that it links, and that the committed report is the one which the run gives.
fn quotes(page: &str, figures: impl Fn(&Run, &RenderedReport) -> String) -> (Run, RenderedReport) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(&path).unwrap();
    let folder = linked(page).swap_remove(0);
    let run = Run::load(&folder).unwrap();
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let report = render(&run, &scratch.path().join("report")).unwrap();
    let expected = figures(&run, &report);

    let (head, rest) = text.split_once(MARKS.0).expect("the mark where figures begin");
    let (found, tail) = rest.split_once(MARKS.1).expect("the mark where figures end");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, format!("{head}{}{expected}{}{tail}", MARKS.0, MARKS.1)).unwrap();
        return (run, report);
    }
    assert_eq!(found, expected, "{page} does not say what its run says: UPDATE_GOLDEN=1 if this is meant");
    committed(&run, &report);
    (run, report)
}

/// The runs that a page links, in the order of their names. Results of one's own may lie beside them.
fn linked(page: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(page)).unwrap();
    let named =
        |run: &PathBuf| run.file_name().is_some_and(|name| text.contains(&format!("results/{}/)", name.display())));
    let runs: Vec<_> = list_runs(&root.join("results")).unwrap().into_iter().filter(named).collect();
    assert!(!runs.is_empty(), "{page} links no run that is in results/");
    runs
}

/// Checks that the committed report of a run is the one which the run gives.
fn committed(run: &Run, report: &RenderedReport) {
    assert!(run.damaged.is_empty() && !run.truncated && !run.manifest.smoke);
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports").join(&run.manifest.run).join("index.md");
    let (found, expected) = (fs::read_to_string(&committed).unwrap(), fs::read_to_string(&report.markdown).unwrap());
    for (i, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{}:{}: render it again", committed.display(), i + 1);
    }
    assert_eq!(found.len(), expected.len(), "{}", committed.display());
}
