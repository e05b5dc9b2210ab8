//! Updates of the box: two slots, one record. docs/updates.md has the whole story.

pub mod record;
