//! The `fuse-union` binary: see `fuse-union --help`.

fn main() -> std::process::ExitCode {
    layerbench::cli::fuse_union()
}
