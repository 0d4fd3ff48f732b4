//! medusa-core
