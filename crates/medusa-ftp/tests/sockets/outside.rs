//! Nothing outside of the root can be reached by a name, whatever stands in it and whoever swaps links
//! meanwhile.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fixture::Fixture;

/// Hundreds of ways to say where the secret is.
fn ways(fixture: &Fixture) -> Vec<Vec<u8>> {
    let outside = fixture.folder.path().join("secret.txt");
    let absolute = outside.to_str().unwrap().to_owned();
    let mut ways = vec![absolute.clone(), format!("/{absolute}"), format!("//..{absolute}")];
    for ups in 1..=14 {
        for (up, slash) in
            [("..", "/"), ("../.", "/"), ("folder/../..", "/"), ("..", "//"), ("./..", "/./")]
        {
            let climb = vec![up; ups].join(slash);
            for start in ["", "/", "folder/", "link/", "/link/"] {
                ways.push(format!("{start}{climb}{slash}secret.txt"));
            }
            ways.push(format!("{climb}{absolute}"));
        }
        for dots in [
            "%2e%2e",
            "..%2f",
            "..\\",
            "..;",
            "..\u{2215}",
            "\u{ff0e}\u{ff0e}",
            "....",
            "...",
            ".. ",
            " ..",
        ] {
            ways.push(format!("{}/secret.txt", vec![dots; ups].join("/")));
        }
    }
    ways.extend(
        ["link", "link/.", "up/secret.txt", "absolute", "folder/deep", "loop/loop/x"]
            .map(str::to_owned),
    );
    let mut ways: Vec<Vec<u8>> = ways.into_iter().map(String::into_bytes).collect();
    ways.push(b"..\0/secret.txt".to_vec());
    ways.push(b"\xc0\xae\xc0\xae/secret.txt".to_vec());
    ways
}

fn links(fixture: &Fixture) {
    let secret = fixture.folder.path().join("secret.txt");
    std::fs::create_dir(fixture.path("folder")).unwrap();
    symlink(&secret, fixture.path("link")).unwrap();
    symlink("..", fixture.path("up")).unwrap();
    symlink(fixture.folder.path(), fixture.path("absolute")).unwrap();
    symlink("../../secret.txt", fixture.path("folder/deep")).unwrap();
    symlink("loop", fixture.path("loop")).unwrap();
}

#[test]
fn no_name_leads_out() {
    let fixture = Fixture::new(|builder| builder);
    links(&fixture);
    let ways = ways(&fixture);
    assert!(ways.len() >= 500, "{}", ways.len());
    let mut control = fixture.alice();
    // So that a name that does reach something is seen at once.
    assert_eq!(control.ask("EPSV ALL"), "200 EPSV it is from now on");
    for way in &ways {
        let ask = |control: &mut super::fixture::Control<_>, verb: &str| {
            let line = [verb.as_bytes(), b" ", way].concat();
            control.ask(&line)
        };
        for verb in ["SIZE", "MDTM", "DELE", "RNFR", "RMD", "HASH"] {
            let reply = ask(&mut control, verb);
            assert!(
                reply.starts_with('5') || verb == "DELE" && reply.starts_with("250"),
                "{verb} {}: {reply}",
                way.escape_ascii()
            );
            if reply.starts_with("250") {
                // A link itself is removed, never what it leads to.
                links_again(&fixture);
            }
        }
    }
    let secret = std::fs::read_to_string(fixture.folder.path().join("secret.txt")).unwrap();
    assert_eq!(secret, "top secret");
    for name in ["link", "up/secret.txt", "absolute/secret.txt", "folder/deep"] {
        control.passive();
        assert!(control.ask(format!("RETR {name}")).starts_with("550 "), "{name}");
        assert!(control.ask(format!("STOR {name}")).starts_with('5'), "{name}");
    }
    let listed = String::from_utf8(control.fetch("NLST")).unwrap();
    assert_eq!(listed, "folder\r\n");
}

fn links_again(fixture: &Fixture) {
    for name in ["folder/deep", "link", "up", "absolute", "loop"] {
        let _ = std::fs::remove_file(fixture.path(name));
    }
    let _ = std::fs::remove_dir(fixture.path("folder"));
    links(fixture);
}

#[test]
fn a_link_that_is_swapped_meanwhile_leads_nowhere() {
    let fixture = Fixture::new(|builder| builder);
    std::fs::create_dir_all(fixture.path("real")).unwrap();
    fixture.write("real/secret.txt", "public");
    let ways = ways(&fixture);
    let secret = fixture.folder.path().join("secret.txt");
    let before = std::fs::metadata(&secret).unwrap().modified().unwrap();
    let done = AtomicBool::new(false);
    let (flip, real) = (fixture.path("flip"), fixture.path("real"));
    let (other, outside) = (fixture.path("other"), fixture.folder.path().to_owned());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for target in [&real, &outside] {
                    let _ = std::fs::remove_file(&other);
                    symlink(
                        target.strip_prefix(&outside).map_or(target.as_path(), |_| target),
                        &other,
                    )
                    .unwrap();
                    std::fs::rename(&other, &flip).unwrap();
                }
                let _ = std::fs::remove_file(&flip);
                std::fs::create_dir(&flip).unwrap();
                std::fs::write(flip.join("secret.txt"), "public").unwrap();
                std::fs::remove_dir_all(&flip).unwrap();
            }
        });
        let mut control = fixture.alice();
        // "public" has six octets, "top secret" ten.
        let digest = "efa1f375d76194fa51a3556a97e641e61685f914d446979da50a551a4333ffd7";
        let public = |verb: &str, reply: &str| match verb {
            "SIZE" => matches!(reply, "213 6" | "213 0"),
            "HASH" => reply.contains(digest) || reply.contains(" 0-0 "),
            _ => reply.starts_with("213 ") || reply.starts_with("250 "),
        };
        let mut reached = 0;
        let mut ask = |verb: &str, name: &[u8]| {
            let stamp = if verb == "MFMT" { "20010101000000 " } else { "" };
            let line = [verb.as_bytes(), b" ", stamp.as_bytes(), name].concat();
            let reply = control.ask(&line);
            assert!(public(verb, &reply) || reply.starts_with('5'), "{verb}: {reply}");
            reached += usize::from(reply.starts_with('2'));
        };
        for verb in ["SIZE", "HASH", "MFMT", "DELE"] {
            for _ in 0..500 {
                ask(verb, b"flip/secret.txt");
            }
        }
        // The hundreds of other ways, each by way of what is flipped.
        for way in &ways {
            ask("SIZE", &[b"flip/", &way[..]].concat());
        }
        done.store(true, Ordering::Relaxed);
        println!("reached what is inside {reached} times");
    });
    assert_eq!(std::fs::read(&secret).unwrap(), b"top secret");
    assert_eq!(std::fs::metadata(&secret).unwrap().modified().unwrap(), before);
}
