//! How the first write grows with depth and with size, and whether the two compound.

use std::collections::BTreeMap;

use super::super::bootstrap::{Interval, Replicates};
use super::super::claims::{Effect, LONGER, Verdict, What};
use super::super::compare::{Comparison, Difference, Statistic, compare};
use super::super::human;
use super::super::null;
use super::super::results::{Data, Group, ResultSet};
use super::super::view::{View, measured_well};
use super::ratio::{Basis, Found, Judged, Parts, Side, found, known, whole};
use super::{groups, none};

const FIRST_WRITE: What = What::of("copy_up", "first_write_ns");

/// First writes of a driver over depth and size, and between which of them it is judged: of the points that were measured well, since one that
/// stops at 127 layers is judged up to there, and a size up to the depth it was measured at.
struct Writes<'a> {
    points: BTreeMap<(u32, u64), (&'a Group, &'a Data)>,
    shallow: u32,
    small: u64,
    large: u64,
}

impl<'a> Writes<'a> {
    fn of(results: &'a ResultSet, store: &str, driver: &str) -> Option<Writes<'a>> {
        let view = View::first_write(results, store)?;
        let mine = measured_well(view.all().filter(|p| p.0 == driver).collect(), |point| point.3.summary.blocks);
        let groups = groups(results, store, driver, FIRST_WRITE);
        let point = |(_, depth, size, data): (&str, u32, u64, &'a Data)| {
            let (group, _) = groups.iter().find(|(_, found)| std::ptr::eq(*found, data))?;
            Some(((depth, size), (*group, data)))
        };
        let points: BTreeMap<(u32, u64), (&Group, &Data)> = mine.into_iter().filter_map(point).collect();
        let shallow = points.keys().map(|at| at.0).min()?;
        let sizes = || points.keys().filter(|at| at.0 == shallow).map(|at| at.1);
        let (small, large) = (sizes().min()?, sizes().max()?);
        Some(Writes { points, shallow, small, large })
    }

    /// The deepest stack in which files of a size were measured.
    fn deep(&self, size: u64) -> u32 {
        self.points.keys().filter(|at| at.1 == size).map(|at| at.0).max().unwrap_or(self.shallow)
    }

    fn at(&self, depth: u32, size: u64) -> Result<(&'a Group, &'a Data), String> {
        self.points.get(&(depth, size)).copied().ok_or_else(|| {
            let size = human::bytes(size as f64);
            format!("A first write to a file of {size} below {} was not measured.", human::count(depth, "layer"))
        })
    }
}

fn no_ratio() -> String {
    "A median is 0: there is no ratio.".to_owned()
}

/// How the first write grows with depth: what holds for small files need not hold for large ones, which take long enough to hide it.
pub(super) fn grows_with_depth(results: &ResultSet, store: &str, driver: &str) -> Parts {
    let Some(writes) = Writes::of(results, store, driver) else { return whole(Err(none(FIRST_WRITE, driver))) };
    let mut sizes = vec![writes.small, writes.large];
    sizes.dedup();
    let several = sizes.len() > 1;
    let of = |size: u64| {
        let (shallow, deep) = (writes.shallow, writes.deep(size));
        let name = human::bytes(size as f64);
        if shallow == deep {
            return Err(format!("Only stacks of {} were measured.", human::count(deep, "layer")));
        }
        let (subject, base) = (writes.at(deep, size)?, writes.at(shallow, size)?);
        let c = compare(subject.1, base.1).ok_or_else(no_ratio)?;
        let absolute = [subject.1.p50(), base.1.p50()];
        let (a, b) = (human::ns(absolute[0]), human::ns(absolute[1]));
        let words = format!("below {deep} layers instead of {shallow}, {name}; {a} against {b}");
        found(&c, (Side::Above, LONGER), absolute, words, Basis::of([subject, base]))
    };
    let name = |size: u64| if several { human::bytes(size as f64) } else { String::new() };
    sizes.iter().map(|size| (name(*size), of(*size))).collect()
}

/// How the first write grows with size, in the shallowest stack.
pub(super) fn grows_with_size(results: &ResultSet, store: &str, driver: &str) -> Found {
    let writes = Writes::of(results, store, driver).ok_or_else(|| none(FIRST_WRITE, driver))?;
    let (s, l) = (human::bytes(writes.small as f64), human::bytes(writes.large as f64));
    if writes.small == writes.large {
        return Err(format!("Only files of {s} were measured."));
    }
    let (subject, base) = (writes.at(writes.shallow, writes.large)?, writes.at(writes.shallow, writes.small)?);
    let c = compare(subject.1, base.1).ok_or_else(no_ratio)?;
    let absolute = [subject.1.p50(), base.1.p50()];
    let (a, b) = (human::ns(absolute[0]), human::ns(absolute[1]));
    let words = format!("with {l} instead of {s}, {}; {a} against {b}", human::count(writes.shallow, "layer"));
    found(&c, (Side::Above, LONGER), absolute, words, Basis::of([subject, base]))
}

/// Whether depth and size compound: what depth adds to the first write to a large file, over what it adds to that to a small one. They add up where it is
/// the same. No model stands between the medians and the verdict. Where depth adds nothing that shows, nothing can be compounded with it.
pub(super) fn compounded(results: &ResultSet, store: &str, driver: &str) -> Found {
    let writes = Writes::of(results, store, driver).ok_or_else(|| none(FIRST_WRITE, driver))?;
    let (shallow, small, large) = (writes.shallow, writes.small, writes.large);
    let deep = writes.deep(large);
    if shallow == deep || small == large {
        return Err("It takes two depths and two sizes, each with each.".to_owned());
    }
    let corners =
        [writes.at(deep, large)?, writes.at(deep, small)?, writes.at(shallow, large)?, writes.at(shallow, small)?];
    let [both, d, s, neither] = corners.map(|corner| corner.1.p50());
    let (l, few) = (human::bytes(large as f64), human::bytes(small as f64));
    let told = format!(
        "at {l} of what depth adds at {few}, {deep} layers instead of {shallow}; {} - {} against {} - {}",
        human::ns(both),
        human::ns(s),
        human::ns(d),
        human::ns(neither)
    );
    // Without A against A nothing is said, not even that nothing shows.
    let noise = known(noise_of_depth(results, store, large))?;
    if !compare(corners[1].1, corners[3].1).is_some_and(|c| c.difference == Difference::Higher) {
        let effect = Effect { ratio: 1.0, interval: None, threshold: LONGER, noise: None, absolute: [d, neither] };
        let words = format!(
            "Depth adds nothing that shows at {few} ({} below {deep} layers, {} below {shallow}), so there is nothing for size to multiply.",
            human::ns(d),
            human::ns(neither)
        );
        return Ok(Judged { verdict: Verdict::Undecided, effect, words, basis: Basis::of(corners) });
    }
    let c = of_depth(corners.map(|corner| corner.1), Some(noise)).ok_or_else(no_ratio)?;
    found(&c, (Side::Above, LONGER), [both - s, d - neither], told, Basis::of(corners))
}

/// The ratio of [`compounded`], of the corners deep and large, deep and small, shallow and large, shallow and small. What depth adds to a large file is
/// the difference of two long times, and may come out below 0.
fn of_depth(corners: [&Data; 4], noise: Option<f64>) -> Option<Comparison> {
    let of = |v: &[f64]| (v[0] - v[2]) / (v[1] - v[3]);
    let ratio = of(&corners.map(|corner| corner.p50()));
    let replicates: Option<Vec<&Replicates>> =
        corners.iter().map(|corner| corner.statistic(Statistic::Median).1).collect();
    let interval = replicates
        .and_then(|parts| Replicates::combined(&parts, of))
        .and_then(|r| Interval::of_difference(r.estimate(), r.values(), r.blocks()));
    ratio.is_finite().then(|| Comparison::of(ratio, interval, noise))
}

/// A against A of such ratios: those of a twin over those of its original, with files of a size, at every depth. Where one is not above 0, chance is
/// larger than what is asked about.
fn noise_of_depth(results: &ResultSet, store: &str, size: u64) -> Option<f64> {
    let ratios_of = |driver: &str| -> BTreeMap<u32, f64> {
        let Some(writes) = Writes::of(results, store, driver) else { return BTreeMap::new() };
        let (shallow, small) = (writes.shallow, writes.small);
        let ratio = |depth: u32| {
            let corners = [(depth, size), (depth, small), (shallow, size), (shallow, small)];
            let [both, d, s, neither] = corners.map(|(depth, size)| writes.at(depth, size).map(|at| at.1).ok());
            Some((depth, of_depth([both?, d?, s?, neither?], None)?.ratio))
        };
        let deeper = writes.points.keys().filter(|at| at.0 > shallow && at.1 == size);
        deeper.filter_map(|at| ratio(at.0)).collect()
    };
    let factors = results.twins.iter().flat_map(|twin| {
        let original = twin.twin_of.as_deref().map(ratios_of).unwrap_or_default();
        let pair = |(at, ratio): (u32, f64)| {
            let original = *original.get(&at)?;
            Some(if ratio > 0.0 && original > 0.0 { ratio / original } else { f64::MAX })
        };
        ratios_of(&twin.label).into_iter().filter_map(pair).collect::<Vec<f64>>()
    });
    null::largest(factors)
}

#[cfg(test)]
mod tests {
    use super::super::super::results::blocks;
    use super::super::ratio::decide;
    use super::*;

    #[test]
    fn depth_and_size_compound_when_depth_costs_more_for_a_large_file() {
        // Blocks that differ, the same way at every point.
        let data = |median: u64| {
            let lists = [99, 100, 101].map(|percent| [median * percent / 100; 3]);
            Data::of(&blocks(&[&lists[0], &lists[1], &lists[2]])).unwrap()
        };
        let (small, depth, size) = (data(1000), data(1500), data(5000));
        let above = (Side::Above, LONGER);
        // Depth adds 500 to a small file.
        for (both, ratio, verdict) in [
            (data(5500), 1.0, Verdict::Refuted),
            (data(7500), 5.0, Verdict::Supported),
            (data(5200), 0.4, Verdict::Refuted),
            (data(4900), -0.2, Verdict::Refuted),
            (data(5560), 1.12, Verdict::Undecided),
        ] {
            let c = of_depth([&both, &depth, &size, &small], Some(1.04)).unwrap();
            assert!((c.ratio - ratio).abs() < 1e-9, "{c:?}");
            assert_eq!(decide(&c, above).unwrap().0, verdict, "{c:?}");
            for noise in [20.0, f64::MAX] {
                let noisy = of_depth([&both, &depth, &size, &small], Some(noise)).unwrap();
                let beyond = if ratio > 0.0 { Verdict::Undecided } else { verdict };
                assert_eq!(decide(&noisy, above).unwrap().0, beyond, "{noisy:?}");
            }
        }
        // Where depth adds nothing to a small file there is no ratio.
        assert_eq!(of_depth([&size, &small, &small, &small], None), None);
    }
}
