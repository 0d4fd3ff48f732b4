//! The status page, written out: HTML and JSON. Pure.

use std::fmt::Write;
use std::time::Duration;

use super::{Counted, View};

pub(super) fn html(view: &View) -> String {
    let mut rows = String::new();
    for now in &view.now.services {
        let before = view.before.service(&now.name);
        let rate = |now: u64, before: Option<u64>| view.rate(now, before.unwrap_or(0));
        let own = now.own.iter().map(|(name, value)| {
            let rate = rate(*value, before.and_then(|before| before.own(name)));
            format!("{}: {value} ({rate:.1}/s)", escaped(&name.replace('_', " ")))
        });
        let own: Vec<String> = datagrams(view, now, before).into_iter().chain(own).collect();
        let _ = writeln!(
            rows,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{:.1}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td class=\"own\">{}</td></tr>",
            escaped(&now.name),
            now.open,
            now.accepted,
            rate(now.accepted, before.map(|before| before.accepted)),
            now.refused,
            octets(now.received),
            octets(now.sent),
            own.join("<br>"),
        );
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Status</title>\n\
         <style>body{{font:1em sans-serif;margin:2em}}table{{border-collapse:collapse}}\
         th,td{{padding:.3em .8em;border-bottom:1px solid #ccc;text-align:right}}\
         tbody th,.own{{text-align:left}}p{{color:#555}}</style></head>\n\
         <body><h1>Status</h1>\n<p>Up for {}. Rates are over the last {}.</p>\n\
         <table><thead><tr><th>Service</th><th>Open</th><th>Connections</th><th>a second</th>\
         <th>Refused</th><th>Received</th><th>Sent</th><th>Counted</th></tr></thead>\n\
         <tbody>\n{rows}</tbody></table>\n\
         <p>Octets are those of connections that have ended. <a href=\"?format=json\">JSON</a></p>\
         </body></html>\n",
        span(view.uptime),
        span(view.window),
    )
}

/// A line on datagrams, where there were any.
fn datagrams(view: &View, now: &Counted, before: Option<&Counted>) -> Option<String> {
    let (counts, before) = (now.datagrams, before.map(|before| before.datagrams));
    if counts.received == 0 && counts.sent == 0 && counts.dropped == 0 {
        return None;
    }
    let rate = view.rate(counts.received, before.map_or(0, |before| before.received));
    let mut line = format!("datagrams: {} ({rate:.1}/s), {} sent", counts.received, counts.sent);
    for (count, what) in
        [(counts.truncated, "too long"), (counts.refused, "refused"), (counts.dropped, "not sent")]
    {
        if count > 0 {
            let _ = write!(line, ", {count} {what}");
        }
    }
    Some(line)
}

pub(super) fn json(view: &View) -> String {
    let services: Vec<String> = view.now.services.iter().map(|now| service(view, now)).collect();
    format!(
        "{{\"uptime_seconds\":{},\"window_seconds\":{},\"services\":[{}]}}\n",
        view.uptime.as_secs(),
        view.window.as_secs(),
        services.join(","),
    )
}

fn service(view: &View, now: &Counted) -> String {
    let before = view.before.service(&now.name);
    let own = |value: &dyn Fn(&'static str, u64) -> String| {
        let all = now.own.iter().map(|(name, count)| {
            let mut pair = String::new();
            quote(&mut pair, name);
            pair + ":" + &value(name, *count)
        });
        all.collect::<Vec<_>>().join(",")
    };
    let counts = own(&|_, count| count.to_string());
    let rates = own(&|name, count| {
        let before = before.and_then(|before| before.own(name)).unwrap_or(0);
        format!("{:.3}", view.rate(count, before))
    });
    let mut out = String::from("{\"name\":");
    quote(&mut out, &now.name);
    let _ = write!(
        out,
        ",\"connections_open\":{},\"connections_accepted\":{},\"connections_refused\":{},\
         \"connections_per_second\":{:.3},\"received_octets\":{},\"sent_octets\":{},\
         \"counted\":{{{counts}}},\"per_second\":{{{rates}}},\
         \"datagrams_received\":{},\"datagrams_truncated\":{},\"datagrams_refused\":{},\
         \"datagrams_sent\":{},\"datagrams_dropped\":{}}}",
        now.open,
        now.accepted,
        now.refused,
        view.rate(now.accepted, before.map_or(0, |before| before.accepted)),
        now.received,
        now.sent,
        now.datagrams.received,
        now.datagrams.truncated,
        now.datagrams.refused,
        now.datagrams.sent,
        now.datagrams.dropped,
    );
    out
}

/// A JSON string (RFC 8259 §7).
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Its two largest units.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn octets(octets: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (octets as f64, None);
    for name in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, Some(name));
    }
    unit.map_or(format!("{octets} B"), |unit| format!("{value:.1} {unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_as_people_read_them() {
        let spans = [59, 60, 3599, 3600, 86_399, 90_000].map(|s| span(Duration::from_secs(s)));
        assert_eq!(
            spans,
            ["59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "1 d 1 h"]
        );
        let sizes = [0, 1023, 1024, 1536, 5 << 30, u64::MAX].map(octets);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB", "16777216.0 TiB"]);
    }

    #[test]
    fn a_name_stays_in_its_place() {
        let mut out = String::new();
        quote(&mut out, "a\"\\\n\u{e4}");
        assert_eq!(out, "\"a\\\"\\\\\\u000a\u{e4}\"");
        assert_eq!(escaped("<a href=\"&\">"), "&lt;a href=&quot;&amp;&quot;&gt;");
    }
}
