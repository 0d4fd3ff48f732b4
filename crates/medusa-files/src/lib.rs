//! medusa-files
