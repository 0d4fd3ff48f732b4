//! Tables that can and that can't be read.

use std::collections::BTreeMap;

use medusa_core::config::{Listen, Period, Rate, Size};
use serde::Deserialize;

use super::super::diagnostic::{Diagnostics, Source};
use super::super::document::Document;
use super::*;

#[derive(Deserialize, Debug, PartialEq)]
struct Site {
    listen: Vec<Listen>,
    #[serde(default)]
    listing: bool,
    port: Option<u16>,
    idle: Option<Period>,
    size: Option<Size>,
    rate: Option<Rate>,
    role: Option<Role>,
    #[serde(default)]
    route: Vec<Route>,
    #[serde(default)]
    names: BTreeMap<String, u8>,
    ratio: Option<f64>,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Role {
    Mx,
    Submission,
    Relay { host: String },
    Weight(u8),
}

#[derive(Deserialize, Debug, PartialEq)]
struct Route {
    path: String,
    files: Option<String>,
}

fn outcome(text: &str) -> Result<Site, String> {
    let source = Source { name: "m.toml".into(), text: text.into() };
    let document = Document::parse(&source).expect("valid TOML");
    let mut errors = Vec::new();
    let site = read(&document.root(), &[], &mut errors);
    match site {
        Some(site) if errors.is_empty() => Ok(site),
        None if !errors.is_empty() => Err(Diagnostics::new(source, errors).to_string()),
        other => panic!("{other:?} with {errors:?}"),
    }
}

/// Each part stands in what is told, and it is exactly so many errors.
fn check(text: &str, count: usize, parts: &[&str]) {
    let told = outcome(text).expect_err(text);
    for part in parts {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    assert_eq!(told.matches("error: ").count(), count, "{told}");
}

#[test]
fn what_is_right_is_read() {
    let site = outcome(
        "listen = [\"127.0.0.1:80\"]\nlisting = true\nport = 0x50\nidle = \"5m\"\nsize = \"1 KiB\"\n\
         rate = \"1 B/s\"\nrole = \"mx\"\nratio = 0.5\nnames = { a = 1 }\n[[route]]\npath = \"/\"\n",
    )
    .expect("valid");
    assert_eq!(site.listen.len(), 1);
    assert_eq!(site.port, Some(80));
    assert_eq!(site.role, Some(Role::Mx));
    assert_eq!(site.route, [Route { path: "/".into(), files: None }]);
    assert_eq!(site.names["a"], 1);
    for (text, role) in [
        ("role = { relay = { host = \"h\" } }", Role::Relay { host: "h".into() }),
        ("role.weight = 3", Role::Weight(3)),
    ] {
        assert_eq!(outcome(&format!("listen = []\n{text}")).expect(text).role, Some(role));
    }
}

#[test]
fn an_unknown_key_is_told_with_a_suggestion() {
    check(
        "listen = []\nlisen = 1",
        1,
        &["unknown key `lisen`", "m.toml:2:1", "did you mean `listen`?"],
    );
    check(
        "listen = []\nzzz = 1",
        1,
        &["unknown key `zzz`", "the keys here are `listen`, `listing`"],
    );
    check(
        "listen = []\n[[route]]\npath=\"/\"\nfile = \"x\"",
        1,
        &["unknown key `file` in `[route]`", "m.toml:4:1", "did you mean `files`?"],
    );
    check(
        "listen = []\nrole.relay = { hots = 1, host = \"\" }",
        1,
        &["unknown key `hots`", "`host`?"],
    );
}

#[test]
fn wrong_types_are_told_in_plain_words() {
    check(
        "listen = \"127.0.0.1:80\"",
        1,
        &[
            "a list belongs here, not the string \"127.0.0.1:80\"",
            "put it in brackets: [\"127.0.0.1:80\"]",
            "m.toml:1:10",
        ],
    );
    check(
        "listen = []\nlisting = \"yes\"",
        1,
        &["true or false belongs here, not the string \"yes\""],
    );
    check("listen = []\nlisting = \"true\"", 1, &["leave out the quotes: true"]);
    check("listen = []\nidle = 30", 1, &["a duration such as \"30s\"", "not the number 30"]);
    check("listen = []\nport = 70000", 1, &["out of range", "from 0 to 65535"]);
    check("listen = []\nport = -1", 1, &["out of range"]);
    check("listen = []\nport = 99999999999999999999", 1, &["too large"]);
    check("listen = []\nroute = 5", 1, &["a list belongs here, not the number 5"]);
    check("listen = []\nroute = [5]", 1, &["a table belongs here, not the number 5"]);
    check("listen = []\nroute = [{ path = 5 }]", 1, &["put it in quotes: \"5\""]);
    check("listen = []\nport = 1979-05-27", 1, &["not the date 1979-05-27"]);
    check("listen = []\nnames = { a = 300 }", 1, &["out of range", "255"]);
    check("listen = []\nrole = 5", 1, &["m.toml:2:8"]);
    check("listen = []\nrole = {}", 1, &["a table with one key"]);
}

#[test]
fn values_explain_themselves() {
    check("listen = []\nidle = \"30\"", 1, &["`30` has no unit", "m.toml:2:8"]);
    check("listen = []\nsize = \"5 KB\"", 1, &["`KB` is not a unit here"]);
    check("listen = []\nsize = \"-5 KiB\"", 1, &["is negative"]);
    check("listen = []\nsize = \"9999999999 TiB\"", 1, &["too large"]);
    check("listen = []\nrate = \"5 B\"", 1, &["write \"5 B/s\""]);
    check("listen = [\"localhost:80\"]", 1, &["names are not looked up", "m.toml:1:11"]);
    check(
        "listen = []\nrole = \"mxx\"",
        1,
        &["`mxx` is not one of the choices", "did you mean `mx`?"],
    );
    check("listen = []\nrole = { mx = 1 }", 1, &["takes no value"]);
}

#[test]
fn what_is_missing_is_told_at_its_table() {
    check("", 1, &["`listen` is missing"]);
    check(
        "listen = []\n[[route]]\nfiles = \"x\"",
        1,
        &["`path` is missing in `[route]`", "m.toml:2:1"],
    );
}

#[test]
fn every_error_is_told_at_once() {
    check(
        "lisen = 1\nlisten = [\"x\", \"127.0.0.1:1\", \":80\"]\nlisting = 3\nidle = \"7\"\nsize = 1\n\
         [[route]]\nfiles = 1\n[[route]]\npath = \"/\"\npaht = 2\n[[route]]\npath = 7\n",
        10,
        &[
            "m.toml:1:1",
            "m.toml:2:11",
            "m.toml:2:31",
            "m.toml:3:11",
            "m.toml:4:8",
            "m.toml:5:8",
            "m.toml:6:1",
            "m.toml:7:9",
            "m.toml:10:1",
            "m.toml:12:8",
        ],
    );
}

#[test]
fn a_file_that_is_wrong_throughout_is_told_in_part() {
    let text = format!("listen = [{}]", "1, ".repeat(1000));
    check(&text, MOST_ERRORS, &["not the number 1"]);
}

#[test]
fn a_value_that_was_left_out_is_not_called_missing() {
    check("listen = 5", 1, &["a list belongs here"]);
    check("listen = []\n[[route]]\npath = 5", 1, &["a string belongs here"]);
}
