//! Load by dnsperf: for so many seconds, and how many questions were answered.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Udp,
    Tcp,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) answered: u64,
    pub(super) lost: u64,
    pub(super) duration: Duration,
    /// How long an answer took on average.
    pub(super) latency: Duration,
}

/// Asks the questions of a file, over and over: from 8 sockets, with up to 100 in flight (dnsperf's own
/// default) over UDP, and up to 400 over TCP, 50 on each connection.
pub(super) fn ask(
    address: SocketAddr,
    over: Over,
    questions: &Path,
    seconds: u32,
) -> Result<Outcome> {
    let (mode, flying) = match over {
        Over::Udp => ("udp", "100"),
        Over::Tcp => ("tcp", "400"),
    };
    let mut dnsperf = Command::new("dnsperf");
    dnsperf.args(["-m", mode, "-c", "8", "-T", "1", "-q", flying, "-t", "2", "-e"]);
    dnsperf.args(["-s", &address.ip().to_string(), "-p", &address.port().to_string()]);
    dnsperf.args(["-l", &seconds.to_string(), "-d"]).arg(questions);
    let output = dnsperf.stdin(Stdio::null()).output().context("can't run dnsperf")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = || format!("dnsperf said: {text}{}", String::from_utf8_lossy(&output.stderr));
    let outcome = outcome(&text).with_context(said)?;
    ensure!(outcome.answered > 0, said());
    Ok(outcome)
}

fn outcome(text: &str) -> Result<Outcome> {
    let number = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        let value = line.and_then(|line| line.split_ascii_whitespace().next());
        value.and_then(|value| value.parse().ok()).with_context(|| format!("no {name}"))
    };
    Ok(Outcome {
        answered: number("Queries completed:")? as u64,
        lost: number("Queries lost:")? as u64,
        duration: Duration::from_secs_f64(number("Run time (s):")?),
        latency: Duration::from_secs_f64(number("Average Latency (s):")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read() {
        let text = "Statistics:\n\n  Queries sent:         120\n  Queries completed:    119 (99.17%)\n  \
            Queries lost:         1 (0.83%)\n\n  Run time (s):         1.500000\n  \
            Queries per second:   79.3\n\n  Average Latency (s):  0.000250 (min 0.000001, max 0.1)\n";
        let expected = Outcome {
            answered: 119,
            lost: 1,
            duration: Duration::from_millis(1500),
            latency: Duration::from_micros(250),
        };
        assert_eq!(outcome(text).unwrap(), expected);
        assert!(outcome("Queries sent: 1\n").is_err());
    }
}
