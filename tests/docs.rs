//! The figures that the documents quote are those of a committed run, and regenerate from it.

use std::fs;
use std::path::Path;

use layerbench::analysis::{ResultSet, Verdict, claims};
use layerbench::record::{MediumClass, Run, list_runs};
use layerbench::report::{RenderedReport, render};

/// Where the quoted figures begin and end.
const MARKS: (&str, &str) = ("<!-- figures of the run -->\n", "<!-- end of figures -->");

#[test]
fn the_readme_quotes_the_reference_run() {
    let (_, report) = quotes("README.md", sentences);
    assert!(!report.in_short.is_empty());
}

#[test]
fn the_page_of_media_quotes_a_run_with_both_kinds_of_disk() {
    let (run, _) = quotes("docs/media.md", |run, _| {
        let results = ResultSet::of(run);
        let of_media = claims(&results).into_iter().filter(|claim| claim.id.starts_with("ssd-"));
        let found = of_media.flat_map(|claim| {
            let measured = claim.findings.into_iter().filter(|found| found.verdict != Verdict::NotMeasured);
            measured.map(move |found| {
                let (question, verdict) = (claim.question, found.verdict.words());
                format!("* {question} {}: **{verdict}**: {}\n", found.subject(), found.words)
            })
        });
        found.collect()
    });
    let classes: Vec<_> =
        run.manifest.stores.iter().filter_map(|store| store.medium.as_ref()).map(|m| m.class).collect();
    assert_eq!(classes, [MediumClass::SolidState, MediumClass::Spinning]);
}

#[test]
fn the_page_of_file_systems_quotes_a_run_with_several() {
    let (run, _) = quotes("docs/file-systems.md", |_, report| {
        let across = report.in_short.iter().filter(|sentence| sentence.starts_with("Stores against each other: "));
        across.map(|sentence| format!("* {}\n", sentence.trim_start_matches("Stores against each other: "))).collect()
    });
    let kinds: Vec<_> = run.manifest.stores.iter().map(|store| (store.fs_type.as_str(), store.journal)).collect();
    assert_eq!(kinds, [("ext4", Some(true)), ("ext4", Some(false)), ("xfs", Some(true)), ("btrfs", None)]);
}

#[test]
fn the_page_of_aufs_quotes_a_run_with_aufs_and_says_what_became_of_each_claim() {
    let (run, _) = quotes("docs/aufs.md", |run, report| {
        let results = ResultSet::of(run);
        let of_aufs = claims(&results).into_iter().flat_map(|claim| {
            let findings = claim.findings.into_iter().filter(|found| found.driver == "aufs");
            findings.map(move |found| (claim.question, found))
        });
        let verdicts: String = of_aufs
            .filter(|(_, found)| found.verdict != Verdict::NotMeasured)
            .map(|(question, found)| {
                let part = if found.part.is_empty() { String::new() } else { format!(" ({})", found.part) };
                format!("* {question}{part} **{}**: {}\n", found.verdict.words(), found.words)
            })
            .collect();
        format!("{}\nClaim by claim, for aufs:\n\n{verdicts}", sentences(run, report))
    });
    assert!(run.manifest.guest.is_some_and(|guest| guest.counted), "one that anybody can repeat, whatever the machine");
}

fn sentences(_: &Run, report: &RenderedReport) -> String {
    report.in_short.iter().map(|sentence| format!("* {sentence}\n")).collect()
}

/// Checks that a page has `figures` of the run in results/ that it links, and that the committed report is the one which the run gives.
fn quotes(page: &str, figures: impl Fn(&Run, &RenderedReport) -> String) -> (Run, RenderedReport) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runs = list_runs(&root.join("results")).unwrap();
    // Results of one's own may lie beside it.
    let path = root.join(page);
    let text = fs::read_to_string(&path).unwrap();
    let named =
        |run: &Path| run.file_name().is_some_and(|name| text.contains(&format!("results/{}/)", name.display())));
    let folder =
        runs.iter().find(|run| named(run)).unwrap_or_else(|| panic!("{page} links no run that is in results/"));
    let run = Run::load(folder).unwrap();
    assert!(run.damaged.is_empty() && !run.truncated && !run.manifest.smoke);
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
    let committed = root.join("reports").join(folder.file_name().unwrap()).join("index.md");
    let (found, expected) = (fs::read_to_string(&committed).unwrap(), fs::read_to_string(&report.markdown).unwrap());
    for (i, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{}:{}: render it again", committed.display(), i + 1);
    }
    assert_eq!(found.len(), expected.len(), "{}", committed.display());
    (run, report)
}
