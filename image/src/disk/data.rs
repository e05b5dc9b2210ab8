//! The data partition: an ext4 file system that holds the box's configuration.

use super::layout::Guid;
use crate::host;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a box finds on its data partition when it starts for the first time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seed {
    /// Path from the root of the partition, content. All files have mode 0600, their directories 0700.
    files: Vec<(String, String)>,
}

impl Seed {
    /// Nothing: a box as it leaves the factory.
    #[must_use]
    pub fn factory() -> Self {
        Self::default()
    }

    /// A configuration; the first console login still runs `setup`.
    #[must_use]
    pub fn configuration(text: &str) -> Self {
        Self { files: vec![("config/bascule.toml".to_owned(), text.to_owned())] }
    }

    /// One more file.
    #[must_use]
    pub fn file(mut self, path: &str, content: &str) -> Self {
        self.files.push((path.to_owned(), content.to_owned()));
        self
    }
}

/// Makes the file system as the file `image` of `len` bytes, with the files of `seed` in it.
///
/// # Errors
/// When the host's tools fail.
pub fn file_system(image: &Path, len: u64, guid: Guid, seed: &Seed) -> Result<()> {
    host::need(&["e2fsprogs"])?;
    let tree = Tree::new(image)?;
    let owned = tree.plant(seed)?;
    let file = fs::File::create(image).with_context(|| format!("cannot write {}", image.display()))?;
    file.set_len(len)?;
    drop(file);
    let mut make = Command::new(host::sbin("mke2fs"));
    // Blocks of 4 KiB although it starts small: it grows to the disk. The time stamp is fixed so that the same
    // inputs make the same bytes.
    make.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", "bascule-data"])
        .args(["-U", &guid.to_string(), "-d"])
        .arg(&tree.path)
        .args(["-E", &format!("root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,hash_seed={guid}")])
        .arg(image)
        .env("E2FSPROGS_FAKE_TIME", "1");
    host::output(&mut make)?;
    // mke2fs takes over the owner of the files on this machine, who need not be root.
    let mut script = String::new();
    for path in owned {
        for field in ["uid 0", "gid 0", "atime 1", "ctime 1", "mtime 1", "crtime 1"] {
            writeln!(script, "set_inode_field {path} {field}")?;
        }
    }
    let script_file = tree.path.join("script");
    fs::write(&script_file, script)?;
    let mut fix = Command::new(host::sbin("debugfs"));
    fix.arg("-w").arg("-f").arg(&script_file).arg(image).env("E2FSPROGS_FAKE_TIME", "1");
    host::output(&mut fix).map(drop)
}

/// A scratch directory that goes away.
struct Tree {
    path: PathBuf,
}

impl Tree {
    fn new(beside: &Path) -> Result<Tree> {
        let path = beside.with_extension("tree");
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Tree { path })
    }

    /// Writes the files; the paths of everything that is there then, as the file system has them.
    fn plant(&self, seed: &Seed) -> Result<BTreeSet<String>> {
        let mut there = BTreeSet::new();
        let files = seed.files.iter().map(|(path, content)| (Path::new(path), Some(content)));
        // The configuration's directory is always there.
        for (path, content) in files.chain([(Path::new("config"), None)]) {
            for part in path.ancestors().filter(|part| !part.as_os_str().is_empty()) {
                there.insert(format!("/{}", part.display()));
            }
            let place = self.path.join(path);
            let directory = if content.is_some() { place.parent().unwrap_or(&place) } else { &place };
            fs::create_dir_all(directory)?;
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
            if let Some(content) = content {
                fs::write(&place, content)?;
                fs::set_permissions(&place, fs::Permissions::from_mode(0o600))?;
            }
        }
        Ok(there)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
