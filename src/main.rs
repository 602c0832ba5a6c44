//! The `intertwine` program; see [`intertwine::cli`].

fn main() -> std::process::ExitCode {
    intertwine::cli::main()
}
