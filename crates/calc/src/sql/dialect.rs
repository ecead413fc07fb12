//! MySQL's dialect for the parser, with DIV and `!` at their right precedence.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};
use datafusion::sql::sqlparser::dialect::{Dialect, MySqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// The parser's MySQL dialect, corrected.
#[derive(Debug)]
pub(crate) struct TideDialect;

const MYSQL: MySqlDialect = MySqlDialect {};

macro_rules! yes {
    ($($name:ident),* $(,)?) => { $(fn $name(&self) -> bool { true })* };
}

impl Dialect for TideDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<MySqlDialect>()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        MYSQL.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        MYSQL.is_identifier_part(ch)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn identifier_quote_style(&self, _: &str) -> Option<char> {
        Some('`')
    }

    yes!(
        supports_string_literal_backslash_escape,
        supports_string_literal_concatenation,
        ignores_wildcard_escapes,
        supports_numeric_prefix,
        supports_bitwise_shift_operators,
        require_interval_qualifier,
        supports_limit_comma,
        supports_table_hints,
        requires_single_line_comment_whitespace,
        supports_match_against,
        supports_select_modifiers,
        supports_data_type_signed_suffix,
        supports_cross_join_constraint,
        supports_double_ampersand_operator,
        supports_binary_kw_as_cast,
        supports_bang_not_operator,
        supports_group_by_with_modifier,
        allow_extract_custom,
    );

    fn is_table_factor_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        MYSQL.is_table_factor_alias(explicit, keyword, parser)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        // XOR binds between AND and OR; the parser's own place for it is above the comparisons.
        if matches!(&parser.peek_token_ref().token, Token::Word(w) if w.keyword == Keyword::XOR) {
            return Some(Ok(self.prec_value(Precedence::Or) + 1));
        }
        sounds_like(parser).then(|| Ok(self.prec_value(Precedence::Like)))
    }

    fn parse_infix(&self, parser: &mut Parser, left: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        if sounds_like(parser) {
            parser.next_token();
            parser.next_token();
            let right = parser.parse_subexpr(precedence);
            return Some(right.map(|right| Expr::BinaryOp {
                left: Box::new(soundex(left.clone())),
                op: BinaryOperator::Eq,
                right: Box::new(soundex(right)),
            }));
        }
        if !parser.parse_keyword(Keyword::DIV) {
            return None;
        }
        let right = parser.parse_subexpr(precedence);
        Some(right.map(|right| Expr::BinaryOp {
            left: Box::new(left.clone()),
            op: BinaryOperator::MyIntegerDivide,
            right: Box::new(right),
        }))
    }
}

/// `a SOUNDS LIKE b`
fn sounds_like(parser: &Parser) -> bool {
    let is = |n: usize, word: &str| match parser.peek_nth_token_ref(n).token {
        Token::Word(ref w) => w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word),
        _ => false,
    };
    is(0, "SOUNDS") && is(1, "LIKE")
}

fn soundex(expr: Expr) -> Expr {
    super::rewrite::call("soundex", vec![expr])
}
