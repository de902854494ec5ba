//! stub
#![allow(missing_docs, unused_variables)]
#[derive(Debug, thiserror::Error)]
#[error("host")]
pub struct ReportError;
pub fn render(run: &crate::record::Run, out: &std::path::Path) -> Result<(), ReportError> {
    todo!()
}
