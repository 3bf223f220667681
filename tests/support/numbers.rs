//! The command line of a test that is a program of its own: options with a number each. `sim` and `crash` read theirs so.

use std::process::ExitCode;

/// The number behind each of these options, if it is there. Whoever gets an error ends with it: what is wrong is told.
///
/// # Errors
/// An option lacks its number, or there is another word. The latter is no failure: `cargo test NAME` gives the name to every
/// target, and so it does with the options of other harnesses.
pub(crate) fn numbers<const N: usize>(options: [&str; N]) -> Result<[Option<u64>; N], ExitCode> {
    let mut numbers = [None; N];
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let Some(at) = options.iter().position(|option| *option == word) else {
            println!("nothing here is called `{word}`");
            return Err(ExitCode::SUCCESS);
        };
        numbers[at] = words.next().and_then(|number| number.parse().ok());
        if numbers[at].is_none() {
            eprintln!(
                "`{word}` lacks its number; hint: the options are {}",
                options.map(|option| format!("{option} N")).join(", ")
            );
            return Err(ExitCode::from(64));
        }
    }
    Ok(numbers)
}
