//! medusa-accounts
