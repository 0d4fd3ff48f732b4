//! Becoming another user once the ports are bound, and what a process may open.
//!
//! Who may become whom is checked before anything is bound, so that a mistake is told like any other in
//! the configuration.

use std::ffi::CString;

use nix::unistd::{Gid, Uid, User, geteuid, initgroups, setgid, setuid};

/// A user to become.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    name: CString,
    uid: Uid,
    gid: Gid,
}

/// Why a user can't be become, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refused {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Identity {
    /// The user of this name, if this process may become it.
    pub(crate) fn named(name: &str) -> Result<Self, Refused> {
        Self::named_for(name, geteuid())
    }

    fn named_for(name: &str, we: Uid) -> Result<Self, Refused> {
        let refused = |message: String, hint: Option<&str>| Refused {
            message,
            hint: hint.map(str::to_owned),
        };
        let user = match User::from_name(name) {
            Ok(Some(user)) => user,
            Ok(None) => {
                return Err(refused(format!("there is no user `{name}` on this machine"), None));
            }
            Err(error) => {
                return Err(refused(format!("can't look up the user `{name}`: {error}"), None));
            }
        };
        if !we.is_root() && we != user.uid {
            return Err(refused(
                format!("only root can become `{name}`"),
                Some("start as root, or leave `user` out"),
            ));
        }
        if user.uid.is_root() {
            return Err(refused(
                format!("`{name}` is root itself, which gives nothing up"),
                Some("name a user without rights, or leave `user` out"),
            ));
        }
        let name = CString::new(name)
            .map_err(|_| refused("a user's name holds no NUL".to_owned(), None))?;
        Ok(Self { name, uid: user.uid, gid: user.gid })
    }

    /// Becomes this user for good: groups first, since afterwards there is no right to change them.
    pub(crate) fn assume(&self) -> nix::Result<()> {
        if geteuid() == self.uid {
            return Ok(());
        }
        initgroups(&self.name, self.gid)?;
        setgid(self.gid)?;
        setuid(self.uid)?;
        // Not to be believed, but cheap: a way back would make all of this useless.
        if setuid(Uid::from_raw(0)).is_ok() {
            return Err(nix::Error::EPERM);
        }
        Ok(())
    }
}

/// Raises the number of files that may be open to what the system allows: the default of 1,024 is for
/// programs that use select(2), and each connection is a file.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit on open files can't be raised");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_root_becomes_another() {
        let refused = Identity::named_for("nobody", Uid::from_raw(4321)).expect_err("not root");
        assert_eq!(refused.message, "only root can become `nobody`");
        assert!(refused.hint.is_some_and(|hint| hint.contains("start as root")));
        assert!(Identity::named_for("nobody", Uid::from_raw(0)).is_ok());
    }

    #[test]
    fn who_does_not_exist_or_gives_nothing_up_is_refused() {
        let refused = Identity::named_for("no-such-user-here", Uid::from_raw(0)).expect_err("none");
        assert!(refused.message.contains("there is no user"), "{refused:?}");
        let refused = Identity::named_for("root", Uid::from_raw(0)).expect_err("root");
        assert!(refused.message.contains("gives nothing up"), "{refused:?}");
    }

    #[test]
    fn one_may_stay_who_one_is() {
        let nobody = User::from_name("nobody").expect("a lookup").expect("a user").uid;
        assert!(Identity::named_for("nobody", nobody).is_ok());
    }
}
