//! COCO: which picture a name of the label file means.

use super::*;

/// A label file of these pictures, without labels.
fn coco(path: &Path, names: &[&str]) -> PathBuf {
    let image = |(id, name)| serde_json::json!({"id": id, "file_name": name});
    let images: Vec<_> = (1..).zip(names).map(image).collect();
    let document = serde_json::json!({"images": images, "annotations": [], "categories": []});
    write(path, document.to_string())
}

/// The pictures' widths, which tell them apart.
fn widths(set: &PackedSet) -> Vec<u32> {
    let width = |i| set.image_size(i).unwrap().0;
    (0..set.len()).map(width).collect()
}

#[test]
fn pictures_of_one_name_in_two_folders_are_told_apart() {
    for (labels, first, second) in [
        ("instances_2017.json", "0001/000000.png", "0002/000000.png"),
        ("cats_dogs.json", "cats/1.png", "dogs/1.png"),
    ] {
        let folder = TempDir::new().unwrap();
        for (name, width) in [(first, 10), (second, 20)] {
            let path = folder.path().join("d/images").join(name);
            save(&path, &draw(width, 10, width));
        }
        let labels = coco(&folder.path().join("d").join(labels), &[second, first]);
        let (set, report) = packed(&folder, Source::new(labels));
        assert_eq!((widths(&set), listed(&report)), (vec![20, 10], vec![]));
    }
}

#[test]
fn a_missing_picture_is_not_replaced_by_one_called_alike() {
    let folder = TempDir::new().unwrap();
    let pictures = folder.path().join("pictures");
    save(&pictures.join("a/0.png"), &draw(10, 10, 1));
    // Of nobody: two names end so.
    save(&pictures.join("0.png"), &draw(20, 10, 1));
    let labels = folder.path().join("labels.json");
    for names in [
        ["a/0.png", "b/0.png"],
        ["/abs/a/0.png", "/abs/b/0.png"],
        ["x\\a\\0.png", "../b/0.png"],
    ] {
        let source = Source {
            images: Some(pictures.clone()),
            ..Source::new(coco(&labels, &names))
        };
        let (set, report) = packed(&folder, source);
        assert_eq!(
            (sources(&set), widths(&set)),
            (vec![names[0].into()], vec![10])
        );
        let missing = (Reason::MissingPicture, names[1].into());
        assert_eq!(listed(&report), [missing]);
        fs::remove_dir_all(folder.path().join("packed")).unwrap();
    }
}

#[test]
fn names_of_another_machine_are_found_by_their_last_part() {
    let folder = TempDir::new().unwrap();
    for (name, width) in [("x", 10), ("y", 20), ("z", 30)] {
        let path = folder.path().join(format!("d/images/{name}.png"));
        save(&path, &draw(width, 10, 1));
    }
    // Twice the same is no other name.
    let names = [
        "/home/me/1/x.png",
        "C:\\2\\y.png",
        "../3/z.png",
        "../3/z.png",
    ];
    let labels = coco(&folder.path().join("d/labels.json"), &names);
    let (set, report) = packed(&folder, Source::new(labels));
    assert_eq!(
        (widths(&set), listed(&report)),
        (vec![10, 20, 30, 30], vec![])
    );
}
