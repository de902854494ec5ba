//! What a first write costs, as a formula: t = fixed + a·depth + b·bytes + c·depth·bytes, for one driver in one store and one durability.
//!
//! Where the same writes were also made durable, that is a model of its own, of the time to durable; what its constants have more than those of
//! the write alone is the term of waiting for the disk ([`Sync`]).
//!
//! Times go over three orders of magnitude and are off by a factor rather than by an amount, so relative errors are made small, not
//! absolute ones: each point weighs 1 / predicted², found by iterating (McCullagh & Nelder, "Generalized Linear Models", 1989, on a constant
//! coefficient of variation), with Huber's weights against points that are far off (Huber, "Robust Statistics", 1981). Coefficients are reported as
//! found, also below 0.
//!
//! Whether the formula is worth anything is tested on cells (a depth and a size) that it has not seen: each cell is left out once and predicted from
//! the others, those at the edge too, for which that is an extrapolation. It describes; no claim is judged by it.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::bootstrap::{Interval, below, student_t};
use super::quantile::{median, quantile};
use super::results::{Data, Group};
use crate::record::{DriverInfo, metric};
use crate::workload::{CacheState, Durability, Params, ProbeName};

/// Bootstrap replicates of the coefficients.
const REPLICATES: usize = 300;
/// Relative residuals beyond this many robust standard deviations weigh less (Huber's constant for 95 % efficiency).
const HUBER: f64 = 1.345;
/// Iterations of the weights; they settle within ten.
const ITERATIONS: usize = 30;
/// Depths and sizes that a model needs, each.
const LEVELS_MIN: usize = 3;
/// Share of the product of depths and sizes that has to be measured: a sweep of each at one value of the other cannot tell depth × bytes from
/// the two alone.
const CROSSED_MIN: f64 = 0.5;
/// Share of the replicates that have to be fitted: those that cannot be are the widest ones.
const FITTED_MIN: f64 = 0.98;

/// One block's median at one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Layers from the top of the stack to the file's.
    pub depth: f64,
    /// Size of the file in bytes.
    pub bytes: f64,
    /// The block.
    pub block: u32,
    /// Median time in nanoseconds.
    pub ns: f64,
}

/// A coefficient with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Lower bound of the 95 % interval.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Estimate {
    /// What this is more than another, both estimated from other measurements.
    fn less(self, other: Estimate) -> Estimate {
        let (value, half) = (self.value - other.value, |e: Estimate| e.high - e.value);
        let half = half(self).hypot(half(other));
        Estimate { value, low: value - half, high: value + half }
    }
}

/// What waiting for the disk adds to a first write, where the driver does not wait of its own accord.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sync {
    /// Nanoseconds, whatever the size.
    pub fixed_ns: Estimate,
    /// Nanoseconds a byte.
    pub byte_ns: Estimate,
}

/// A depth and a size, as measured and as predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Layers from the top of the stack to the file's.
    pub depth: f64,
    /// Size of the file in bytes.
    pub bytes: f64,
    /// Median of all samples, as every other figure has it; of the points' times where only those are known. Nanoseconds.
    pub observed_ns: f64,
    /// How many samples, or points, that is the median of.
    pub n: usize,
    /// Whether there are cases among them whose caches the device contradicts.
    pub contradicted: bool,
    /// What the formula says that was fitted with it.
    pub fitted_ns: f64,
    /// What the formula says that was fitted without it.
    pub held_out_ns: f64,
}

impl Cell {
    /// How far the prediction without it is off, relative to what was observed.
    pub fn error(&self) -> f64 {
        self.held_out_ns / self.observed_ns - 1.0
    }
}

/// A fitted model.
#[derive(Debug, Clone, PartialEq)]
pub struct CostModel {
    /// Label of the driver.
    pub driver: String,
    /// Label of the store.
    pub store: String,
    /// Caches of every point.
    pub cache: CacheState,
    /// What was timed: the write alone, or until it was durable.
    pub durability: Durability,
    /// Nanoseconds that every first write takes.
    pub fixed_ns: Estimate,
    /// Nanoseconds a layer.
    pub layer_ns: Estimate,
    /// Nanoseconds a byte.
    pub byte_ns: Estimate,
    /// Nanoseconds a layer and byte.
    pub layer_byte_ns: Estimate,
    /// Prediction for the largest depth and size, divided by what it is without the last term: above 1, depth and size compound.
    pub compounding: Interval,
    /// The same as an estimate.
    pub compounding_ratio: f64,
    /// Of a model of the time to durable: what it has more than that of the write alone, if there is one.
    pub sync: Option<Sync>,
    /// Every depth and size that it was fitted to.
    pub cells: Vec<Cell>,
    /// Depths and sizes that were measured outside of the grid, without having been fitted to.
    pub beyond: Vec<Cell>,
    /// Blocks that the intervals rest on.
    pub blocks: usize,
}

impl CostModel {
    /// Median and largest absolute relative error of the held-out predictions.
    pub fn errors(&self) -> Option<(f64, f64)> {
        let mut errors: Vec<f64> = self.cells.iter().map(|cell| cell.error().abs()).collect();
        errors.sort_unstable_by(f64::total_cmp);
        Some((quantile(&errors, 0.5)?, *errors.last()?))
    }

    /// The cell whose prediction is the furthest off.
    pub fn worst(&self) -> Option<&Cell> {
        self.cells.iter().max_by(|a, b| a.error().abs().total_cmp(&b.error().abs()))
    }

    /// The deepest and largest cell, which is predicted from shallower and smaller ones alone.
    pub fn corner(&self) -> Option<&Cell> {
        self.cells.iter().max_by(|a, b| (a.depth * a.bytes).total_cmp(&(b.depth * b.bytes)))
    }
}

/// Why a driver has no model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFitted {
    /// Label of the driver.
    pub driver: String,
    /// Label of the store.
    pub store: String,
    /// What would have been its durability.
    pub durability: Durability,
    /// The reason, in words.
    pub reason: String,
}

/// What was measured of a driver in a store with one state of the caches: a point for each block, and each cell's data.
#[derive(Debug, Default)]
struct Measured<'a> {
    points: Vec<Point>,
    cells: BTreeMap<(u64, u64), &'a Data>,
}

/// By store, driver and state of the caches.
type Points<'a> = BTreeMap<(&'a str, &'a str, CacheState), Measured<'a>>;

/// The points of a durability: first writes to the file in the bottom layer, nothing unusual, one way to be deep. An empty file has nothing
/// to copy and nothing to wait for, another operation: it is left out.
fn points(groups: &[Group], durability: Durability) -> Points<'_> {
    let timed = match durability {
        Durability::Default => metric::FIRST_WRITE_NS,
        Durability::Fsync => metric::FIRST_DURABLE_NS,
    };
    let mut points = Points::new();
    for group in groups {
        let (key, p) = (&group.key, &group.key.params);
        let usual = Params { durability, ..p.plain() };
        if key.probe != ProbeName::CopyUp || p.target_layer != p.depth || usual != *p || p.containers != 1 {
            continue;
        }
        let Some(data) = group.metric(&timed.name).filter(|_| p.file_size_bytes > 0) else { continue };
        let at = points.entry((key.store.as_str(), key.driver.as_str(), p.cache)).or_default();
        let (depth, bytes) = (f64::from(p.depth), p.file_size_bytes as f64);
        let by_block = data.medians.iter().filter(|(_, ns)| *ns > 0.0);
        at.points.extend(by_block.map(|(block, ns)| Point { depth, bytes, block: *block, ns: *ns }));
        // Two workloads may measure the same cell with another number of files: the one with more samples is shown, as in every view.
        let cell = at.cells.entry((depth.to_bits(), bytes.to_bits())).or_insert(data);
        if data.summary.n > cell.summary.n {
            *cell = data;
        }
    }
    points
}

/// A model for each driver in each store, in the order of the run, of the write alone and, where it was measured, of the time to durable. Twins
/// are none of the drivers: they say what chance does.
pub(super) fn cost_models(
    groups: &[Group],
    stores: &[String],
    drivers: &[DriverInfo],
) -> Vec<Result<CostModel, NotFitted>> {
    let all: Vec<(Durability, Points)> = Durability::ALL.into_iter().map(|d| (d, points(groups, d))).collect();
    // One state of the caches for all, as in the figures: the one with the most points, of equals the first.
    let each = || all.iter().flat_map(|(_, points)| points);
    let count = |cache| each().filter(|(key, _)| key.2 == cache).map(|(_, found)| found.points.len()).sum::<usize>();
    let cache =
        CacheState::ALL.into_iter().min_by_key(|cache| std::cmp::Reverse(count(*cache))).unwrap_or(CacheState::Fresh);
    let mut models = Vec::new();
    for store in stores {
        for (durability, points) in &all {
            if *durability != Durability::default() && points.is_empty() {
                continue;
            }
            for driver in drivers {
                let model = match points.get(&(store.as_str(), driver.label.as_str(), cache)) {
                    None => Err("no first writes were measured"),
                    Some(found) => fit_model(&driver.label, store, cache, *durability, &found.points)
                        .map(|model| observed(model, &found.cells)),
                };
                models.push(match model {
                    Ok(model) => {
                        let sync = written(&models, &model).map(|alone| Sync {
                            fixed_ns: model.fixed_ns.less(alone.fixed_ns),
                            byte_ns: model.byte_ns.less(alone.byte_ns),
                        });
                        Ok(CostModel { sync, ..model })
                    }
                    Err(reason) => Err(NotFitted {
                        driver: driver.label.clone(),
                        store: store.clone(),
                        durability: *durability,
                        reason: reason.to_owned(),
                    }),
                });
            }
        }
    }
    models
}

/// The model with what its cells are in every other figure, the median of all samples: one quantity has one value.
fn observed(mut model: CostModel, cells: &BTreeMap<(u64, u64), &Data>) -> CostModel {
    for cell in model.cells.iter_mut().chain(&mut model.beyond) {
        if let Some(data) = cells.get(&(cell.depth.to_bits(), cell.bytes.to_bits())) {
            (cell.observed_ns, cell.n) = (data.p50(), data.summary.n);
            cell.contradicted = data.summary.contradicted > 0;
        }
    }
    model
}

/// Of a model of the time to durable: the model of the write alone.
fn written<'a>(models: &'a [Result<CostModel, NotFitted>], model: &CostModel) -> Option<&'a CostModel> {
    let alone =
        |m: &&CostModel| m.durability == Durability::Default && (&m.driver, &m.store) == (&model.driver, &model.store);
    models.iter().flatten().find(alone).filter(|_| model.durability != Durability::Default)
}

/// Coefficients: fixed, depth, bytes, depth x bytes; of depth and bytes relative to their largest.
type Coefficients = [f64; 4];

/// Fits a model to points.
pub fn fit_model(
    driver: &str,
    store: &str,
    cache: CacheState,
    durability: Durability,
    points: &[Point],
) -> Result<CostModel, &'static str> {
    let (points, beyond) = &crossed(points);
    let (depths, sizes) = (levels(points, |p| p.depth), levels(points, |p| p.bytes));
    let blocks: Vec<u32> = points.iter().map(|p| p.block).collect::<BTreeSet<u32>>().into_iter().collect();
    if depths.len() < LEVELS_MIN || sizes.len() < LEVELS_MIN {
        return Err("a model needs three depths and three sizes");
    }
    if blocks.len() < 2 {
        return Err("a model needs two blocks");
    }
    let measured: BTreeSet<(u64, u64)> = points.iter().map(cell_of).collect();
    if (measured.len() as f64) < CROSSED_MIN * (depths.len() * sizes.len()) as f64 {
        return Err("a model needs each depth with most of the sizes");
    }
    let (Some(&deepest), Some(&largest)) = (depths.last(), sizes.last()) else { return Err("there are no points") };
    let scale = Scale { depth: deepest.max(1.0), bytes: largest.max(1.0) };
    let ones = vec![1.0; points.len()];
    let unstable = "the points do not determine the formula";
    let found = fit(points, &ones, scale).ok_or(unstable)?;

    // Blocks are what varies; each replicate draws as many as there are.
    let mut rng = ChaCha8Rng::from_seed(
        *blake3::hash(format!("model {driver} {store} {}", durability.as_str()).as_bytes()).as_bytes(),
    );
    let mut replicates: Vec<Coefficients> = Vec::with_capacity(REPLICATES);
    for _ in 0..REPLICATES {
        let mut drawn = BTreeMap::new();
        for _ in 0..blocks.len() {
            if let Some(block) = blocks.get(below(&mut rng, blocks.len())) {
                *drawn.entry(*block).or_insert(0.0) += 1.0;
            }
        }
        let weights: Vec<f64> = points.iter().map(|p| drawn.get(&p.block).copied().unwrap_or(0.0)).collect();
        replicates.extend(fit(points, &weights, scale));
    }
    if (replicates.len() as f64) < FITTED_MIN * REPLICATES as f64 {
        return Err(unstable);
    }
    let k = blocks.len() as f64;
    let half = student_t(k - 1.0).ok_or(unstable)? * (k / (k - 1.0)).sqrt();
    let estimate = |of: &dyn Fn(&Coefficients) -> f64| {
        let values: Vec<f64> = replicates.iter().map(of).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let se = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        let value = of(&found);
        Estimate { value, low: value - half * se, high: value + half * se }
    };
    // A ratio: its logarithm is what has an error the same either way. Without the term nothing may be left, or less: no ratio.
    let compounding = |c: &Coefficients| (c.iter().sum::<f64>() / (c[0] + c[1] + c[2])).ln();
    if !compounding(&found).is_finite() || replicates.iter().any(|c| !compounding(c).is_finite()) {
        return Err(unstable);
    }
    let compounded = estimate(&compounding);
    let cells = held_out(points, scale, &found, &depths, &sizes).ok_or(unstable)?;
    Ok(CostModel {
        driver: driver.to_owned(),
        store: store.to_owned(),
        cache,
        durability,
        fixed_ns: estimate(&|c| c[0]),
        layer_ns: estimate(&|c| c[1] / scale.depth),
        byte_ns: estimate(&|c| c[2] / scale.bytes),
        layer_byte_ns: estimate(&|c| c[3] / (scale.depth * scale.bytes)),
        compounding: Interval { low: compounded.low.exp(), high: compounded.high.exp() },
        compounding_ratio: compounded.value.exp(),
        sync: None,
        cells,
        beyond: predicted(beyond, scale, &found),
        blocks: blocks.len(),
    })
}

/// Values that a coordinate takes, ascending.
fn levels(points: &[Point], of: impl Fn(&Point) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = points.iter().map(of).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.dedup();
    values
}

/// What tells cells apart.
fn cell_of(p: &Point) -> (u64, u64) {
    (p.depth.to_bits(), p.bytes.to_bits())
}

/// The points of the grid, and those outside of it: of a size that was not measured at most depths. A few far ones would decide what is said of
/// depth and size together; left out, they test it.
fn crossed(points: &[Point]) -> (Vec<Point>, Vec<Point>) {
    let depths_of = |bytes: f64| {
        let same = points.iter().filter(|p| p.bytes == bytes);
        same.map(|p| p.depth.to_bits()).collect::<BTreeSet<u64>>().len() as f64
    };
    let most = points.iter().map(|p| depths_of(p.bytes)).fold(0.0, f64::max);
    points.iter().partition(|p| depths_of(p.bytes) >= CROSSED_MIN * most)
}

/// Cells as predicted by a model that was fitted to others.
fn predicted(points: &[Point], scale: Scale, found: &Coefficients) -> Vec<Cell> {
    let mut cells: BTreeMap<(u64, u64), Vec<Point>> = BTreeMap::new();
    for point in points {
        cells.entry(cell_of(point)).or_default().push(*point);
    }
    let cell = |points: Vec<Point>| {
        let Point { depth, bytes, .. } = *points.first()?;
        let prediction = scale.predict(found, depth, bytes);
        let observed_ns = median(points.iter().map(|p| p.ns).collect())?;
        Some(Cell {
            depth,
            bytes,
            observed_ns,
            n: points.len(),
            contradicted: false,
            fitted_ns: prediction,
            held_out_ns: prediction,
        })
    };
    cells.into_values().filter_map(cell).collect()
}

/// Largest depth and size: coefficients of like magnitude make equations that can be solved.
#[derive(Debug, Clone, Copy)]
struct Scale {
    depth: f64,
    bytes: f64,
}

impl Scale {
    fn row(self, depth: f64, bytes: f64) -> Coefficients {
        let (d, b) = (depth / self.depth, bytes / self.bytes);
        [1.0, d, b, d * b]
    }

    fn predict(self, c: &Coefficients, depth: f64, bytes: f64) -> f64 {
        self.row(depth, bytes).iter().zip(c).map(|(x, c)| x * c).sum()
    }
}

/// Weighted least squares of relative errors with Huber's weights, each point as often as `counts` says. `None` where the points do not determine the coefficients.
fn fit(points: &[Point], counts: &[f64], scale: Scale) -> Option<Coefficients> {
    // At first each point is its own prediction.
    let mut weights: Vec<f64> = points.iter().zip(counts).map(|(p, n)| n / (p.ns * p.ns)).collect();
    let mut found = solve(points, &weights, scale)?;
    for _ in 0..ITERATIONS {
        // A prediction near or below 0 would weigh without bounds.
        let predicted = |p: &Point| scale.predict(&found, p.depth, p.bytes).max(p.ns / 4.0);
        let residuals: Vec<f64> = points.iter().map(|p| (p.ns - predicted(p)) / predicted(p)).collect();
        let sizes = residuals.iter().zip(counts).flat_map(|(r, n)| std::iter::repeat_n(r.abs(), *n as usize)).collect();
        // The median absolute deviation of a normal distribution is 0.6745 standard deviations.
        let spread = median(sizes)? / 0.6745;
        weights = points
            .iter()
            .zip(&residuals)
            .zip(counts)
            .map(|((p, r), n)| {
                let far = if spread > 0.0 { (HUBER * spread / r.abs()).min(1.0) } else { 1.0 };
                n * far / predicted(p).powi(2)
            })
            .collect();
        found = solve(points, &weights, scale)?;
    }
    found.iter().all(|c| c.is_finite()).then_some(found)
}

/// Normal equations, by elimination with the largest pivot.
fn solve(points: &[Point], weights: &[f64], scale: Scale) -> Option<Coefficients> {
    let mut m = [[0.0f64; 5]; 4];
    for (p, w) in points.iter().zip(weights) {
        let row = scale.row(p.depth, p.bytes);
        for (i, x) in row.iter().enumerate() {
            for (j, y) in row.iter().enumerate() {
                m[i][j] += w * x * y;
            }
            m[i][4] += w * x * p.ns;
        }
    }
    let largest: Vec<f64> = (0..4).map(|i| m[i][i].abs().max(f64::MIN_POSITIVE)).collect();
    for column in 0..4 {
        let pivot = (column..4).max_by(|a, b| m[*a][column].abs().total_cmp(&m[*b][column].abs()))?;
        m.swap(column, pivot);
        let head = m[column];
        // Of what rounding leaves, nothing can be learned.
        if head[column].abs() <= largest[column] * 1e-12 {
            return None;
        }
        for row in m.iter_mut().skip(column + 1) {
            let factor = row[column] / head[column];
            for (cell, above) in row.iter_mut().zip(head).skip(column) {
                *cell -= factor * above;
            }
        }
    }
    let mut found = [0.0; 4];
    for row in (0..4).rev() {
        let known: f64 = (row + 1..4).map(|column| m[row][column] * found[column]).sum();
        found[row] = (m[row][4] - known) / m[row][row];
    }
    Some(found)
}

/// Every cell, and what is predicted of it without it.
fn held_out(points: &[Point], scale: Scale, found: &Coefficients, depths: &[f64], sizes: &[f64]) -> Option<Vec<Cell>> {
    let mut cells = Vec::new();
    for &depth in depths {
        for &bytes in sizes {
            let here = |p: &Point| p.depth == depth && p.bytes == bytes;
            let own: Vec<f64> = points.iter().filter(|p| here(p)).map(|p| p.ns).collect();
            let n = own.len();
            let Some(observed_ns) = median(own) else { continue };
            let others: Vec<f64> = points.iter().map(|p| if here(p) { 0.0 } else { 1.0 }).collect();
            let without = fit(points, &others, scale)?;
            cells.push(Cell {
                depth,
                bytes,
                observed_ns,
                n,
                contradicted: false,
                fitted_ns: scale.predict(found, depth, bytes),
                held_out_ns: scale.predict(&without, depth, bytes),
            });
        }
    }
    Some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grid of six depths, six sizes and `blocks` blocks, each value times a factor.
    fn grid(blocks: u32, of: impl Fn(f64, f64) -> f64, factor: impl Fn(u32, usize) -> f64) -> Vec<Point> {
        let mut points = Vec::new();
        for block in 1..=blocks {
            let mut index = 0;
            for depth in [1.0, 4.0, 16.0, 32.0, 64.0, 120.0] {
                for bytes in [0.0, 4096.0, 65536.0, 524_288.0, 2_097_152.0, 8_388_608.0] {
                    points.push(Point { depth, bytes, block, ns: of(depth, bytes) * factor(block, index) });
                    index += 1;
                }
            }
        }
        points
    }

    fn fitted(points: &[Point]) -> Result<CostModel, &'static str> {
        fit_model("d", "s", CacheState::Fresh, Durability::Default, points)
    }

    fn model(points: &[Point]) -> CostModel {
        fitted(points).unwrap()
    }

    fn near(estimate: Estimate, truth: f64, tolerance: f64) {
        assert!((estimate.value - truth).abs() <= tolerance * truth.abs().max(1e-12), "{estimate:?}, truth {truth}");
    }

    /// 50 us, 400 ns a layer, 0.25 ns a byte, and `c` ns a layer and byte.
    fn law(c: f64) -> impl Fn(f64, f64) -> f64 {
        move |depth, bytes| 50_000.0 + 400.0 * depth + 0.25 * bytes + c * depth * bytes
    }

    /// Noise of up to 3 % either way, another for each seed, point and block.
    fn noise(seed: u32) -> impl Fn(u32, usize) -> f64 {
        move |block, index| {
            let digest = blake3::hash(format!("{seed} {block} {index}").as_bytes());
            0.97 + 0.06 * f64::from(digest.as_bytes()[0]) / 255.0
        }
    }

    #[test]
    fn exact_data_give_their_coefficients() {
        let m = model(&grid(3, law(0.002), |_, _| 1.0));
        near(m.fixed_ns, 50_000.0, 1e-6);
        near(m.layer_ns, 400.0, 1e-6);
        near(m.byte_ns, 0.25, 1e-6);
        near(m.layer_byte_ns, 0.002, 1e-6);
        let without = law(0.0)(120.0, 8_388_608.0);
        assert!((m.compounding_ratio / (law(0.002)(120.0, 8_388_608.0) / without) - 1.0).abs() < 1e-6);
        assert_eq!((m.blocks, m.cells.len()), (3, 36));
        let (median, largest) = m.errors().unwrap();
        assert!(median < 1e-6 && largest < 1e-6);
    }

    #[test]
    fn intervals_hold_the_truth_nearly_as_often_as_they_promise() {
        const SEEDS: u32 = 8;
        let (mut held, mut asked) = (0, 0);
        for seed in 0..SEEDS {
            for c in [0.0, 0.002] {
                let m = model(&grid(6, law(c), noise(seed)));
                let truths = [(m.fixed_ns, 50_000.0), (m.layer_ns, 400.0), (m.byte_ns, 0.25), (m.layer_byte_ns, c)];
                held += truths.iter().filter(|(e, truth)| e.low <= *truth && *truth <= e.high).count();
                asked += truths.len();
                let largest = (120.0, 8_388_608.0);
                let truth = law(c)(largest.0, largest.1) / law(0.0)(largest.0, largest.1);
                held += usize::from(m.compounding.contains(truth));
                asked += 1;
                assert_eq!(m.compounding.contains(1.0), c == 0.0, "{:?}", m.compounding);
                assert!(m.errors().unwrap().1 < 0.1, "{:?}", m.errors());
            }
        }
        // 95 are promised; with 80 figures, 87 are three standard errors less.
        assert!(held * 100 >= asked * 87, "{held} of {asked}");
    }

    #[test]
    fn what_lies_outside_of_the_grid_is_predicted_and_not_fitted() {
        let mut points = grid(3, law(0.0), |_, _| 1.0);
        let alone = fitted(&points).unwrap();
        // Twice of what the law says, for a size that only one depth has.
        let bytes = 1e9;
        points.push(Point { depth: 120.0, bytes, block: 1, ns: 2.0 * law(0.0)(120.0, bytes) });
        let with = fitted(&points).unwrap();
        assert_eq!((with.byte_ns, with.compounding, &with.cells), (alone.byte_ns, alone.compounding, &alone.cells));
        assert_eq!(with.beyond.len(), 1);
        assert!((with.beyond[0].error() + 0.5).abs() < 1e-6, "{:?}", with.beyond);
    }

    #[test]
    fn one_gross_outlier_changes_little() {
        let mut points = grid(6, law(0.0), noise(0));
        points[20].ns *= 30.0;
        let m = model(&points);
        near(m.fixed_ns, 50_000.0, 0.05);
        near(m.byte_ns, 0.25, 0.05);
    }

    #[test]
    fn a_law_that_does_not_fit_shows_in_the_held_out_errors() {
        let step = |depth: f64, bytes: f64| law(0.0)(depth, bytes) * if bytes > 1e6 { 3.0 } else { 1.0 };
        let m = model(&grid(3, step, |_, _| 1.0));
        assert!(m.errors().unwrap().1 > 0.2, "{:?}", m.errors());
    }

    #[test]
    fn errors_are_told_of_the_edges_and_of_the_corner_too() {
        // Twice the law in one corner alone: no cell between others notices.
        let corner = |depth: f64, bytes: f64| if depth == 120.0 && bytes == 8_388_608.0 { 2.0 } else { 1.0 };
        let m = model(&grid(3, |depth, bytes| law(0.0)(depth, bytes) * corner(depth, bytes), |_, _| 1.0));
        let found = m.corner().unwrap();
        assert_eq!((found.depth, found.bytes, found.n), (120.0, 8_388_608.0, 3));
        assert!((found.error() + 0.5).abs() < 0.05, "{}", found.error());
        assert!(m.errors().unwrap().1 > 0.4 && m.worst().is_some(), "{:?}", m.errors());
    }

    #[test]
    fn what_was_observed_is_the_median_of_all_samples() {
        use super::super::results::{GroupKey, blocks};
        let group = |depth: u32, file_size_bytes: u64| {
            let params = serde_json::json!({
                "depth": depth, "file_size_bytes": file_size_bytes, "files": 3, "target_layer": depth, "cache": "fresh", "containers": 1
            });
            let (store, driver) = ("s".to_owned(), "d".to_owned());
            let key =
                GroupKey { store, probe: ProbeName::CopyUp, driver, params: serde_json::from_value(params).unwrap() };
            // Medians of blocks 10, 20 and 60: their median is 20; of all samples 30.
            let ns = 1000 + 10 * u64::from(depth) + file_size_bytes;
            let lists = [[1, 10, 40], [20, 20, 30], [60, 60, 60]].map(|list| list.map(|factor| factor * ns));
            let data = Data::of(&blocks(&[&lists[0], &lists[1], &lists[2]])).unwrap();
            Group { key, metrics: [(metric::FIRST_WRITE_NS.name.to_string(), data)].into() }
        };
        let groups: Vec<Group> =
            [1, 2, 3].iter().flat_map(|depth| [1000, 2000, 3000].map(|bytes| group(*depth, bytes))).collect();
        let driver = DriverInfo {
            label: "d".into(),
            driver: "d".into(),
            options: vec![],
            twin_of: None,
            availability: Default::default(),
        };
        let models = cost_models(&groups, &["s".to_owned()], &[driver]);
        let model = models[0].as_ref().unwrap();
        assert_eq!((models.len(), model.cells.len()), (1, 9));
        assert!(
            model
                .cells
                .iter()
                .all(|cell| cell.n == 9 && cell.observed_ns == 30.0 * (1000.0 + 10.0 * cell.depth + cell.bytes))
        );
    }

    #[test]
    fn too_few_levels_or_blocks_have_no_model() {
        let points = grid(3, law(0.0), noise(0));
        let cross: Vec<Point> = points.iter().copied().filter(|p| p.depth == 1.0 || p.bytes == 0.0).collect();
        assert!(fitted(&cross).unwrap_err().contains("three sizes"));
        // Each size at two depths of its own.
        let apart = |p: &Point| match p.bytes {
            0.0 => p.depth <= 4.0,
            4096.0 => p.depth == 16.0 || p.depth == 32.0,
            _ => p.bytes < 1e5 && p.depth >= 64.0,
        };
        let apart: Vec<Point> = points.iter().copied().filter(apart).collect();
        assert!(fitted(&apart).unwrap_err().contains("most of the sizes"));
        let two: Vec<Point> = points.iter().copied().filter(|p| p.depth < 10.0).collect();
        assert!(fitted(&two).unwrap_err().contains("three depths"));
        let one: Vec<Point> = points.iter().copied().filter(|p| p.block == 1).collect();
        assert!(fitted(&one).unwrap_err().contains("two blocks"));
        assert!(fitted(&[]).is_err());
    }
}
