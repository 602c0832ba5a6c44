//! From a run that fails to its step taken again, through the library.

use intertwine_datasets::scenes::{write_pictures, SceneConfig};
use intertwine_datasets::{pack, PackOptions, PackedSet, Source};

use super::*;
use crate::config::resolve;
use crate::nn::device::Device;
use crate::pretrain::config::PRESETS;
use crate::pretrain::{pretrain, Job, Outcome};
use crate::run::Interrupt;

const SMALL: &[&str] = &[
    "model.depth=1",
    "head.hidden=32",
    "head.prototypes=64",
    "crops.globals.size=24",
    "crops.locals.size=16",
    "crops.locals.count=1",
    "optim.batch=8",
    "optim.accumulate=2",
    "optim.epochs=2.0",
    "optim.freeze_prototypes=0.0",
    "run.checkpoint_every=1",
    "watch.probe_every=0",
    "watch.pictures_every=0",
];

fn drawn(folder: &Path) -> Arc<Mix> {
    let (drawn, packed) = (folder.join("drawn"), folder.join("packed"));
    let scenes = SceneConfig {
        size: 48,
        ..SceneConfig::default()
    };
    write_pictures(&drawn, &scenes, 5, 0..16).unwrap();
    let options = PackOptions::default();
    pack(&Source::new(drawn), &options, &packed, &|_| {}).unwrap();
    Arc::new(Arc::new(PackedSet::open(&packed).unwrap()).into())
}

fn run(
    data: &Arc<Mix>,
    out: &Path,
    settings: &[&str],
    resume: bool,
) -> Result<Outcome, PretrainError> {
    let settings = SMALL.iter().chain(settings).map(|s| (*s).to_owned());
    let config = resolve(PRESETS, "pico", None, &Vec::from_iter(settings)).unwrap();
    let job = Job {
        config: &config,
        data,
        labels: None,
        out,
        resume,
        device: Device::Cpu,
        interrupt: &Interrupt::default(),
    };
    pretrain(job, &mut |_| {})
}

#[test]
fn a_step_that_is_not_finite_is_kept_and_taken_again() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (drawn(dir.path()), dir.path().join("run"));
    // The first step throws the weights so far that the next overflows.
    let far = ["optim.lr=1e30", "optim.warmup=0.0"];
    let failed = |resume| match run(&data, &out, &far, resume) {
        Err(PretrainError::NotFinite { step, what, kept }) => (step, what, kept.unwrap()),
        other => panic!("{other:?}"),
    };
    let (step, what, kept) = failed(false);
    assert_eq!((step, &kept), (1, &out.join("failed/step-000001")));
    let report = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.contains("Why it stopped") && report.contains("is not finite"));

    let mut seen = Vec::new();
    let replay = |see: &mut dyn FnMut(Seen)| replay(&out, see);
    let again = replay(&mut |tensor| seen.push(tensor)).unwrap();
    assert_eq!(again.step, step);
    // Where it began, and what training says of it.
    let (first, then) = what.split_once(", and then ").unwrap();
    assert_eq!(first, "`part 0: teacher.vit.blocks.0`");
    assert_eq!(again.failure.unwrap(), then.trim_end_matches(','));
    let first = seen.iter().find(|tensor| tensor.not_finite > 0).unwrap();
    // It followed the student.
    assert_eq!(first.name, "part 0: teacher.vit.blocks.0");
    assert_eq!(first.kind, Kind::Activation);
    let of = |kind| seen.iter().filter(move |tensor| tensor.kind == kind);
    assert!(of(Kind::Weight).all(|tensor| tensor.not_finite == 0));
    assert!(of(Kind::Weight).any(|tensor| tensor.largest > 1e29));
    assert_eq!(of(Kind::Loss).count(), 2 * 5);
    assert!(of(Kind::Loss).any(|tensor| tensor.not_finite > 0));
    assert!(of(Kind::Gradient).any(|tensor| tensor.not_finite > 0));

    // The checkpoint of the step before is untouched, and leads to the same.
    let checkpoint = || fs::read(out.join("checkpoints/last.safetensors")).unwrap();
    let before = checkpoint();
    assert_eq!(failed(true), (step, what, kept.clone()));
    assert!(before == checkpoint());

    fs::write(part_file(&kept, 1), b"no batch").unwrap();
    let said = replay(&mut |_| {}).unwrap_err().to_string();
    assert!(said.contains("part-1.safetensors"), "{said}");
}

#[test]
fn a_run_that_went_well_has_nothing_to_take_again() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (drawn(dir.path()), dir.path().join("run"));
    run(&data, &out, &[], false).unwrap();
    let said = replay(&out, &mut |_| {}).unwrap_err().to_string();
    assert!(said.contains("failed: no step was kept"), "{said}");
}
