//! The program under test: exactly what `medusa` is.

use std::process::ExitCode;

fn main() -> ExitCode {
    medusa_launcher::Launcher::standard().run()
}
