//! The data partition: an ext4 file system that holds the box's configuration.

use super::layout::Guid;
use crate::host;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes the file system as the file `image` of `len` bytes; `seed` becomes `config/bascule.toml` in it.
///
/// # Errors
/// When the host's tools fail.
pub fn file_system(image: &Path, len: u64, guid: Guid, seed: Option<&str>) -> Result<()> {
    host::need(&["e2fsprogs"])?;
    let tree = Tree::new(image)?;
    let config = tree.path.join("config");
    fs::create_dir(&config)?;
    fs::set_permissions(&config, fs::Permissions::from_mode(0o700))?;
    let mut owned = vec!["/config"];
    if let Some(seed) = seed {
        let file = config.join("bascule.toml");
        fs::write(&file, seed)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        owned.push("/config/bascule.toml");
    }
    let file = fs::File::create(image).with_context(|| format!("cannot write {}", image.display()))?;
    file.set_len(len)?;
    drop(file);
    let mut make = Command::new("/sbin/mke2fs");
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
    let mut fix = Command::new("/sbin/debugfs");
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
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
