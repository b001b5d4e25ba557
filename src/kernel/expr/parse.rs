//! The text of an expression → one bounded SQL tree, and places within the text.
//!
//! Everything below here recurses over the tree (parser, planner, evaluation, drop), so a tree that is deep enough
//! would overflow the stack and abort the process. Hence length and nesting are bounded on the tokens, before the
//! parser sees them, and the height of the tree afterwards, because `a + a + a …` is high without being nested.

use datafusion_sql::sqlparser::ast::Expr as SqlExpr;
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::Fault;

/// The longest expression, in bytes.
pub(super) const LONGEST: usize = 4_096;
/// How deep brackets, `CASE` and chains of `NOT` and signs may nest. A level of `CASE` takes about 100 kB of stack in
/// a debug build, of the 2 MB that a thread has.
pub(super) const DEEPEST: usize = 10;

/// Exactly one expression, or what is wrong with the text.
pub(super) fn parse(text: &str) -> Result<SqlExpr, Fault> {
    if text.len() > LONGEST {
        let what = format!("the expression has {} bytes; at most {LONGEST} are allowed", text.len());
        return Err(Fault { offset: 0, what, help: Some("split it into several derived columns".into()) });
    }
    let tokens = Tokenizer::new(&GenericDialect {}, text)
        .tokenize_with_location()
        .map_err(|error| fault_at(text, error.location, error.message, None))?;
    check_nesting(text, &tokens)?;
    // The nesting is bounded by now; the parser's own limit counts several levels for one bracket.
    let mut parser =
        Parser::new(&GenericDialect {}).with_recursion_limit(8 * DEEPEST).with_tokens_with_locations(tokens);
    let parsed = parser.parse_expr().map_err(|error| syntax_fault(text, error))?;
    let next = parser.peek_token();
    match next.token {
        Token::EOF => Ok(parsed),
        token => {
            let what = format!("the expression ends before `{token}`");
            let help = "one scalar expression, without `SELECT`, `AS` or `;`".to_owned();
            Err(fault_at(text, next.span.start, what, Some(help)))
        }
    }
}

fn check_nesting(text: &str, tokens: &[TokenWithSpan]) -> Result<(), Fault> {
    let (mut open, mut prefixes, mut before) = (0usize, 0, None);
    for TokenWithSpan { token, span } in tokens {
        match token {
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket | Token::LBrace => open += 1,
            Token::RParen | Token::RBracket | Token::RBrace => open = open.saturating_sub(1),
            Token::Word(word) if word.keyword == Keyword::CASE => open += 1,
            // A field may be called so too.
            Token::Word(word) if word.keyword == Keyword::END && !awaits_operand(before) => {
                open = open.saturating_sub(1);
            }
            _ => {}
        }
        before = Some(token);
        prefixes = if is_prefix(token) { prefixes + 1 } else { 0 };
        if open + prefixes > DEEPEST {
            let what = format!("the expression nests deeper than {DEEPEST} levels");
            return Err(fault_at(text, span.start, what, Some("split it into several derived columns".into())));
        }
    }
    Ok(())
}

/// Whether an operand comes behind the token, whatever it is called.
fn awaits_operand(token: Option<&Token>) -> bool {
    match token {
        Some(Token::Word(word)) => matches!(
            word.keyword,
            Keyword::CASE
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE
                | Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::DISTINCT
                | Keyword::IN
                | Keyword::BETWEEN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::REGEXP
                | Keyword::RLIKE
                | Keyword::FROM
                | Keyword::TO
                | Keyword::FOR
                | Keyword::ZONE
                | Keyword::INTERVAL
                | Keyword::DIV
                | Keyword::COLLATE
                | Keyword::ESCAPE
                | Keyword::AS
                | Keyword::PLACING
        ),
        Some(Token::RParen | Token::RBracket | Token::RBrace | Token::Number(..)) => false,
        Some(Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) | Token::EscapedStringLiteral(_)) => false,
        _ => true,
    }
}

/// Whether the parser may recurse on the token although it opens nothing: signs, `NOT`, and any other word of SQL
/// that can stand in a chain before an operand.
fn is_prefix(token: &Token) -> bool {
    match token {
        Token::Word(word) => match word.keyword {
            Keyword::NoKeyword | Keyword::AND | Keyword::OR => false,
            // These delimit what `CASE` opened.
            Keyword::CASE | Keyword::WHEN | Keyword::THEN | Keyword::ELSE | Keyword::END => false,
            _ => true,
        },
        Token::Minus | Token::Plus | Token::Tilde | Token::ExclamationMark => true,
        _ => false,
    }
}

fn syntax_fault(text: &str, error: ParserError) -> Fault {
    let message = match error {
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
        ParserError::RecursionLimitExceeded => format!("the expression nests deeper than {DEEPEST} levels"),
    };
    // The parser writes the place into its message, and nowhere else.
    let placed = message.rsplit_once(" at Line: ").and_then(|(what, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((what.to_owned(), Location { line: line.parse().ok()?, column: column.parse().ok()? }))
    });
    match placed {
        Some((what, place)) => fault_at(text, place, lower_first(&what), None),
        None => {
            Fault { offset: text.chars().count(), what: lower_first(&message).replace("EOF", "the end"), help: None }
        }
    }
}

/// As our messages begin, save where the first word is all capitals: a keyword of SQL.
pub(super) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next();
    match chars.clone().next() {
        Some(second) if second.is_uppercase() => text.to_owned(),
        _ => first.into_iter().flat_map(char::to_lowercase).chain(chars).collect(),
    }
}

pub(super) fn fault_at(text: &str, place: Location, what: String, help: Option<String>) -> Fault {
    Fault { offset: offset_of(text, place.line, place.column), what, help }
}

/// Characters before a place that is given as line and column, both from 1; 0 where there is no place.
pub(super) fn offset_of(text: &str, line: u64, column: u64) -> usize {
    if line == 0 || column == 0 {
        return 0;
    }
    let before: usize = text.split('\n').take(line as usize - 1).map(|line| line.chars().count() + 1).sum();
    (before + column as usize - 1).min(text.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_over_lines() {
        assert_eq!(offset_of("aü\nbc", 1, 2), 1);
        assert_eq!(offset_of("aü\nbc", 2, 1), 3);
        assert_eq!(offset_of("aü\nbc", 0, 0), 0);
        assert_eq!(offset_of("a", 9, 9), 1);
    }

    #[test]
    fn what_would_recurse_without_bound_is_refused_before_it_is_parsed() {
        for deep in [
            format!("{}a{}", "(".repeat(1_000), ")".repeat(1_000)),
            "(".repeat(4_000),
            format!("{}a", "NOT ".repeat(1_000)),
            format!("{}a", "- ".repeat(2_000)),
            format!("{}1{}", "CASE WHEN a THEN ".repeat(150), " END".repeat(150)),
            "case ".repeat(800),
            "CASE WHEN end THEN ".repeat(79),
            "CASE end + end WHEN a THEN end + ".repeat(79),
            "a[".repeat(1_000),
            "interval ".repeat(400),
        ] {
            let fault = parse(&deep).expect_err(&deep);
            assert!(fault.what.contains("nests deeper"), "{fault:?} for {}", &deep[..20]);
        }
        let flat = ["CASE WHEN end THEN a ELSE NULL END"; 12].join(" + ");
        assert!(parse(&flat).is_ok(), "side by side they are not deep");
        let fault = parse(&"a".repeat(5_000)).expect_err("too long");
        assert_eq!(fault.what, "the expression has 5000 bytes; at most 4096 are allowed");
    }

    #[test]
    fn one_expression_and_nothing_behind_it() {
        let at = |text: &str| parse(text).map_err(|fault| (fault.offset, fault.what));
        assert!(at("a + 1").is_ok());
        assert_eq!(at("a, b"), Err((1, "the expression ends before `,`".into())));
        assert_eq!(at("a AS b"), Err((2, "the expression ends before `AS`".into())));
        assert_eq!(at("a +"), Err((3, "expected: an expression, found: the end".into())));
        assert_eq!(at(""), Err((0, "expected: an expression, found: the end".into())));
        assert_eq!(at("a + ) + b").expect_err("bracket").0, 4);
        assert_eq!(at("'open").expect_err("quote").0, 0);
    }
}
