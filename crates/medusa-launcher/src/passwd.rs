//! `medusa passwd`: sets an account's password in a users file, and adds the account if it is new.
//!
//! Everything else in the file stays as it is written: comments, order, other accounts' mistakes. The
//! file is replaced as a whole or not at all, and only its owner can read it afterwards. No password is
//! taken from the command line, where every user of the machine could read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use medusa_accounts::{PASSWORD_OCTETS, Password, User, check_name, same_name};
use rustix::fs::{FlockOperation, Gid, Uid, fchown, flock};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use toml_edit::{DocumentMut, Item, Table, TableLike, value};

/// What became of the users file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The account of this name has another password.
    Changed(String),
    /// There is an account of this name now.
    Added(String),
}

/// Sets the password of `name` in `file`. It is asked for twice on a terminal; otherwise one line is
/// read from the standard input.
///
/// # Errors
///
/// The name or the password can't be used, the file can't be read, isn't TOML or can't be written. It
/// is untouched then.
pub fn run(file: &Path, name: &str) -> anyhow::Result<Change> {
    check_name(name).map_err(|why| anyhow::anyhow!("`{name}`: {why}"))?;
    // Before anybody types a password for nothing.
    let written = find(&document(file)?, name)?;
    let written = written.as_deref().unwrap_or(name);
    let stdin = io::stdin();
    let password = if stdin.is_terminal() {
        typed_twice(stdin.as_fd(), &mut io::stderr().lock(), written)?
    } else {
        one_line(stdin.lock())?
    };
    let user = User::with_password(&password)?;
    let _alone = lock(file)?;
    let mut document = document(file)?;
    let change = set(&mut document, name, &user)?;
    replace(file, &document.to_string())
        .with_context(|| format!("can't write `{}`", file.display()))?;
    Ok(change)
}

/// Puts the hash and the keys of `user` where they belong.
fn set(document: &mut DocumentMut, name: &str, user: &User) -> anyhow::Result<Change> {
    let found = find(document, name)?;
    let (key, change) = match found {
        Some(key) => (key.clone(), Change::Changed(key)),
        None => {
            let mut table = Table::new();
            table.decor_mut().set_prefix(before_appended(document));
            document.set_trailing("");
            document.insert(name, Item::Table(table));
            (name.to_owned(), Change::Added(name.to_owned()))
        }
    };
    let Some(table) = document.get_mut(&key).and_then(Item::as_table_like_mut) else {
        bail!("`{key}` isn't a table");
    };
    set_text(table, "password", &user.password);
    match &user.scram {
        Some(keys) => set_text(table, "scram", keys),
        // The keys of the old password would let it in still.
        None => drop(table.remove("scram")),
    }
    Ok(change)
}

/// What stands between the last entry and one that is added: the comments at the end of the file, and an
/// empty line.
fn before_appended(document: &DocumentMut) -> String {
    let mut text = document.trailing().as_str().unwrap_or_default().to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    if !(document.is_empty() && text.is_empty()) {
        text.push('\n');
    }
    text
}

/// The key under which the account of this name is written, which may differ in case.
fn find(document: &DocumentMut, name: &str) -> anyhow::Result<Option<String>> {
    let Some((key, item)) = document.iter().find(|(key, _)| same_name(key, name)) else {
        return Ok(None);
    };
    if !item.is_table_like() {
        bail!("`{key}` isn't a table");
    }
    Ok(Some(key.to_owned()))
}

/// Sets a value and keeps what stands around it, a comment behind it for instance.
fn set_text(table: &mut dyn TableLike, key: &str, text: &str) {
    let Some(item) = table.get_mut(key) else {
        table.insert(key, value(text));
        return;
    };
    let mut new = value(text);
    if let (Some(old), Some(new)) = (item.as_value(), new.as_value_mut()) {
        *new.decor_mut() = old.decor().clone();
    }
    *item = new;
}

fn document(file: &Path) -> anyhow::Result<DocumentMut> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(error).with_context(|| format!("can't read `{}`", file.display()));
        }
    };
    // Its error shows the line.
    text.parse().with_context(|| format!("`{}` isn't TOML", file.display()))
}

/// Keeps other runs of this command out until it is dropped.
fn lock(file: &Path) -> anyhow::Result<File> {
    let folder = folder_of(file);
    let lock = File::open(&folder).with_context(|| format!("can't open `{}`", folder.display()))?;
    flock(&lock, FlockOperation::LockExclusive)
        .with_context(|| format!("can't lock `{}`", folder.display()))?;
    Ok(lock)
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Writes beside the file, syncs, and takes its place: a crash leaves the old one or the new one.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    // A link stays a link; what it points at is replaced.
    let file = match fs::canonicalize(file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => file.to_owned(),
        Err(error) => return Err(error),
    };
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let folder = folder_of(&file);
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_beside(&beside, &file, text).and_then(|()| fs::rename(&beside, &file));
    if written.is_err() {
        // It may not be there; what went wrong before is what is told.
        let _ = fs::remove_file(&beside);
    }
    written?;
    File::open(&folder)?.sync_all()
}

fn write_beside(beside: &Path, file: &Path, text: &str) -> io::Result<()> {
    // Password hashes are in it: nobody else's to read, from the first octet on.
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    if let Ok(old) = fs::metadata(file) {
        // Root may set passwords in the file of the user that the server becomes.
        let mine = new.metadata()?;
        if (old.uid(), old.gid()) != (mine.uid(), mine.gid()) {
            fchown(&new, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?;
        }
    }
    new.write_all(text.as_bytes())?;
    new.sync_all()
}

/// A password from a file or a pipe: the first line, without its end.
fn one_line(input: impl BufRead) -> anyhow::Result<Password> {
    let mut line = Vec::with_capacity(PASSWORD_OCTETS + 2);
    // One octet more than can be right, so that a longer line isn't taken for a shorter one.
    input.take(PASSWORD_OCTETS as u64 + 3).read_until(b'\n', &mut line)?;
    password(line)
}

fn password(mut line: Vec<u8>) -> anyhow::Result<Password> {
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    let password = Password::from_octets(line).context("a password has to be UTF-8")?;
    password.check_usable()?;
    Ok(password)
}

fn typed_twice(
    terminal: BorrowedFd<'_>,
    screen: &mut impl Write,
    name: &str,
) -> anyhow::Result<Password> {
    let once = typed(terminal, screen, &format!("New password for {name}: "))?;
    let again = typed(terminal, screen, "The same again: ")?;
    if once.reveal() != again.reveal() {
        bail!("the two differ; nothing was changed");
    }
    Ok(once)
}

/// One line from a terminal that doesn't show it.
fn typed(
    terminal: BorrowedFd<'_>,
    screen: &mut impl Write,
    prompt: &str,
) -> anyhow::Result<Password> {
    const INTERRUPT: u8 = 0x03;
    let silent = Silent::begin(terminal, INTERRUPT)?;
    screen.write_all(prompt.as_bytes())?;
    screen.flush()?;
    let mut line = Vec::with_capacity(PASSWORD_OCTETS + 2);
    let mut octets = [0; 256];
    let ended = loop {
        let count = rustix::io::retry_on_intr(|| rustix::io::read(terminal, &mut octets))?;
        line.extend_from_slice(&octets[..count]);
        if count == 0 || line.len() > PASSWORD_OCTETS || line.contains(&INTERRUPT) {
            break false;
        }
        if line.ends_with(b"\n") {
            break true;
        }
    };
    octets.fill(0);
    drop(silent);
    screen.write_all(b"\n")?;
    if line.len() > PASSWORD_OCTETS + 1 {
        bail!("that is too long for a password");
    }
    if !ended {
        bail!("nothing was changed");
    }
    password(line)
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Silent<'t> {
    terminal: BorrowedFd<'t>,
    before: Termios,
}

impl<'t> Silent<'t> {
    /// Ctrl-C ends a line instead of the process, because nobody could give the terminal its echo back
    /// then.
    fn begin(terminal: BorrowedFd<'t>, interrupt: u8) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG);
        silent.local_modes.insert(LocalModes::ICANON);
        silent.special_codes[SpecialCodeIndex::VEOL] = interrupt;
        // What was typed ahead was shown: it is thrown away.
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // A terminal that has gone needs no echo.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use medusa_accounts::{Directory, HashCost, Users};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    fn user(password: &str) -> User {
        let cost = HashCost { memory_kib: 8, passes: 1, lanes: 1 };
        User::with_password_at(&Password::new(password), cost, 4096).unwrap()
    }

    fn edited(text: &str, name: &str) -> anyhow::Result<(String, Change)> {
        let user = User { password: "HASH".into(), scram: Some("KEYS".into()), ..user("x") };
        let mut document: DocumentMut = text.parse()?;
        let change = set(&mut document, name, &user)?;
        Ok((document.to_string(), change))
    }

    #[test]
    fn everything_else_stays_as_it_is_written() {
        let changed = |name: &str| Change::Changed(name.into());
        let added = |name: &str| Change::Added(name.into());
        for (before, name, after, change) in [
            ("", "zoe", "[zoe]\npassword = \"HASH\"\nscram = \"KEYS\"\n", added("zoe")),
            (
                "# The staff.\n\n[bob] # leaves in May\nmail = [\n  'bob@example.test', # his\n]\n\
                 password   = 'old' # since 2020\nenabled = true\n\n# The boss.\n[alice]\npassword = \"a\"\n",
                "bob",
                "# The staff.\n\n[bob] # leaves in May\nmail = [\n  'bob@example.test', # his\n]\n\
                 password   = \"HASH\" # since 2020\nenabled = true\nscram = \"KEYS\"\n\n\
                 # The boss.\n[alice]\npassword = \"a\"\n",
                changed("bob"),
            ),
            (
                "[alice]\npassword = \"a\" # hers\n# the end\n",
                "bob",
                "[alice]\npassword = \"a\" # hers\n# the end\n\n[bob]\npassword = \"HASH\"\n\
                 scram = \"KEYS\"\n",
                added("bob"),
            ),
            (
                "# Users of the office.",
                "zoe",
                "# Users of the office.\n\n[zoe]\npassword = \"HASH\"\nscram = \"KEYS\"\n",
                added("zoe"),
            ),
            (
                "alice.password = 'a'",
                "zoe",
                "alice.password = 'a'\n\n[zoe]\npassword = \"HASH\"\nscram = \"KEYS\"\n",
                added("zoe"),
            ),
            (
                "[Alice]\npassword = \"a\"\nscram = \"b\"\n",
                "alice",
                "[Alice]\npassword = \"HASH\"\nscram = \"KEYS\"\n",
                changed("Alice"),
            ),
            (
                "alice = { password = \"a\" }\n",
                "alice",
                "alice = { password = \"HASH\" , scram = \"KEYS\" }\n",
                changed("alice"),
            ),
            (
                "alice.password = \"a\"\n",
                "alice",
                "alice.password = \"HASH\"\nalice.scram = \"KEYS\"\n",
                changed("alice"),
            ),
            (
                "",
                "al@example.test",
                "[\"al@example.test\"]\npassword = \"HASH\"\nscram = \"KEYS\"\n",
                added("al@example.test"),
            ),
        ] {
            assert_eq!(edited(before, name).unwrap(), (after.to_owned(), change), "{before}");
        }
    }

    #[test]
    fn what_is_no_users_file_is_left_alone() {
        assert!(edited("alice = 5\n", "alice").is_err());
        assert!(edited("[alice\n", "alice").is_err());
    }

    #[test]
    fn what_is_written_logs_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users.toml");
        let mut users = document(&file).unwrap();
        set(&mut users, "alice", &user("secret")).unwrap();
        set(&mut users, "bob", &user("his")).unwrap();
        replace(&file, &users.to_string()).unwrap();
        let users: Users = toml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let directory = Directory::new(users, folder.path()).unwrap();
        assert_eq!(directory.len(), 2);
        assert!(directory.without_scram().is_empty());
    }

    #[test]
    fn the_file_is_replaced_as_a_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("users.toml"), folder.path().join("link"));
        fs::write(&file, "# old\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        symlink("users.toml", &link).unwrap();
        let before = fs::metadata(&file).unwrap().ino();
        replace(&link, "# new\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "# new\n");
        let after = fs::metadata(&file).unwrap();
        assert_eq!(after.permissions().mode() & 0o777, 0o600);
        assert_ne!(after.ino(), before, "another file took its place");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
    }

    #[test]
    fn a_failure_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users.toml");
        fs::create_dir(&file).unwrap();
        assert!(replace(&file, "new").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(document(&file).is_err());
        assert!(lock(&folder.path().join("no/users.toml")).is_err());
    }

    #[test]
    fn one_line_is_the_password() {
        for (input, password) in [
            ("secret\n", Some("secret")),
            ("secret", Some("secret")),
            ("secret\r\nmore\n", Some("secret")),
            (" two words \n", Some(" two words ")),
            ("", None),
            ("\n", None),
            ("a\tb\n", None),
            (&*format!("{}\n", "x".repeat(1024)), Some(&*"x".repeat(1024))),
            (&*format!("{}\n", "x".repeat(1025)), None),
            (&*"x".repeat(5000), None),
        ] {
            let got = one_line(input.as_bytes()).ok();
            assert_eq!(got.as_ref().map(Password::reveal), password, "{input:?}");
        }
        assert!(one_line(&b"\xff\n"[..]).is_err());
    }

    /// A dialogue on a terminal: what is typed at each prompt; the outcome, and what was to be seen.
    fn dialogue(typed: &[&str]) -> (anyhow::Result<Password>, String) {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let terminal =
            || OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let (terminal, mut screen) = (terminal(), terminal());
        let before = tcgetattr(&terminal).unwrap().local_modes;
        assert!(before.contains(LocalModes::ECHO));
        let result = std::thread::scope(|scope| {
            let result = scope.spawn(|| {
                let result = typed_twice(terminal.as_fd(), &mut screen, "alice");
                screen.write_all(b"END").unwrap();
                result
            });
            let mut seen = String::new();
            let mut typed = typed.iter();
            let mut octets = [0; 256];
            while !seen.ends_with("END") {
                let count = rustix::io::read(&keyboard, &mut octets).unwrap();
                seen += std::str::from_utf8(&octets[..count]).unwrap();
                if seen.ends_with(": ") {
                    let line = typed.next().expect("another prompt than expected");
                    rustix::io::write(&keyboard, line.as_bytes()).unwrap();
                }
            }
            (result.join().unwrap(), seen)
        });
        assert_eq!(tcgetattr(&terminal).unwrap().local_modes, before, "the echo is back");
        result
    }

    #[test]
    fn a_terminal_shows_nothing_of_a_password() {
        let (password, seen) = dialogue(&["secret\n", "secret\n"]);
        assert_eq!(password.unwrap().reveal(), "secret");
        assert_eq!(seen, "New password for alice: \r\nThe same again: \r\nEND");
        for (typed, why) in [
            (&["secret\n", "secert\n"][..], "differ"),
            (&["sec\x03"], "nothing was changed"),
            (&["secret\n", "\x03"], "nothing was changed"),
            (&["\x04"], "nothing was changed"),
            (&["\n"], "empty"),
        ] {
            let (password, seen) = dialogue(typed);
            let error = password.unwrap_err().to_string();
            assert!(error.contains(why), "{typed:?}: {error}");
            assert!(!seen.contains("sec"), "{seen}");
        }
    }
}
