//! The page before it is HTML or Markdown: blocks of text, tables and figures. Both writers print the same blocks, so the two pages
//! cannot say different things.

use crate::analysis::human;

/// A run of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Span {
    Text(String),
    Strong(String),
    Code(String),
}

/// Text of several spans.
pub(super) type Spans = Vec<Span>;

/// Plain text.
pub(super) fn plain(text: impl Into<String>) -> Spans {
    vec![Span::Text(text.into())]
}

/// Text where `backticks` mark code.
pub(super) fn marked(text: &str) -> Spans {
    text.split('`')
        .enumerate()
        .filter(|(_, part)| !part.is_empty())
        .map(|(i, part)| if i % 2 == 1 { Span::Code(part.to_owned()) } else { Span::Text(part.to_owned()) })
        .collect()
}

/// A table. Rows have as many cells as the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<Spans>>,
    /// Columns that hold numbers, aligned to the right.
    pub numeric: Vec<usize>,
}

/// What a page is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    /// A section. `id` is the target of links.
    Section { id: &'static str, title: String },
    /// A heading within a section.
    Heading(String),
    /// A paragraph.
    Text(Spans),
    /// Something the reader must not miss.
    Warning(Spans),
    /// A quotation.
    Quote(String),
    /// A list.
    List(Vec<Spans>),
    /// A table.
    Table(Table),
    /// Verbatim text.
    Verbatim(String),
    /// A figure with its words: the first sentence is what it shows, and stands above it.
    Figure { stem: String, title: String, svg: String, sentences: [String; 2] },
    /// A section that is shut until somebody asks for it. `hint` says how much is in it.
    Fold { id: &'static str, title: String, hint: String, blocks: Vec<Block> },
}

/// The target of links and the title of a section, open or shut.
pub(super) fn section_of(block: &Block) -> Option<(&'static str, &str)> {
    match block {
        Block::Section { id, title } | Block::Fold { id, title, .. } => Some((*id, title.as_str())),
        _ => None,
    }
}

/// Shuts a section: its head, and what follows. Nothing where there is no section.
pub(super) fn fold(blocks: Vec<Block>) -> Option<Block> {
    let mut blocks = blocks.into_iter();
    let Some(Block::Section { id, title }) = blocks.next() else { return None };
    let blocks: Vec<Block> = blocks.collect();
    let hint = hint(&blocks);
    Some(Block::Fold { id, title, hint, blocks })
}

/// How much is in a section: `2 figures, 31 rows`.
fn hint(blocks: &[Block]) -> String {
    let figures = blocks.iter().filter(|block| matches!(block, Block::Figure { .. })).count();
    let rows: usize =
        blocks.iter().map(|block| if let Block::Table(table) = block { table.rows.len() } else { 0 }).sum();
    let notes: usize = blocks.iter().map(|block| if let Block::List(items) = block { items.len() } else { 0 }).sum();
    let parts = [(figures, "figure"), (rows, "row"), (notes, "note")].into_iter().filter(|(n, _)| *n > 0);
    parts.map(|(n, thing)| human::count(n as u64, thing)).collect::<Vec<_>>().join(", ")
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub title: String,
    pub subtitle: String,
    pub blocks: Vec<Block>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_shut_with_what_follows_it_and_says_how_much_that_is() {
        let table = Table { head: vec!["a".into()], rows: vec![vec![plain("1")], vec![plain("2")]], numeric: vec![] };
        let section = Block::Section { id: "x", title: "X".into() };
        let body = vec![Block::Text(plain("t")), Block::Table(table), Block::List(vec![plain("n")])];
        let blocks = std::iter::once(section).chain(body.clone()).collect();
        let expected = Block::Fold { id: "x", title: "X".into(), hint: "2 rows, 1 note".into(), blocks: body };
        assert_eq!(fold(blocks), Some(expected));
        assert_eq!(fold(Vec::new()), None);
    }
}
