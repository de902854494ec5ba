//! Resident bytes against the number of containers: is a page in memory once, or once a container?

use super::draw::{Axis, Line, Panel, Scale, panels};
use super::select::{SUMMARY_HEAD, figure_name, lines, pick, store_words, summary_row, values};
use super::text::{format_bytes, list};
use super::{Chart, ChartError, Figure};
use crate::analysis::{Group, ResultSet};
use crate::record::metric::{CHECKED_PAGES, READ_SET_BYTES, RESIDENT_BYTES, SHARED_PAGES};

pub(super) struct ResidentByContainers;

const NAME: &str = "resident_by_containers";

impl Chart for ResidentByContainers {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "page cache in use against the number of containers that read the same files"
    }

    fn draw(&self, data: &ResultSet) -> Result<Vec<Figure>, ChartError> {
        let metric = &*RESIDENT_BYTES.name;
        let mut figures = Vec::new();
        for store in data.stores(metric) {
            let all = pick(data, metric, &store, |_| true);
            // One panel a read set: different sizes have different reference lines.
            let sets = values(&all, |p| (p.depth, p.file_size_bytes, p.files));
            let mut csv = SUMMARY_HEAD.to_owned();
            let mut list_of_panels = Vec::new();
            for (depth, size, files) in sets {
                let groups: Vec<&Group> = all
                    .iter()
                    .copied()
                    .filter(|g| {
                        let p = g.key.params;
                        (p.depth, p.file_size_bytes, p.files) == (depth, size, files)
                    })
                    .collect();
                for group in &groups {
                    csv.push_str(&summary_row(metric, group));
                    for other in [&READ_SET_BYTES.name, &CHECKED_PAGES.name, &SHARED_PAGES.name] {
                        if let Some(found) = data.find(other, &group.key) {
                            csv.push_str(&summary_row(other, found));
                        }
                    }
                }
                let containers: Vec<f64> = values(&groups, |p| p.containers).iter().map(|n| f64::from(*n)).collect();
                let set = size as f64 * f64::from(files);
                let mut drawn = lines(data, &groups, |p| f64::from(p.containers));
                // Grey references come after the drivers' styles.
                let style = data.drivers().len();
                let reference = |label: &str, style: usize, y: &dyn Fn(f64) -> f64| Line {
                    label: label.to_owned(),
                    style,
                    points: containers.iter().map(|n| (*n, y(*n))).collect(),
                    band: Vec::new(),
                    markers: false,
                };
                drawn.push(reference("reference: once in all", style, &|_| set));
                drawn.push(reference("reference: once a container", style + 1, &|n| set * n));
                list_of_panels.push(Panel {
                    title: format!("{files} files of {}, depth {depth}", format_bytes(size as f64)),
                    x: Axis {
                        title: "containers".into(),
                        scale: Scale::Log,
                        ticks: containers,
                        format: super::first_write_by_depth::format_depth,
                    },
                    y: Axis {
                        title: "page cache in use".into(),
                        scale: Scale::Log,
                        ticks: binary_ticks(&drawn),
                        format: format_bytes,
                    },
                    lines: drawn,
                });
            }
            let title = "Page cache against the number of containers".to_owned();
            let subtitle = format!(
                "resident bytes after every container has read the same files, each inode counted once{}",
                store_words(data, metric, &store)
            );
            figures.push(Figure {
                name: figure_name(NAME, data, metric, &store),
                svg: panels(NAME, &title, &subtitle, &list_of_panels, 2)?,
                title,
                subtitle,
                csv,
                sentences: sentences(data, &all),
            });
        }
        Ok(figures)
    }
}

/// Powers of two around what is drawn.
fn binary_ticks(lines: &[Line]) -> Vec<f64> {
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|p| p.1)).filter(|v| *v > 0.0);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    if low > high {
        return Vec::new();
    }
    let (first, last) = (low.log2().floor() as i32, high.log2().ceil() as i32);
    let step = usize::try_from((last - first) / 6 + 1).unwrap_or(1);
    (first..=last).step_by(step).map(|n| 2f64.powi(n)).filter(|v| (low..=high).contains(v)).collect()
}

fn sentences(data: &ResultSet, groups: &[&Group]) -> [String; 2] {
    let Some(most) = values(groups, |p| p.containers).into_iter().next_back() else { return Default::default() };
    let mut grown = Vec::new();
    let mut proven = Vec::new();
    for driver in data.drivers() {
        let Some(group) = groups.iter().find(|g| g.key.driver == *driver && g.key.params.containers == most) else {
            continue;
        };
        let (Some(found), Some(set)) =
            (group.summary(), data.find(&READ_SET_BYTES.name, &group.key).and_then(Group::summary))
        else {
            continue;
        };
        if set.p50 > 0.0 {
            grown.push(format!("{:.2} times with {driver}", found.p50 / set.p50));
        }
        let checked = data.find(&CHECKED_PAGES.name, &group.key).and_then(Group::summary);
        let shared = data.find(&SHARED_PAGES.name, &group.key).and_then(Group::summary);
        if let (Some(checked), Some(shared)) = (checked, shared)
            && checked.p50 > 0.0
        {
            proven.push(format!("{:.0} % with {driver}", 100.0 * shared.p50 / checked.p50));
        }
    }
    let first = format!("After {most} containers have read the same files, these are resident {}.", list(&grown));
    let second = if proven.is_empty() {
        "Page frame numbers were not visible, so that sharing is counted and not proven.".to_owned()
    } else {
        format!("Page frame numbers prove the pages of two containers to be the same memory for {}.", list(&proven))
    };
    [first, second]
}
