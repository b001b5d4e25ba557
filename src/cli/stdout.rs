//! Printing to whoever may stop reading, as in `freshet list | head`: the command ends then without a word, as the
//! tools of the shell do. `println!` and `print!` of the standard library panic instead.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process;

/// As a shell tells of a program that was ended by SIGPIPE.
const NOBODY_READS: i32 = 141;

macro_rules! println {
    ($($text:tt)*) => { $crate::cli::stdout::print(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! print {
    ($($text:tt)*) => { $crate::cli::stdout::print(format_args!($($text)*)) };
}

pub(super) fn print(text: Arguments<'_>) {
    if let Err(error) = io::stdout().write_fmt(text) {
        if error.kind() == ErrorKind::BrokenPipe {
            process::exit(NOBODY_READS);
        }
        eprintln!("freshet: cannot print: {error}");
        process::exit(1);
    }
}
