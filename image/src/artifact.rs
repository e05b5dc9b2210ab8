//! Checks of what was built: static, and musl.
