//! The same report as Markdown, for a repository.

use std::fmt::Write as _;

use super::document::{Document, Table};

pub(super) fn page(document: &Document) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    write(&mut text, document).ok();
    text
}

fn write(out: &mut String, document: &Document) -> std::fmt::Result {
    writeln!(out, "# {}\n\n{}\n", escape(&document.title), escape(&document.subtitle))?;
    for warning in &document.warnings {
        writeln!(out, "> **{}**\n", escape(warning))?;
    }
    writeln!(out, "## In short\n")?;
    for sentence in &document.short {
        writeln!(out, "* {}", escape(sentence))?;
    }
    if !document.key_figures.rows.is_empty() {
        writeln!(out, "\n## Key figures\n")?;
        table(out, &document.key_figures)?;
        writeln!(out, "\n{}", escape(&document.key_note))?;
    }
    writeln!(out, "\n## What was claimed, and what was found\n")?;
    writeln!(
        out,
        "The claims are those of Docker's page on the aufs storage driver. A finding holds for this machine and these points."
    )?;
    for verdict in &document.verdicts {
        writeln!(out, "\n### “{}”\n\n{}\n", verdict.claim, escape(verdict.test))?;
        let rows = verdict
            .findings
            .iter()
            .map(|(driver, finding, words)| vec![driver.clone(), format!("**{}**", finding.words()), words.clone()]);
        let head = ["driver", "finding", "figures"].map(String::from).to_vec();
        table(out, &Table { head, rows: rows.collect() })?;
    }
    writeln!(out, "\n## Figures")?;
    for figure in &document.figures {
        let name = &figure.name;
        writeln!(out, "\n### {}\n\n![{}](charts/{name}.svg)\n", escape(&figure.title), escape(&figure.subtitle))?;
        writeln!(out, "{} {} ([CSV](charts/{name}.csv))", escape(&figure.sentences[0]), escape(&figure.sentences[1]))?;
    }
    if !document.not_drawn.is_empty() {
        writeln!(out, "\n### Not measured\n")?;
        for line in &document.not_drawn {
            writeln!(out, "* {}", escape(line))?;
        }
    }
    for (title, rows) in [("What was not here", &document.skipped), ("What failed", &document.failed)] {
        if !rows.rows.is_empty() {
            writeln!(out, "\n## {title}\n")?;
            table(out, rows)?;
        }
    }
    if !document.notes.is_empty() {
        writeln!(out, "\n## Notes of the cases\n")?;
        for note in &document.notes {
            writeln!(out, "* {}", escape(note))?;
        }
    }
    writeln!(out, "\n## How it was measured\n")?;
    for (title, why) in &document.studies {
        writeln!(out, "**{}.** {}\n", escape(title), escape(why))?;
    }
    writeln!(
        out,
        "Each case ran in a process and a mount of its own, in random order, round after round; every result was verified after the clock \
         had stopped. Medians have 95 % intervals from a bootstrap that resamples rounds first and samples second; a ratio whose interval \
         includes 1 is called no difference. Every sample is in `cases.jsonl` of the run; this page is made from it by `{}`.\n",
        document.regenerate
    )?;
    let machine = Table { head: vec!["what".into(), "value".into()], rows: document.machine.rows.clone() };
    table(out, &machine)
}

fn table(out: &mut String, table: &Table) -> std::fmt::Result {
    let line = |fields: &[String]| -> String {
        let fields: Vec<String> = fields.iter().map(|field| cell(field)).collect();
        format!("| {} |", fields.join(" | "))
    };
    writeln!(out, "{}", line(&table.head))?;
    writeln!(out, "|{}", " --- |".repeat(table.head.len()))?;
    for row in &table.rows {
        writeln!(out, "{}", line(row))?;
    }
    Ok(())
}

/// A field of a table: one line, no bar that would end it. Emphasis of our own stays.
fn cell(text: &str) -> String {
    escape(text).replace('|', "\\|").replace('\n', " ").replace("\\*\\*", "**")
}

/// Text that Markdown would take for markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '<' | '>' | '*' | '_' | '`' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
