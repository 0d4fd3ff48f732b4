//! What was measured on, as far as the system tells.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use crate::process::Cores;

/// The facts that stand above a table, a line each.
pub(crate) fn facts(cores: Cores) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let line = |text: &str, name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
        value.map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let count = read("/proc/cpuinfo").matches("processor\t").count().max(count);
    let memory = line(&read("/proc/meminfo"), "MemTotal");
    let load = read("/proc/loadavg").split(' ').next().unwrap_or("unknown").to_owned();
    let turns = match cores.server == cores.client {
        true => ", which take turns: latency and requests per second mean little",
        false => "",
    };
    [
        format!("- {}", httpdate::fmt_http_date(SystemTime::now())),
        format!("- processor: {} ({count} cores)", line(&read("/proc/cpuinfo"), "model name")),
        format!("- memory: {memory}"),
        format!("- kernel: {}", read("/proc/sys/kernel/osrelease").trim()),
        format!("- servers on core {}, clients on core {}{turns}", cores.server, cores.client),
        format!("- load average at the beginning: {load}"),
    ]
    .join("\n")
}

/// The first line in which a program tells its version, on either stream; `None` where it is missing.
pub(crate) fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Some(text.lines().next().unwrap_or(program).trim().to_owned())
}
