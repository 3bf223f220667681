//! `jit-login`. The program is the crate of that name; it is started here so that the tests of the whole, which start
//! both programs, find both of them built from what they test.

use std::process::ExitCode;

fn main() -> ExitCode {
    jit_login::main()
}
