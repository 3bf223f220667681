//! What a session printed, as text: every character in its order, also what was overwritten or erased later, and no escape
//! code. What only moves the cursor becomes a space or a new line.

use std::io::{self, Write};

use avt::parser::{DecMode, Function, Parser};

use jit_host::escape::{escaped, is_visible};

/// Turns output into text, piece by piece.
#[derive(Default)]
pub struct Plain {
    parser: Parser,
    /// Something stands in the line.
    is_begun: bool,
    /// The cursor went back to the beginning of the line.
    is_back: bool,
    last: Option<char>,
}

/// The most that one code repeats a character, about a line: five bytes could ask for 64 KiB.
const REPEATED: u16 = 200;

impl Plain {
    /// Writes the text of the next piece of output.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn feed(&mut self, output: &str, out: &mut impl Write) -> io::Result<()> {
        for c in output.chars() {
            if let Some(function) = self.parser.feed(c) {
                self.show(&function, out)?;
            }
        }
        Ok(())
    }

    /// Ends the last line.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.is_begun { self.new_line(out) } else { Ok(()) }
    }

    fn show(&mut self, function: &Function, out: &mut impl Write) -> io::Result<()> {
        match function {
            Function::Print(c) => self.print(*c, out),
            Function::Rep(times) => {
                let c = self.last.unwrap_or(' ');
                (0..(*times).clamp(1, REPEATED)).try_for_each(|_| self.print(c, out))
            }
            Function::Lf | Function::Nel => self.new_line(out),
            Function::Cr => {
                self.is_back = true;
                Ok(())
            }
            Function::Ht | Function::Cht(_) | Function::Cuf(_) | Function::Cha(_) => self.print(' ', out),
            Function::Cup(..)
            | Function::Vpa(_)
            | Function::Vpr(_)
            | Function::Cuu(_)
            | Function::Cud(_)
            | Function::Cnl(_)
            | Function::Cpl(_)
            | Function::Ed(_)
            | Function::Ris
            | Function::Ri => self.end(out),
            Function::Decset(modes) | Function::Decrst(modes)
                if modes
                    .as_slice()
                    .iter()
                    .any(|mode| matches!(mode, DecMode::AltScreenBuffer | DecMode::SaveCursorAltScreenBuffer)) =>
            {
                self.end(out)
            }
            _ => Ok(()),
        }
    }

    fn print(&mut self, c: char, out: &mut impl Write) -> io::Result<()> {
        // What overwrites a line is a line of its own.
        if std::mem::take(&mut self.is_back) {
            self.end(out)?;
        }
        (self.is_begun, self.last) = (true, Some(c));
        let mut bytes = [0; 4];
        let text = c.encode_utf8(&mut bytes);
        if is_visible(c) { out.write_all(text.as_bytes()) } else { out.write_all(escaped(text).as_bytes()) }
    }

    fn new_line(&mut self, out: &mut impl Write) -> io::Result<()> {
        (self.is_begun, self.is_back) = (false, false);
        out.write_all(b"\n")
    }
}
