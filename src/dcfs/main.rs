//! The `dcfs` program. Everything is in the library: see [`dcfs::cli`].

fn main() -> std::process::ExitCode {
    dcfs::cli::run(std::env::args_os())
}
