//! Words of a statement. Comments vanish; executable comments (`/*!40101 ... */`, `/*M! ... */`, TiDB's
//! `/*T! ... */`) dissolve into their content, as the server that wrote them read it.

use tidelake_core::types::text::ServerFlavor;

use super::SyntaxError;

/// `sql_mode` bit: `"` quotes identifiers.
pub const MODE_ANSI_QUOTES: u64 = 4;
/// `sql_mode` bit: REAL is FLOAT.
pub const MODE_REAL_AS_FLOAT: u64 = 1;
/// `sql_mode` bit of MariaDB: its dialect of Oracle's.
pub(super) const MODE_ORACLE: u64 = 1 << 9;
/// `sql_mode` bit of MariaDB, and of MySQL before 8.
pub(super) const MODE_MAXDB: u64 = 1 << 12;
/// `sql_mode` bit: `\` is an ordinary character in strings.
pub const MODE_NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
/// `sql_mode` bits: a value that does not fit is an error (in transactional tables, in all tables).
pub const MODE_STRICT_TRANS_TABLES: u64 = 1 << 21;
/// See [`MODE_STRICT_TRANS_TABLES`].
pub const MODE_STRICT_ALL_TABLES: u64 = 1 << 22;
/// `sql_mode` bit: an engine that the server lacks is an error, and not replaced by the default one.
pub const MODE_NO_ENGINE_SUBSTITUTION: u64 = 1 << 30;

/// What a token is. Plain words and numbers are read from the statement by their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// An unquoted identifier or keyword.
    Word,
    /// A quoted identifier, unquoted.
    Quoted(String),
    /// A string literal, unescaped.
    Str(String),
    /// A number as written.
    Number,
    /// `0x41`, `x'41'`.
    Hex(Vec<u8>),
    /// `b'101'`, `0b101`: the digits.
    Bits(String),
    /// Any other ASCII character.
    Punct(u8),
    /// The end; always the last token.
    End,
}

/// A token and the bytes it was read from.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// All tokens up to the end or the first error.
pub(super) struct Lexed {
    pub(super) tokens: Vec<Token>,
    pub(super) error: Option<SyntaxError>,
}

/// Splits a statement into tokens.
pub(super) fn lex(sql: &str, flavor: ServerFlavor, sql_mode: u64) -> Lexed {
    let mut lexer = Lexer { sql, bytes: sql.as_bytes(), at: 0, flavor, sql_mode, open_comments: 0, tokens: Vec::new() };
    let error = lexer.run().err();
    let end = lexer.at.min(sql.len());
    lexer.tokens.push(Token { kind: TokenKind::End, start: end, end });
    Lexed { tokens: lexer.tokens, error }
}

struct Lexer<'a> {
    sql: &'a str,
    bytes: &'a [u8],
    at: usize,
    flavor: ServerFlavor,
    sql_mode: u64,
    open_comments: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), SyntaxError> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte.is_ascii_whitespace() || byte == 0x0b || byte == 0 {
                self.at += 1;
            } else if !self.comment(byte)? {
                self.token(byte)?;
            }
        }
        Ok(())
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Steps over a comment or the edge of an executable one; false if there is none here.
    fn comment(&mut self, byte: u8) -> Result<bool, SyntaxError> {
        match byte {
            b'#' => self.skip_line(),
            b'-' if self.byte(1) == b'-' && (self.at + 2 >= self.bytes.len() || self.byte(2) <= b' ') => {
                self.skip_line();
            }
            b'/' if self.byte(1) == b'*' => self.block_comment()?,
            b'*' if self.byte(1) == b'/' && self.open_comments > 0 => {
                self.open_comments -= 1;
                self.at += 2;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn skip_line(&mut self) {
        while self.at < self.bytes.len() && self.bytes[self.at] != b'\n' {
            self.at += 1;
        }
    }

    fn block_comment(&mut self) -> Result<(), SyntaxError> {
        if let Some(skip) = self.executable_head() {
            self.open_comments += 1;
            self.at += skip;
            return Ok(());
        }
        let Some(length) = self.sql[self.at + 2..].find("*/") else {
            let start = self.at;
            self.at = self.bytes.len();
            return Err(SyntaxError::new(start, "a comment without an end"));
        };
        self.at += 2 + length + 2;
        Ok(())
    }

    /// Bytes of the opening of an executable comment that the server executed; `None` for a plain comment.
    fn executable_head(&self) -> Option<usize> {
        let (mark, own) = match (self.byte(2), self.byte(3)) {
            (b'!', _) => (3, false),
            (b'M', b'!') if self.flavor == ServerFlavor::MariaDb => (4, true),
            (b'T', b'!') if self.flavor == ServerFlavor::TiDb => (4, true),
            _ => return None,
        };
        let digits = (0..6).take_while(|i| self.byte(mark + i).is_ascii_digit()).count();
        let digits = if digits >= 5 { digits } else { 0 };
        let version: u32 = self.sql[self.at + mark..self.at + mark + digits].parse().unwrap_or(0);
        // MariaDB steps over what only MySQL 5.7 and later understand.
        if self.flavor == ServerFlavor::MariaDb && !own && (50_700..100_000).contains(&version) {
            return None;
        }
        if self.flavor == ServerFlavor::TiDb && self.byte(mark) == b'[' {
            let feature = self.sql[self.at + mark..].find(']')?;
            return Some(mark + feature + 1);
        }
        Some(mark + digits)
    }

    fn token(&mut self, byte: u8) -> Result<(), SyntaxError> {
        let start = self.at;
        let kind = match byte {
            b'`' => TokenKind::Quoted(self.quoted(b'`', false)?),
            b'"' if self.sql_mode & MODE_ANSI_QUOTES != 0 => TokenKind::Quoted(self.quoted(b'"', false)?),
            b'\'' | b'"' => TokenKind::Str(self.string(byte)?),
            b'.' if self.byte(1).is_ascii_digit() && !self.follows_name() => self.number(),
            _ if is_word_byte(byte) => self.word()?,
            _ => {
                self.at += 1;
                TokenKind::Punct(byte)
            }
        };
        self.tokens.push(Token { kind, start, end: self.at });
        Ok(())
    }

    /// True right behind a name: then `.` is the dot between two names.
    fn follows_name(&self) -> bool {
        let named = |t: &Token| matches!(t.kind, TokenKind::Word | TokenKind::Quoted(_)) && t.end == self.at;
        self.tokens.last().is_some_and(named)
    }

    fn follows_dot(&self) -> bool {
        self.tokens.last().is_some_and(|t| t.kind == TokenKind::Punct(b'.') && t.end == self.at)
    }

    fn string(&mut self, quote: u8) -> Result<String, SyntaxError> {
        self.quoted(quote, self.sql_mode & MODE_NO_BACKSLASH_ESCAPES == 0)
    }

    fn quoted(&mut self, quote: u8, escapes: bool) -> Result<String, SyntaxError> {
        let start = self.at;
        let mut out = Vec::new();
        self.at += 1;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            if byte == quote {
                if self.byte(0) != quote {
                    return Ok(String::from_utf8_lossy(&out).into_owned());
                }
                self.at += 1;
                out.push(quote);
            } else if byte == b'\\' && escapes && self.at < self.bytes.len() {
                push_escape(&mut out, self.bytes[self.at]);
                self.at += 1;
            } else {
                out.push(byte);
            }
        }
        Err(SyntaxError::new(start, "a quote without an end"))
    }

    fn word(&mut self) -> Result<TokenKind, SyntaxError> {
        let start = self.at;
        let length = self.bytes[start..].iter().take_while(|b| is_word_byte(**b)).count();
        let word = &self.sql[start..start + length];
        if self.follows_dot() {
            self.at += length;
            return Ok(TokenKind::Word);
        }
        if length == 1 && self.byte(1) == b'\'' {
            match word.as_bytes()[0] {
                b'n' | b'N' => {
                    self.at += 1;
                    return Ok(TokenKind::Str(self.string(b'\'')?));
                }
                b'x' | b'X' => {
                    self.at += 1;
                    let digits = self.quoted(b'\'', false)?;
                    return Ok(TokenKind::Hex(hex(&digits).ok_or_else(|| SyntaxError::new(start, "hex digits"))?));
                }
                b'b' | b'B' => {
                    self.at += 1;
                    return Ok(TokenKind::Bits(self.quoted(b'\'', false)?));
                }
                _ => {}
            }
        }
        if let Some(bytes) = word.strip_prefix("0x").filter(|d| !d.is_empty()).and_then(hex) {
            self.at += length;
            return Ok(TokenKind::Hex(bytes));
        }
        if let Some(bits) =
            word.strip_prefix("0b").filter(|d| !d.is_empty() && d.bytes().all(|b| matches!(b, b'0' | b'1')))
        {
            self.at += length;
            return Ok(TokenKind::Bits(bits.to_owned()));
        }
        if self.begins_number(word) {
            return Ok(self.number());
        }
        self.at += length;
        Ok(TokenKind::Word)
    }

    /// A word of digits only, or digits and an exponent. Other words that begin with a digit are names.
    fn begins_number(&self, word: &str) -> bool {
        let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == word.len() {
            return false;
        }
        match rest.strip_prefix(['e', 'E']) {
            None => rest.is_empty(),
            Some("") => matches!(self.byte(word.len()), b'+' | b'-'),
            Some(exponent) => exponent.bytes().all(|b| b.is_ascii_digit()),
        }
    }

    fn number(&mut self) -> TokenKind {
        let mut seen_exponent = false;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'0'..=b'9' => {}
                b'.' if !seen_exponent => {}
                b'e' | b'E' if !seen_exponent => {
                    let signed = matches!(self.byte(1), b'+' | b'-');
                    if !self.byte(1 + usize::from(signed)).is_ascii_digit() {
                        break;
                    }
                    seen_exponent = true;
                    self.at += usize::from(signed);
                }
                _ => break,
            }
            self.at += 1;
        }
        TokenKind::Number
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    // LIKE's escapes keep their backslash.
    if matches!(byte, b'%' | b'_') {
        out.push(b'\\');
    }
    out.push(match byte {
        b'0' => 0,
        b'b' => 8,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'Z' => 0x1a,
        other => other,
    });
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let padded = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits.to_owned() };
    (0..padded.len()).step_by(2).map(|i| u8::from_str_radix(&padded[i..i + 2], 16).ok()).collect()
}
