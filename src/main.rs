//! The `layerbench` binary: see `layerbench --help`.

fn main() -> std::process::ExitCode {
    layerbench::cli::main()
}
