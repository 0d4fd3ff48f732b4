//! Plans of sound and of wrong configurations.

use medusa_core::config::Listen;
use medusa_core::{Acceptor, Cx, Frame, Listener, Peer, Plugin, Session};
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

/// A service for tests that listens and serves a folder, as most do.
struct Gopher(medusa_core::ServiceParts);

#[derive(Deserialize)]
struct Config {
    listen: Vec<Listen>,
    #[serde(default)]
    tls_listen: Vec<Listen>,
    asks: Option<String>,
    root: Option<PathBuf>,
    #[serde(default)]
    menu: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    file: PathBuf,
}

struct Silent;

impl Session for Silent {
    fn opened(&mut self, _: &mut Cx<'_>) {}
    fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
}

impl Plugin for Gopher {
    const KIND: &'static str = "gopher";
    type Config = Config;

    fn build(config: Config, cx: &BuildContext) -> Result<Box<dyn Service>, BuildError> {
        if let Some(root) = config.root.as_ref().filter(|root| !cx.path(root).is_dir()) {
            return Err(BuildError::at("root", format!("there is no folder `{}`", root.display()))
                .hint("make it first"));
        }
        for (index, item) in config.menu.iter().enumerate() {
            if !cx.path(&item.file).is_file() {
                return Err(BuildError::at(format!("menu[{index}].file"), "no such file"));
            }
        }
        if config.listen.is_empty() {
            return Err(BuildError::new("listens nowhere"));
        }
        if config.asks.is_some() && cx.shared::<medusa_accounts::Logins>().is_none() {
            return Err(BuildError::at("asks", "nobody can log in")
                .hint("add a table `[accounts]` with a `file`"));
        }
        let limits = cx.limits(medusa_core::Limits::default());
        let parts = medusa_core::ServiceParts::new(cx.service_name());
        let parts = parts.with_summary(format!("idle {:?}", limits.idle));
        let secured = cx.listeners("tls_listen", &config.tls_listen);
        let listeners = cx.listeners("listen", &config.listen).into_iter();
        let listeners = listeners.chain(secured.into_iter().map(Listener::secured));
        Ok(Box::new(Gopher(listeners.fold(parts, medusa_core::ServiceParts::listener))))
    }
}

impl Service for Gopher {
    fn parts(&self) -> medusa_core::ServiceParts {
        self.0.clone()
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(|_: &Peer| Box::new(Silent) as Box<dyn Session>)
    }
}

struct NoAccess;

impl AccessSink for NoAccess {
    fn line(&self, _: &[u8]) {}
}

/// What a plan looks like: `name summary` for each service, or what was told.
fn outcome(text: &str) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("public")).expect("a folder");
    let source = Source { name: "m.toml".into(), text: text.into() };
    let document = Document::parse(&source).map_err(|errors| errors.to_string())?;
    let mut kinds = Kinds::default();
    kinds.add::<Gopher>();
    let plan = Plan::make(&document, &kinds, folder.path(), |_| Arc::new(NoAccess));
    let plan = plan.map_err(|errors| errors.to_string())?;
    Ok(plan
        .mounts
        .iter()
        .map(|mount| mount.service.parts())
        .map(|parts| format!("{} {}", parts.name(), parts.summary()))
        .collect())
}

fn check(text: &str, count: usize, parts: &[&str]) {
    let told = outcome(text).expect_err(text);
    for part in parts {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    assert_eq!(told.matches("error: ").count(), count, "{told}");
}

#[test]
fn services_are_built_in_the_order_they_are_written() {
    let plan = outcome(
        "[server]\nshards = 1\n[log]\nlevel = \"info\"\naccess = \"access.log\"\n[limits]\nidle = \"7s\"\n\
         [gopher.z]\nlisten = [\"127.0.0.1:0\"]\nroot = \"public\"\n\
         [gopher.a]\nlisten = [\"127.0.0.1:0\"]\nlimits = { idle = \"9s\" }\n",
    );
    assert_eq!(plan.expect("valid"), ["gopher.z idle Some(7s)", "gopher.a idle Some(9s)"]);
}

#[test]
fn what_a_plug_in_refuses_is_shown_where_it_stands() {
    check(
        "[gopher.a]\nlisten = [\"127.0.0.1:0\"]\nroot = \"pubic\"\n",
        1,
        &["there is no folder `pubic`", "m.toml:3:8", "help: make it first"],
    );
    check(
        "[gopher.a]\nlisten = [\"127.0.0.1:0\"]\n[[gopher.a.menu]]\nfile = \"none\"\n",
        1,
        &["no such file", "m.toml:4:8"],
    );
    check("[gopher.a]\nlisten = []\n", 1, &["listens nowhere", "m.toml:1:1"]);
}

#[test]
fn unknown_tables_are_refused_and_name_what_there_is() {
    check(
        "[smtp.mx]\nlisten = 5\n",
        1,
        &["no plug-in for `smtp`", "m.toml:1:2", "that there are: `gopher`"],
    );
    check("[gofer.x]\n", 1, &["no plug-in for `gofer`", "did you mean `gopher`?"]);
    check("sever = 1\n", 1, &["unknown key `sever`", "did you mean `server`?"]);
}

#[test]
fn a_service_needs_a_name_and_a_file_a_service() {
    check("[gopher]\nlisten = []\n", 1, &["this one has no name", "`[gopher.main]`", "m.toml:2:1"]);
    check("gopher = 5\n", 1, &["`gopher` is a table, not an integer", "`[gopher.NAME]`"]);
    check(
        "server = \"x\"\n[gopher.a]\nlisten = [\"127.0.0.1:0\"]",
        1,
        &["`server` is a table, not a string"],
    );
    check("", 1, &["nothing to serve", "`[gopher.main]`"]);
    check("[server]\n", 1, &["nothing to serve"]);
}

#[test]
fn limits_are_strict_too() {
    check(
        "[limits]\nidel = \"5s\"\n[gopher.a]\nlisten = [\"127.0.0.1:0\"]\n",
        1,
        &["did you mean `idle`?"],
    );
    for (limit, line) in
        [("idle = \"0s\"", 3), ("login = \"0s\"", 3), ("minimum_rate = \"0 B/s\"", 3)]
    {
        check(
            &format!("[gopher.a]\nlisten = [\"127.0.0.1:0\"]\nlimits.{limit}\n"),
            1,
            &["a limit of 0", &format!("m.toml:{line}:"), "`false` is no limit"],
        );
    }
    check("[gopher.a]\nlisten = [\"127.0.0.1:0\"]\nlimits = 5\n", 1, &["`limits` is a table"]);
}

#[test]
fn what_services_share_is_told_about_once() {
    let gopher = "[gopher.a]\nlisten = [\"127.0.0.1:0\"]\n";
    check(
        &format!("[accounts]\nfile = \"none.toml\"\n{gopher}asks = \"accounts\"\n"),
        1,
        &["there is no users file", "m.toml:2:8"],
    );
    check(
        &format!("{gopher}asks = \"accounts\"\n"),
        1,
        &["nobody can log in", "add a table `[accounts]`", "m.toml:3:8"],
    );
    check(
        &format!("{gopher}tls_listen = [\"127.0.0.1:0\"]\n"),
        1,
        &["`gopher.a` has no certificate to speak TLS with", "m.toml:3:15"],
    );
}

#[test]
fn whom_to_ask_for_names_is_told_line_by_line() {
    let gopher = "[gopher.a]\nlisten = [\"127.0.0.1:0\"]\n";
    let sound = "[resolver]\nservers = [\"192.0.2.1\", \"tls://192.0.2.1#dns.test\"]\n\
         timeout = \"2s\"\nattempts = 2\ntrust_ad = true\ncache = \"1 MiB\"\n";
    assert!(outcome(&format!("{sound}{gopher}")).is_ok());
    check(
        &format!("[resolver]\nservers = [\"192.0.2.1\", \"dns.test\"]\nattempts = 0\n{gopher}"),
        1,
        &["from 1", "m.toml:3:"],
    );
    check(
        &format!("[resolver]\nservers = [\"192.0.2.1\", \"dns.test\"]\n{gopher}"),
        1,
        &["`dns.test` is no name server", "m.toml:2:25"],
    );
    check(&format!("[resolver]\nservers = []\n{gopher}"), 1, &["no name server", "m.toml:2:11"]);
    check(
        &format!("[resolver]\nservers = [\"tls://192.0.2.1\"]\nauthorities = \"no.pem\"\n{gopher}"),
        1,
        &["no.pem", "m.toml:3:15"],
    );
}

#[test]
fn an_address_belongs_to_one_listener_however_it_is_written() {
    check(
        "[gopher.a]\nlisten = [\"127.0.0.1:7070\", \"127.0.0.1:7070\"]\n",
        1,
        &["`127.0.0.1:7070` is taken by `listen[0]` already", "m.toml:2:29"],
    );
    check(
        "[gopher.a]\nlisten = [\"0.0.0.0:7070\"]\n[gopher.b]\nlisten = [\"127.0.0.1:7070\"]\n",
        1,
        &["taken by `[gopher.a]` already, which listens on `0.0.0.0:7070`", "m.toml:4:11"],
    );
}

#[test]
fn what_is_like_a_path_that_is_not_there_is_suggested() {
    check(
        "[gopher.a]\nlisten = [\"127.0.0.1:0\"]\n[[gopher.a.menu]]\nfile = \"pubic\"\n",
        1,
        &["no such file", "m.toml:4:8", "did you mean `public`?"],
    );
}

#[test]
fn an_address_belongs_to_one_service() {
    check(
        "[gopher.a]\nlisten = [\"127.0.0.1:7070\"]\n[gopher.b]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:7070\"]\n",
        1,
        &["`127.0.0.1:7070` is taken by `[gopher.a]` already", "m.toml:4:26"],
    );
    assert!(
        outcome("[gopher.a]\nlisten = [\"127.0.0.1:0\"]\n[gopher.b]\nlisten = [\"127.0.0.1:0\"]")
            .is_ok()
    );
}

#[test]
fn the_access_log_needs_a_folder() {
    let gopher = "[gopher.a]\nlisten = [\"127.0.0.1:0\"]\n";
    check(
        &format!("[log]\naccess = \"none/access.log\"\n{gopher}"),
        1,
        &["there is no folder", "m.toml:2:10"],
    );
    check(&format!("[log]\naccess = \"public\"\n{gopher}"), 1, &["is a folder, not a file"]);
}

#[test]
fn there_are_no_more_event_loops_than_make_sense() {
    let gopher = "[gopher.a]\nlisten = [\"127.0.0.1:0\"]\n";
    assert!(outcome(&format!("[server]\nshards = 1024\n{gopher}")).is_ok());
    check(
        &format!("[server]\nshards = 1025\n{gopher}"),
        1,
        &["from 1 to 1024", "m.toml:2:10", "one per core"],
    );
}

#[test]
fn every_table_is_told_about_at_once() {
    check(
        "[server]\nshards = 0\n[log]\nlevel = 5\n[limits]\nidle = 5\n[accounts]\n[dns.x]\n\
         [gopher.a]\nlisten = 5\n[gopher.b]\nlisten = []\n[gopher.c]\nlisten = [\"127.0.0.1:0\"]\nroot = \"x\"\n",
        8,
        &[
            "m.toml:2:",
            "m.toml:4:",
            "m.toml:6:",
            "m.toml:7:",
            "m.toml:8:",
            "m.toml:10:",
            "m.toml:11:",
            "m.toml:15:",
        ],
    );
}

proptest! {
    /// A slip of the keyboard anywhere in a sound file: it may be refused, but never in a panic.
    #[test]
    fn slips_are_survived(at in 0usize..400, cut in 0usize..12, typed in "[\\[\\]\"'=.,#{}a-z0-9 \n\u{e9}]{0,4}") {
        let sound = "[server]\nshards = 1\n[log]\nlevel = \"info\"\n[limits]\nidle = \"7s\"\nhead = false\n\
             [gopher.z]\nlisten = [\"127.0.0.1:0\"]\nroot = \"public\"\nlimits = { idle = \"9s\" }\n\
             [[gopher.z.menu]]\nfile = \"x\"\n";
        let at = at.min(sound.len());
        let end = (at + cut).min(sound.len());
        let _ = outcome(&format!("{}{typed}{}", &sound[..at], &sound[end..]));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("medusa.toml");
    std::fs::write(&path, b"a = 1\nb = \"\xff\"\n").expect("written");
    let told = source_at(&path).expect_err("not UTF-8").to_string();
    assert!(told.contains("line 2 is not UTF-8"), "{told}");
    let told = source_at(&folder.path().join("medua.toml")).expect_err("missing").to_string();
    assert!(
        told.contains("can't read the configuration") && told.contains("did you mean"),
        "{told}"
    );
    assert!(told.contains("medusa.toml"), "{told}");
}
