//! The kernels for GPUs, run on the CPU: their source is compiled as C++, with threads for threads. It needs no GPU and no
//! CUDA toolkit, but a compiler of C++20, and is left out with a word where there is none. On a GPU they are tested by
//! `nn::cuda::tests`.

use std::path::Path;
use std::process::Command;

#[test]
fn kernels_agree_with_plain_references() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let (empty, program) = (dir.path().join("empty.cpp"), dir.path().join("kernels"));
    std::fs::write(&empty, "#include <barrier>\nint main() { return 0; }\n").unwrap();
    let compiler = |source: &Path| {
        let mut compiler = Command::new("c++");
        compiler.args(["-std=c++20", "-O1", "-pthread", "-w"]);
        let kernels = root.join("src/nn/cuda/kernels.cu");
        compiler.arg(format!("-DKERNELS=\"{}\"", kernels.display()));
        compiler.arg(source).arg("-o").arg(&program);
        compiler.output()
    };
    if !compiler(&empty).is_ok_and(|o| o.status.success()) {
        eprintln!("left out: there is no c++ that compiles C++20");
        return;
    }
    let compiled = compiler(&root.join("tests/cuda/kernels.cpp")).unwrap();
    let said = String::from_utf8_lossy(&compiled.stderr).into_owned();
    assert!(compiled.status.success(), "{said}");
    let ran = Command::new(&program).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}{:?}", ran.status);
}
