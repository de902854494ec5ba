//! The modules use each other as docs say, and `unsafe` lives in `sys` alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which module may use which of ours. Data flows one way: nothing below `record` measures, nothing above it draws.
const MAY_USE: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("workload", &[]),
    ("record", &["workload"]),
    ("host", &["sys", "workload", "record"]),
    ("medium", &["sys", "record", "host"]),
    ("stack", &["sys", "workload"]),
    ("union", &["sys", "workload"]),
    ("driver", &["stack", "sys", "host", "record", "workload", "union"]),
    ("probe", &["stack", "sys", "host", "record", "workload"]),
    ("runner", &["sys", "workload", "record", "host", "medium", "stack", "driver", "probe"]),
    ("guest", &["sys", "workload", "record", "host", "driver", "runner"]),
    ("analysis", &["record", "workload"]),
    ("chart", &["analysis", "record", "workload"]),
    ("report", &["chart", "analysis", "record", "workload"]),
    (
        "cli",
        &[
            "sys", "workload", "record", "host", "medium", "stack", "union", "driver", "probe", "runner", "guest",
            "analysis", "chart", "report",
        ],
    ),
    // A program is a call of cli.
    ("bin", &["cli"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Sources of each top-level module of `src`.
fn modules() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut modules: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let module = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        if module.ends_with(".rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        modules.entry(module).or_default().push((relative.to_owned(), text));
    }
    modules
}

/// Modules named after `crate::` in a text, also in `use crate::{a, b::c}`.
fn used(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            None => names.push(word(rest)),
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (index, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && depth == 0 && !c.is_whitespace() => {
                            names.push(word(&list[index..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

#[test]
fn the_reader_of_use_lines_reads_both_forms() {
    assert_eq!(used("use crate::a::b; crate::c::d()"), ["a", "c"]);
    assert_eq!(used("use crate::{a::{self, x}, b};"), ["a", "b"]);
}

#[test]
fn modules_use_only_what_the_table_allows() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let modules = modules();
    assert_eq!(modules.keys().map(String::as_str).collect::<Vec<_>>(), {
        let mut names: Vec<&str> = allowed.keys().copied().collect();
        names.sort_unstable();
        names
    });
    let mut wrong = Vec::new();
    for (module, files) in &modules {
        for (file, text) in files {
            for name in used(text) {
                if name != *module && allowed.contains_key(name.as_str()) && !allowed[module.as_str()].contains(&&*name)
                {
                    wrong.push(format!("{}: {module} uses {name}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_cli_and_driver_know_the_union() {
    for (module, files) in modules() {
        for (file, text) in files {
            if used(&text).iter().any(|name| name == "union") {
                assert!(["union", "driver", "cli"].contains(&module.as_str()), "{}", file.display());
            }
        }
    }
}

#[test]
fn unsafe_blocks_live_in_sys_and_say_why_they_are_safe() {
    for (module, files) in modules() {
        for (file, text) in files {
            let code: Vec<&str> = text.lines().map(|l| l.split("//").next().unwrap_or(l)).collect();
            for (index, line) in code.iter().enumerate() {
                let has = line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl");
                if !has {
                    continue;
                }
                assert_eq!(module, "sys", "{}:{}: unsafe outside sys", file.display(), index + 1);
                let above: Vec<&str> = text.lines().take(index + 1).collect();
                let said = above.iter().rev().take(8).any(|l| l.contains("SAFETY:"));
                assert!(said, "{}:{}: unsafe without a SAFETY line", file.display(), index + 1);
            }
        }
    }
}
