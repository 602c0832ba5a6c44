//! What the program says at its end.

use std::collections::BTreeMap;
use std::path::Path;

use indicatif::{HumanBytes, HumanCount};
use intertwine_datasets::quarantine::{count_reasons, QUARANTINE};
use intertwine_datasets::{Inspection, PackReport, Quarantined};

/// After packing.
pub fn packed(report: &PackReport) {
    println!(
        "Packed {} pictures{}",
        HumanCount(report.pictures as u64),
        labelled(report)
    );
    println!(
        "Size {} in {}",
        HumanBytes(report.bytes),
        report.out.display()
    );
    if let Some(resumed) = &report.resumed {
        println!(
            "Went on after {} pictures ({} shards) of a run that was stopped",
            HumanCount(resumed.pictures as u64),
            resumed.shards
        );
        if let Some(lost) = &resumed.lost {
            println!("What it had packed after these was packed again: {lost}");
        }
    }
    passed_over(&report.ignored);
    if !report.quarantined.is_empty() {
        warn_of_quarantine(&report.quarantined);
        eprintln!("All of them: {}", report.out.join(QUARANTINE).display());
    }
    if let Some(note) = &report.note {
        println!("Note: {note}");
    }
    println!("Next: {}", next_command(report, &report.out));
}

/// After `--check`.
pub fn inspected(found: &Inspection) {
    print!("{found}");
    passed_over(&found.ignored);
    if !found.quarantined.is_empty() {
        warn_of_quarantine(&found.quarantined);
        for entry in &found.quarantined {
            println!("{}: {entry}", entry.reason);
        }
    }
    if let Some(note) = &found.note {
        println!("Note: {note}");
    }
}

fn passed_over(ignored: &BTreeMap<String, usize>) {
    if ignored.is_empty() {
        return;
    }
    let ignored: Vec<_> = ignored
        .iter()
        .map(|(name, count)| format!("{name}: {count}"))
        .collect();
    println!(
        "Passed over files that are no pictures by their name ({})",
        ignored.join(", ")
    );
}

fn labelled(report: &PackReport) -> String {
    match (report.categories, report.labels) {
        (0, 0) => String::new(),
        (0, classes) => format!(" of {classes} classes"),
        (categories, _) => format!(
            ", {} objects of {categories} categories",
            HumanCount(report.instances as u64)
        ),
    }
}

fn warn_of_quarantine(quarantined: &[Quarantined]) {
    let kept = quarantined.iter().filter(|entry| entry.kept).count();
    let total = quarantined.len();
    eprintln!(
        "Warning: {} findings, {} left out and {kept} taken in changed",
        HumanCount(total as u64),
        total - kept
    );
    for (reason, count) in count_reasons(quarantined) {
        eprintln!("  {count} x {reason}");
        let of_reason = quarantined.iter().filter(|entry| entry.reason == reason);
        of_reason
            .take(3)
            .for_each(|entry| eprintln!("      {entry}"));
    }
}

fn next_command(report: &PackReport, out: &Path) -> String {
    let out = out.display();
    if report.instances > 0 {
        return format!(
            "intertwine finetune --data {out} --val VAL --out runs/detector  (to learn from; a set to evaluate on is VAL. \
             Before it: intertwine pretrain, for --init)"
        );
    }
    format!("intertwine pretrain --data {out} --out runs/first")
}
