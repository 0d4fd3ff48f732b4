//! SMTP (RFC 5321) for medusa-core: mail from others for one's own domains, and mail from one's own users, which
//! is sent on.
//!
//! - [`SmtpService`] is mounted by a program that embeds it; [`Smtp`] is the plug-in for `[smtp.NAME]`.
//! - [`Directory`] tells whose an address is, [`MailStore`](medusa_mail::MailStore) keeps the messages, and
//!   a [`Policy`] may refuse them: each can be a program's own.
//!
//! - [`Outbound`] says how mail goes out: from a [`Queue`](medusa_mail::Queue), by MX or a smart host; built, it
//!   is a [`Sending`], which a submission service is given, or which is a service of its own.
//!
//! A message is answered by 250 only when the store and the queue say that no crash can lose it. Without a
//! [`Sending`], mail for other domains is refused, also from users.

mod access;
mod address;
mod commands;
mod config;
mod inspect;
mod outbound;
mod params;
mod plugin;
mod policy;
mod replies;
mod report;
mod sending;
mod service;
mod session;
mod trace;

pub use address::{Domain, Mailbox};
pub use config::SmtpConfig;
pub use inspect::Smuggling;
pub use medusa_accounts::PlaintextLogin;
pub use plugin::Smtp;
pub use policy::{Client, HeaderField, Policy, Transaction, Verdict, header_fields};
pub use sending::{
    Authorities, Host, Outbound, Relay, Schedule, Security, Sending, SendingLimits, Way,
};
pub use service::{Directory, Role, SmtpLimits, SmtpService, default_limits};
