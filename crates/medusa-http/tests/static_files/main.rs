//! A folder served to a scripted client: what each request gets, what it costs, and what is left in
//! the folder.

#![allow(clippy::unwrap_used)]

mod coded;
mod kept;
mod reading;
mod support;
mod writing;
