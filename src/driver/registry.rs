//! The registry as the workload parser sees it: names and options, nothing else.

use crate::workload::DriverWords;

/// All drivers, for whoever checks words.
#[derive(Debug, Clone, Copy)]
pub struct Registry;

impl DriverWords for Registry {
    fn names(&self) -> Vec<&'static str> {
        super::all().iter().map(|driver| driver.name()).collect()
    }

    fn check_options(&self, driver: &str, options: &[String]) -> Result<(), String> {
        super::by_name(driver).map_err(|e| e.to_string())?.check_options(options).map_err(|e| e.to_string())
    }
}
