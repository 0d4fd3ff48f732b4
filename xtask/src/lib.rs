//! Tasks around the workspace, as a library so that a test can run them too.

pub mod tidy;
