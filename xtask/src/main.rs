//! The rules of the house, checked.
fn main() {}
