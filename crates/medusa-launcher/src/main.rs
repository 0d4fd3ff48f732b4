//! The `medusa` program: every protocol of the house, from one configuration.

use std::process::ExitCode;

use medusa_launcher::Launcher;

fn main() -> ExitCode {
    Launcher::standard().run()
}
