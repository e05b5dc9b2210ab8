//! The engine of the shell: what bytes from a terminal mean, what can be typed, and what is printed.
//!
//! It knows no terminal, no agent and no clock: the daemon's shell feeds it and carries its commands out.

pub mod command;
pub mod report;
pub mod table;
pub mod words;
pub mod history;
pub mod keys;
pub mod view;
pub mod editor;
pub mod args;
pub mod grammar;
pub mod filter;
pub mod tree;
pub mod edit_tree;
pub mod paths;
pub mod line;
pub mod reference;
pub mod danger;
pub mod prompt;
pub mod pager;
pub mod screen;
#[cfg(test)]
mod editor_tests;
#[cfg(test)]
mod line_tests;
