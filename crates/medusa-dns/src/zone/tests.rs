//! Master files and what becomes of them.

mod data;
mod files;
mod fuzz;
