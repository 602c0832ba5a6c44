//! The program killed at any moment: the same command goes on, and ends with the same bytes.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use intertwine_datasets::PackedSet;
use tempfile::TempDir;

/// Noise, so that pictures fill shards of a MiB fast.
fn save(path: PathBuf, side: u32, seed: u32) {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let image = RgbImage::from_fn(side, side, |_, _| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        Rgb(state.to_le_bytes()[..3].try_into().unwrap())
    });
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}

/// Pictures for some four shards, with broken ones among them.
fn pictures(folder: &Path, count: u32) -> PathBuf {
    for i in 0..count {
        let path = folder.join(format!("{}/{i:03}.png", i % 2));
        save(path.clone(), 150 + i % 50, i);
        if i % 20 == 7 {
            fs::write(path, "text").unwrap();
        }
    }
    folder.into()
}

struct Program {
    source: PathBuf,
    out: PathBuf,
    options: Vec<&'static str>,
}

impl Program {
    fn new(source: &Path, out: PathBuf, options: &[&'static str]) -> Self {
        let options = [&["--shard-mib", "1", "--classes-from-folders"], options].concat();
        Self {
            source: source.into(),
            out,
            options,
        }
    }

    fn start(&self, threads: usize) -> Child {
        Command::new(env!("CARGO_BIN_EXE_pack-dataset"))
            .args([&self.source, &self.out])
            .args(&self.options)
            .args(["--threads", &threads.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn finish(&self, threads: usize) -> (bool, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.start(threads).wait_with_output().unwrap();
        let text = [stdout, stderr].concat();
        (status.success(), String::from_utf8(text).unwrap())
    }

    fn succeeds(&self, threads: usize) -> String {
        let (success, text) = self.finish(threads);
        assert!(success, "{text}");
        text
    }

    fn work(&self) -> PathBuf {
        let name = self.out.file_name().unwrap().to_string_lossy();
        self.out.with_file_name(format!(".{name}.packing"))
    }

    /// Kills the program once it has finished so many shards.
    fn kill_after(&self, shards: usize) {
        let mut child = self.start(1);
        let journal = self.work().join("journal.jsonl");
        loop {
            let text = fs::read(&journal).unwrap_or_default();
            // The first line says what is being done.
            if text.iter().filter(|&&byte| byte == b'\n').count() > shards {
                break;
            }
            assert!(child.try_wait().unwrap().is_none(), "finished too soon");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it again and again, killing it at random moments of its life of about `life`, up to `kills`
    /// times; the last run is left alone. After each kill the set has one of these numbers of records,
    /// unless none are given. Returns how many kills came before the end.
    fn survive(&self, kills: usize, life: Duration, seed: u64, records: &[usize]) -> usize {
        let mut state = seed | 1;
        for kill in 0..kills {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let mut child = self.start(1 + kill % 3);
            sleep(life.mul_f64((state % 1000) as f64 / 1000.));
            child.kill().unwrap();
            let ended = child.wait().unwrap();
            if !records.is_empty() {
                let set = PackedSet::open(&self.out).unwrap();
                assert!(records.contains(&set.len()), "{} records", set.len());
                assert_eq!(set.verify().problems.len(), 0);
            }
            // Killed on its last steps, or not at all: all is in place, and nothing tells of the run any more.
            let complete = |set: PackedSet| records.last().is_none_or(|&last| set.len() == last);
            let in_place = !self.work().exists() && PackedSet::open(&self.out).is_ok_and(complete);
            if ended.success() || in_place {
                return kill;
            }
        }
        self.succeeds(2);
        kills
    }
}

/// Every file of a set with its contents.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn finished_shards_are_not_packed_again() {
    let folder = TempDir::new().unwrap();
    let source = pictures(&folder.path().join("pictures"), 60);
    let whole = Program::new(&source, folder.path().join("whole"), &[]);
    whole.succeeds(3);
    let program = Program::new(&source, folder.path().join("set"), &[]);
    program.kill_after(2);
    assert!(!program.out.exists());
    let first = program.work().join("set/shard-00000.itw");
    let inode = fs::metadata(&first).unwrap().ino();

    // With other options it is another task, which must not cost the work that was done.
    let other = Program::new(&source, program.out.clone(), &["--min-side", "100"]);
    let (success, text) = other.finish(1);
    for part in [
        "resize = \"keep\", now {\"min-side\":100}",
        "remove the folder",
    ] {
        assert!(!success && text.contains(part), "{text}");
    }
    let mut others = [
        Program::new(&source, program.out.clone(), &["--format", "folder"]),
        Program::new(&source, program.out.clone(), &[]),
    ];
    others[1]
        .options
        .retain(|&option| option != "--classes-from-folders");
    for (other, part) in others.iter().zip([
        "format = \"auto\", now \"folder\"",
        "classes_from_folders = true, now false",
    ]) {
        let (success, text) = other.finish(1);
        assert!(!success && text.contains(part), "{text}");
    }
    let text = program.succeeds(2);
    assert!(text.contains("Went on after"), "{text}");
    let shard = program.out.join("shard-00000.itw");
    assert_eq!(fs::metadata(shard).unwrap().ino(), inode);
    assert!(contents(&program.out) == contents(&whole.out));
    assert!(!program.work().exists());
}

#[test]
fn a_source_that_changed_is_not_packed_half_old_and_half_new() {
    let folder = TempDir::new().unwrap();
    let source = pictures(&folder.path().join("pictures"), 60);
    let program = Program::new(&source, folder.path().join("set"), &[]);
    // The pictures of folder `0` come first.
    for (change, kept) in [(4, false), (59, true)] {
        program.kill_after(2);
        let path = source.join(format!("{}/{change:03}.png", change % 2));
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let length = fs::metadata(&path).unwrap().len();
        save(path.clone(), 150, 1000 + change);
        // The same length and time, as careless copying has it.
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(length).unwrap();
        file.set_modified(modified).unwrap();
        let text = program.succeeds(2);
        assert_eq!(text.contains("have changed since"), !kept, "{text}");
        let whole = Program::new(&source, folder.path().join("whole"), &["--overwrite"]);
        whole.succeeds(1);
        assert!(contents(&program.out) == contents(&whole.out));
        fs::remove_dir_all(&program.out).unwrap();
    }
    // A shard that was damaged meanwhile is made again.
    program.kill_after(2);
    let shard = program.work().join("set/shard-00001.itw");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[1000] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let text = program.succeeds(2);
    assert!(
        text.contains("`shard-00001.itw` is not as it was written"),
        "{text}"
    );
    assert!(contents(&program.out) == contents(&folder.path().join("whole")));
}

/// Kills of a new packing, of one that replaces, and of one that appends: some of each, until there were
/// `enough` of each.
fn kill_at_random(enough: usize) {
    let folder = TempDir::new().unwrap();
    let first = pictures(&folder.path().join("first"), 70);
    let second = pictures(&folder.path().join("second"), 50);
    let set = |name: &str| folder.path().join(name);
    let begin = Instant::now();
    Program::new(&first, set("whole"), &[]).succeeds(2);
    let life = begin.elapsed();
    let packed = contents(&set("whole"));
    Program::new(&second, set("whole"), &["--append"]).succeeds(2);
    let appended = contents(&set("whole"));
    assert!(appended.len() > packed.len() + 1);
    let count = |packed: &[(String, Vec<u8>)]| -> usize {
        let manifest: serde_json::Value = serde_json::from_slice(&packed[0].1).unwrap();
        manifest["records"].as_u64().unwrap() as usize
    };
    let records = [count(&packed), count(&appended)];
    let (mut kills, mut seed) = ([0; 3], 0);
    while kills.iter().any(|&kills| kills < enough) {
        let out = set(&format!("set{seed}"));
        let program =
            |source: &Path, options: &[&'static str]| Program::new(source, out.clone(), options);
        kills[0] += program(&first, &[]).survive(3, life, 3 * seed + 1, &[]);
        assert!(contents(&out) == packed, "new, seed {seed}");
        kills[1] += program(&first, &["--overwrite"]).survive(3, life, 3 * seed + 2, &[]);
        assert!(contents(&out) == packed, "replaced, seed {seed}");
        let append = program(&second, &["--append"]);
        kills[2] += append.survive(3, life.mul_f64(0.8), 3 * seed + 3, &records);
        assert!(contents(&out) == appended, "appended, seed {seed}");
        fs::remove_dir_all(out).unwrap();
        seed += 1;
    }
    println!("survived {kills:?} kills");
}

#[test]
fn killed_at_random_moments_it_ends_with_the_same_bytes() {
    kill_at_random(1);
}

#[test]
#[ignore = "takes a while: 50 kills of each kind"]
fn killed_fifty_times_it_ends_with_the_same_bytes() {
    kill_at_random(50);
}
