//! A virtual machine that a run was made in: what has to be known before any of its times may be compared with others.

use serde::{Deserialize, Serialize};

/// The guest of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// What ran its instructions.
    pub accelerator: Accelerator,
    /// Whether its clock counts instructions, a nanosecond each, instead of time.
    pub counted: bool,
    /// What QEMU says of its version.
    pub qemu: String,
    /// Kernel of the machine that QEMU ran on.
    pub host_kernel: String,
    /// CPU of that machine.
    pub host_cpu_model: String,
}

/// What runs a guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// QEMU's translator: no caches, no device, no pipeline of a real processor.
    Tcg,
}

impl Guest {
    /// What every figure of the run has to be marked with; nothing where a real processor took real time.
    pub fn mark(&self) -> Option<&'static str> {
        match (self.accelerator, self.counted) {
            (_, true) => Some(
                "COUNTED INSTRUCTIONS on an emulated CPU, one as a nanosecond: no caches, no device. Compare within this guest only.",
            ),
            (Accelerator::Tcg, false) => Some("EMULATED CPU (QEMU's TCG): compare within this guest only."),
            (Accelerator::Kvm, false) => None,
        }
    }

    /// What its times are, for those who compare: those of two kinds must not be.
    pub fn kind(guest: Option<&Guest>) -> &'static str {
        match guest {
            Some(Guest { counted: true, .. }) => "counted instructions on an emulated CPU",
            Some(Guest { accelerator: Accelerator::Tcg, .. }) => "times of an emulated CPU",
            Some(Guest { accelerator: Accelerator::Kvm, .. }) | None => "times of a real CPU",
        }
    }
}
