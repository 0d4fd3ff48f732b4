//! What the built-in configuration shows TLS and logins with: a certificate that nobody but this machine
//! believes, and one account with a password of its own.
//!
//! Made at the first start, kept for the next ones, and never made anew over what is there.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use medusa_accounts::{Password, StoredHash, User, Users};
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

/// The account's name.
pub(crate) const NAME: &str = "demo";

/// Where its password is kept, so that every start can show it.
pub(crate) const PASSWORD_FILE: &str = "medusa-data/password.txt";

const USERS_FILE: &str = "medusa-data/users.toml";

/// The tables that go with it.
pub(super) const TABLES: &str = "
[tls]
certificate = \"medusa-data/tls/cert.pem\"
key = \"medusa-data/tls/key.pem\"

[accounts]
file = \"medusa-data/users.toml\"
";

/// What became of the account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Demo {
    /// It is there, with this password.
    Open(String),
    /// It is there, with a password that somebody has set.
    Changed,
    /// Somebody has taken it out.
    Gone,
}

/// Makes what isn't there yet below `folder`, where there is a `medusa-data` already.
pub(super) fn write(folder: &Path) -> anyhow::Result<Demo> {
    write_certificate(&folder.join("medusa-data")).context("the certificate")?;
    let (users, password) = (folder.join(USERS_FILE), folder.join(PASSWORD_FILE));
    if !users.exists() {
        write_account(&users, &password).context("the account")?;
    }
    demo_in(&users, &password)
}

/// Both files or none: they are made in a folder beside, which then gets its name.
fn write_certificate(data: &Path) -> anyhow::Result<()> {
    let finished = data.join("tls");
    if finished.exists() {
        return Ok(());
    }
    let key = KeyPair::generate()?;
    let certificate = params()?.self_signed(&key)?;
    let beside = data.join(format!(".tls.{}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&beside)?;
    let made = write_private(&beside.join("key.pem"), &key.serialize_pem())
        .and_then(|()| fs::write(beside.join("cert.pem"), certificate.pem()))
        .and_then(|()| fs::rename(&beside, &finished));
    if made.is_err() {
        // What went wrong is what is told, and not what is left of it.
        let _ = fs::remove_dir_all(&beside);
    }
    // Another one that started at the same time has made it.
    if finished.exists() { Ok(()) } else { Ok(made?) }
}

fn params() -> anyhow::Result<CertificateParams> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let year = i32::try_from(1970 + since.as_secs() / 31_556_952)?;
    params.not_before = date_time_ymd(year - 1, 1, 1);
    params.not_after = date_time_ymd(year + 10, 1, 1);
    Ok(params)
}

fn write_account(users: &Path, password_file: &Path) -> anyhow::Result<()> {
    let password = match fs::read_to_string(password_file) {
        Ok(text) => text.trim_end().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let password = invented_password()?;
            write_private(password_file, &format!("{password}\n"))?;
            password
        }
        Err(error) => return Err(error.into()),
    };
    let user = User::with_password(&Password::new(password))?;
    let scram = user.scram.map(|keys| format!("scram = \"{keys}\"\n")).unwrap_or_default();
    let text = format!(
        "# Who may log in. `medusa passwd --accounts {USERS_FILE} NAME` adds others.\n\n\
         [{NAME}]\npassword = \"{}\"\n{scram}mail = [\"{NAME}@localhost\", \"{NAME}@example.test\"]\nfiles = \"files\"\n",
        user.password
    );
    match write_private(users, &text) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        written => Ok(written?),
    }
}

fn demo_in(users: &Path, password_file: &Path) -> anyhow::Result<Demo> {
    let text = fs::read_to_string(users).with_context(|| users.display().to_string())?;
    // What is wrong with the file is told, with its lines, when it is read to be used.
    let Ok(read) = toml::from_str::<Users>(&text) else { return Ok(Demo::Changed) };
    let Some(user) = read.0.get(NAME) else { return Ok(Demo::Gone) };
    let password = fs::read_to_string(password_file).unwrap_or_default();
    let password = password.trim_end();
    let matches =
        StoredHash::parse(&user.password).is_ok_and(|hash| hash.matches(&Password::new(password)));
    Ok(if matches { Demo::Open(password.to_owned()) } else { Demo::Changed })
}

/// `bukado-firuza-holuma`: easy to read and to type, and 54 bits that nobody can guess online.
fn invented_password() -> anyhow::Result<String> {
    const CONSONANTS: &[u8; 16] = b"bdfghklmnprstvwz";
    const VOWELS: &[u8; 4] = b"aiou";
    let mut random = [0; 9];
    getrandom::fill(&mut random)?;
    let mut password = String::new();
    for (index, octet) in random.into_iter().enumerate() {
        if index > 0 && index % 3 == 0 {
            password.push('-');
        }
        password.push(char::from(CONSONANTS[usize::from(octet >> 4)]));
        password.push(char::from(VOWELS[usize::from(octet & 3)]));
    }
    Ok(password)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const CERTIFICATE: &str = "medusa-data/tls/cert.pem";

    #[test]
    fn what_is_made_once_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).expect("a file");
        fs::create_dir(folder.path().join("medusa-data")).expect("a folder");
        let first = write(folder.path()).expect("written");
        let Demo::Open(password) = &first else { panic!("{first:?}") };
        assert_eq!(read(PASSWORD_FILE), format!("{password}\n"));
        for private in [PASSWORD_FILE, USERS_FILE, "medusa-data/tls/key.pem"] {
            let mode = fs::metadata(folder.path().join(private)).expect("a file").permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{private}");
        }
        let (certificate, users) = (read(CERTIFICATE), read(USERS_FILE));
        assert!(!users.contains(password), "{users}");
        assert_eq!(write(folder.path()).expect("nothing to do"), first);
        assert_eq!((read(CERTIFICATE), read(USERS_FILE)), (certificate, users.clone()));

        fs::write(folder.path().join(PASSWORD_FILE), "another\n").expect("changed");
        assert_eq!(write(folder.path()).expect("nothing to do"), Demo::Changed);
        fs::write(folder.path().join(USERS_FILE), users.replace("[demo]", "[me]"))
            .expect("changed");
        assert_eq!(write(folder.path()).expect("nothing to do"), Demo::Gone);
        fs::write(folder.path().join(USERS_FILE), "[").expect("changed");
        assert_eq!(write(folder.path()).expect("nothing to do"), Demo::Changed);
        assert_eq!(read(USERS_FILE), "[");
        let left = fs::read_dir(folder.path().join("medusa-data")).expect("a folder").count();
        assert_eq!(left, 3, "nothing is left over");
    }

    #[test]
    fn passwords_are_readable_and_differ() {
        let passwords = [(); 3].map(|()| invented_password().expect("random"));
        for password in &passwords {
            assert_eq!(password.len(), 20, "{password}");
            assert!(password.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'-'));
        }
        assert!(passwords[0] != passwords[1] && passwords[1] != passwords[2], "{passwords:?}");
    }
}
