//! The configuration: one serde model that the file, the schema, the shell and the manual share.

pub mod model;

pub use model::Config;
