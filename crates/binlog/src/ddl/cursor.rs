//! Reading tokens one after the other.

use super::SyntaxError;
use super::ast::RawName;
use super::token::{Token, TokenKind};

/// Result of a parse step.
pub(super) type Parsed<T> = Result<T, SyntaxError>;

/// A place in the tokens of one statement. The last token is always `End`, and the place never passes it.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    sql: &'a str,
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(sql: &'a str, tokens: &'a [Token]) -> Cursor<'a> {
        Cursor { sql, tokens, at: 0 }
    }

    fn token(&self, ahead: usize) -> &'a Token {
        &self.tokens[(self.at + ahead).min(self.tokens.len() - 1)]
    }

    pub(super) fn kind(&self) -> &'a TokenKind {
        &self.token(0).kind
    }

    pub(super) fn kind_at(&self, ahead: usize) -> &'a TokenKind {
        &self.token(ahead).kind
    }

    /// The unquoted word here, if it is one.
    pub(super) fn word(&self) -> Option<&'a str> {
        self.word_at(0)
    }

    pub(super) fn word_at(&self, ahead: usize) -> Option<&'a str> {
        let token = self.token(ahead);
        (token.kind == TokenKind::Word).then(|| &self.sql[token.start..token.end])
    }

    /// The token here as it stands in the statement.
    pub(super) fn raw(&self) -> &'a str {
        let token = self.token(0);
        &self.sql[token.start..token.end]
    }

    pub(super) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    /// Byte offset of the token here.
    pub(super) fn offset(&self) -> usize {
        self.token(0).start
    }

    /// The statement's text from an offset to the end of the token before this one.
    pub(super) fn text_since(&self, offset: usize) -> &'a str {
        let end = if self.at == 0 { 0 } else { self.tokens[self.at - 1].end };
        self.sql.get(offset..end).unwrap_or("")
    }

    pub(super) fn at_end(&self) -> bool {
        *self.kind() == TokenKind::End
    }

    pub(super) fn is(&self, keyword: &str) -> bool {
        self.word().is_some_and(|w| w.eq_ignore_ascii_case(keyword))
    }

    pub(super) fn is_at(&self, ahead: usize, keyword: &str) -> bool {
        self.word_at(ahead).is_some_and(|w| w.eq_ignore_ascii_case(keyword))
    }

    pub(super) fn is_any(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|k| self.is(k))
    }

    pub(super) fn eat(&mut self, keyword: &str) -> bool {
        let found = self.is(keyword);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn eat_any(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|k| self.eat(k))
    }

    /// All of these words or none.
    pub(super) fn eat_all(&mut self, keywords: &[&str]) -> bool {
        let found = keywords.iter().enumerate().all(|(i, k)| self.is_at(i, k));
        if found {
            keywords.iter().for_each(|_| self.advance());
        }
        found
    }

    pub(super) fn is_punct(&self, punct: u8) -> bool {
        *self.kind() == TokenKind::Punct(punct)
    }

    pub(super) fn eat_punct(&mut self, punct: u8) -> bool {
        let found = self.is_punct(punct);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn expect(&mut self, keyword: &str) -> Parsed<()> {
        if self.eat(keyword) { Ok(()) } else { Err(self.error(keyword)) }
    }

    pub(super) fn expect_punct(&mut self, punct: u8) -> Parsed<()> {
        if self.eat_punct(punct) { Ok(()) } else { Err(self.error(&(punct as char).to_string())) }
    }

    /// An error here: what was expected.
    pub(super) fn error(&self, expected: &str) -> SyntaxError {
        SyntaxError::new(self.offset(), format!("expected {expected}"))
    }

    /// A name, quoted or not.
    pub(super) fn ident(&mut self) -> Parsed<String> {
        let name = match self.kind() {
            TokenKind::Word => self.raw().to_owned(),
            TokenKind::Quoted(name) => name.clone(),
            _ => return Err(self.error("a name")),
        };
        self.advance();
        Ok(name)
    }

    pub(super) fn is_ident(&self) -> bool {
        matches!(self.kind(), TokenKind::Word | TokenKind::Quoted(_))
    }

    /// A table's name with or without its database; `.t` is in the default database.
    pub(super) fn table_name(&mut self) -> Parsed<RawName> {
        if self.eat_punct(b'.') {
            return Ok(RawName { database: None, table: self.ident()? });
        }
        let first = self.ident()?;
        if !self.eat_punct(b'.') {
            return Ok(RawName { database: None, table: first });
        }
        Ok(RawName { database: Some(first), table: self.ident()? })
    }

    pub(super) fn column_name(&mut self) -> Parsed<String> {
        let mut name = self.ident()?;
        while self.eat_punct(b'.') {
            name = self.ident()?;
        }
        Ok(name)
    }

    /// A string literal; neighbours join.
    pub(super) fn string(&mut self) -> Parsed<String> {
        let TokenKind::Str(first) = self.kind() else { return Err(self.error("a string")) };
        let mut out = first.clone();
        self.advance();
        while let TokenKind::Str(more) = self.kind() {
            out.push_str(more);
            self.advance();
        }
        Ok(out)
    }

    pub(super) fn number(&mut self) -> Parsed<u32> {
        if *self.kind() != TokenKind::Number {
            return Err(self.error("a number"));
        }
        let value = self.raw().parse().map_err(|_| self.error("a smaller number"))?;
        self.advance();
        Ok(value)
    }

    /// Steps over `( ... )` with everything in it; returns the text with its parentheses. No recursion: depth costs
    /// nothing.
    pub(super) fn parenthesised(&mut self) -> Parsed<&'a str> {
        let start = self.offset();
        if !self.is_punct(b'(') {
            return Err(self.error("("));
        }
        let mut depth = 0usize;
        loop {
            match self.kind() {
                TokenKind::Punct(b'(') => depth += 1,
                TokenKind::Punct(b')') => depth -= 1,
                TokenKind::End => return Err(self.error(")")),
                _ => {}
            }
            self.advance();
            if depth == 0 {
                return Ok(self.text_since(start));
            }
        }
    }

    /// Steps over everything up to a `,` or `)` at this depth, or the end.
    pub(super) fn skip_clause(&mut self) -> Parsed<()> {
        while !self.at_end() && !self.is_punct(b',') && !self.is_punct(b')') && !self.is_punct(b';') {
            if self.is_punct(b'(') {
                self.parenthesised()?;
            } else {
                self.advance();
            }
        }
        Ok(())
    }

    /// `;` and nothing more.
    pub(super) fn finish(&mut self) -> Parsed<()> {
        while self.eat_punct(b';') {}
        if self.at_end() { Ok(()) } else { Err(self.error("the end of the statement")) }
    }
}
