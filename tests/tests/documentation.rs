//! What the documents say of the configuration, held against the program.

use std::path::Path;

use medusa_tests::{Authority, Site};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

fn document(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    std::fs::read_to_string(root.join(name)).expect("a document")
}

/// The fenced blocks of a language.
fn blocks<'d>(document: &'d str, language: &str) -> Vec<&'d str> {
    let opening = format!("```{language}\n");
    let blocks = document.split(&opening).skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default()).collect()
}

fn check(configuration: &str) -> (bool, String) {
    let site = Site::new(configuration);
    for folder in ["public", "downloads"] {
        site.write(&format!("{folder}/index.html"), "");
    }
    let authority = Authority::new(&site, "ca");
    for (name, key, host) in
        [("cert", "key.pem", "example.test"), ("www", "www.key", "www.example.test")]
    {
        authority.sign(&site, name, &[host]);
        site.write_private(key, site.read(&format!("{name}.key")));
    }
    site.write_private("users.toml", "");
    let output = site.command(MEDUSA, &["check", "medusa.toml"]).output().expect("it runs");
    (output.status.success(), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn configurations_in_the_documents_are_sound() {
    for name in ["README.md", "docs/configuration.md", "docs/tls.md"] {
        let document = document(name);
        let blocks = blocks(&document, "toml");
        assert!(!blocks.is_empty(), "{name} has no configuration");
        for block in blocks {
            let (sound, told) = check(block);
            assert!(sound, "{name}:\n{block}\n{told}");
        }
    }
}

#[test]
fn the_page_of_the_readme_is_what_the_program_says() {
    let readme = document("README.md");
    let shown = blocks(&readme, "text")
        .into_iter()
        .find(|block| block.starts_with("error:"))
        .expect("an error");
    let wrong = blocks(&readme, "toml")[0].replace(
        "\nlisten = [\"127.0.0.1:8080\", \"[::1]:8080\"]",
        "\nlisen = [\"127.0.0.1:8080\"]",
    );
    let (sound, told) = check(&wrong);
    assert!(!sound);
    assert!(
        told.contains(shown.trim_end()),
        "the README shows\n{shown}\nand the program says\n{told}"
    );
}

/// The program names all keys of a table when it meets one that is like none of them.
#[test]
fn every_key_has_a_line() {
    let site = "[http.site]\nlisten = [\"127.0.0.1:0\"]\nroot = \"public\"\n";
    for (table, page) in [
        ("[server]", "configuration"),
        ("[log]", "configuration"),
        ("[accounts]", "configuration"),
        ("[tls]", "configuration"),
        ("[[tls.name]]", "configuration"),
        ("[resolver]", "configuration"),
        ("[limits]", "configuration"),
        ("[http.site]", "configuration"),
        ("[[http.site.route]]", "configuration"),
        ("[smtp.x]", "smtp"),
        ("[[smtp.x.destination]]", "smtp"),
        ("[pop3.x]", "pop3"),
        ("[ftp.x]", "ftp"),
        ("[[ftp.x.folder]]", "ftp"),
        ("[dns.x]", "dns"),
        ("[[dns.x.zone]]", "dns-transfers"),
        ("[[dns.x.key]]", "dns-transfers"),
    ] {
        let page = format!("docs/{page}.md");
        let reference = document(&page);
        let wrong = match table {
            "[http.site]" => format!("{site}xyzzy = 1\n"),
            _ => format!("{site}{table}\nxyzzy = 1\n"),
        };
        let (_, told) = check(&wrong);
        let list =
            told.split("the keys here are ").nth(1).unwrap_or_else(|| panic!("{table}: {told}"));
        let keys: Vec<_> = list.lines().next().expect("a line").split(", ").collect();
        assert!(!keys.is_empty(), "{table}: {keys:?}");
        for key in keys {
            // A list of tables may stand as a heading of its own.
            let heading = format!(".{}]]", key.trim_matches('`'));
            let told = reference.contains(key) || reference.contains(&heading);
            assert!(told, "{page} has no {key} for {table}");
        }
    }
}
