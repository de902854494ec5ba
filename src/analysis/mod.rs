//! What the records mean: quantiles, intervals, comparisons, verdicts. Pure functions over [`crate::record`]: nothing here reads a
//! file, draws or measures, and the same records always give the same numbers. `chart` and `report` use it; nothing that measures
//! may.
//!
//! Every number that a chart or a page shows comes from here, so that a figure, its CSV and the sentence under it cannot disagree.

mod between;
mod bootstrap;
mod breakdown;
mod changed;
mod checklist;
mod claims;
mod compare;
pub mod human;
mod images;
mod jobs;
mod judge;
mod model;
mod null;
mod operations;
mod parallel;
mod quantile;
mod results;
mod triggers;
mod verdicts;
mod view;

pub use between::{Between, Figure, Mean, Mixed, Only, Ratio, Repeated, Side, between, is_time, unit};
pub use bootstrap::{Blocks, CONFIDENCE, Interval, REPLICATES, Replicates};
pub use breakdown::{Breakdown, Part, Source, breakdowns};
pub use changed::{Change, OtherOptions, Scope};
pub use checklist::{Answer, Item, checklist};
pub use claims::{Claim, Effect, Finding, ONCE, Test, Verdict, What, claims};
pub use compare::{Comparison, Difference, Statistic, compare, compare_all, compare_statistic};
pub use images::ImageView;
pub use jobs::JobView;
pub use model::{Cell, CostModel, Estimate, NotFitted, Point, Sync, fit_model};
pub use null::{Coverage, Null, Pair};
pub use operations::{Operation, operations};
pub use parallel::ParallelView;
pub use quantile::{Value, median, quantile, sorted};
pub use results::{BASELINE, Data, Group, GroupKey, ResultSet, Summary, contradicted};
pub use triggers::TriggerView;
pub use verdicts::{OtherVerdict, Verdicts};
pub use view::{PageView, Target, View};
