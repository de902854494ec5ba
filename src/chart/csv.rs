//! Tables as CSV: RFC 4180 quoting, lines that end in `\n`, numbers with every digit they have.

use crate::analysis::Data;

/// A table being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Csv {
    text: String,
    columns: usize,
}

/// Columns that [`Csv::summary`] fills, for a metric in nanoseconds or bytes: the unit stands in the name.
pub(super) fn summary_columns(unit: &str) -> Vec<String> {
    let mut columns = vec!["n".to_owned(), "blocks".to_owned()];
    columns.extend(["min", "p10", "p50", "p90", "p99", "max", "p50_low", "p50_high"].map(|c| format!("{c}_{unit}")));
    columns.push("noise_ratio".to_owned());
    columns
}

/// Cells of [`summary_columns`].
pub(super) fn summary(data: &Data) -> Vec<String> {
    let s = &data.summary;
    let mut cells = vec![s.n.to_string(), s.blocks.to_string()];
    cells.extend([s.min, s.p10, s.p50, s.p90, s.p99, s.max].map(number));
    cells.push(optional(s.interval.map(|i| i.low)));
    cells.push(optional(s.interval.map(|i| i.high)));
    cells.push(optional(s.noise));
    cells
}

/// A number that may not exist: an empty cell, never a zero.
pub(super) fn optional(value: Option<f64>) -> String {
    value.map(number).unwrap_or_default()
}

/// A number with three decimals at most: beyond that there is only interpolation.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Csv {
    /// A table with these columns.
    pub fn new(columns: &[&str], more: &[String]) -> Csv {
        let mut csv = Csv { text: String::new(), columns: columns.len() + more.len() };
        csv.row(columns.iter().map(|c| (*c).to_owned()).chain(more.iter().cloned()));
        csv
    }

    /// Appends a row. Missing cells at its end stay empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<String> = cells.into_iter().map(|cell| quote(&cell)).collect();
        cells.resize(self.columns, String::new());
        self.text.push_str(&cells.join(","));
        self.text.push('\n');
    }

    /// Appends a row that says where, and the summary of the data there; no row where there is none.
    pub fn data(&mut self, place: &[&str], data: Option<&Data>) {
        if let Some(data) = data {
            self.row(place.iter().map(|cell| (*cell).to_owned()).chain(summary(data)));
        }
    }

    /// The table.
    pub fn finish(self) -> String {
        self.text
    }
}

fn quote(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_have_to_be_and_rows_are_filled_up() {
        let mut csv = Csv::new(&["a", "b"], &["c".to_owned()]);
        csv.row(["x,y".to_owned(), "say \"hi\"".to_owned()]);
        csv.row([number(1.5), number(200.0), optional(None)]);
        assert_eq!(csv.finish(), "a,b,c\n\"x,y\",\"say \"\"hi\"\"\",\n1.5,200,\n");
    }
}
