//! Packed sets named on the command line, to be read as one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{bail, Context};
use intertwine_datasets::{Mix, PackedSet};

/// The packed sets of a training without labels.
#[derive(clap::Args)]
pub struct Data {
    /// A packed set; make one with pack-dataset. Given more than once, the sets are read as one. With a
    /// share, as in --data A --data B=0.3, three of ten pictures come from B, whatever its size; sets
    /// without a share divide what is left by their sizes.
    #[arg(long, required = true, value_name = "SET[=SHARE]")]
    data: Vec<PathBuf>,
}

impl Data {
    /// Opens the sets.
    ///
    /// # Errors
    /// If one cannot be opened, or the shares do not fit together.
    pub fn open(&self) -> anyhow::Result<Arc<Mix>> {
        let part = |arg: &PathBuf| -> anyhow::Result<_> {
            let (folder, share) = split(arg)?;
            Ok((Arc::new(PackedSet::open(&folder)?), share))
        };
        let parts = self.data.iter().map(part).collect::<Result<_, _>>()?;
        Ok(Arc::new(Mix::new(parts).context("--data")?))
    }
}

/// `SET=SHARE` as set and share. A folder that is really named so is a set without a share.
fn split(arg: &Path) -> anyhow::Result<(PathBuf, Option<f64>)> {
    let whole = || Ok((arg.to_owned(), None));
    if arg.is_dir() {
        return whole();
    }
    let Some((folder, share)) = arg.to_str().and_then(|arg| arg.rsplit_once('=')) else {
        return whole();
    };
    match share.parse() {
        Ok(share) => Ok((folder.into(), Some(share))),
        Err(_) if Path::new(folder).is_dir() => bail!(
            "--data {}: `{share}` is no share, expected a number such as 0.3",
            arg.display()
        ),
        Err(_) => whole(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_from_names() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, odd) = (folder.path().join("a"), folder.path().join("a=0.5"));
        std::fs::create_dir(&plain).unwrap();
        std::fs::create_dir(&odd).unwrap();
        assert_eq!(split(&plain).unwrap(), (plain.clone(), None));
        assert_eq!(split(&odd).unwrap(), (odd.clone(), None));
        let with = |end: &str| PathBuf::from(format!("{}{end}", plain.display()));
        assert_eq!(split(&with("=0.25")).unwrap(), (plain.clone(), Some(0.25)));
        let wrong = split(&with("=much")).unwrap_err().to_string();
        assert!(wrong.contains("`much` is no share"), "{wrong}");
    }
}
