//! A launcher with one protocol more: everything that `medusa` offers, and finger.

use std::process::ExitCode;

use finger::Finger;
use medusa_launcher::Launcher;

fn main() -> ExitCode {
    Launcher::standard().with::<Finger>().run()
}
