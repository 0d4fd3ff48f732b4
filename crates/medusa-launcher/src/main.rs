//! The medusa program.
fn main() {}
