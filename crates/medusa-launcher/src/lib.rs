//! The launcher: from a configuration to services that run until they are told to stop.
//!
//! `medusa` is [`Launcher::standard`] and nothing else. A launcher with a protocol more is as short:
//!
//! ```no_run
//! # use medusa_core::{BuildContext, BuildError, Plugin, Service};
//! # struct Finger;
//! # impl Plugin for Finger {
//! #     const KIND: &'static str = "finger";
//! #     type Config = ();
//! #     fn build(_: (), _: &BuildContext) -> Result<Box<dyn Service>, BuildError> { Err(BuildError::new("")) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     medusa_launcher::Launcher::standard().with::<Finger>().run()
//! }
//! ```
//!
//! No protocol lives here; a program that embeds one service needs no launcher, only the core's
//! `Server`.

mod access;
mod accounts;
mod addresses;
mod builtin;
mod cli;
mod config;
mod files;
mod kinds;
mod live;
mod logs;
pub mod passwd;
mod plan;
mod queue;
mod reload;
mod resolver;
mod serving;
mod shared;
mod table;
mod tls;
mod user;
mod zone;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use medusa_core::Plugin;

use cli::{Arguments, Command, ZoneCommand};
use config::diagnostic::{Diagnostics, Gravity};
use config::document::Document;
use kinds::Kinds;
use passwd::Change;
use plan::Plan;

/// A server for any number of protocols, with the command line of `medusa`.
#[derive(Debug, Default)]
pub struct Launcher {
    kinds: Kinds,
}

/// Why a run ended otherwise than by a drain.
enum Failure {
    /// The configuration is wrong: every complaint about it.
    Configuration(Box<Diagnostics>),
    /// The surroundings are: the command line, the environment, the current folder.
    Usage(String),
    /// Something failed while serving.
    Runtime(anyhow::Error),
    /// Something that was told already.
    Told,
}

impl Launcher {
    /// A launcher without any protocol.
    pub fn new() -> Self {
        Self::default()
    }

    /// The launcher that `medusa` is: every protocol of the house.
    pub fn standard() -> Self {
        Self::new()
            .with::<medusa_http::Http>()
            .with::<medusa_ftp::Ftp>()
            .with::<medusa_smtp::Smtp>()
            .with::<medusa_pop3::Pop3>()
            .with::<medusa_dns::Dns>()
    }

    /// Adds a protocol; one of the same kind is replaced.
    #[must_use]
    pub fn with<P: Plugin + 'static>(mut self) -> Self {
        self.kinds.add::<P>();
        self
    }

    /// Does what the command line says. 0 after a drain or a sound check, 1 when something failed while
    /// serving, 2 when the configuration or the command line was wrong.
    pub fn run(self) -> ExitCode {
        let arguments = Arguments::parse();
        let result = match arguments.task() {
            Command::Serve { config: Some(path) } => self.serve_file(&path, &arguments),
            Command::Serve { config: None } => self.serve_builtin(&arguments),
            Command::Check { config } => self.check(&config),
            Command::Zone(ZoneCommand::Check { file, name }) => zone::check(&file, name.as_deref()),
            Command::Passwd { accounts, name } => set_password(&accounts, &name),
            Command::Queue { task, config } => {
                queue::run(&config, &task).map(|text| print_out(&text))
            }
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.tell(),
        }
    }

    fn check(&self, path: &Path) -> Result<(), Failure> {
        let source = plan::source_at(path)?;
        let document = Document::parse(&source)?;
        let plan = Plan::make(&document, &self.kinds, &plan::folder_of(path), serving::no_access)?;
        serving::identity(&plan)?;
        let grave = plan.warnings.iter().any(|one| one.gravity == Gravity::Served);
        let mut outcome = format!("{}: no errors\n", source.name);
        if !plan.warnings.is_empty() {
            let told = Diagnostics::new(source.clone(), plan.warnings.clone());
            if grave {
                outcome.clear();
            }
            Failure::from(told).tell();
        }
        print_out(&format!("{}{outcome}", plan.told()));
        if grave { Err(Failure::Told) } else { Ok(()) }
    }

    fn serve_file(&self, path: &Path, arguments: &Arguments) -> Result<(), Failure> {
        let source = plan::source_at(path)?;
        serving::serve(&source, Some(path), &self.kinds, &plan::folder_of(path), arguments)
    }

    fn serve_builtin(&self, arguments: &Arguments) -> Result<(), Failure> {
        let folder = Path::new(".");
        let (source, notes) = builtin::prepare(&self.kinds, folder)
            .map_err(|error| Failure::Usage(format!("can't write ./medusa-data: {error:#}")))?;
        for note in notes {
            print_out(&format!("{note}\n"));
        }
        serving::serve(&source, None, &self.kinds, folder, arguments)
    }
}

impl Failure {
    /// Says it on the standard error stream; its exit code.
    fn tell(self) -> ExitCode {
        let (text, code) = match self {
            Self::Configuration(errors) => {
                let styled =
                    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                (errors.render(styled), 2)
            }
            Self::Usage(message) => (format!("medusa: {message}\n"), 2),
            Self::Runtime(error) => (format!("medusa: {error:#}\n"), 1),
            Self::Told => (String::new(), 2),
        };
        // Nobody may be reading any more; the exit code is there still.
        let _ = std::io::stderr().write_all(text.as_bytes());
        ExitCode::from(code)
    }
}

impl From<Diagnostics> for Failure {
    fn from(errors: Diagnostics) -> Self {
        Self::Configuration(Box::new(errors))
    }
}

fn set_password(file: &Path, name: &str) -> Result<(), Failure> {
    let done = match passwd::run(file, name)? {
        Change::Changed(name) => format!("the password of {name} is changed"),
        Change::Added(name) => format!("{name} is added"),
    };
    print_out(&format!("{done} in {}\n", file.display()));
    Ok(())
}

/// To the standard output stream, whether somebody reads it or not.
fn print_out(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
