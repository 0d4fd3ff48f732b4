//! The workspace as the checks see it: packages from `cargo metadata`, files from git.
//!
//! Without git (a source archive) it walks the folders instead, leaving out what git would ignore.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// Everything that the checks look at.
#[derive(Default, Debug)]
pub struct House {
    /// The workspace's packages.
    pub packages: Vec<Package>,
    /// Every tracked text file.
    pub files: Vec<File>,
}

/// One package of the workspace.
#[derive(Default, Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its folder below the root: `crates/medusa-core`.
    pub folder: String,
    /// What its manifest asks for.
    pub dependencies: Vec<Dependency>,
    /// Every package that is linked into it or runs to build it, directly or not.
    pub linked: BTreeSet<String>,
}

/// One line of a manifest.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// The package that is asked for.
    pub name: String,
    /// For tests, examples and benchmarks only.
    pub dev: bool,
}

/// One tracked text file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path below the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl House {
    /// The workspace that this program was built in.
    pub fn of_this_workspace() -> Result<Self> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent folder")?;
        let metadata = metadata(root)?;
        Ok(Self { packages: packages(root, &metadata), files: files(root)? })
    }
}

/// Offline when everything was fetched by the build before, as it is under `cargo test`.
fn metadata(root: &Path) -> Result<Metadata> {
    let ask = |options: &[&str]| {
        let mut command = MetadataCommand::new();
        command.manifest_path(root.join("Cargo.toml"));
        command
            .other_options(options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>());
        command.exec()
    };
    let host = format!("--filter-platform={}-unknown-linux-gnu", std::env::consts::ARCH);
    ask(&[&host, "--locked", "--offline"]).or_else(|_| ask(&[&host])).context("cargo metadata")
}

fn packages(root: &Path, metadata: &Metadata) -> Vec<Package> {
    let nodes: BTreeMap<&PackageId, _> = metadata
        .resolve
        .iter()
        .flat_map(|resolve| &resolve.nodes)
        .map(|node| (&node.id, node))
        .collect();
    let names: BTreeMap<&PackageId, String> =
        metadata.packages.iter().map(|package| (&package.id, package.name.to_string())).collect();
    let linked = |id: &PackageId| {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![id.clone()];
        while let Some(id) = waiting.pop() {
            let dependencies = nodes.get(&id).into_iter().flat_map(|node| &node.deps);
            for dependency in dependencies {
                let shipped = dependency
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind != DependencyKind::Development);
                if shipped && seen.insert(dependency.pkg.clone()) {
                    waiting.push(dependency.pkg.clone());
                }
            }
        }
        seen.iter().filter_map(|id| names.get(id).cloned()).collect()
    };
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| Package {
            name: package.name.to_string(),
            folder: below(
                root,
                package.manifest_path.parent().map_or(root, |path| path.as_std_path()),
            ),
            dependencies: package
                .dependencies
                .iter()
                .map(|dependency| Dependency {
                    name: dependency.name.clone(),
                    dev: dependency.kind == DependencyKind::Development,
                })
                .collect(),
            linked: linked(&package.id),
        })
        .collect()
}

fn files(root: &Path) -> Result<Vec<File>> {
    let paths = tracked(root).map_or_else(|| walked(root), Ok)?;
    let mut files = Vec::new();
    for path in paths {
        // Deleted but not yet committed, or not text: neither is the checks' business.
        let Ok(octets) = std::fs::read(&path) else { continue };
        if let Ok(text) = String::from_utf8(octets) {
            files.push(File { path: below(root, &path), text });
        }
    }
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(files)
}

fn tracked(root: &Path) -> Option<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()?;
    let text = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
    let paths: BTreeSet<_> =
        text.split('\0').filter(|path| !path.is_empty()).map(|path| root.join(path)).collect();
    (!paths.is_empty()).then(|| paths.into_iter().collect())
}

fn walked(root: &Path) -> Result<Vec<PathBuf>> {
    const LEFT_OUT: &[&str] = &["target", ".git", "medusa-data"];
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let name = entry.file_name();
            if kind.is_dir() && !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn below(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walking_and_git_see_the_same_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = |paths: Vec<PathBuf>| -> BTreeSet<PathBuf> {
            paths
                .into_iter()
                .filter(|path| path.extension().is_some_and(|end| end == "rs"))
                .collect()
        };
        let walked = sources(walked(root).expect("a folder"));
        assert!(walked.contains(&root.join("src/tidy/house.rs")));
        if let Some(tracked) = tracked(root) {
            assert_eq!(sources(tracked), walked);
        }
    }

    #[test]
    fn what_is_linked_is_found_through_others() {
        let house = House::of_this_workspace().expect("the workspace can be looked at");
        let launcher =
            house.packages.iter().find(|one| one.name == "medusa-launcher").expect("the launcher");
        assert_eq!(launcher.folder, "crates/medusa-launcher");
        assert!(launcher.linked.contains("mio"), "through the core: {:?}", launcher.linked);
        assert!(
            !launcher.linked.contains("proptest"),
            "tests alone need it: {:?}",
            launcher.linked
        );
    }
}
