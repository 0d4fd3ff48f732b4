//! Handshakes by `openssl s_time`: one connection after the other, each with one request, its session
//! resumed or not.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::load::Outcome;

/// What is asked on each connection, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handshakes<'a> {
    pub(crate) path: &'a str,
    pub(crate) resumed: bool,
    pub(crate) seconds: u32,
}

impl Handshakes<'_> {
    pub(crate) fn run(&self, address: SocketAddr) -> Result<Outcome> {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_time", "-tls1_3", "-connect", &address.to_string(), "-www", self.path]);
        openssl.args(["-time", &self.seconds.to_string()]);
        openssl.arg(if self.resumed { "-reuse" } else { "-new" });
        let began = Instant::now();
        let output = openssl.stdin(Stdio::null()).output().context("can't run openssl")?;
        let duration = began.elapsed();
        let text = String::from_utf8_lossy(&output.stdout);
        let told = || format!("openssl said: {}", String::from_utf8_lossy(&output.stderr));
        outcome(&text, self.resumed, duration).with_context(told)
    }
}

/// What openssl says: a line of marks, one for each connection, `r` where its session was resumed, and
/// later `913 connections in 3 real seconds, 244 bytes read per connection`.
fn outcome(text: &str, resumed: bool, duration: Duration) -> Result<Outcome> {
    let line = text.lines().find(|line| line.contains(" real seconds, "));
    let line = line.context("openssl told nothing")?;
    let number = |text: &str| text.split(' ').next().unwrap_or_default().parse::<u64>();
    let requests = number(line)?;
    let octets = number(line.rsplit(", ").next().unwrap_or_default())?;
    ensure!(requests > 0 && octets > 0, "nothing came: {line}");
    let is_marks = |line: &&str| !line.is_empty() && line.chars().all(|mark| "r*".contains(mark));
    let marks = text.lines().filter(is_marks).max_by_key(|line| line.len()).unwrap_or_default();
    let reused = marks.matches('r').count() as u64;
    // Before it counts, it makes a session to be resumed.
    let is_as_asked = if resumed { reused >= requests } else { reused == 0 };
    ensure!(is_as_asked, "{reused} of {requests} sessions were resumed");
    Ok(Outcome { requests, duration, median: None, percentile_99: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_resumed_or_not() {
        let text = |marks: &str| {
            format!(
                "Collecting connection statistics for 3 seconds\n{marks}\n\n3 connections in 0.37s; 8 \
                 connections/user sec, bytes read 732\n\
                 3 connections in 2 real seconds, 244 bytes read per connection\n"
            )
        };
        let outcome = |marks: &str, resumed| outcome(&text(marks), resumed, Duration::from_secs(2));
        assert_eq!(outcome("***", false).unwrap().requests, 3);
        assert_eq!(outcome("rrr", true).unwrap().per_second(), 1.5);
        assert!(outcome("r*r", true).is_err());
        assert!(outcome("r*r", false).is_err());
        assert!(super::outcome("", true, Duration::ZERO).is_err());
    }
}
