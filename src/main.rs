//! The `intertwine` program; see [`intertwine::cli`].

fn main() -> std::process::ExitCode {
    sigpipe::reset();
    intertwine::cli::main()
}
