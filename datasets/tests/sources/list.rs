//! Lists of pictures.

use super::*;

#[test]
fn a_list_names_pictures_and_classes() {
    let folder = TempDir::new().unwrap();
    for name in ["pictures/a.png", "pictures/b c.png", "list/near.png"] {
        save(&folder.path().join(name), &draw(10, 10, 1));
    }
    let text = "a.png dog\nb c.png\tcat\n\nb c.png\ngone.png dog\n";
    let list = write(&folder.path().join("list/train.txt"), text);
    let images = Some(folder.path().join("pictures"));
    let (set, report) = packed(
        &folder,
        Source {
            images,
            ..Source::new(&list)
        },
    );
    assert_eq!(sources(&set), ["a.png", "b c.png", "b c.png"]);
    assert_eq!(set.labels(), ["cat", "dog"]);
    let labels: Vec<_> = (0..3).map(|i| set.label(i).unwrap()).collect();
    assert_eq!(labels, [Some(1), Some(0), None]);
    assert_eq!(
        listed(&report),
        [(Reason::MissingPicture, "gone.png".into())]
    );

    let error = refusal(Source::new(&list));
    assert!(
        error.contains("none of its 4 pictures") && error.contains("--images"),
        "{error}"
    );
    write(&list, "near.png");
    fs::remove_dir_all(folder.path().join("packed")).unwrap();
    assert_eq!(packed(&folder, Source::new(&list)).0.len(), 1);
    assert!(refusal(Source::new(write(&list, "\n"))).contains("without a line"));
}
