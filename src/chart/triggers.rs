//! The first operation of each trigger of a copy_up, by driver: from the smallest file to the largest.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::{Axis, Quantity};
use super::csv::{Csv, summary_columns};
use super::lanes::Lanes;
use super::sheet::{
    Area, INK, MESH, WIDTH, at, canvas, draw_legend, head, head_height, legend_height, point, put, text,
};
use super::style::look;
use super::words::{change, ends, in_store};
use super::{Chart, ChartError, Figure, legend};
use crate::analysis::{ResultSet, TriggerView, compare, human};
use crate::workload::Trigger;

/// See the module.
pub struct Triggers;

const LANES: Lanes = Lanes { labels: 220, numbers: 84 };
const AXIS_HEIGHT: i32 = 60;

/// A trigger as people call it.
fn words(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Write => "write one byte",
        Trigger::Append => "append one byte",
        Trigger::OpenTruncate => "open with O_TRUNC",
        Trigger::OpenRdwr => "open for writing, no write",
        Trigger::Chmod => "chmod",
        Trigger::Chown => "chown to the same owner",
        Trigger::Utimens => "set the times",
        Trigger::Link => "link",
        Trigger::Rename => "rename",
        Trigger::Setxattr => "set an extended attribute",
        Trigger::Truncate => "truncate by one byte",
        Trigger::MmapStore => "store into a mapping",
    }
}

impl Chart for Triggers {
    fn name(&self) -> &'static str {
        "triggers"
    }

    fn about(&self) -> &'static str {
        "first operation by trigger and driver, for the smallest file and the largest: what besides a write brings a file up"
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let Some(view) = TriggerView::of(data, store) else { return Ok(None) };
        let mut csv = Csv::new(&["store", "trigger", "driver", "depth", "file_size_bytes"], &summary_columns("ns"));
        for trigger in &view.triggers {
            for driver in &view.drivers {
                for size in &view.sizes {
                    let place = [store, trigger.as_str(), driver, &view.params.depth.to_string(), &size.to_string()];
                    csv.data(&place, view.at(driver, *trigger, *size));
                }
            }
        }
        let (small, large) = (view.small(), view.large());
        let axis = axis(data);
        let step = if view.drivers.len() > 4 { 12 } else { 16 };
        let band = step * view.drivers.len() as i32 + 10;
        let title = "What brings a file up".to_owned();
        let sizes = if small == large {
            format!("a file of {}", human::bytes(large as f64))
        } else {
            format!(
                "a file of {} (small ring) and of {} (mark, and figure)",
                human::bytes(small as f64),
                human::bytes(large as f64)
            )
        };
        let subtitle = vec![format!(
            "{}Median of the first operation on {sizes}, {}, {} caches.",
            in_store(data, store),
            human::count(view.params.depth, "layer"),
            view.params.cache.as_str()
        )];
        let entries = legend(data, &view.drivers);
        let head_height = head_height(&subtitle, &data.marks);
        let height = head_height + band * view.triggers.len() as i32 + AXIS_HEIGHT + legend_height(&entries);
        let svg = canvas(&title, height, |root| {
            let top = head(root, &title, &subtitle, &data.marks)?;
            let bottom = top + band * view.triggers.len() as i32;
            LANES.draw_axis(root, &axis, (top, bottom), None)?;
            for (i, trigger) in view.triggers.iter().enumerate() {
                let y = top + band * i as i32;
                LANES.draw_name(root, words(*trigger), y + band / 2)?;
                let rule = vec![(at(16), at(y + band)), (at(WIDTH - 16), at(y + band))];
                root.draw(&PathElement::new(rule, MESH.stroke_width(1))).map_err(|e| e.to_string())?;
                for (slot, driver) in view.drivers.iter().enumerate() {
                    let of = |size| view.at(driver, *trigger, size).map(|data| data.p50());
                    let ends = (of(small).filter(|_| small != large), of(large));
                    draw_ends(root, data, &axis, driver, ends, y + 5 + step * slot as i32 + step / 2)?;
                }
            }
            draw_legend(root, &entries, bottom + AXIS_HEIGHT)
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences: sentences(data, &view) }))
    }
}

/// The scale, which holds every store's medians.
fn axis(data: &ResultSet) -> Axis {
    let views = data.stores.iter().filter_map(|store| TriggerView::of(data, store)).collect::<Vec<_>>();
    let values = views.iter().flat_map(|view| {
        let sizes = [view.small(), view.large()];
        let points =
            view.drivers.iter().flat_map(|driver| view.triggers.iter().map(move |trigger| (*driver, *trigger)));
        points
            .flat_map(move |(driver, trigger)| sizes.map(|size| view.at(driver, trigger, size).map(|data| data.p50())))
    });
    Axis::fit("first operation", Quantity::Ns, values.flatten())
}

/// A ring for the small file, a mark and a figure for the large one, and a line from one to the other.
fn draw_ends(
    root: &Area,
    data: &ResultSet,
    axis: &Axis,
    driver: &str,
    (small, large): (Option<f64>, Option<f64>),
    y: i32,
) -> Result<(), String> {
    let error = |e: DrawingAreaErrorKind<std::io::Error>| e.to_string();
    let look = look(&data.drivers, driver);
    if let (Some(small), Some(large)) = (small, large) {
        let line = vec![(LANES.x(axis, small), at(y)), (LANES.x(axis, large), at(y))];
        root.draw(&PathElement::new(line, look.colour.stroke_width(3))).map_err(error)?;
    }
    if let Some(small) = small {
        let centre = (LANES.x(axis, small), at(y));
        root.draw(&Circle::new(centre, 7, WHITE.filled())).map_err(error)?;
        root.draw(&Circle::new(centre, 7, look.colour.stroke_width(3))).map_err(error)?;
    }
    if let Some(large) = large {
        point(root, (LANES.x(axis, large), at(y)), &look)?;
        put(root, &human::ns(large), (WIDTH - 18, y), text(11, INK, HPos::Right, VPos::Center))?;
    }
    Ok(())
}

fn sentences(data: &ResultSet, view: &TriggerView) -> [String; 2] {
    let (small, large) = (view.small(), view.large());
    let others = || view.drivers.iter().copied().filter(|driver| !data.is_baseline(driver));
    let mut dearest = Vec::new();
    for driver in others() {
        let of = |trigger: &Trigger| Some((words(*trigger), view.at(driver, *trigger, large)?.p50()));
        let medians: Vec<(&str, f64)> = view.triggers.iter().filter_map(of).collect();
        if let Some((low, high)) = ends(&medians, human::ns) {
            dearest.push(format!("with {driver} from {low} to {high}"));
        }
    }
    let first = match dearest.is_empty() {
        true => "No driver with layers was measured.".to_owned(),
        false => format!(
            "On a file of {}, the first operation ranges {}.",
            human::bytes(large as f64),
            human::list(&dearest)
        ),
    };
    // chmod stands for what changes no data: copying there is what a union could do without.
    let trigger = [Trigger::Chmod, Trigger::Chown, Trigger::Utimens].into_iter().find(|t| view.triggers.contains(t));
    let second = match trigger.filter(|_| small != large) {
        Some(trigger) => {
            let items: Vec<_> = others()
                .map(|driver| {
                    let of = |size| view.at(driver, trigger, size);
                    (driver, of(large).zip(of(small)).and_then(|(large, small)| compare(large, small)))
                })
                .collect();
            format!(
                "A {} changes no data: a file of {} instead of {} {}.",
                trigger.as_str(),
                human::bytes(large as f64),
                human::bytes(small as f64),
                change(&items)
            )
        }
        None => "Whether what changes no data copies data was not measured.".to_owned(),
    };
    [first, second]
}
