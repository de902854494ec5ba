//! The page as Markdown that GitHub renders: tables in its dialect, figures as links to their SVG files.

use super::page::{Block, Page, Span, Table, section_of};

/// Writes the page.
pub(super) fn write(page: &Page) -> String {
    let links =
        page.blocks.iter().filter_map(section_of).map(|(_, title)| format!("[{}](#{})", escape(title), anchor(title)));
    let links = links.collect::<Vec<_>>().join(" · ");
    let mut text = format!("# {}\n\n{}\n\n{links}\n", escape(&page.title), escape(&page.subtitle));
    write_blocks(&mut text, &page.blocks);
    text
}

fn write_blocks(text: &mut String, blocks: &[Block]) {
    for block in blocks {
        text.push('\n');
        match block {
            Block::Section { title, .. } => text.push_str(&format!("## {}\n", escape(title))),
            Block::Heading(title) => text.push_str(&format!("### {}\n", escape(title))),
            Block::Text(spans) => text.push_str(&format!("{}\n", write_spans(spans))),
            Block::Warning(spans) => text.push_str(&format!("> **Warning.** {}\n", write_spans(spans))),
            Block::Quote(quote) => text.push_str(&format!("> {}\n", escape(quote))),
            Block::List(items) => {
                for item in items {
                    text.push_str(&format!("- {}\n", write_spans(item)));
                }
            }
            Block::Table(table) => write_table(text, table),
            Block::Verbatim(verbatim) => text.push_str(&write_verbatim(verbatim)),
            Block::Figure { stem, title, sentences, .. } => text.push_str(&format!(
                "{}\n\n![{}](charts/{stem}.svg)\n\n{} [Numbers (CSV)](charts/{stem}.csv).\n",
                escape(&sentences[0]),
                escape(title),
                escape(&sentences[1])
            )),
            // The heading stays outside: links to it lead somewhere although the section is shut.
            Block::Fold { title, hint, blocks, .. } => {
                let hint = if hint.is_empty() { "Show" } else { hint };
                text.push_str(&format!("## {}\n\n<details>\n<summary>{}</summary>\n", escape(title), escape(hint)));
                write_blocks(text, blocks);
                text.push_str("\n</details>\n");
            }
        }
    }
}

/// The target that GitHub makes of a heading: letters, digits, `-` and `_` in lower case, spaces as `-`, nothing else.
fn anchor(title: &str) -> String {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c => c.is_alphanumeric().then_some(c),
    };
    title.to_lowercase().chars().filter_map(kept).collect()
}

/// Text with everything that Markdown or HTML would read as markup made harmless, on one line.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\n' | '\r' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Code between more backticks than it has in a row itself. A bar is escaped because it would end a table's cell, even in code.
fn code(text: &str) -> String {
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    let pad = if longest > 0 { " " } else { "" };
    format!("{fence}{pad}{}{pad}{fence}", text.replace(['\n', '\r'], " ").replace('|', "\\|"))
}

fn write_verbatim(text: &str) -> String {
    let text = text.trim_end_matches('\n');
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}\n{text}\n{fence}\n")
}

fn write_spans(spans: &[Span]) -> String {
    spans
        .iter()
        .map(|span| match span {
            Span::Text(text) => escape(text),
            Span::Strong(text) => format!("**{}**", escape(text)),
            Span::Code(text) => code(text),
        })
        .collect()
}

fn write_table(text: &mut String, table: &Table) {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    text.push_str(&row(table.head.iter().map(|cell| escape(cell)).collect()));
    let rule = |i| if table.numeric.contains(&i) { "---:" } else { "---" }.to_owned();
    text.push_str(&row((0..table.head.len()).map(rule).collect()));
    for cells in &table.rows {
        text.push_str(&row(cells.iter().map(|cell| write_spans(cell)).collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_is_harmless() {
        assert_eq!(escape("a|b *c* <img src=x> [d](e) `f`\ng"), "a\\|b \\*c\\* &lt;img src=x&gt; \\[d\\](e) \\`f\\` g");
        assert_eq!(code("plain"), "`plain`");
        assert_eq!(code("a `b`|c"), "`` a `b`\\|c ``");
        assert_eq!(write_verbatim("x\n```\ny\n"), "````\nx\n```\ny\n````\n");
    }

    #[test]
    fn a_heading_is_linked_as_github_names_it() {
        assert_eq!(anchor("In parallel: one process and many"), "in-parallel-one-process-and-many");
        assert_eq!(anchor("What Docker’s page on aufs says"), "what-dockers-page-on-aufs-says");
    }

    #[test]
    fn a_table_has_a_rule_and_aligned_numbers() {
        let table = Table {
            head: vec!["driver".into(), "p50".into()],
            rows: vec![vec![vec![Span::Code("a|b".into())], vec![Span::Text("71 µs".into())]]],
            numeric: vec![1],
        };
        let mut text = String::new();
        write_table(&mut text, &table);
        assert_eq!(text, "| driver | p50 |\n| --- | ---: |\n| `a\\|b` | 71 µs |\n");
    }
}
