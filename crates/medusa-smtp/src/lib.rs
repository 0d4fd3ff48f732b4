//! An SMTP server (RFC 5321) for medusa-core: mail from others for one's own domains, and mail from one's
//! own users.
//!
//! - [`SmtpService`] is mounted by a program that embeds it; [`Smtp`] is the plug-in for `[smtp.NAME]`.
//! - [`Directory`] tells whose an address is, [`MailStore`](medusa_mail::MailStore) keeps the messages, and
//!   a [`Policy`] may refuse them: each can be a program's own.
//!
//! A message is answered by 250 only when the store says that no crash can lose it. Nothing is sent on from
//! here: mail for other domains is refused, also from users.

mod access;
mod address;
mod commands;
mod config;
mod inspect;
mod params;
mod plugin;
mod policy;
mod replies;
mod service;
mod session;
mod trace;

pub use address::{Domain, Mailbox};
pub use config::SmtpConfig;
pub use inspect::Smuggling;
pub use plugin::Smtp;
pub use policy::{Client, Policy, Transaction, Verdict};
pub use service::{Directory, PlaintextLogin, Role, SmtpLimits, SmtpService, default_limits};
