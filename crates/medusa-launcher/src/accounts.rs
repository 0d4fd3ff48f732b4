//! `[accounts]`: the users file, read, checked, and read again when it changes.
//!
//! What an entry may hold is the business of `medusa-accounts`; here its errors get their line, and the
//! services that an account may use are held against those that there are.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use medusa_accounts::{Accounts, Directory, Error, KeyPath, KeyStep, Users};

use crate::config::diagnostic::{Diagnostic, Gravity, Source, nearest, quoted_list};
use crate::config::document::{Document, Step, Table};
use crate::config::own;
use crate::config::read::read as read_table;
use crate::config::tables::AccountsTable;
use crate::files::{Stamp, in_folder, readable_by_anybody, stamp};

/// The name of the table.
pub(crate) const TABLE: &str = "accounts";

/// The users file of a server.
pub(crate) struct UsersFile {
    path: PathBuf,
    services: Services,
    /// What it was like when it was read.
    stamp: Stamp,
    /// What it was like when it was last looked at.
    seen: Stamp,
}

/// The services that accounts may name.
#[derive(Clone, Default, Debug)]
pub(crate) struct Services {
    /// The kinds that this launcher knows: `smtp`.
    pub kinds: Vec<String>,
    /// The services of the configuration: `smtp.submission`.
    pub names: Vec<String>,
}

/// What became of a users file that was looked at again.
pub(crate) enum Look {
    /// It is what it was.
    Same,
    /// It has changed since the last look, and may be half written: it has to stay as it is for a while.
    Changing,
    /// It was read and counts from now on; what there is to say of it.
    Read(Vec<Diagnostic>),
    /// It can't be used: the accounts are still those that were read before.
    Refused(Vec<Diagnostic>),
}

/// Why a users file can't be used.
enum Unusable {
    /// It can't be read at all.
    Unread(Diagnostic),
    /// Of what stands in it.
    Wrong(Vec<Diagnostic>),
}

/// Reads `[accounts]` and its file, if it is there and nothing in it is wrong; complaints that needn't
/// keep anybody from serving go to `errors` too.
pub(crate) fn read(
    root: &Table<'_, '_>,
    folder: &Path,
    services: Services,
    errors: &mut Vec<Diagnostic>,
) -> Option<(UsersFile, Accounts)> {
    let table: AccountsTable = own::optional(root, TABLE, errors)?;
    let place = || root.find("accounts.file");
    let path = in_folder(folder, &table.file);
    // Before it is read: a change while it is read is found later.
    let stamp = stamp(&path);
    match users_at(&path, &services) {
        Ok((directory, advice)) => {
            errors.extend(advice);
            match Accounts::new(directory) {
                Ok(accounts) => Some((UsersFile { path, services, stamp, seen: stamp }, accounts)),
                Err(error) => {
                    errors.push(Diagnostic::new(error.to_string()).at(place()));
                    None
                }
            }
        }
        Err(Unusable::Unread(diagnostic)) => {
            errors.push(diagnostic.at(place()));
            None
        }
        Err(Unusable::Wrong(list)) => {
            errors.extend(list);
            None
        }
    }
}

impl UsersFile {
    /// How the file is called.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Reads the file again if it has changed and has been let alone since, or in any case, and has `accounts` answer from it.
    pub(crate) fn look(&mut self, accounts: &Accounts, in_any_case: bool) -> Look {
        let now = stamp(&self.path);
        let settled = std::mem::replace(&mut self.seen, now) == now;
        match (in_any_case, now == self.stamp, settled) {
            (false, true, _) => return Look::Same,
            (false, false, false) => return Look::Changing,
            _ => {}
        }
        // After an error too: it is told once for each change.
        self.stamp = now;
        match users_at(&self.path, &self.services) {
            Ok((directory, advice)) => {
                accounts.replace(directory);
                Look::Read(advice)
            }
            Err(Unusable::Unread(diagnostic)) => Look::Refused(vec![diagnostic]),
            Err(Unusable::Wrong(list)) => Look::Refused(list),
        }
    }
}

fn users_at(path: &Path, services: &Services) -> Result<(Directory, Vec<Diagnostic>), Unusable> {
    let name = path.display().to_string();
    let text = std::fs::read(path).map_err(|error| {
        let (message, hint) = match error.kind() {
            io::ErrorKind::NotFound => (
                format!("there is no users file {name}"),
                Some(format!("`medusa passwd --accounts {name} NAME` makes it")),
            ),
            _ => (format!("{name} can't be read: {error}"), None),
        };
        Unusable::Unread(Diagnostic::new(message).hint(hint))
    })?;
    let text = String::from_utf8(text)
        .map_err(|_| Unusable::Unread(Diagnostic::new(format!("{name} is not UTF-8"))))?;
    let source = Arc::new(Source { name, text });
    let (directory, mut advice) = directory_of(&source, path, services).map_err(|list| {
        Unusable::Wrong(list.into_iter().map(|one| one.elsewhere(&source)).collect())
    })?;
    if readable_by_anybody(path) {
        advice.push(
            Diagnostic::new(format!("anybody on this machine can read {}", source.name))
                .hint(format!("chmod 600 {}", source.name)),
        );
    }
    let advice = advice.into_iter().map(|one| one.gravity(Gravity::Advice).elsewhere(&source));
    Ok((directory, advice.collect()))
}

fn directory_of(
    source: &Source,
    path: &Path,
    services: &Services,
) -> Result<(Directory, Vec<Diagnostic>), Vec<Diagnostic>> {
    let document = Document::parse(source).map_err(|errors| errors.into_list())?;
    let root = document.root();
    let mut errors = Vec::new();
    let users: Option<Users> = read_table(&root, &[], &mut errors);
    let users = users.ok_or(errors)?;
    let mut errors: Vec<_> = users
        .services()
        .filter_map(|(path, service)| services.complaint(service).map(|one| (path, one)))
        .map(|(path, one)| one.at(place(&root, &path)))
        .collect();
    let directory = match Directory::new(users, crate::plan::folder_of(path).as_path()) {
        Ok(directory) if errors.is_empty() => directory,
        Ok(_) => return Err(errors),
        Err(faults) => {
            errors.extend(faults.iter().map(|fault| complaint(fault, &root)));
            return Err(errors);
        }
    };
    let advice = lacking_keys(&directory, source, &root);
    Ok((directory, advice))
}

/// Those who can't log in by SCRAM although it is offered, because others can.
fn lacking_keys(directory: &Directory, source: &Source, root: &Table<'_, '_>) -> Vec<Diagnostic> {
    let lacking = directory.without_scram();
    if lacking.len() == directory.len() {
        return Vec::new();
    }
    let advice = |name: &&str| {
        Diagnostic::new(format!("`{name}` has no SCRAM keys, and others have"))
            .at(root.find_steps([Step::Key(name)]))
            .label("can't log in with programs that prefer SCRAM-SHA-256")
            .hint(format!("`medusa passwd --accounts {} {name}` makes them", source.name))
    };
    lacking.iter().map(advice).collect()
}

fn complaint(fault: &Error, root: &Table<'_, '_>) -> Diagnostic {
    match fault {
        Error::Entry { path, problem } => Diagnostic::new(problem).at(place(root, path)),
        other => Diagnostic::new(other.to_string()),
    }
}

fn place(root: &Table<'_, '_>, path: &KeyPath) -> std::ops::Range<usize> {
    root.find_steps(path.steps().iter().map(|step| match step {
        KeyStep::Key(key) => Step::Key(key),
        KeyStep::Index(index) => Step::Index(*index),
    }))
}

impl Services {
    /// What is wrong with a service that an account names, if it is none of these.
    fn complaint(&self, written: &str) -> Option<Diagnostic> {
        let known = || self.kinds.iter().chain(&self.names).map(String::as_str);
        if known().any(|name| name == written) {
            return None;
        }
        let hint = match nearest(written, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("those that there are: {}", quoted_list(known())),
        };
        Some(Diagnostic::new(format!("there is no service `{written}`")).hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use medusa_accounts::{HashCost, Password, User};

    use super::*;
    use crate::config::diagnostic::Diagnostics;

    const CHEAP: HashCost = HashCost { memory_kib: 8, passes: 1, lanes: 1 };

    fn entry(name: &str, scram: bool) -> String {
        let user = User::with_password_at(&Password::new("x"), CHEAP, 4096).expect("hashed");
        let scram = user.scram.filter(|_| scram).map(|keys| format!("scram = \"{keys}\"\n"));
        format!("[{name}]\npassword = \"{}\"\n{}", user.password, scram.unwrap_or_default())
    }

    struct Case {
        folder: tempfile::TempDir,
    }

    impl Case {
        fn new(users: &str) -> Self {
            let case = Self { folder: tempfile::tempdir().expect("a folder") };
            case.write(users);
            case
        }

        fn write(&self, users: impl AsRef<[u8]>) {
            let path = self.folder.path().join("users.toml");
            std::fs::write(&path, users).expect("written");
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
                .expect("private");
        }

        fn open(&self, text: &str) -> (Option<(UsersFile, Accounts)>, String) {
            let source = Source { name: "m.toml".into(), text: text.into() };
            let document = Document::parse(&source).expect("valid");
            let services = Services {
                kinds: vec!["http".into(), "smtp".into()],
                names: vec!["http.site".into(), "smtp.submission".into()],
            };
            let mut told = Vec::new();
            let users = read(&document.root(), self.folder.path(), services, &mut told);
            let nothing = told.is_empty();
            let told = Diagnostics::new(source.clone(), told).to_string();
            (users, if nothing { String::new() } else { told })
        }

        fn users(&self) -> (UsersFile, Accounts) {
            let (users, told) = self.open(ACCOUNTS);
            users.unwrap_or_else(|| panic!("{told}"))
        }
    }

    const ACCOUNTS: &str = "[accounts]\nfile = \"users.toml\"\n";

    fn check(users: &str, parts: &[&str]) {
        let (read, told) = Case::new(users).open(ACCOUNTS);
        assert!(read.is_none(), "{users}");
        for part in parts {
            assert!(told.contains(part), "{part:?} is not in:\n{told}");
        }
    }

    #[test]
    fn a_sound_file_says_nothing() {
        let case = Case::new(&format!(
            "{}services = [\"http\", \"smtp.submission\"]\n",
            entry("alice", true)
        ));
        let (users, told) = case.open(ACCOUNTS);
        assert_eq!(told, "");
        assert_eq!(users.expect("sound").1.directory().len(), 1);
        let (users, told) = case.open("[server]\n");
        assert!(users.is_none() && told.is_empty(), "{told}");
        let (_, told) = case.open("[accounts]\n");
        assert!(told.contains("`file` is missing in `[accounts]`"), "{told}");
    }

    #[test]
    fn errors_are_shown_in_the_users_file() {
        check(
            "[alice]\npassword = \"secret\"\nmial = []\n",
            &["unknown key `mial` in `[alice]`", "users.toml:3:1", "did you mean `mail`?"],
        );
        check("[alice]\npassword = \"secret\"\n", &["users.toml:2:12", "nothing is served"]);
        check("[alice]\nmail = []\n", &["`password` is missing in `[alice]`", "users.toml:1:1"]);
        check("alice = 5\n", &["a table belongs here, not the number 5", "users.toml:1:9"]);
        check("[alice\n", &["users.toml:1:"]);
        check(
            &format!(
                "{}mail = [\"a@b.test\"]\n\n{}mail = [\"c@b.test\", \"A@b.test\"]\n",
                entry("\"al@b.test\"", true),
                entry("bob", true)
            ),
            &["already belongs to `al@b.test`", "users.toml:9:21"],
        );
        check(&entry("\"al..b\"", true), &["a name has no `..`", "users.toml:1:"]);
    }

    #[test]
    fn services_are_those_that_there_are() {
        check(
            &format!("{}services = [\"http\", \"smpt\"]\n", entry("alice", true)),
            &["there is no service `smpt`", "users.toml:4:21", "did you mean `smtp`?"],
        );
        check(
            &format!("{}services = [\"smtp.submisson\"]\n", entry("alice", true)),
            &["did you mean `smtp.submission`?"],
        );
        check(
            &format!("{}services = [\"fax\"]\n", entry("alice", true)),
            &["those that there are: `http`, `smtp`, `http.site`"],
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_told_in_the_configuration() {
        let case = Case::new("");
        let (_, told) = case.open("[accounts]\nfile = \"none.toml\"\n");
        for part in ["there is no users file", "m.toml:2:8", "medusa passwd --accounts"] {
            assert!(told.contains(part), "{told}");
        }
        case.write(b"# \xff");
        let (_, told) = case.open(ACCOUNTS);
        assert!(told.contains("users.toml is not UTF-8") && told.contains("m.toml:2:8"), "{told}");
    }

    #[test]
    fn lacking_scram_keys_are_told_where_others_have_some() {
        let case = Case::new(&format!("{}\n{}", entry("alice", true), entry("bob", false)));
        let (users, told) = case.open(ACCOUNTS);
        assert!(users.is_some());
        for part in ["warning: `bob` has no SCRAM keys", "users.toml:5:1", "users.toml bob` makes"]
        {
            assert!(told.contains(part), "{part} is not in:\n{told}");
        }
        assert_eq!(Case::new(&entry("bob", false)).open(ACCOUNTS).1, "");
    }

    #[test]
    fn a_file_that_anybody_may_read_is_told() {
        let case = Case::new(&entry("alice", true));
        let path = case.folder.path().join("users.toml");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("changed");
        let (users, told) = case.open(ACCOUNTS);
        assert!(users.is_some() && told.contains("warning: anybody on this machine"), "{told}");
    }

    #[test]
    fn a_changed_file_counts_and_a_bad_one_does_not() {
        let case = Case::new(&entry("alice", true));
        let (mut users, accounts) = case.users();
        assert!(matches!(users.look(&accounts, false), Look::Same));
        assert!(matches!(users.look(&accounts, true), Look::Read(_)));

        case.write(format!("{}\n{}", entry("alice", true), entry("bob", true)));
        assert!(matches!(users.look(&accounts, false), Look::Changing));
        assert_eq!(accounts.directory().len(), 1);
        assert!(matches!(users.look(&accounts, false), Look::Read(advice) if advice.is_empty()));
        assert_eq!(accounts.directory().len(), 2);

        case.write("[carol]\n");
        assert!(matches!(users.look(&accounts, false), Look::Changing));
        let Look::Refused(told) = users.look(&accounts, false) else { panic!("it was taken") };
        let nowhere = Source { name: String::new(), text: String::new() };
        assert!(told[0].place(&nowhere).ends_with("users.toml:1"), "{told:?}");
        assert_eq!(accounts.directory().len(), 2);
        assert!(matches!(users.look(&accounts, false), Look::Same), "it is told once");
        assert!(matches!(users.look(&accounts, true), Look::Refused(_)));

        std::fs::remove_file(case.folder.path().join("users.toml")).expect("removed");
        assert!(matches!(users.look(&accounts, false), Look::Changing));
        assert!(matches!(users.look(&accounts, false), Look::Refused(_)));
        assert_eq!(accounts.directory().len(), 2);
        case.write(entry("dave", true));
        assert!(matches!(users.look(&accounts, false), Look::Changing));
        assert!(matches!(users.look(&accounts, false), Look::Read(_)));
        assert!(accounts.directory().identity("dave").is_some());
    }
}
