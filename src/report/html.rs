//! The page as one HTML file: no script, no font, no image from elsewhere; light and dark, screen and paper.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::page::{Block, Page, Span, Table, section_of};

const STYLE: &str = include_str!("style.css");

/// Writes the page.
pub(super) fn write(page: &Page) -> String {
    let (shut, open): (Vec<&Block>, Vec<&Block>) =
        page.blocks.iter().filter(|block| section_of(block).is_some()).partition(|b| matches!(b, Block::Fold { .. }));
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (page.title) }
                    p.subtitle { (page.subtitle) }
                    nav aria-label="Contents" {
                        (links(&open))
                        @if !shut.is_empty() { p { "Details: " (links(&shut)) } }
                    }
                }
                main { @for block in &page.blocks { (write_block(block)) } }
            }
        }
    };
    let mut text = markup.into_string();
    text.push('\n');
    text
}

fn links(sections: &[&Block]) -> Markup {
    html! {
        @for (id, title) in sections.iter().filter_map(|block| section_of(block)) { a href={ "#" (id) } { (title) } " " }
    }
}

fn write_block(block: &Block) -> Markup {
    html! {
        @match block {
            Block::Section { id, title } => h2 id=(id) { (title) },
            Block::Heading(title) => h3 { (title) },
            Block::Text(spans) => p { (write_spans(spans)) },
            Block::Warning(spans) => p.warning role="note" { (write_spans(spans)) },
            Block::Quote(text) => blockquote { p { (text) } },
            Block::List(items) => ul { @for item in items { li { (write_spans(item)) } } },
            Block::Table(table) => (write_table(table)),
            Block::Verbatim(text) => pre { code { (text) } },
            Block::Figure { stem, title, svg, sentences } => {
                figure id=(stem) {
                    p.shows { (sentences[0]) }
                    div.plate { (PreEscaped(svg)) }
                    figcaption {
                        (sentences[1]) " "
                        a href={ "charts/" (stem) ".csv" } { "Numbers of “" (title) "” (CSV)" } ", "
                        a href={ "charts/" (stem) ".svg" } { "drawing (SVG)" } "."
                    }
                }
            },
            // The target lies inside: who follows a link to it finds the section open.
            Block::Fold { id, title, hint, blocks } => {
                details {
                    summary { h2 { (title) } @if !hint.is_empty() { " " span.hint { (hint) } } }
                    div id=(id) { @for block in blocks { (write_block(block)) } }
                }
            },
        }
        "\n"
    }
}

fn write_spans(spans: &[Span]) -> Markup {
    html! {
        @for span in spans {
            @match span {
                Span::Text(text) => (text),
                Span::Strong(text) => strong { (text) },
                Span::Code(text) => code { (text) },
            }
        }
    }
}

/// A cell of figures: broken between its spans, where it must be, and not within one.
fn write_figure(spans: &[Span]) -> Markup {
    html! {
        @for span in spans {
            " " span { (write_spans(std::slice::from_ref(span))) }
        }
    }
}

fn write_table(table: &Table) -> Markup {
    let class = |column: usize| table.numeric.contains(&column).then_some("number");
    // On a narrow page the cells of a table with two columns of words or more stand below each other, each with the head of its column: side by side
    // there is no room for both.
    let words = table.numeric.len() + 2 <= table.head.len();
    let head = |column: usize| table.head.get(column).filter(|_| words);
    html! {
        div.scroll tabindex="0" {
            table class=[words.then_some("words")] {
                thead { tr { @for (i, cell) in table.head.iter().enumerate() { th scope="col" class=[class(i)] { (cell) } } } }
                tbody {
                    @for row in &table.rows {
                        tr { @for (i, cell) in row.iter().enumerate() {
                            @match class(i) {
                                Some(class) => td class=(class) data-head=[head(i)] { (write_figure(cell)) },
                                None => td data-head=[head(i)] { (write_spans(cell)) },
                            }
                        } }
                        "\n"
                    }
                }
            }
        }
    }
}
