//! What a commit makes run when somebody else committed meanwhile: the changes of both, unless they meet.

use std::collections::BTreeSet;

use crate::config::edit::{Edit, Misedit};
use crate::config::{Document, words};

/// The object that a place belongs to: `virtual-server web`, `system hostname`.
fn object(place: &[String]) -> Vec<String> {
    place.iter().take(2).cloned().collect()
}

fn objects(new: &Document, old: &Document) -> BTreeSet<Vec<String>> {
    new.changed(old).iter().map(|place| object(place)).collect()
}

/// The changes from `base` to `candidate`, made to `running`.
///
/// # Errors
/// Names the objects that both changed, and not alike.
pub fn rebase(base: &Document, candidate: &Document, running: &Document) -> Result<Document, Vec<String>> {
    let (ours, theirs) = (objects(candidate, base), objects(running, base));
    let differ = objects(candidate, running);
    let both: Vec<String> = ours
        .intersection(&theirs)
        .filter(|object| differ.contains(*object))
        .map(|o| words::join(o))
        .collect();
    if !both.is_empty() {
        let mut lines: Vec<String> =
            both.iter().map(|object| format!("{object} was changed by another commit meanwhile")).collect();
        lines
            .push("nothing was committed: 'discard' and change it again, on top of what runs now".to_owned());
        return Err(lines);
    }
    let mut merged = running.clone();
    for object in ours.difference(&theirs) {
        if running.part(object).is_ok() {
            merged.apply(&Edit::Delete(object.clone())).map_err(misfit)?;
        }
        if let Ok(part) = candidate.part(object) {
            merged.apply(&Edit::Merge(part.print())).map_err(misfit)?;
        }
    }
    Ok(merged)
}

fn misfit(error: Misedit) -> Vec<String> {
    let reason = error.reason;
    vec![
        format!("the changes do not fit what runs now: {reason}"),
        "nothing was committed: 'discard'".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(web: u16, mail: u16, name: &str) -> Document {
        let text = format!(
            "# the box\n[system]\nhostname = \"{name}\"\n\n# shop\n[virtual-server.web]\naddress = \"192.0.2.1\"\n\
             port = {web}\n\n[virtual-server.mail]\naddress = \"192.0.2.1\"\nport = {mail}\n"
        );
        Document::parse(&text, "test").expect("a document")
    }

    #[test]
    fn without_other_commits_the_candidate_is_the_result() {
        let (base, candidate) = (document(80, 25, "lb1"), document(81, 25, "lb1"));
        assert_eq!(rebase(&base, &candidate, &base), Ok(candidate));
    }

    #[test]
    fn changes_of_both_count_and_comments_stay() {
        let (base, ours, theirs) =
            (document(80, 25, "lb1"), document(81, 25, "lb1"), document(80, 26, "lb2"));
        let merged = rebase(&base, &ours, &theirs).expect("no conflict");
        assert_eq!(merged.changed(&document(81, 26, "lb2")), BTreeSet::new());
        assert!(merged.print().contains("# shop\n"), "{}", merged.print());
    }

    #[test]
    fn the_same_object_changed_in_two_ways_is_refused_by_name_and_in_one_way_is_not() {
        let base = document(80, 25, "lb1");
        let lines =
            rebase(&base, &document(81, 26, "lb1"), &document(82, 26, "lb1")).expect_err("a conflict");
        assert_eq!(lines[0], "virtual-server web was changed by another commit meanwhile");
        assert_eq!(lines.len(), 2, "{lines:?}");
        let same = document(81, 25, "lb1");
        assert_eq!(rebase(&base, &same, &same), Ok(same));
    }

    #[test]
    fn what_one_deletes_and_another_changes_is_a_conflict() {
        let (base, ours) = (document(80, 25, "lb1"), document(81, 25, "lb1"));
        let mut theirs = base.clone();
        let path = ["virtual-server", "web"].map(str::to_owned).to_vec();
        theirs.apply(&Edit::Delete(path)).expect("it is there");
        assert!(rebase(&base, &ours, &theirs).is_err() && rebase(&base, &theirs, &ours).is_err());
        assert!(
            rebase(&base, &theirs, &base)
                .is_ok_and(|merged| !merged.print().contains("[virtual-server.web]"))
        );
    }
}
