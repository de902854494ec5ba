//! The whole distribution of the first write at one point, as HdrHistogram plots it: the tail is where containers wait. Once with every write,
//! and once without the first one of each process, which is unlike the others.

use super::axis::{Axis, Quantity};
use super::csv::{Csv, number};
use super::panel::{Mark, Panel, Point, Series, zeros};
use super::sheet::{Sheet, draw};
use super::style::look;
use super::words::{capital, ends, in_store};
use super::{Chart, ChartError, Figure, legend};
use crate::analysis::{Data, ResultSet, View, human, quantile};

/// See the module.
pub struct FirstWriteDistribution;

/// Shares of samples above the drawn percentiles, within each power of ten.
const TAILS: [f64; 12] = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.12];

impl Chart for FirstWriteDistribution {
    fn name(&self) -> &'static str {
        "first_write_distribution"
    }

    fn about(&self) -> &'static str {
        "percentiles of the latency of the first write, the tail stretched"
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let Some(this) = View::first_write(data, store) else { return Ok(None) };
        let (depth, size) = (this.shallow(), this.small());

        let mut csv = Csv::new(
            &[
                "store",
                "driver",
                "writes",
                "depth_layers",
                "file_size_bytes",
                "cache",
                "target",
                "n",
                "percentile",
                "latency_ns",
            ],
            &[],
        );
        let found: Vec<(&str, &Data)> =
            this.drivers.iter().filter_map(|d| Some((*d, this.at(d, depth, size)?))).collect();
        let later: Vec<(&str, Data)> = found.iter().filter_map(|(d, data)| Some((*d, without_first(data)?))).collect();
        let mut lines = |writes: &str, lines: &mut dyn Iterator<Item = (&str, &Data)>| {
            let mut series = Vec::new();
            for (driver, found) in lines {
                let mut points = Vec::new();
                for (tail, value, mark) in percentiles(found) {
                    let mark = if mark { Mark::Filled } else { Mark::None };
                    points.push(Some(Point { x: 1.0 / tail, y: value, band: None, mark }));
                    csv.row([
                        store.to_owned(),
                        driver.to_owned(),
                        writes.to_owned(),
                        depth.to_string(),
                        size.to_string(),
                        this.cache.as_str().to_owned(),
                        this.target.words(),
                        found.summary.n.to_string(),
                        format!("{:.6}", 100.0 * (1.0 - tail)).trim_end_matches('0').trim_end_matches('.').to_owned(),
                        number(value),
                    ]);
                }
                series.push(Series { look: look(&data.drivers, driver), points, label: None });
            }
            (capital(writes), series)
        };
        let panels = [
            lines("every write", &mut found.iter().copied()),
            lines("without the first of each process", &mut later.iter().map(|(d, data)| (*d, data))),
        ];
        // An interrupted run may have both values, and not the point where they meet.
        if found.is_empty() {
            return Ok(None);
        }
        // The same place in every store, so that the scales are shared.
        let all: Vec<&Data> = View::first_writes(data)
            .iter()
            .flat_map(|view| {
                view.all().filter(|(_, d, s, _)| (*d, *s) == (depth, size)).map(|p| p.3).collect::<Vec<_>>()
            })
            .collect();
        let most = all.iter().map(|data| data.summary.n).max().unwrap_or(1) as f64;
        let later_all: Vec<Data> = all.iter().filter_map(|data| without_first(data)).collect();
        let values = all.iter().copied().chain(&later_all).flat_map(percentiles).map(|(_, value, _)| value);
        let y = Axis::fit("latency of the first write", Quantity::Ns, values);
        let drawn = panels.into_iter().filter(|(_, series)| !series.is_empty());
        let panels: Vec<_> =
            drawn.map(|(title, series)| Panel { title, x: Axis::percentiles(most), y: y.clone(), series }).collect();
        let title = "Distribution of the first write".to_owned();
        let subtitle = vec![format!(
            "{}Files of {}, {}, {}. Each line ends where one sample is left; to the right of 99 % is what one write in a \
             hundred waits. {}{}",
            in_store(data, store),
            human::bytes(size as f64),
            human::count(depth, "layer"),
            this.fixed(),
            slowest_first(&found),
            zeros(&panels)
        )];
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            marks: data.marks.clone(),
            rows: vec![panels],
            columns: 1,
            row_height: 440,
            legend: legend(data, &this.drivers),
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences: sentences(&this, depth, size) }))
    }
}

/// The first writes but for that of each process which is its first operation: a case is a process, with its samples in order.
fn without_first(data: &Data) -> Option<Data> {
    data.at_places(|place, _| place > 0)
}

/// In how many cases the first write of the process is the slowest of all, of those that have others.
fn slowest_first(found: &[(&str, &Data)]) -> String {
    let cases = found.iter().flat_map(|(_, data)| &data.cases).filter(|(_, samples)| samples.len() > 1);
    let first = |(_, samples): &&(u32, Vec<u64>)| samples.first() == samples.iter().max();
    let (firsts, all) = (cases.clone().filter(first).count(), cases.count());
    if all == 0 {
        return "No process wrote to more than one file.".to_owned();
    }
    format!(
        "A process’s first write is its slowest in {firsts} of {}; on the right it is left out.",
        human::count(all as u64, "case")
    )
}

/// Share of samples above, value, and whether it is a percentile with a name (50, 90, 99, ...). It ends where the share is that of
/// one sample: beyond that the samples know nothing.
fn percentiles(data: &Data) -> Vec<(f64, f64, bool)> {
    let least = 1.0 / data.summary.n as f64;
    let mut found = Vec::new();
    for decade in 0..9 {
        for step in TAILS {
            let tail = step * 10f64.powi(-decade);
            if tail < least * 0.999_999 {
                return found;
            }
            let named = (decade == 0 && step == 0.5) || (decade > 0 && step == 1.0);
            if let Some(value) = quantile(&data.sorted, 1.0 - tail) {
                found.push((tail, value, named));
            }
        }
    }
    found
}

fn sentences(view: &View, depth: u32, size: u64) -> [String; 2] {
    let found: Vec<(&str, &Data)> = view.drivers.iter().filter_map(|d| Some((*d, view.at(d, depth, size)?))).collect();
    let fewest = found.iter().map(|(_, data)| data.summary.n).min().unwrap_or(0);
    // A percentile that rests on a fraction of a sample is not quoted.
    let (name, tail): (&str, fn(&Data) -> f64) =
        if fewest >= 100 { ("99th", |data| data.summary.p99) } else { ("90th", |data| data.summary.p90) };
    let times = |data: &Data| (data.p50() > 0.0).then(|| tail(data) / data.p50());
    let ratios: Vec<(&str, f64)> = found.iter().filter_map(|(d, data)| Some((*d, times(data)?))).collect();
    let first = match ends(&ratios, human::ratio) {
        Some((low, high)) if ratios.len() > 1 => {
            format!("From the median to the {name} percentile the latency grows least with {low} and most with {high}.")
        }
        Some((one, _)) => format!("From the median to the {name} percentile the latency grows: {one}."),
        None => "How far the tail lies above the median cannot be said: no median is above 0.".to_owned(),
    };
    let tails: Vec<(&str, f64)> = found.iter().map(|(d, data)| (*d, tail(data))).collect();
    let second = match ends(&tails, human::ns) {
        Some((low, high)) if tails.len() > 1 => {
            format!(
                "The {name} percentile is lowest with {low} and highest with {high}; the fewest samples of a line are {fewest}."
            )
        }
        Some((one, _)) => {
            format!("The {name} percentile is that of {one}, from {}.", human::count(fewest as u64, "sample"))
        }
        None => "Nothing was measured at this point.".to_owned(),
    };
    [first, second]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_one_sample_is_left() {
        let data = |n: u64| {
            let samples: Vec<u64> = (1..=n).collect();
            Data::of(&[(1, vec![&samples[..]])].into()).unwrap()
        };
        assert_eq!(percentiles(&data(1)), vec![(1.0, 1.0, false)]);
        let ten = percentiles(&data(10));
        assert_eq!(ten.last().map(|p| p.2), Some(true));
        assert!((ten.last().unwrap().0 - 0.1).abs() < 1e-9 && (ten.last().unwrap().1 - 9.1).abs() < 1e-9);
        assert!(ten.iter().any(|p| p.0 == 0.5 && p.1 == 5.5 && p.2));
        assert!(ten.windows(2).all(|pair| pair[0].0 > pair[1].0 && pair[0].1 <= pair[1].1));
    }
}
