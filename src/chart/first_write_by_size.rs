//! First write against file size: does the cost of a copy_up grow with the file?

use super::draw::{Axis, Panel, Scale, panels};
use super::select::{at_the_base, figure_name, lines, median, pick, store_words, summaries, values};
use super::text::{format_bytes, format_ns, format_ratio, list};
use super::{Chart, ChartError, Figure};
use crate::analysis::ResultSet;
use crate::record::metric::FIRST_WRITE_NS;

pub(super) struct FirstWriteBySize;

const NAME: &str = "first_write_by_size";

impl Chart for FirstWriteBySize {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "first-write latency against file size, median and 10th to 90th percentile"
    }

    fn draw(&self, data: &ResultSet) -> Result<Vec<Figure>, ChartError> {
        let metric = &*FIRST_WRITE_NS.name;
        let Some(cache) = data.usual_cache(metric) else { return Ok(Vec::new()) };
        let mut figures = Vec::new();
        for store in data.stores(metric) {
            let all = at_the_base(pick(data, metric, &store, |p| p.cache == cache));
            // The shallowest stack: what a single copy costs, with as little look-up as there is.
            let Some(depth) = values(&all, |p| p.depth).into_iter().next() else { continue };
            let groups: Vec<_> = all.into_iter().filter(|g| g.key.params.depth == depth).collect();
            let sizes = values(&groups, |p| p.file_size_bytes);
            let (Some(&small), Some(&large)) = (sizes.first(), sizes.last()) else { continue };
            let title = "First write against file size".to_owned();
            let subtitle = format!(
                "open for writing and one byte; median, band from 10th to 90th percentile; depth {depth}, caches {}{}",
                cache.as_str(),
                store_words(data, metric, &store)
            );
            let panel = Panel {
                title: String::new(),
                x: Axis {
                    title: "file size".into(),
                    scale: Scale::Log,
                    ticks: sizes.iter().map(|s| *s as f64).collect(),
                    format: format_bytes,
                },
                y: Axis { title: "first write".into(), scale: Scale::Log, ticks: Vec::new(), format: format_ns },
                lines: lines(data, &groups, |p| p.file_size_bytes as f64),
            };
            let at = |driver: &str, size: u64| median(&groups, driver, |p| p.file_size_bytes == size);
            let said: Vec<String> = data
                .drivers()
                .iter()
                .filter_map(|driver| Some(format!("{} with {driver}", format_ns(at(driver, small)?))))
                .collect();
            let grown: Vec<String> = data
                .drivers()
                .iter()
                .filter_map(|driver| {
                    let (low, high) = (at(driver, small)?, at(driver, large)?);
                    (low > 0.0).then(|| format!("{} with {driver}", format_ratio(high / low)))
                })
                .collect();
            let second = if small == large {
                "Only one size was measured, so nothing is said of growth.".to_owned()
            } else {
                format!(
                    "From {} to {}, {} times the bytes, the median grows {}.",
                    format_bytes(small as f64),
                    format_bytes(large as f64),
                    large / small.max(1),
                    list(&grown)
                )
            };
            figures.push(Figure {
                name: figure_name(NAME, data, metric, &store),
                svg: panels(NAME, &title, &subtitle, &[panel], 1)?,
                title,
                subtitle,
                csv: summaries(metric, &groups),
                sentences: [
                    format!(
                        "The first write to a file of {} takes {} (medians).",
                        format_bytes(small as f64),
                        list(&said)
                    ),
                    second,
                ],
            });
        }
        Ok(figures)
    }
}
