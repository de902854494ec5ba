//! (to come)
use super::{Scale, Workload};
/// (to come)
#[derive(Debug, thiserror::Error)]
#[error("workload")]
pub struct WorkloadError;
/// (to come)
pub fn load(_path: &std::path::Path, _scale: Scale) -> Result<Workload, WorkloadError> {
    Err(WorkloadError)
}
/// (to come)
pub fn parse(_file: &str, _text: &str, _scale: Scale) -> Result<Workload, WorkloadError> {
    Err(WorkloadError)
}
