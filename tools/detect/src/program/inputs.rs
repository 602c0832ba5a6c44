//! Which pictures there are, and where their drawn copies go.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use intertwine_detect::picture::has_picture_extension;

/// A picture to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Where it lies.
    pub path: PathBuf,
    /// Its path below the folder that was given; of a file that was given, its name.
    pub relative: PathBuf,
}

/// The pictures behind the paths given, in their order; those of a folder sorted by path.
///
/// Folders are searched to any depth, not through links to folders, past hidden files and past `skip` (the
/// folder that results go to). A file given by name is a picture whatever it is called, and one that does not
/// exist fails when it is read, like any other bad picture.
pub fn collect(paths: &[PathBuf], skip: Option<&Path>) -> Result<Vec<Input>> {
    let skip = skip.and_then(|folder| folder.canonicalize().ok());
    let mut inputs = Vec::new();
    for path in paths {
        if !path.is_dir() {
            let relative = path.file_name().map_or_else(|| path.clone(), PathBuf::from);
            inputs.push(Input {
                path: path.clone(),
                relative,
            });
            continue;
        }
        if skip.is_some() && path.canonicalize().ok() == skip {
            bail!(
                "{} is where the drawn copies go, which are not looked at; give another folder to --out",
                path.display()
            );
        }
        let mut found = Vec::new();
        search(path, skip.as_deref(), &mut found)
            .with_context(|| format!("cannot search the folder {}", path.display()))?;
        if found.is_empty() {
            let kinds = intertwine_detect::picture::EXTENSIONS.join(", ");
            bail!("no pictures in {} (looked for {kinds})", path.display());
        }
        found.sort();
        inputs.extend(found.into_iter().map(|file| {
            let relative = file.strip_prefix(path).unwrap_or(&file).to_path_buf();
            Input {
                path: file,
                relative,
            }
        }));
    }
    Ok(inputs)
}

fn search(folder: &Path, skip: Option<&Path>, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if skip.is_some() && folder.canonicalize().ok().as_deref() == skip {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            search(&path, skip, found)?;
        } else if has_picture_extension(&path) && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

/// Where the drawn copy of each picture goes: its relative path in `folder`, as JPEG if it is one, else as PNG.
/// Where two would meet, the later gets a number.
///
/// # Errors
/// A copy that would replace one of the pictures.
pub fn drawn_paths(inputs: &[Input], folder: &Path) -> Result<Vec<PathBuf>> {
    let sources: HashSet<PathBuf> = inputs
        .iter()
        .filter_map(|input| input.path.canonicalize().ok())
        .collect();
    let mut taken = HashSet::new();
    // The last number tried for each name, below which all are taken.
    let mut numbers = HashMap::new();
    inputs
        .iter()
        .map(|input| {
            let mut name = input.relative.clone().into_os_string();
            if !is_jpeg(&input.relative) && !has_extension(&input.relative, "png") {
                name.push(".png");
            }
            let first = PathBuf::from(name);
            let mut relative = first.clone();
            let number = numbers.entry(first.clone()).or_insert(1);
            while !taken.insert(relative.clone()) {
                *number += 1;
                relative = numbered(&first, *number);
            }
            let drawn = folder.join(relative);
            // What does not exist yet has no canonical form, and replaces nothing.
            if drawn
                .canonicalize()
                .is_ok_and(|existing| sources.contains(&existing))
            {
                bail!(
                    "{} would be replaced by its drawn copy; give another folder to --out",
                    drawn.display()
                );
            }
            Ok(drawn)
        })
        .collect()
}

/// Whether a path is named like a JPEG.
pub fn is_jpeg(path: &Path) -> bool {
    has_extension(path, "jpg") || has_extension(path, "jpeg")
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

/// `a/b.jpg` becomes `a/b-2.jpg`.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_os_string();
    name.push(format!("-{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    #[test]
    fn folders_are_searched_in_order_without_hidden_files_other_kinds_and_results() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            "b.JPG",
            "a/z.png",
            "a/c.webp",
            "notes.txt",
            "._b.jpg",
            "out/b.jpg",
            ".git/x.png",
        ] {
            touch(&root.path().join(name));
        }
        let inputs = collect(&[root.path().into()], Some(&root.path().join("out"))).unwrap();
        let relative: Vec<_> = inputs
            .iter()
            .map(|input| input.relative.to_str().unwrap())
            .collect();
        assert_eq!(relative, ["a/c.webp", "a/z.png", "b.JPG"]);
    }

    #[test]
    fn a_folder_without_pictures_is_an_error_that_names_it() {
        let root = tempfile::tempdir().unwrap();
        let error = collect(&[root.path().into()], None)
            .unwrap_err()
            .to_string();
        assert!(error.contains(root.path().to_str().unwrap()), "{error}");
    }

    #[test]
    fn no_copy_meets_another_or_replaces_a_picture() {
        let root = tempfile::tempdir().unwrap();
        for name in ["x/1.jpg", "y/1.jpg", "y/1.webp"] {
            touch(&root.path().join(name));
        }
        let inputs = collect(&[root.path().join("x"), root.path().join("y")], None).unwrap();
        let out = root.path().join("out");
        let drawn = drawn_paths(&inputs, &out).unwrap();
        assert_eq!(
            drawn,
            [
                out.join("1.jpg"),
                out.join("1-2.jpg"),
                out.join("1.webp.png")
            ]
        );
        let error = drawn_paths(&inputs, &root.path().join("y"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("1.jpg"), "{error}");
    }

    /// So many that trying every number again for each would not end.
    #[test]
    fn many_pictures_of_one_name_get_a_number_each() {
        let input = |name: &str| Input {
            path: "missing".into(),
            relative: name.into(),
        };
        let mut inputs = vec![input("1-3.jpg")];
        inputs.resize(100_000, input("1.jpg"));
        let drawn = drawn_paths(&inputs, Path::new("missing-out")).unwrap();
        let name = |at: usize| drawn[at].file_name().unwrap().to_str().unwrap();
        let first = [0, 1, 2, 3].map(name);
        assert_eq!(first, ["1-3.jpg", "1.jpg", "1-2.jpg", "1-4.jpg"]);
        assert_eq!(name(99_999), "1-100000.jpg");
        assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), drawn.len());
    }
}
