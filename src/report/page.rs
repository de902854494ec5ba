//! The page before it is HTML or Markdown: blocks of text, tables and figures. Both writers print the same blocks, so the two pages
//! cannot say different things.

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
    /// A figure with its words.
    Figure { stem: String, title: String, svg: String, sentences: [String; 2] },
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub title: String,
    pub subtitle: String,
    pub blocks: Vec<Block>,
}
