//! First write against depth: does it matter how many layers lie above the file?

use super::draw::{Axis, Panel, Scale, panels};
use super::select::{at_the_base, figure_name, lines, pick, store_words, summaries, values};
use super::text::{format_bytes, format_ns, format_ratio, list};
use super::{Chart, ChartError, Figure};
use crate::analysis::{ResultSet, ratio};
use crate::record::metric::FIRST_WRITE_NS;

pub(super) struct FirstWriteByDepth;

const NAME: &str = "first_write_by_depth";

/// A depth, as a tick.
pub(super) fn format_depth(value: f64) -> String {
    format!("{value:.0}")
}

impl Chart for FirstWriteByDepth {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "first-write latency against the depth of the stack, smallest and largest file"
    }

    fn draw(&self, data: &ResultSet) -> Result<Vec<Figure>, ChartError> {
        let metric = &*FIRST_WRITE_NS.name;
        let Some(cache) = data.usual_cache(metric) else { return Ok(Vec::new()) };
        let mut figures = Vec::new();
        for store in data.stores(metric) {
            let all = at_the_base(pick(data, metric, &store, |p| p.cache == cache));
            let sizes = values(&all, |p| p.file_size_bytes);
            let (Some(&small), Some(&large)) = (sizes.first(), sizes.last()) else { continue };
            let shown: Vec<u64> = if small == large { vec![small] } else { vec![small, large] };
            let groups: Vec<_> = all.into_iter().filter(|g| shown.contains(&g.key.params.file_size_bytes)).collect();
            let depths = values(&groups, |p| p.depth);
            let (Some(&shallow), Some(&deep)) = (depths.first(), depths.last()) else { continue };
            let title = "First write against depth".to_owned();
            let subtitle = format!(
                "the file lies in the lowest layer; median, band from 10th to 90th percentile; caches {}{}",
                cache.as_str(),
                store_words(data, metric, &store)
            );
            let list_of_panels: Vec<Panel> = shown
                .iter()
                .map(|size| Panel {
                    title: format!("files of {}", format_bytes(*size as f64)),
                    x: Axis {
                        title: "layers in the stack".into(),
                        scale: Scale::Log,
                        ticks: depths.iter().map(|d| f64::from(*d)).collect(),
                        format: format_depth,
                    },
                    y: Axis { title: "first write".into(), scale: Scale::Log, ticks: Vec::new(), format: format_ns },
                    lines: {
                        let of_size: Vec<_> =
                            groups.iter().copied().filter(|g| g.key.params.file_size_bytes == *size).collect();
                        lines(data, &of_size, |p| f64::from(p.depth))
                    },
                })
                .collect();
            let sentence = |size: u64| {
                let words: Vec<String> = data
                    .drivers()
                    .iter()
                    .filter_map(|driver| {
                        let find = |depth| {
                            groups.iter().find(|g| {
                                g.key.driver == *driver
                                    && g.key.params.file_size_bytes == size
                                    && g.key.params.depth == depth
                            })
                        };
                        let change = ratio(&find(deep)?.rounds, &find(shallow)?.rounds)?;
                        Some(if change.differs() {
                            format!("{} with {driver}", format_ratio(change.value))
                        } else {
                            format!("no difference with {driver}")
                        })
                    })
                    .collect();
                format!(
                    "For files of {}, {deep} layers cost this much of what {shallow} cost: {}.",
                    format_bytes(size as f64),
                    list(&words)
                )
            };
            let sentences = if shallow == deep {
                ["Only one depth was measured.".to_owned(), "Nothing is said of growth.".to_owned()]
            } else if small == large {
                [sentence(small), "Only one size was measured.".to_owned()]
            } else {
                [sentence(small), sentence(large)]
            };
            figures.push(Figure {
                name: figure_name(NAME, data, metric, &store),
                svg: panels(NAME, &title, &subtitle, &list_of_panels, 2)?,
                title,
                subtitle,
                csv: summaries(metric, &groups),
                sentences,
            });
        }
        Ok(figures)
    }
}
