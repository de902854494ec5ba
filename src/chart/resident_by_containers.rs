//! Memory that the page cache keeps for containers that read the same files: once, or once for each.

use super::axis::{Axis, Quantity};
use super::csv::{Csv, number, optional, summary_columns};
use super::panel::{Mark, Panel, Point, Series, zeros};
use super::sheet::{Sheet, draw, short};
use super::style::{look, reference};
use super::words::{self, each, in_store};
use super::{Chart, ChartError, Figure, legend};
use crate::analysis::{Data, PageView, ResultSet, human};
use crate::record::metric;

/// See the module.
pub struct ResidentByContainers;

impl Chart for ResidentByContainers {
    fn name(&self) -> &'static str {
        "resident_by_containers"
    }

    fn about(&self) -> &'static str {
        "bytes that stay resident against the number of containers that read the same files"
    }

    fn is_main(&self) -> bool {
        true
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let Some(this) = PageView::of(data, store) else { return Ok(None) };
        let most = this.containers.last().copied().unwrap_or(1);
        let once = read_set(&this);

        let mut columns = summary_columns("bytes");
        columns.extend(["read_set_bytes", "shared_pages_count", "checked_pages_count"].map(str::to_owned));
        columns.extend(["mapped_shared_pages_count", "mapped_checked_pages_count"].map(str::to_owned));
        columns.push("charged_bytes".to_owned());
        let mut csv =
            Csv::new(&["store", "driver", "containers", "depth_layers", "file_size_bytes", "files", "cache"], &columns);
        let mut series = Vec::new();
        for driver in &this.drivers {
            let points = this.containers.iter().map(|n| (f64::from(*n), resident(&this, driver, *n)));
            // The label has room for a name and the proof.
            let proof = match this.frames(driver, most) {
                Some((shared, checked)) => human::percent(shared as f64 / checked as f64),
                None => "unchecked".to_owned(),
            };
            let label = if most > 1 { format!("{}: {proof}", short(driver, 18)) } else { (*driver).to_owned() };
            series.push(Series::of(look(&data.drivers, driver), points).labelled(label));
            for n in &this.containers {
                let Some(found) = resident(&this, driver, *n) else { continue };
                let p = &this.params;
                let place = [store, driver, &n.to_string(), &p.depth.to_string(), &p.file_size_bytes.to_string()];
                let place = place.into_iter().map(str::to_owned);
                let place = place.chain([p.files.to_string(), p.cache.as_str().to_owned()]);
                let group = this.at(driver, *n);
                let read = group.and_then(|group| group.metric(&metric::READ_SET_BYTES.name)).map(Data::p50);
                let frames = [this.frames(driver, *n), this.mapped_frames(driver, *n)]
                    .into_iter()
                    .flat_map(|frames| [frames.map(|f| f.0), frames.map(|f| f.1)])
                    .map(|count| count.map(|count| count.to_string()).unwrap_or_default());
                let charged = optional(this.charged(driver, *n));
                csv.row(place.chain(super::csv::summary(found)).chain([optional(read)]).chain(frames).chain([charged]));
            }
        }
        let mut entries = legend(data, &this.drivers);
        if let Some(once) = once {
            for (i, name) in ["shared: once", "not shared: once per container"].into_iter().enumerate() {
                let bytes = |n: u32| if i == 0 { once } else { once * f64::from(n) };
                let at = |n: &u32| Some(Point { x: f64::from(*n), y: bytes(*n), band: None, mark: Mark::None });
                let points = this.containers.iter().map(at).collect();
                // Below the measured lines.
                series.insert(i, Series { look: reference(i), points, label: None });
                entries.push((name.to_owned(), reference(i)));
                for n in &this.containers {
                    // Its only number stands in the column of the median's name, where a reader looks for it.
                    let cells = [store.to_owned(), format!("reference, {name}"), n.to_string()];
                    let blank = std::iter::repeat_n(String::new(), 8);
                    csv.row(cells.into_iter().chain(blank).chain([number(bytes(*n))]));
                }
            }
        }
        let values: Vec<f64> = data
            .stores
            .iter()
            .filter_map(|store| PageView::of(data, store))
            .flat_map(|view| {
                let n = view.containers.last().copied().unwrap_or(1);
                let references = read_set(&view).into_iter().flat_map(move |once| [once, once * f64::from(n)]);
                let resident = view
                    .drivers
                    .iter()
                    .flat_map(|d| view.containers.iter().filter_map(|n| resident(&view, d, *n)))
                    .flat_map(|data| [data.summary.p10, data.p50(), data.summary.p90])
                    .collect::<Vec<_>>();
                references.chain(resident)
            })
            .collect();
        let x: Vec<f64> = this.containers.iter().map(|n| f64::from(*n)).collect();
        let panels = vec![Panel {
            title: String::new(),
            x: Axis::at("containers reading the same files", Quantity::Count, &x),
            y: Axis::fit("resident bytes", Quantity::Bytes, values),
            series,
        }];
        let title = "Resident memory against the number of containers".to_owned();
        let p = &this.params;
        let subtitle = vec![format!(
            "{}{} of {} in a stack of {}, {} caches. Line: median. The share beside it: pages that are the same frames of memory, of \
             those compared with {}.{}",
            in_store(data, store),
            human::count(p.files, "file"),
            human::bytes(p.file_size_bytes as f64),
            human::count(p.depth, "layer"),
            p.cache.as_str(),
            human::count(most, "container"),
            zeros(&panels)
        )];
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            marks: data.marks.clone(),
            rows: vec![panels],
            columns: 1,
            row_height: 420,
            legend: entries,
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences: sentences(&this, most) }))
    }
}

fn resident<'a>(view: &PageView<'a>, driver: &str, containers: u32) -> Option<&'a Data> {
    view.at(driver, containers)?.metric(&metric::RESIDENT_BYTES.name)
}

/// Bytes of the files read, once: the largest that any driver reports, since they all read the same.
fn read_set(view: &PageView) -> Option<f64> {
    let points = view.drivers.iter().flat_map(|d| view.containers.iter().filter_map(|n| view.at(d, *n)));
    points.filter_map(|group| group.metric(&metric::READ_SET_BYTES.name)).map(Data::p50).max_by(f64::total_cmp)
}

fn sentences(view: &PageView, most: u32) -> [String; 2] {
    if most < 2 {
        return [
            "Only one container read, so whether containers share the page cache is not measured.".to_owned(),
            "The figure shows what one container keeps resident.".to_owned(),
        ];
    }
    let copies: Vec<(&str, f64)> = view
        .drivers
        .iter()
        .filter_map(|driver| {
            let once = view.at(driver, most)?.metric(&metric::READ_SET_BYTES.name)?.p50();
            (once > 0.0).then_some((*driver, resident(view, driver, most)?.p50() / once))
        })
        .collect();
    let first = words::copies(most, &copies);
    let frames: Vec<(&str, (u64, u64))> =
        view.drivers.iter().filter_map(|d| Some((*d, view.frames(d, most)?))).collect();
    let same: Vec<&str> = frames.iter().filter(|(_, (s, c))| s == c).map(|(d, _)| *d).collect();
    let none: Vec<&str> = frames.iter().filter(|(_, (s, _))| *s == 0).map(|(d, _)| *d).collect();
    let some: Vec<(&str, f64)> =
        frames.iter().filter(|(_, (s, c))| *s > 0 && s < c).map(|(d, (s, c))| (*d, *s as f64 / *c as f64)).collect();
    let mut clauses = Vec::new();
    if !same.is_empty() {
        clauses.push(format!("every page compared is the same page of memory with {}", human::list(&same)));
    }
    if !some.is_empty() {
        clauses.push(format!("a part of the pages is the same: {}", each(&some, human::percent)));
    }
    if !none.is_empty() {
        clauses.push(format!("no page is the same with {}", human::list(&none)));
    }
    let mut second = if clauses.is_empty() {
        "Whether the pages are the same pages of memory was not measured: that needs root.".to_owned()
    } else {
        format!("By page frame number, {}.", clauses.join("; "))
    };
    let share = |frames: Option<(u64, u64)>| frames.map(|(shared, checked)| shared as f64 / checked as f64);
    let mapped = view
        .drivers
        .iter()
        .filter_map(|d| Some((*d, share(view.mapped_frames(d, most))?, share(view.frames(d, most))?)));
    let mapped: Vec<_> = mapped.collect();
    let differ: Vec<(&str, f64)> = mapped.iter().filter(|(_, a, b)| a != b).map(|(d, a, _)| (*d, *a)).collect();
    if !mapped.is_empty() && differ.is_empty() {
        second.push_str(" The same holds for pages that are mapped.");
    } else if !differ.is_empty() {
        second.push_str(&format!(" Of pages that are mapped, it is another share: {}.", each(&differ, human::percent)));
    }
    let charged: Vec<(&str, f64)> = view
        .drivers
        .iter()
        .filter_map(|driver| {
            let once = view.at(driver, most)?.metric(&metric::READ_SET_BYTES.name)?.p50();
            (once > 0.0).then_some((*driver, view.charged(driver, most)? / once))
        })
        .collect();
    if !charged.is_empty() {
        let words = each(&charged, human::ratio);
        second.push_str(&format!(" The containers together are charged the files' size {words}."));
    }
    [first, second]
}
