//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::tables::Level;
use crate::queue;

/// One server for many protocols, from one configuration.
///
/// Without a command it serves a built-in configuration on loopback, with its data in ./medusa-data.
#[derive(Parser, Debug)]
#[command(name = "medusa", version, disable_help_subcommand = true, after_help = SIGNALS)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Event loops [default: one per core]
    #[arg(long, global = true, value_name = "N")]
    pub(crate) shards: Option<NonZeroUsize>,

    /// How much is logged, whatever the configuration and MEDUSA_LOG say
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log: Option<Level>,
}

/// What to do.
#[derive(Subcommand, Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Serve what a configuration says, or the built-in one
    Serve {
        /// A TOML file
        config: Option<PathBuf>,
    },
    /// Say what a configuration would serve, or everything that is wrong with it
    Check {
        /// A TOML file
        config: PathBuf,
    },
    /// Look at zones of DNS
    #[command(subcommand)]
    Zone(ZoneCommand),
    /// Set an account's password, which is asked for twice, or read from a pipe
    Passwd {
        /// The users file; it is made where there is none
        #[arg(long, value_name = "FILE", default_value = "users.toml")]
        accounts: PathBuf,
        /// The account; it is added where there is none
        name: String,
    },
    /// Look at the mail that waits to be sent, beside a server that runs or not
    Queue {
        #[command(subcommand)]
        task: queue::Task,
        /// The server's TOML file
        #[arg(long, global = true, value_name = "FILE", default_value = "medusa.toml")]
        config: PathBuf,
    },
}

/// What to do with a zone.
#[derive(Subcommand, Debug, Clone, PartialEq, Eq)]
pub(crate) enum ZoneCommand {
    /// Say everything that is wrong with a zone file
    Check {
        /// A master file
        file: PathBuf,
        /// The zone's name [default: as its SOA record has it]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
}

const SIGNALS: &str = "\
Signals: TERM or INT lets open sessions finish and ends, a second one ends at once; HUP opens the access
log anew and reads the configuration, certificates, accounts and zones again.

Exit status: 0 after a drain, 1 when something failed while serving, 2 when the configuration or the
command line was wrong.";

impl Arguments {
    /// What to do; serving is what is meant without one.
    pub(crate) fn task(&self) -> Command {
        self.command.clone().unwrap_or(Command::Serve { config: None })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn command(arguments: &[&str]) -> Command {
        let arguments = ["medusa"].iter().chain(arguments);
        Arguments::try_parse_from(arguments).expect("valid").task()
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn commands_are_read() {
        assert_eq!(command(&[]), Command::Serve { config: None });
        assert_eq!(command(&["serve"]), Command::Serve { config: None });
        assert_eq!(command(&["serve", "a.toml"]), Command::Serve { config: Some("a.toml".into()) });
        assert_eq!(command(&["check", "a.toml"]), Command::Check { config: "a.toml".into() });
        let passwd = |accounts: &str| Command::Passwd {
            accounts: accounts.into(),
            name: "alice".to_owned(),
        };
        assert_eq!(command(&["passwd", "alice"]), passwd("users.toml"));
        assert_eq!(command(&["passwd", "--accounts", "a", "alice"]), passwd("a"));
        let config = || "medusa.toml".into();
        let list = Command::Queue { task: queue::Task::List, config: config() };
        assert_eq!(command(&["queue", "list"]), list);
        let task = queue::Task::Retry { ids: vec!["1".into()], all: false };
        assert_eq!(
            command(&["queue", "retry", "1", "--config", "a.toml"]),
            Command::Queue { task, config: "a.toml".into() }
        );
        let task = queue::Task::Retry { ids: vec![], all: true };
        assert_eq!(
            command(&["queue", "retry", "--all"]),
            Command::Queue { task, config: config() }
        );
        for wrong in [&["queue"][..], &["queue", "retry"], &["queue", "drop"], &["queue", "show"]] {
            let arguments = ["medusa"].iter().chain(wrong);
            assert!(Arguments::try_parse_from(arguments).is_err(), "{wrong:?}");
        }
        let check = |name: Option<&str>| {
            let name = name.map(str::to_owned);
            Command::Zone(ZoneCommand::Check { file: "a.zone".into(), name })
        };
        assert_eq!(command(&["zone", "check", "a.zone"]), check(None));
        assert_eq!(command(&["zone", "check", "--name", "a.", "a.zone"]), check(Some("a.")));
        assert!(Arguments::try_parse_from(["medusa", "zone"]).is_err());
        assert!(Arguments::try_parse_from(["medusa", "passwd"]).is_err());
        assert!(Arguments::try_parse_from(["medusa", "check"]).is_err());
        assert!(Arguments::try_parse_from(["medusa", "a.toml"]).is_err());
    }

    #[test]
    fn options_go_before_and_after_a_command() {
        for arguments in [
            ["--shards", "2", "--log", "debug", "serve"],
            ["serve", "--shards", "2", "--log", "debug"],
        ] {
            let arguments =
                Arguments::try_parse_from(["medusa"].iter().chain(&arguments)).expect("valid");
            assert_eq!(arguments.shards.map(NonZeroUsize::get), Some(2));
            assert_eq!(arguments.log, Some(Level::Debug));
        }
        assert!(Arguments::try_parse_from(["medusa", "--shards", "0"]).is_err());
    }
}
