//! `cargo xtask tidy`: tells where the workspace breaks the rules of the house, and exits 1 if it does.

use std::process::ExitCode;

use xtask::tidy;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => {
            let house = tidy::House::of_this_workspace()?;
            let report = tidy::check(&house);
            print!("{report}");
            Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ => {
            eprintln!("usage: cargo xtask tidy\n\nThe checks:\n{}", tidy::list_of_checks());
            Ok(ExitCode::from(2))
        }
    }
}
