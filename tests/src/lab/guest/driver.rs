//! The guest's side: runs the cases one after another and reports on the serial line.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::Result;

use crate::shared::Report;

use super::park::Park;
use super::{GuestCase, guest_cases};

/// Runs all cases, or those that `lab.only=` on the kernel's command line names.
///
/// # Errors
/// The park cannot be made: no case can run.
pub fn run() -> Result<()> {
    let words = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let only = words.split_whitespace().find_map(|word| word.strip_prefix("lab.only="));
    let begin = Instant::now();
    let mut park = Park::new()?;
    println!("\n@@note park made in {:.1} s", begin.elapsed().as_secs_f64());
    for case in guest_cases() {
        let slug = case.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        if only.is_some_and(|only| !only.split(',').any(|part| slug.contains(part))) {
            continue;
        }
        println!("\n@@note begin {}", case.name);
        let report = try_case(&case, &mut park);
        println!("\n@@case {}", serde_json::to_string(&report)?);
        park.empty();
    }
    Ok(())
}

fn try_case(case: &GuestCase, park: &mut Park) -> Report {
    let begin = Instant::now();
    let verdict = match catch_unwind(AssertUnwindSafe(|| (case.run)(park))) {
        Ok(Ok(figures)) => Ok(figures),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err(format!("panicked: {}", text.unwrap_or_else(|| "no text".to_owned())))
        }
    };
    Report { name: case.name.to_owned(), seconds: begin.elapsed().as_secs_f64(), verdict }
}
