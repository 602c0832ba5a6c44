//! The header says what the library does.

use std::path::Path;

/// `INTERTWINE_BLESS=1` writes it instead.
#[test]
fn the_header_is_what_cbindgen_makes_of_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let source = root.join("src/lib.rs");
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(source);
    let mut header = Vec::new();
    bindings.generate().unwrap().write(&mut header);
    let header = String::from_utf8(header).unwrap();
    let path = root.join("include/intertwine_detect.h");
    if std::env::var_os("INTERTWINE_BLESS").is_some() {
        std::fs::write(&path, &header).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == header,
        "{} is out of date: INTERTWINE_BLESS=1 cargo test -p intertwine-detect-c",
        path.display()
    );
}
