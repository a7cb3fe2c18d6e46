//! Makes a statement's text stable: the values that change from run to run are left out, and the layout is always the
//! same.

use std::ops::Range;

use sqlformat::{FormatOptions, Indent, QueryParams};

/// What stands in place of a value that changes from run to run.
const VALUE: &str = "?";
/// What stands in place of the rest of a list.
const REST: &str = "…";
/// Numbers of this many digits or more are ids, moments, prices or limits of types.
const NUMBER_DIGITS_MAX: usize = 3;
/// How long a line of a statement may be, where it can be broken.
const LINE_MAX: usize = 100;

/// Splits what the server has logged into its statements.
pub(super) fn statements(logged: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let mut start = 0;
    for token in tokens(logged) {
        if &logged[token.place.clone()] == ";" {
            statements.push(logged[start..token.place.start].trim());
            start = token.place.end;
        }
    }
    statements.push(logged[start..].trim());
    statements.retain(|statement| !statement.is_empty());
    statements
}

/// Returns a statement as the golden file has it.
pub(super) fn normal(statement: &str) -> String {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut end = 0;
    for token in tokens(statement) {
        let mut spaced = token.place.start > end;
        end = token.place.end;
        let text = &statement[token.place];
        // Each engine logs a value's character set or type in its own way, such as _binary'a' or TIMESTAMP'2030-01-01'.
        let is_literal = matches!(token.kind, Kind::Text | Kind::Bytes);
        let is_prefix = |piece: &mut Piece| piece.text.starts_with('_') || piece.is("TIMESTAMP");
        if is_literal && let Some(prefix) = pieces.pop_if(is_prefix) {
            spaced = prefix.spaced;
        }
        pieces.push(Piece { text: stable(token.kind, text), is_value: token.kind != Kind::Other, spaced });
    }
    laid_out(&shortened_rows(&shortened_lists(pieces)))
}

/// Keeps texts without digits and small numbers, which don't change from run to run.
fn stable(kind: Kind, text: &str) -> String {
    let is_word = || text.chars().all(|char| char == ' ' || char.is_ascii_graphic() && !char.is_ascii_digit());
    let keeps = match kind {
        Kind::Other => true,
        Kind::Bytes => false,
        Kind::Text => is_word(),
        Kind::Number => text.len() <= NUMBER_DIGITS_MAX,
    };
    if keeps { text.to_owned() } else { VALUE.to_owned() }
}

/// A token as the golden file has it.
#[derive(Clone)]
struct Piece {
    text: String,
    is_value: bool,
    spaced: bool,
}

impl Piece {
    fn is(&self, text: &str) -> bool {
        self.text.eq_ignore_ascii_case(text)
    }
}

/// Shortens `IN (1, 2, 3)` to `IN (?, …)`.
fn shortened_lists(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut short: Vec<Piece> = Vec::new();
    let mut rest = pieces.as_slice();
    while let Some((piece, after)) = rest.split_first() {
        let begins = piece.is("(") && short.last().is_some_and(|last| last.is("IN"));
        short.push(piece.clone());
        rest = after;
        let Some(length) = rest.iter().position(|piece| !piece.is_value && !piece.is(",")) else { continue };
        if begins
            && length > 1
            && rest[length].is(")")
            && rest[..length].iter().all(|piece| !piece.text.starts_with('\''))
        {
            short.extend([VALUE, ",", REST].map(|text| Piece {
                text: text.to_owned(),
                is_value: false,
                spaced: false,
            }));
            rest = &rest[length..];
        }
    }
    short
}

/// Shortens `VALUES (1, 'a'), (2, 'b'), (3, 'c')` to its first row.
fn shortened_rows(pieces: &[Piece]) -> Vec<Piece> {
    let mut short: Vec<Piece> = Vec::new();
    let mut rest = pieces;
    while let Some((piece, after)) = rest.split_first() {
        short.push(piece.clone());
        rest = after;
        if !piece.is("VALUES") {
            continue;
        }
        let mut rows = 0;
        while let Some(row) = row(rest) {
            if rows == 0 {
                short.extend_from_slice(row);
            }
            rows += 1;
            rest = &rest[row.len()..];
            match rest.first() {
                Some(comma) if comma.is(",") => rest = &rest[1..],
                _ => break,
            }
        }
        if rows > 1 {
            short.extend([",", REST].map(|text| Piece { text: text.to_owned(), is_value: false, spaced: false }));
        }
    }
    short
}

/// Returns the row in parentheses that the pieces begin with.
fn row(pieces: &[Piece]) -> Option<&[Piece]> {
    let mut depth = 0_usize;
    for (at, piece) in pieces.iter().enumerate() {
        match piece.text.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (at > 0).then(|| &pieces[..=at]);
        }
    }
    None
}

fn laid_out(pieces: &[Piece]) -> String {
    let mut line = String::new();
    for piece in pieces {
        if piece.spaced {
            line.push(' ');
        }
        line.push_str(&piece.text);
    }
    let options = FormatOptions {
        indent: Indent::Spaces(4),
        max_inline_block: LINE_MAX,
        max_inline_arguments: Some(LINE_MAX),
        max_inline_top_level: Some(LINE_MAX),
        joins_as_top_level: true,
        ..FormatOptions::default()
    };
    sqlformat::format(&line, &QueryParams::None, &options).replace("@@ ", "@@")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Bytes,
    Number,
    Other,
}

struct Token {
    kind: Kind,
    place: Range<usize>,
}

/// Splits SQL into its tokens, without the white space between them.
fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(first) = sql[start..].chars().next() {
        let rest = &sql[start..];
        let (kind, length) = match first {
            _ if first.is_whitespace() => {
                start += first.len_utf8();
                continue;
            }
            '/' if rest.starts_with("/*") => (Kind::Other, rest.find("*/").map_or(rest.len(), |at| at + 2)),
            '\'' => (Kind::Text, quoted(rest, '\'')),
            '`' => (Kind::Other, quoted(rest, '`')),
            'x' | 'X' if rest[1..].starts_with('\'') => (Kind::Bytes, 1 + quoted(&rest[1..], '\'')),
            '0' if rest[1..].starts_with('x') => (Kind::Bytes, word(rest)),
            _ if first.is_ascii_digit() => (Kind::Number, word(rest)),
            _ if is_word(first) => (Kind::Other, word(rest)),
            _ => (Kind::Other, first.len_utf8()),
        };
        tokens.push(Token { kind, place: start..start + length });
        start += length;
    }
    tokens
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || ['_', '@', '$'].contains(&char)
}

fn word(sql: &str) -> usize {
    sql.find(|char| !is_word(char)).unwrap_or(sql.len())
}

/// Returns the length of the quoted text that `sql` begins with. A quote in it is doubled or escaped.
fn quoted(sql: &str, quote: char) -> usize {
    let mut chars = sql.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        if char == '\\' && quote == '\'' {
            chars.next();
        } else if char == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    sql.len()
}

#[test]
fn a_statements_values_are_left_out_and_its_words_are_kept() {
    for (sql, expected) in [
        (
            "SELECT id FROM holds WHERE id = 12345 AND status='active'",
            "SELECT id\nFROM holds\nWHERE id = ? AND status = 'active'",
        ),
        ("SELECT TIMESTAMP'2030-01-01', _utf8mb4'x'", "SELECT ?, 'x'"),
        (
            "UPDATE `products` SET paused = 1 WHERE name = _utf8mb4 x'53'",
            "UPDATE `products` SET\n    paused = 1\nWHERE name = ?",
        ),
        ("SET @a = 'it''s; 5', @b = 'x\\'; y'", "SET @a = ?, @b = 'x\\'; y'"),
        (
            "SELECT 1 FROM holds WHERE id IN (5, 6,7) AND id > -1000",
            "SELECT 1\nFROM holds\nWHERE id IN (?, …) AND id > -?",
        ),
    ] {
        assert_eq!(normal(sql), expected);
    }
    let insert = normal("INSERT INTO t (a, b) VALUES (1, f(2)), (3, f(4)), (5, f(6))");
    assert_eq!(insert, "INSERT INTO t (a, b)\nVALUES (1, f(2)), …");
    assert_eq!(
        statements("BEGIN;UPDATE t SET a = 'x;y' WHERE b = x'3b';\nCOMMIT"),
        ["BEGIN", "UPDATE t SET a = 'x;y' WHERE b = x'3b'", "COMMIT"]
    );
}
