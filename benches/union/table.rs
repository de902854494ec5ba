//! Turns, and the lines that they give.

/// What a ratio is to be.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// Nothing is promised.
    Nothing,
}

/// The lines that have been printed.
pub struct Table {
    /// What stands behind each question.
    pub mode: &'static str,
}

/// Medians of the turns of one side, in one unit.
pub type Turns = Vec<f64>;

impl Table {
    pub fn new() -> Table {
        println!("{:<66} {:>12} {:>12} {:>22}  wanted", "question", "ours", "theirs", "ratio (range)");
        Table { mode: "" }
    }

    /// Prints the comparison of two sides, measured in turns.
    pub fn ratio(&mut self, question: &str, unit: &str, ours: &Turns, theirs: &Turns, wanted: Wanted) {
        let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let ratio = median(&mut ratios);
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        let range = format!("{ratio:.2} ({low:.2}-{high:.2})");
        let show = |turns: &Turns| format!("{:.1} {unit}", median(&mut turns.clone()));
        let question = self.named(question);
        println!("{question:<66} {:>12} {:>12} {range:>22}  {}", show(ours), show(theirs), verdict(ratio, wanted));
    }

    /// Prints one figure.
    pub fn figure(&mut self, question: &str, unit: &str, turns: &Turns, wanted: Wanted) {
        let value = median(&mut turns.clone());
        println!(
            "{:<66} {:>12} {:>12} {:>22}  {}",
            self.named(question),
            format!("{value:.1} {unit}"),
            "",
            "",
            verdict(value, wanted)
        );
    }

    pub fn skipped(&mut self, question: &str, reason: &str) {
        println!("{:<66} skipped: {reason}", self.named(question));
    }

    fn named(&self, question: &str) -> String {
        format!("{question}{}", self.mode)
    }
}

fn verdict(value: f64, wanted: Wanted) -> String {
    let (met, text) = match wanted {
        Wanted::AtMost(limit) => (value <= limit, format!("<= {limit}")),
        Wanted::AtLeast(limit) => (value >= limit, format!(">= {limit}")),
        Wanted::Nothing => return "-".into(),
    };
    format!("{text} {}", if met { "met" } else { "MISSED" })
}

/// The middle one, and the values in order.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Median of samples in nanoseconds, as microseconds.
pub fn microseconds(samples: &[u64]) -> f64 {
    median(&mut samples.iter().map(|ns| *ns as f64 / 1e3).collect::<Vec<_>>())
}

/// Runs sides in turns, another one first in each. What each gave, by side.
pub fn in_rotation<T>(turns: usize, sides: usize, mut one: impl FnMut(usize) -> T) -> Vec<Vec<T>> {
    let mut results: Vec<Vec<T>> = (0..sides).map(|_| Vec::new()).collect();
    for turn in 0..turns {
        for n in 0..sides {
            let n = (n + turn) % sides;
            results[n].push(one(n));
        }
    }
    results
}

/// As [`in_rotation`], for two sides.
pub fn in_turns(turns: usize, mut ours: impl FnMut() -> f64, mut theirs: impl FnMut() -> f64) -> (Turns, Turns) {
    let mut results = in_rotation(turns, 2, |side| if side == 0 { ours() } else { theirs() }).into_iter();
    (results.next().unwrap(), results.next().unwrap())
}
