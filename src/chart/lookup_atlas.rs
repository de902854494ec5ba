//! What else a name can be than there or not: an opaque directory, one that every layer has, the end of a long path; and what begins with a
//! look-up, open and listing. A row for each kind against the number of layers, the states of the caches side by side.

use super::lookup_panels::{Cell, STATES, directory_words, drivers, row, states, states_words, table};
use super::panel::zeros;
use super::sheet::{Sheet, draw, rows as in_rows};
use super::words::{capital, change, in_store};
use super::{Chart, ChartError, Figure, legend};
use crate::analysis::{ResultSet, compare, human};
use crate::record::{Metric, metric};

/// See the module.
pub struct LookupAtlas;

/// Name, metric, and the axis's title.
static KINDS: [(&str, Metric, &str); 5] = [
    ("opaque directory", metric::LOOKUP_OPAQUE_NS, "latency of stat"),
    ("merged directory", metric::LOOKUP_MERGED_NS, "latency of stat"),
    ("path of 16", metric::LOOKUP_PATH_NS, "latency of stat"),
    ("open", metric::OPEN_NS, "latency of open"),
    ("list a directory", metric::READDIR_NS, "time to list"),
];

impl Chart for LookupAtlas {
    fn name(&self) -> &'static str {
        "lookup_atlas"
    }

    fn about(&self) -> &'static str {
        "latency of opaque and merged directories, long paths, open and listing against the number of layers"
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let mut csv = table();
        let mut rows = Vec::new();
        let mut found = Vec::new();
        let states = states(data, KINDS.iter().map(|(_, metric, _)| metric));
        for (name, metric, title) in &KINDS {
            let cells: Vec<Cell> = states.iter().map(|cache| Cell { name, metric, cache: *cache }).collect();
            let Some(row) = row(data, store, title, &cells, &mut csv) else { continue };
            found.extend(row.drivers);
            rows.push(row.panels);
        }
        if rows.is_empty() {
            return Ok(None);
        }
        if states.len() == 1 {
            // Columns are of states; one alone would stretch each kind over the whole width.
            rows = in_rows(rows.into_iter().flatten().collect(), 2);
        }
        let title = "Directories, long paths, open and listing against depth".to_owned();
        let zeros = rows.iter().map(|row| zeros(row)).find(|text| !text.is_empty()).unwrap_or_default();
        let subtitle = vec![
            format!(
                "{}Opaque: in the top layer and the base. Merged, and listed with an entry of each: in every layer.",
                in_store(data, store)
            ),
            format!("Line: median; band: 10th to 90th percentile.{zeros}"),
            format!("{} {}", states_words(&states), directory_words(data)),
        ];
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            marks: data.marks.clone(),
            rows,
            columns: 1,
            row_height: 260,
            legend: legend(data, &drivers(data, found)),
        })?;
        let sentences = [
            growth(data, store, "looking up a directory that is in", &metric::LOOKUP_MERGED_NS),
            growth(data, store, "listing a directory with an entry in", &metric::READDIR_NS),
        ];
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences }))
    }
}

/// What depth does to one kind, in the coldest state that was measured.
fn growth(data: &ResultSet, store: &str, name: &'static str, metric: &Metric) -> String {
    let Some(view) = STATES.into_iter().find_map(|cache| Cell { name, metric, cache }.view(data, store)) else {
        return format!("{} each layer was not measured.", capital(name));
    };
    if view.shallow() == view.deep() {
        let at = human::count(view.deep(), "layer");
        return format!("Only stacks of {at} were measured, so what depth does to {name} each layer is not measured.");
    }
    let at = |driver, depth| view.at(driver, depth, view.small());
    let items: Vec<_> = view
        .drivers
        .iter()
        .map(|d| (*d, at(d, view.deep()).zip(at(d, view.shallow())).and_then(|(a, b)| compare(a, b))))
        .collect();
    let (cache, deep, shallow) = (view.cache.as_str(), view.deep(), view.shallow());
    format!("With {cache} caches, {name} each of {deep} layers, instead of {shallow}, {}.", change(&items))
}
