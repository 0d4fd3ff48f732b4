//! medusa-http
