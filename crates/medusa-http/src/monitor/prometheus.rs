//! Prometheus' text format, version 0.0.4: a metric's lines stand together, behind its HELP and TYPE.
//! Pure.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::{Counted, Snapshot};

type Column = (&'static str, &'static str, &'static str, fn(&Counted) -> u64);

/// What the core counts of every service.
const COLUMNS: &[Column] = &[
    ("medusa_connections_open", "gauge", "Connections that stand now.", |s| s.open),
    ("medusa_connections_accepted_total", "counter", "Connections taken.", |s| s.accepted),
    ("medusa_connections_refused_total", "counter", "Connections refused for a limit.", |s| {
        s.refused
    }),
    (
        "medusa_own_connections_open",
        "gauge",
        "Connections of sessions' own, as FTP's for data, that stand now.",
        |s| s.own_open,
    ),
    ("medusa_own_connections_opened_total", "counter", "Connections of sessions' own.", |s| {
        s.own_opened
    }),
    (
        "medusa_received_bytes_total",
        "counter",
        "Octets received on connections that have ended.",
        |s| s.received,
    ),
    ("medusa_sent_bytes_total", "counter", "Octets sent on connections that have ended.", |s| {
        s.sent
    }),
    ("medusa_datagrams_received_total", "counter", "Datagrams received.", |s| s.datagrams.received),
    (
        "medusa_datagrams_truncated_total",
        "counter",
        "Datagrams received that were longer than the service takes.",
        |s| s.datagrams.truncated,
    ),
    (
        "medusa_datagrams_refused_total",
        "counter",
        "Datagrams dropped unseen because their peer sends too many.",
        |s| s.datagrams.refused,
    ),
    ("medusa_datagrams_sent_total", "counter", "Datagrams that the kernel took.", |s| {
        s.datagrams.sent
    }),
    (
        "medusa_datagrams_dropped_total",
        "counter",
        "Datagrams that were to be sent and were dropped.",
        |s| s.datagrams.dropped,
    ),
];

pub(super) fn text(snapshot: &Snapshot, uptime: Duration) -> String {
    let mut out = String::new();
    begin(&mut out, "medusa_uptime_seconds", "gauge", "Time since the configuration was taken.");
    let _ = writeln!(out, "medusa_uptime_seconds {}", uptime.as_secs());
    for (name, kind, help, value) in COLUMNS {
        begin(&mut out, name, kind, help);
        for service in &snapshot.services {
            let _ = writeln!(out, "{name}{{{}}} {}", label(&service.name), value(service));
        }
    }
    // What protocols count themselves, by metric.
    let mut own: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for service in &snapshot.services {
        let kind = service.name.split('.').next().unwrap_or_default();
        for (name, value) in &service.own {
            let (name, class) = classed(name);
            let metric = format!("medusa_{}_{}_total", word(kind), word(name));
            let class = class.map(|class| format!(",class=\"{class}\"")).unwrap_or_default();
            let line = format!("{metric}{{{}{class}}} {value}", label(&service.name));
            own.entry(metric).or_default().push(line);
        }
    }
    for (metric, lines) in own {
        begin(&mut out, &metric, "counter", "Counted by the protocol.");
        for line in lines {
            out.push_str(&line);
            out.push('\n');
        }
    }
    out
}

fn begin(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// `requests_2xx` is the class `2xx` of `requests`.
fn classed(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once('_') {
        Some((base, class)) if matches!(class, "1xx" | "2xx" | "3xx" | "4xx" | "5xx") => {
            (base, Some(class))
        }
        _ => (name, None),
    }
}

fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn label(service: &str) -> String {
    let escaped = service.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("service=\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use medusa_core::metrics::Metrics;

    #[test]
    fn a_metric_stands_together() {
        let metrics = Metrics::default();
        for (name, count) in [("http.a", 2), ("smtp.mx", 3), ("http.\"b\\\n", 4)] {
            let service = metrics.service(name);
            service.accepted.add(count);
            service.ended.add(1);
            if name.starts_with("http") {
                service.counter("requests_2xx").add(count * 10);
                service.counter("requests_4xx").add(1);
            } else {
                service.counter("mails-taken").add(7);
            }
        }
        metrics.service("smtp.mx").datagrams.received.add(9);
        let text = text(&Snapshot::of(&metrics), Duration::from_millis(61_900));
        let expected = r#"# HELP medusa_uptime_seconds Time since the configuration was taken.
# TYPE medusa_uptime_seconds gauge
medusa_uptime_seconds 61
# HELP medusa_connections_open Connections that stand now.
# TYPE medusa_connections_open gauge
medusa_connections_open{service="http.a"} 1
medusa_connections_open{service="smtp.mx"} 2
medusa_connections_open{service="http.\"b\\\n"} 3
# HELP medusa_connections_accepted_total Connections taken.
"#;
        assert!(text.starts_with(expected), "{text}");
        let line = "medusa_datagrams_received_total{service=\"smtp.mx\"} 9\n";
        assert!(text.contains(line), "{text}");
        let expected = r#"# HELP medusa_http_requests_total Counted by the protocol.
# TYPE medusa_http_requests_total counter
medusa_http_requests_total{service="http.a",class="2xx"} 20
medusa_http_requests_total{service="http.a",class="4xx"} 1
medusa_http_requests_total{service="http.\"b\\\n",class="2xx"} 40
medusa_http_requests_total{service="http.\"b\\\n",class="4xx"} 1
# HELP medusa_smtp_mails_taken_total Counted by the protocol.
# TYPE medusa_smtp_mails_taken_total counter
medusa_smtp_mails_taken_total{service="smtp.mx"} 7
"#;
        assert!(text.ends_with(expected), "{text}");
    }
}
