//! The command line → a peer, the demo, or a sub-command that talks to a daemon.

use clap::Parser;
use dnsd::cli::{self, Cli, Command, Failure, Output};
use dnsd::io::demo;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Serve(serve) => cli::serve(*serve, &cli.global),
        Command::Demo(demo) => demo::run(demo),
        _ => {
            let mut stdout = std::io::stdout().lock();
            let printed = cli::run(&cli, &mut Output::new(&cli.global, &mut stdout));
            printed.and_then(|()| stdout.flush().map_err(|_| Failure::OutputClosed))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Told | Failure::OutputClosed) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
