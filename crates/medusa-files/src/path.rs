//! Paths as a client speaks of them: `/` is the root, whatever the machine calls it.
//!
//! Normalising is done on the bytes alone and looks at no disk, so a `..` after a symbolic link
//! goes back to where the link stands, as in a shell and as RFC 3986 §5.2.4 wants it. Safety
//! doesn't rest on this: [`Root`](crate::Root) refuses whatever leads out, normalised or not.

use crate::Error;

/// The longest name of a file or folder: `NAME_MAX` on Linux.
const NAME_MAX: usize = 255;
/// The longest path, without the closing NUL: `PATH_MAX` on Linux.
pub(crate) const PATH_MAX: usize = 4095;

/// What a `..` at the root means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above {
    /// It stays at the root, as in a `chroot` and in RFC 3986 §5.2.4.
    Stay,
    /// The path is refused with [`Error::EscapesRoot`].
    Refuse,
}

/// A normalised path beneath a root: no empty components, no `.`, no `..`, no NUL, no slash at
/// either end; the root itself is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualPath(Vec<u8>);

impl VirtualPath {
    /// The root itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Normalises a path, which starts at the root whether it opens with a slash or not.
    pub fn new(given: &[u8], above: Above) -> Result<Self, Error> {
        Self::root().extended(given, above)
    }

    /// Where `given` leads from here: from the root if it opens with a slash, else from this
    /// folder, as `CWD` in RFC 959 does.
    pub fn join(&self, given: &[u8], above: Above) -> Result<Self, Error> {
        let start = if given.starts_with(b"/") { Self::root() } else { self.clone() };
        start.extended(given, above)
    }

    /// The path without a slash at either end; empty for the root.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as a client knows it, with the leading slash.
    #[must_use]
    pub fn to_absolute(&self) -> Vec<u8> {
        let mut absolute = Vec::with_capacity(self.0.len() + 1);
        absolute.push(b'/');
        absolute.extend_from_slice(&self.0);
        absolute
    }

    /// Whether it is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components, from the root down.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|component| !component.is_empty())
    }

    /// The last component; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.components().last()
    }

    /// The folder that it is in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    fn extended(mut self, given: &[u8], above: Above) -> Result<Self, Error> {
        for component in given.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => match self.parent() {
                    Some(parent) => self = parent,
                    None if above == Above::Stay => {}
                    None => return Err(Error::EscapesRoot),
                },
                name if name.len() > NAME_MAX || name.contains(&0) => {
                    return Err(Error::InvalidName);
                }
                name => {
                    if !self.is_root() {
                        self.0.push(b'/');
                    }
                    self.0.extend_from_slice(name);
                }
            }
        }
        if self.0.len() > PATH_MAX { Err(Error::InvalidName) } else { Ok(self) }
    }
}

impl AsRef<[u8]> for VirtualPath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_table_of_paths() {
        let table: &[(&str, &str, Option<&str>)] = &[
            ("", "", Some("")),
            ("", "/", Some("")),
            ("", "a/b", Some("a/b")),
            ("", "//a///./b/", Some("a/b")),
            ("", "a/../b", Some("b")),
            ("", "a/b/../../c", Some("c")),
            ("", "...", Some("...")),
            ("", "..a/b..", Some("..a/b..")),
            ("a", "b", Some("a/b")),
            ("a", "/b", Some("b")),
            ("a/b", "..", Some("a")),
            ("a/b", "../..", Some("")),
            ("a", "../..", None),
            ("", "..", None),
            ("", "/../etc/passwd", None),
            ("", "a/../../b", None),
        ];
        for (from, given, expected) in table {
            let from = VirtualPath::new(from.as_bytes(), Above::Refuse).unwrap();
            let joined = from.join(given.as_bytes(), Above::Refuse);
            match expected {
                Some(expected) => assert_eq!(joined.unwrap().as_bytes(), expected.as_bytes()),
                None => assert!(matches!(joined, Err(Error::EscapesRoot)), "{given}"),
            }
        }
    }

    #[test]
    fn above_the_root_may_mean_the_root() {
        let path = VirtualPath::new(b"../../a/../../b", Above::Stay).unwrap();
        assert_eq!(path.to_absolute(), b"/b");
    }

    #[test]
    fn bytes_that_no_file_system_takes_are_refused() {
        for bad in [b"a\0b".to_vec(), vec![b'x'; 256], b"ab/".repeat(2000)] {
            assert!(matches!(VirtualPath::new(&bad, Above::Stay), Err(Error::InvalidName)));
        }
        assert!(VirtualPath::new(&[b'x'; 255], Above::Stay).is_ok());
        assert!(VirtualPath::new(b"\xff\r\n\"", Above::Stay).is_ok());
    }

    #[test]
    fn parent_and_name_take_a_path_apart() {
        let path = VirtualPath::new(b"/a/b/c", Above::Refuse).unwrap();
        assert_eq!(path.name(), Some(&b"c"[..]));
        assert_eq!(path.parent().unwrap().as_bytes(), b"a/b");
        assert_eq!(VirtualPath::root().parent(), None);
        assert_eq!(VirtualPath::root().name(), None);
    }

    proptest! {
        #[test]
        fn normal_is_normal(given in "[ab./\u{1}\u{e9}]{0,24}", from in "[ab/]{0,8}") {
            let from = VirtualPath::new(from.as_bytes(), Above::Stay).unwrap();
            let path = from.join(given.as_bytes(), Above::Stay).unwrap();
            for component in path.components() {
                prop_assert!(!component.is_empty() && component != b"." && component != b"..");
            }
            prop_assert!(!path.as_bytes().starts_with(b"/") && !path.as_bytes().ends_with(b"/"));
            let again = VirtualPath::new(path.as_bytes(), Above::Refuse).unwrap();
            prop_assert_eq!(&again, &path);
            if let Ok(strict) = from.join(given.as_bytes(), Above::Refuse) {
                prop_assert_eq!(strict, path);
            }
        }
    }
}
