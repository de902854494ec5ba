//! stub
#![allow(missing_docs, unused_variables)]
pub trait Chart {
    fn name(&self) -> &str;
    fn about(&self) -> &str;
}
pub fn all() -> &'static [&'static dyn Chart] {
    todo!()
}
