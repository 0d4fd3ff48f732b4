//! Load by wrk: for so many seconds on so many connections, and what came of it, told by a script of our
//! own rather than read off wrk's page.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What is asked, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) scheme: &'a str,
    pub(crate) path: &'a str,
    pub(crate) fields: &'a [&'a str],
    pub(crate) connections: u32,
    /// Requests that are sent at once on a connection.
    pub(crate) depth: u32,
    pub(crate) seconds: u32,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) duration: Duration,
    pub(crate) median: Option<Duration>,
    pub(crate) percentile_99: Option<Duration>,
}

/// Before the line with the results.
const MARK: &str = "outcome:";

/// wrk's script: bursts where they are asked for, and numbers at the end. Each burst counts for as many
/// requests as wrk counts replies.
const SCRIPT: &str = r#"
local depth = tonumber(DEPTH)
if depth > 1 then
  local burst
  init = function(args)
    burst = string.rep(wrk.format(), depth)
  end
  request = function() return burst end
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("outcome: %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

fn script(depth: u32) -> String {
    SCRIPT.replace("DEPTH", &depth.to_string())
}

impl Load<'_> {
    /// Runs it. The script is written into `folder`.
    pub(crate) fn run(&self, address: SocketAddr, folder: &Path) -> Result<Outcome> {
        let path = folder.join("wrk.lua");
        fs::write(&path, script(self.depth))?;
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--timeout", "10s", "--script"]).arg(path);
        wrk.args(["--connections", &self.connections.to_string()]);
        wrk.args(["--duration", &format!("{}s", self.seconds)]);
        for field in self.fields {
            wrk.args(["--header", field]);
        }
        let wrk = wrk.arg(format!("{}://{address}{}", self.scheme, self.path));
        let output = wrk.stdin(Stdio::null()).output().context("can't run wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        outcome(&text)
            .with_context(|| format!("wrk said: {text}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

fn outcome(text: &str) -> Result<Outcome> {
    let line = text.lines().find_map(|line| line.strip_prefix(MARK)).context("wrk told nothing")?;
    let numbers = line.split_whitespace().map(str::parse::<u64>);
    let [requests, duration, median, percentile_99, errors] =
        numbers.collect::<Result<Vec<_>, _>>()?[..]
    else {
        bail!("wrk told something else: {line}");
    };
    if errors > 0 || requests == 0 {
        bail!("{errors} of {requests} requests failed");
    }
    Ok(Outcome {
        requests,
        duration: Duration::from_micros(duration),
        median: latency(median),
        percentile_99: latency(percentile_99),
    })
}

/// wrk adds what it thinks was left out where a reply was late (coordinated omission), and loses count of
/// it in bursts: it says 0 then.
fn latency(micros: u64) -> Option<Duration> {
    (micros > 0).then(|| Duration::from_micros(micros))
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.duration.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_speaks_to_its_reader() {
        assert!(script(16).contains("tonumber(16)"));
        assert!(SCRIPT.contains(&format!("\"{MARK} ")));
        let found = outcome("Running\noutcome: 300 2000000 150 900 0\n").unwrap();
        assert_eq!((found.requests, found.per_second()), (300, 150.0));
        assert_eq!(found.percentile_99, Some(Duration::from_micros(900)));
        assert_eq!(outcome("outcome: 3 2000000 150 0 0").unwrap().percentile_99, None);
        assert!(outcome("outcome: 300 2000000 150 900 1\n").is_err());
        assert!(outcome("Running\n").is_err());
    }
}
