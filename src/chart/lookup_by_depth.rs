//! Look-up against depth: a name that is there, one that is nowhere, one that is whited out; a row of panels for each state of the
//! caches.

use super::draw::{Axis, Panel, Scale, panels};
use super::first_write_by_depth::format_depth;
use super::select::{SUMMARY_HEAD, at_the_base, figure_name, lines, pick, store_words, summary_row, values};
use super::text::{format_ns, format_ratio, list};
use super::{Chart, ChartError, Figure};
use crate::analysis::{ResultSet, ratio};
use crate::record::metric::{LOOKUP_HIT_NS, LOOKUP_MISS_NS, LOOKUP_WHITEOUT_NS};
use crate::workload::CacheState;

pub(super) struct LookupByDepth;

const NAME: &str = "lookup_by_depth";

impl Chart for LookupByDepth {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "stat of a present, a missing and a whited-out name against depth, for each cache state"
    }

    fn draw(&self, data: &ResultSet) -> Result<Vec<Figure>, ChartError> {
        let kinds = [(LOOKUP_HIT_NS, "present"), (LOOKUP_MISS_NS, "nowhere"), (LOOKUP_WHITEOUT_NS, "whited out")];
        let hit = &*LOOKUP_HIT_NS.name;
        let mut figures = Vec::new();
        for store in data.stores(hit) {
            let mut list_of_panels = Vec::new();
            let mut csv = SUMMARY_HEAD.to_owned();
            for cache in CacheState::ALL {
                for (metric, kind) in &kinds {
                    let groups = at_the_base(pick(data, &metric.name, &store, |p| p.cache == cache));
                    if groups.is_empty() {
                        continue;
                    }
                    for group in &groups {
                        csv.push_str(&summary_row(&metric.name, group));
                    }
                    list_of_panels.push(Panel {
                        title: format!("{kind}, {}", cache.as_str()),
                        x: Axis {
                            title: "layers in the stack".into(),
                            scale: Scale::Log,
                            ticks: values(&groups, |p| p.depth).iter().map(|d| f64::from(*d)).collect(),
                            format: format_depth,
                        },
                        y: Axis { title: "stat".into(), scale: Scale::Log, ticks: Vec::new(), format: format_ns },
                        lines: lines(data, &groups, |p| f64::from(p.depth)),
                    });
                }
            }
            let title = "Look-up against depth".to_owned();
            let subtitle = format!(
                "stat of one name in a directory that every layer has; median, band from 10th to 90th percentile{}",
                store_words(data, hit, &store)
            );
            figures.push(Figure {
                name: figure_name(NAME, data, hit, &store),
                svg: panels(NAME, &title, &subtitle, &list_of_panels, 3)?,
                title,
                subtitle,
                csv,
                sentences: [
                    sentence(data, &store, CacheState::Fresh)
                        .or_else(|| sentence(data, &store, CacheState::Cold))
                        .unwrap_or_else(|| {
                            "Names that a mount has not seen were not measured at two depths.".to_owned()
                        }),
                    sentence(data, &store, CacheState::Warm)
                        .unwrap_or_else(|| "Names that a mount has seen were not measured at two depths.".to_owned()),
                ],
            });
        }
        Ok(figures)
    }
}

/// What the deepest stack costs of the shallowest, for a name that is there.
fn sentence(data: &ResultSet, store: &str, cache: CacheState) -> Option<String> {
    let metric = &*LOOKUP_HIT_NS.name;
    let groups = at_the_base(pick(data, metric, store, |p| p.cache == cache));
    let depths = values(&groups, |p| p.depth);
    let (shallow, deep) = (*depths.first()?, *depths.last()?);
    if shallow == deep {
        return None;
    }
    let words: Vec<String> = data
        .drivers()
        .iter()
        .filter_map(|driver| {
            let find = |depth| groups.iter().find(|g| g.key.driver == *driver && g.key.params.depth == depth);
            let (high, low) = (find(deep)?, find(shallow)?);
            let change = ratio(&high.rounds, &low.rounds)?;
            let median = format_ns(high.summary()?.p50);
            Some(if change.differs() {
                format!("{median} with {driver} ({})", format_ratio(change.value))
            } else {
                format!("{median} with {driver} (no difference)")
            })
        })
        .collect();
    let state = match cache {
        CacheState::Warm => "A name that the mount has seen",
        CacheState::Fresh => "A name that a new mount has not seen, over layers that are cached,",
        CacheState::Cold => "A name with nothing cached",
    };
    Some(format!("{state} takes at {deep} layers, and against {shallow}: {}.", list(&words)))
}
