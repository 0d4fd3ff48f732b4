//! Zones as a whole, to those who may have them.

mod axfr;

pub(crate) use axfr::Axfr;
