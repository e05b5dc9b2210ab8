//! The distribution's kernel, trimmed to the modules a box needs.
