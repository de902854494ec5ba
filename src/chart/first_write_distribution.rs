//! Distribution of first writes, as a percentile plot in HdrHistogram's manner: how bad is a bad one?

use super::draw::{Axis, Line, Panel, Scale, panels};
use super::select::{at_the_base, figure_name, pick, store_words, values};
use super::text::{csv_field, format_bytes, format_ns, format_ratio, list};
use super::{Chart, ChartError, Figure};
use crate::analysis::{ResultSet, quantile};
use crate::record::metric::FIRST_WRITE_NS;

pub(super) struct FirstWriteDistribution;

const NAME: &str = "first_write_distribution";

/// x is 1/(1-p), on a log axis: each decade is a nine more.
fn format_percentile(x: f64) -> String {
    let percent = 100.0 - 100.0 / x;
    let text = format!("{percent:.2}");
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

impl Chart for FirstWriteDistribution {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "percentiles of first-write latency, every sample"
    }

    fn draw(&self, data: &ResultSet) -> Result<Vec<Figure>, ChartError> {
        let metric = &*FIRST_WRITE_NS.name;
        let Some(cache) = data.usual_cache(metric) else { return Ok(Vec::new()) };
        let mut figures = Vec::new();
        for store in data.stores(metric) {
            let groups = at_the_base(pick(data, metric, &store, |p| p.cache == cache));
            // The smallest file has the most samples, and all depths of it are one distribution too many: take the deepest.
            let Some(size) = values(&groups, |p| p.file_size_bytes).into_iter().next() else { continue };
            let of_size: Vec<_> = groups.into_iter().filter(|g| g.key.params.file_size_bytes == size).collect();
            let Some(depth) = values(&of_size, |p| p.depth).into_iter().next_back() else { continue };
            let mut csv = String::from("store,driver,depth,file_size_bytes,cache,percentile,first_write_ns\n");
            let mut lines = Vec::new();
            let mut spreads = Vec::new();
            for (style, driver) in data.drivers().iter().enumerate() {
                let Some(group) = of_size.iter().find(|g| g.key.driver == *driver && g.key.params.depth == depth)
                else {
                    continue;
                };
                let mut samples: Vec<u64> = group.rounds.iter().flatten().copied().collect();
                samples.sort_unstable();
                let last = samples.len() as f64;
                let points: Vec<(f64, f64)> = samples
                    .iter()
                    .enumerate()
                    // The i-th of n samples stands at (i - 0.5) / n, so that the largest has a place on the axis.
                    .map(|(i, ns)| (1.0 / (1.0 - (i as f64 + 0.5) / last), *ns as f64))
                    .collect();
                for (x, ns) in &points {
                    csv.push_str(&format!(
                        "{},{},{depth},{size},{},{:.4},{ns}\n",
                        csv_field(&store),
                        csv_field(driver),
                        cache.as_str(),
                        100.0 - 100.0 / x
                    ));
                }
                if let (Some(p50), Some(p99)) = (quantile(&samples, 0.5), quantile(&samples, 0.99))
                    && p50 > 0.0
                {
                    spreads.push((driver.clone(), p99 / p50, samples.len()));
                }
                lines.push(Line { label: driver.clone(), style, points, band: Vec::new(), markers: false });
            }
            let title = "Distribution of first writes".to_owned();
            let subtitle = format!(
                "every sample; files of {}, depth {depth}, caches {}{}",
                format_bytes(size as f64),
                cache.as_str(),
                store_words(data, metric, &store)
            );
            let panel = Panel {
                title: String::new(),
                x: Axis {
                    title: "percentile".into(),
                    scale: Scale::Log,
                    ticks: vec![4.0 / 3.0, 2.0, 4.0, 10.0, 100.0, 1000.0, 10000.0],
                    format: format_percentile,
                },
                y: Axis { title: "first write".into(), scale: Scale::Log, ticks: Vec::new(), format: format_ns },
                lines,
            };
            let widest: Vec<String> =
                spreads.iter().map(|(driver, spread, _)| format!("{} with {driver}", format_ratio(*spread))).collect();
            let samples = spreads.iter().map(|(_, _, n)| *n).min().unwrap_or(0);
            let steadiest = spreads.iter().min_by(|a, b| a.1.total_cmp(&b.1));
            figures.push(Figure {
                name: figure_name(NAME, data, metric, &store),
                svg: panels(NAME, &title, &subtitle, &[panel], 1)?,
                title,
                subtitle,
                csv,
                sentences: [
                    format!("The 99th percentile stands at this multiple of the median: {}.", list(&widest)),
                    match steadiest {
                        Some((driver, ..)) => format!(
                            "By that measure {driver} is the most predictable here; with {samples} samples a line or more, \
                             percentiles beyond {} rest on single samples.",
                            format_percentile((samples as f64 / 2.0).max(2.0))
                        ),
                        None => "Nothing can be said of its spread.".to_owned(),
                    },
                ],
            });
        }
        Ok(figures)
    }
}
