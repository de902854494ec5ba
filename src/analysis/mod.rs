//! What the records mean: quantiles, intervals, comparisons, verdicts. Pure functions over [`crate::record`]: nothing here reads a
//! file, draws or measures, and the same records always give the same numbers. `chart` and `report` use it; nothing that measures
//! may.
//!
//! Every number that a chart or a page shows comes from here, so that a figure, its CSV and the sentence under it cannot disagree.

mod bootstrap;
mod checklist;
mod claims;
mod compare;
pub mod human;
mod judge;
mod null;
mod operations;
mod quantile;
mod results;
mod triggers;
mod view;

pub use bootstrap::{Blocks, CONFIDENCE, Interval, REPLICATES, Replicates};
pub use checklist::{Answer, Item, checklist};
pub use claims::{Claim, Effect, Finding, Test, Verdict, What, claims};
pub use compare::{Comparison, Difference, compare, compare_all, compare_spread, compounding};
pub use null::{Coverage, Null, Pair};
pub use operations::{Operation, operations};
pub use quantile::{Value, quantile, sorted};
pub use results::{BASELINE, Data, Group, GroupKey, ResultSet, Summary};
pub use triggers::TriggerView;
pub use view::{PageView, Target, View};
