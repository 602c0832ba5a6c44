//! What ffmpeg reads. It is played by a shell script here, which says what it was asked for and sends pictures.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

/// A folder with a program called ffmpeg, which runs this script.
fn stand_in(script: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("script");
    // What it says that it knows is what the file `help` says.
    let script = format!(
        "#!/bin/sh\ncd {}\nif [ \"$1\" = -h ]; then cat help 2>/dev/null; exit; fi\n{script}",
        folder.path().display()
    );
    std::fs::write(&written, script).unwrap();
    std::fs::set_permissions(&written, std::fs::Permissions::from_mode(0o755)).unwrap();
    // Copied by a process of its own: what this one has open for writing, a child of another test may hold open for a
    // moment, and then it cannot be executed.
    let program = folder.path().join("ffmpeg");
    let copied = Command::new("cp").arg(&written).arg(program).status();
    assert!(copied.unwrap().success());
    let picture = both();
    let head = format!("P6\n{SIZE} {SIZE}\n255\n");
    let frame = [head.as_bytes(), picture.as_raw()].concat();
    std::fs::write(folder.path().join("frame"), frame).unwrap();
    folder
}

fn watch(ffmpeg: &Path, args: &[&str]) -> Output {
    let path = format!("{}:{}", ffmpeg.display(), std::env::var("PATH").unwrap());
    command(args).env("PATH", path).output().unwrap()
}

#[test]
fn every_frame_of_a_video_is_looked_at_and_its_end_is_the_end() {
    let ffmpeg = stand_in("echo \"$@\" >> asked; for i in 1 2 3 4 5; do cat frame; done");
    let video = ffmpeg.path().join("clip.mp4");
    std::fs::write(&video, b"").unwrap();
    let output = watch(ffmpeg.path(), &[video.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    let lines = lines(&output.stdout);
    let numbers: Vec<_> = lines
        .iter()
        .map(|line| line["frame"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(tracks(&lines[4]), tracks(&lines[0]));
    let asked = std::fs::read_to_string(ffmpeg.path().join("asked")).unwrap();
    assert!(
        asked.contains(&format!("-i file:{} ", video.display())),
        "{asked}"
    );
}

/// ffmpeg makes an even rate of frames of what has none, unless it is told not to, which each version calls by its own name.
#[test]
fn frames_are_neither_repeated_nor_dropped() {
    let ffmpeg = stand_in("echo \"$@\" >> asked; cat frame");
    let video = ffmpeg.path().join("clip.mp4");
    std::fs::write(&video, b"").unwrap();
    for (help, option) in [("-vsync", "-vsync"), ("-vsync\n-fps_mode", "-fps_mode")] {
        std::fs::write(ffmpeg.path().join("help"), help).unwrap();
        let output = watch(ffmpeg.path(), &[video.to_str().unwrap()]);
        assert!(output.status.success(), "{}", said(&output));
        let asked = std::fs::read_to_string(ffmpeg.path().join("asked")).unwrap();
        let last = asked.lines().last().unwrap();
        assert!(last.contains(&format!(" {option} passthrough ")), "{last}");
    }
}

/// Ten frames at 5 a second and ten at 30, made and read by the ffmpeg that is installed.
#[test]
fn every_frame_of_an_uneven_video_is_looked_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let video = folder.path().join("uneven.mkv");
    let uneven = "settb=1/1000,setpts='if(lt(N,10),N*200,2000+(N-10)*33)'";
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-f", "lavfi"])
        .args(["-i", "testsrc=s=64x64:r=30", "-frames:v", "20"])
        .args(["-vf", uneven, "-r", "1000", "-c:v", "mpeg4"])
        .arg(&video)
        .stdin(Stdio::null())
        .status();
    match made {
        Ok(status) => assert!(status.success(), "{status}"),
        Err(error) => {
            eprintln!("SKIPPED: no ffmpeg ({error})");
            return;
        }
    }
    let output = command(&[video.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(lines(&output.stdout).len(), 20);
}

#[test]
fn user_and_password_are_not_told() {
    let ffmpeg = stand_in("echo \"$@\" >> asked; cat frame; echo \"cannot read $*\" >&2");
    let address = "rtsp://me:secret@camera/1";
    let output = watch(ffmpeg.path(), &[address, "--frames", "3"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("-i rtsp://camera/1 "));
    let lines = lines(&output.stdout);
    assert!(lines.iter().all(|line| line["source"] == "rtsp://camera/1"));
    // Without ffmpeg too.
    let lacking = command(&[address]).env("PATH", "").output().unwrap();
    for told in [said(&output), said(&lacking)] {
        assert!(
            told.contains("rtsp://camera/1: ") && !told.contains("secret"),
            "{told}"
        );
    }
    // The camera wants them.
    let asked = std::fs::read_to_string(ffmpeg.path().join("asked")).unwrap();
    assert!(asked.contains(&format!("-i {address} ")), "{asked}");
}

/// The thread that waits for a silent stream cannot end it, and a silent ffmpeg does not notice that nobody reads it.
#[test]
fn ffmpeg_does_not_outlive_us() {
    let is_alive = |pid: &str| Path::new("/proc").join(pid).exists();
    for by_signal in [true, false] {
        let ffmpeg = stand_in("echo $$ > pid; cat frame; exec sleep 600");
        let path = format!(
            "{}:{}",
            ffmpeg.path().display(),
            std::env::var("PATH").unwrap()
        );
        let mut watch = command(&["rtsp://camera/1", "--timeout", "60"]);
        if !by_signal {
            watch.args(["--frames", "1"]);
        }
        let mut child = watch.env("PATH", path).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        let pid = std::fs::read_to_string(ffmpeg.path().join("pid")).unwrap();
        if by_signal {
            let id = child.id().to_string();
            let kill = Command::new("kill").args(["-TERM", &id]).status();
            assert!(kill.unwrap().success());
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert!(!said(&output).contains("again"), "{}", said(&output));
        assert!(!is_alive(pid.trim()), "by signal: {by_signal}");
    }
}

#[test]
fn a_stream_that_ends_is_connected_to_again() {
    let ffmpeg = stand_in("echo \"$@\" >> asked; cat frame");
    let output = watch(ffmpeg.path(), &["rtsp://camera/1", "--frames", "3"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(lines(&output.stdout).len(), 3);
    let told = said(&output);
    assert!(
        told.contains("rtsp://camera/1: the stream has ended; trying again"),
        "{told}"
    );
    let asked = std::fs::read_to_string(ffmpeg.path().join("asked")).unwrap();
    assert!(
        asked.lines().count() >= 3 && asked.contains("-rtsp_transport tcp -i rtsp://camera/1 ")
    );
}

#[test]
fn what_goes_wrong_with_ffmpeg_is_told_and_ends_after_the_retries() {
    for (script, expected) in [
        ("exit 7", "ffmpeg cannot read it (exit status: 7)"),
        ("echo nonsense", "ffmpeg sends what is no picture"),
        ("head -c 900 frame", "ffmpeg ended within a frame"),
        // Silent, and it would not end by itself.
        ("exec sleep 600", "silent for 0.5 s"),
    ] {
        let ffmpeg = stand_in(script);
        let args = ["https://camera/1", "--retries", "1", "--timeout", "0.5"];
        let output = watch(ffmpeg.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{script}");
        let told = said(&output);
        assert!(
            told.contains(&format!("error: https://camera/1: {expected}")),
            "{told}"
        );
        assert_eq!(told.matches(expected).count(), 2, "{told}");
    }
}

#[test]
fn without_ffmpeg_the_remedy_is_told() {
    let output = command(&["rtsp://camera/1"])
        .env("PATH", "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("apt-get install ffmpeg"),
        "{}",
        said(&output)
    );
}
