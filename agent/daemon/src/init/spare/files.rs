//! The files that the spare copy keeps: which they are, and whether they have changed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bascule_core::spare::{self, Contents, Folder, PLACE_LEN};

use super::SpareError;
use crate::people::users;
use crate::{peer, run, store};

/// A file that is kept, as it was when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    folder: Folder,
    name: String,
    length: u64,
    inode: u64,
    modified: (i64, i64),
}

/// What is to be kept: the configuration, users, key of the pair, maintenance, then what else lies in `config`.
pub fn traces(data: &Path) -> Result<Vec<Trace>, SpareError> {
    let state = [users::FILE, users::COPY, peer::KEY_FILE, run::MAINTENANCE];
    let mut found = Vec::new();
    for name in state {
        found.extend(trace(data, Folder::State, name)?);
    }
    let config = data.join(Folder::Config.name());
    let mut names: Vec<String> = match fs::read_dir(&config) {
        Ok(entries) => entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(SpareError::Source { path: config, error }),
    };
    // A file in the making is none.
    names.retain(|name| !name.ends_with(".new"));
    names.sort_by_key(|name| (name != "bascule.toml", name.clone()));
    let mut all = Vec::new();
    for name in names {
        all.extend(trace(data, Folder::Config, &name)?);
    }
    // The configuration, then the people.
    let rest = if all.first().is_some_and(|first| first.name == "bascule.toml") {
        all.split_off(1)
    } else {
        Vec::new()
    };
    Ok(all.into_iter().chain(found).chain(rest).collect())
}

fn trace(data: &Path, folder: Folder, name: &str) -> Result<Option<Trace>, SpareError> {
    let path = data.join(folder.name()).join(name);
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() => Ok(Some(Trace {
            folder,
            name: name.to_owned(),
            length: meta.len(),
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SpareError::Source { path, error }),
    }
}

/// The files as they are; and the paths of those that do not fit.
pub fn gather(data: &Path, owner: &str, traces: &[Trace]) -> Result<(Contents, Vec<String>), SpareError> {
    let mut files = Vec::new();
    let mut large = Vec::new();
    for Trace { folder, name, length, .. } in traces {
        let path = data.join(folder.name()).join(name);
        if *length >= PLACE_LEN as u64 {
            large.push(format!("{}/{name}", folder.name()));
            continue;
        }
        files.extend(spare::File::new(*folder, name, store::read(&path, PLACE_LEN as u64)?));
    }
    let (contents, out) = Contents::fit(owner, files);
    large.extend(out);
    Ok((contents, large))
}
