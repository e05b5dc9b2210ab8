//! Real kernels and real peers: namespaces of this kernel, and guests where IPVS is needed.

mod ground;

use crate::runner::Case;

/// The tier's cases, in the order they run.
pub fn cases() -> Vec<Case> {
    let groups = [ground::cases()];
    groups.into_iter().flatten().collect()
}
