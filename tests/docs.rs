//! The figures that the README quotes are those of the committed reference run, and regenerate from it.

use std::fs;
use std::path::Path;

use layerbench::record::{Run, list_runs};
use layerbench::report::render;

/// Where the quoted figures begin and end.
const MARKS: (&str, &str) = ("<!-- figures of the reference run -->\n", "<!-- end of figures -->");

#[test]
fn the_readme_quotes_the_reference_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runs = list_runs(&root.join("results")).unwrap();
    // Results of one's own may lie beside it; the reference run is the one that the README links.
    let path = root.join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let named =
        |run: &Path| run.file_name().is_some_and(|name| readme.contains(&format!("(results/{}/)", name.display())));
    let folder = runs.iter().find(|run| named(run)).expect("README.md links a run that is in results/");
    let run = Run::load(folder).unwrap();
    assert!(run.damaged.is_empty() && !run.truncated && !run.manifest.smoke);
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let report = render(&run, &scratch.path().join("report")).unwrap();
    let expected: String = report.in_short.iter().map(|sentence| format!("* {sentence}\n")).collect();

    let (head, rest) = readme.split_once(MARKS.0).expect("the mark where figures begin");
    let (found, tail) = rest.split_once(MARKS.1).expect("the mark where figures end");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, format!("{head}{}{expected}{}{tail}", MARKS.0, MARKS.1)).unwrap();
        return;
    }
    assert_eq!(found, expected, "README.md does not say what the reference run says: UPDATE_GOLDEN=1 if this is meant");
    // The committed report is the one that the committed run gives.
    let committed = root.join("reports").join(folder.file_name().unwrap()).join("index.md");
    let (found, expected) = (fs::read_to_string(&committed).unwrap(), fs::read_to_string(&report.markdown).unwrap());
    for (i, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{}:{}: render it again", committed.display(), i + 1);
    }
    assert_eq!(found.len(), expected.len(), "{}", committed.display());
}
