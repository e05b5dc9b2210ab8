//! What stands behind a pipe: what becomes of the lines that a command answers.

use super::report::Report;

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Only lines with this text, in upper or lower case.
    Match(String),
    /// Only lines without this text.
    Except(String),
    /// From the first line with this text.
    Begin(String),
    /// Only the last so many lines.
    Last(u32),
    /// Only their count.
    Count,
    /// The facts as JSON.
    Json,
    /// A configuration as `set` commands: part of what is asked, not done here.
    Set,
    /// Without the pager: not done here.
    NoMore,
}

/// What is left of a report, line by line. JSON is printed over several lines and filtered like any others.
#[must_use]
pub fn apply(report: Report, filters: &[Filter]) -> Vec<String> {
    let Report { mut lines, json } = report;
    if filters.contains(&Filter::Json) {
        lines = format!("{json:#}").lines().map(str::to_owned).collect();
    }
    for filter in filters {
        match filter {
            Filter::Match(text) => lines.retain(|line| has(line, text)),
            Filter::Except(text) => lines.retain(|line| !has(line, text)),
            Filter::Begin(text) => {
                let first = lines.iter().position(|line| has(line, text)).unwrap_or(lines.len());
                lines.drain(..first);
            }
            Filter::Last(count) => {
                let surplus = lines.len().saturating_sub(usize::try_from(*count).unwrap_or(usize::MAX));
                lines.drain(..surplus);
            }
            Filter::Count => {
                let count = lines.len();
                lines = vec![format!("{count} {}", if count == 1 { "line" } else { "lines" })];
            }
            Filter::Json | Filter::Set | Filter::NoMore => {}
        }
    }
    lines
}

fn has(line: &str, text: &str) -> bool {
    line.to_ascii_lowercase().contains(&text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn left(filters: &[Filter]) -> Vec<String> {
        let lines = ["web up", "dns DOWN", "web down", "mail up"].map(str::to_owned).to_vec();
        apply(Report { lines, json: json!({"web": "up"}) }, filters)
    }

    #[test]
    fn filters_work_one_after_another() {
        let (down, web) = (Filter::Match("down".into()), Filter::Except("WEB".into()));
        assert_eq!(left(core::slice::from_ref(&down)), ["dns DOWN", "web down"]);
        assert_eq!(left(&[down.clone(), web.clone()]), ["dns DOWN"]);
        assert_eq!(left(&[down, web, Filter::Count]), ["1 line"]);
        assert_eq!(left(&[Filter::Count]), ["4 lines"]);
        assert_eq!(left(&[Filter::Begin("dns".into()), Filter::Last(2)]), ["web down", "mail up"]);
        assert_eq!(left(&[Filter::Begin("ftp".into())]), [""; 0]);
        assert_eq!(left(&[Filter::Last(9)]).len(), 4);
    }

    #[test]
    fn json_is_that_of_the_report() {
        assert_eq!(left(&[Filter::Json]), ["{", "  \"web\": \"up\"", "}"]);
        assert_eq!(left(&[Filter::Json, Filter::Match("web".into())]), ["  \"web\": \"up\""]);
    }
}
