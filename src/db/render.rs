//! Turns diesel's typed queries into texts: with `?` for a read, with literals for a [`super::Script`].
//!
//! diesel makes the text of a query and collects its values; it knows neither index hints nor texts without values. Both
//! are added here, and nowhere else.

use std::fmt;

use chrono::NaiveDateTime;
use diesel::{
    QueryResult,
    deserialize::FromSql,
    mysql::{Mysql, MysqlQueryBuilder, MysqlType, MysqlValue},
    query_builder::{QueryBuilder, QueryFragment, bind_collector::RawBytesBindCollector},
    result::Error::QueryBuilderError,
    sql_types::Datetime,
};

/// Names an index that a statement has to use, whatever the optimizer would rather do.
///
/// With few rows in a table the optimizer scans it all, and a scan that locks has everybody's rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index {
    pub(super) table: &'static str,
    pub(super) name: &'static str,
}

/// Writes the table with the hint, for the FROM of a text.
impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} FORCE INDEX ({})", self.table, self.name)
    }
}

/// Holds a query's text with `?` in it, and the values for them.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) text: String,
    pub(super) values: RawBytesBindCollector<Mysql>,
}

impl Rendered {
    pub(super) fn of(query: &impl QueryFragment<Mysql>) -> QueryResult<Self> {
        let text = text(query)?;
        let mut values = RawBytesBindCollector::new();
        query.collect_binds(&mut values, &mut (), &Mysql)?;
        Ok(Self { text, values })
    }

    /// Adds the hint to the one place where the query names the index's table as its source.
    pub(super) fn force_index(&mut self, index: Index) -> QueryResult<()> {
        let places = ["FROM", "UPDATE"].map(|keyword| format!("{keyword} `{}`", index.table));
        let mut places = places.iter().flat_map(|source| {
            let ends = self.text.match_indices(source).map(|(at, source)| at + source.len());
            // A column is the table's name and a point.
            ends.filter(|end| !self.text[*end..].starts_with('.')).collect::<Vec<_>>()
        });
        let (Some(end), None) = (places.next(), places.next()) else {
            return Err(QueryBuilderError(format!("the index {index} has no place in {}", self.text).into()));
        };
        self.text.insert_str(end, &format!(" FORCE INDEX ({})", index.name));
        Ok(())
    }

    /// Adds the text to `out`, each value in its place as a literal.
    ///
    /// # Errors
    /// A value of a type that no table has; nothing is guessed.
    pub(super) fn write_literals(&self, out: &mut String) -> QueryResult<()> {
        let RawBytesBindCollector { metadata, binds, .. } = &self.values;
        let mut parts = self.text.split('?');
        out.push_str(parts.next().unwrap_or_default());
        let mut values = metadata.iter().zip(binds);
        for part in parts {
            let (value_type, value) = values.next().ok_or_else(|| QueryBuilderError("a ? without a value".into()))?;
            match value {
                None => out.push_str("NULL"),
                Some(bytes) => write_literal(out, *value_type, bytes)?,
            }
            out.push_str(part);
        }
        match values.next() {
            None => Ok(()),
            Some(_) => Err(QueryBuilderError("a value without a ?".into())),
        }
    }
}

/// Renders a statement as one text, its values as literals.
///
/// # Errors
/// A value of a type that no table has; nothing is guessed.
pub fn with_literals(statement: &impl QueryFragment<Mysql>) -> QueryResult<String> {
    let mut text = String::new();
    Rendered::of(statement)?.write_literals(&mut text)?;
    Ok(text)
}

/// Renders a query or a part of one, with `?` for its values.
pub(super) fn text(fragment: &impl QueryFragment<Mysql>) -> QueryResult<String> {
    let mut builder = MysqlQueryBuilder::new();
    fragment.to_sql(&mut builder, &Mysql)?;
    Ok(builder.finish())
}

/// Writes a value as diesel serialized it: integers as digits, bytes and texts as hex, moments and words in quotes.
fn write_literal(out: &mut String, value_type: MysqlType, bytes: &[u8]) -> QueryResult<()> {
    let wrong = || QueryBuilderError(format!("no literal for {value_type:?} of {} bytes", bytes.len()).into());
    let integer = match value_type {
        // diesel says Tiny of a bool and serializes four bytes.
        MysqlType::Tiny if bytes.len() == 4 => integer(bytes).map(|bytes| i32::from_ne_bytes(bytes).to_string()),
        MysqlType::Tiny => integer(bytes).map(|bytes| i8::from_ne_bytes(bytes).to_string()),
        MysqlType::Short => integer(bytes).map(|bytes| i16::from_ne_bytes(bytes).to_string()),
        MysqlType::Long => integer(bytes).map(|bytes| i32::from_ne_bytes(bytes).to_string()),
        MysqlType::LongLong => integer(bytes).map(|bytes| i64::from_ne_bytes(bytes).to_string()),
        MysqlType::UnsignedTiny => integer(bytes).map(|bytes| u8::from_ne_bytes(bytes).to_string()),
        MysqlType::UnsignedShort => integer(bytes).map(|bytes| u16::from_ne_bytes(bytes).to_string()),
        MysqlType::UnsignedLong => integer(bytes).map(|bytes| u32::from_ne_bytes(bytes).to_string()),
        MysqlType::UnsignedLongLong => integer(bytes).map(|bytes| u64::from_ne_bytes(bytes).to_string()),
        MysqlType::Blob => {
            write_hex_literal(out, bytes);
            return Ok(());
        }
        MysqlType::String => {
            out.push_str("_utf8mb4 ");
            write_hex_literal(out, bytes);
            return Ok(());
        }
        MysqlType::DateTime => {
            let time = <NaiveDateTime as FromSql<Datetime, Mysql>>::from_sql(MysqlValue::new(bytes, value_type))
                .map_err(QueryBuilderError)?;
            out.push_str(&time.format("'%Y-%m-%d %H:%M:%S%.6f'").to_string());
            return Ok(());
        }
        MysqlType::Enum => {
            let is_word = !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_');
            let word = std::str::from_utf8(bytes).ok().filter(|_| is_word).ok_or_else(wrong)?;
            out.push('\'');
            out.push_str(word);
            out.push('\'');
            return Ok(());
        }
        _ => None,
    };
    out.push_str(&integer.ok_or_else(wrong)?);
    Ok(())
}

fn integer<const LENGTH: usize>(bytes: &[u8]) -> Option<[u8; LENGTH]> {
    bytes.try_into().ok()
}

/// Writes bytes as an SQL literal.
pub(super) fn write_hex_literal(out: &mut String, bytes: &[u8]) {
    out.push_str("x'");
    push_hex(out, bytes);
    out.push('\'');
}

/// Adds bytes as digits, two for each.
pub(super) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.reserve(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use diesel::{
        ExpressionMethods, QueryDsl,
        dsl::sql,
        sql_types::{Bool, Double},
    };

    use super::*;
    use crate::{
        db::{
            schema::{holds, products},
            statement::datetime,
        },
        domain::HoldStatus,
    };
    use std::time::{Duration, SystemTime};

    const PRIMARY: Index = Index { table: "holds", name: "PRIMARY" };

    #[test]
    fn each_value_becomes_the_literal_of_its_type() {
        let time = datetime(SystemTime::UNIX_EPOCH + Duration::from_micros(1_737_981_120_000_001));
        let update = diesel::update(products::table.find(7)).set((
            products::name.eq("a'\\?"),
            products::price_cents.eq(i64::MIN),
            products::max_per_buyer.eq(None::<i32>),
            products::starts_at.eq(Some(time)),
            products::paused.eq(true),
            products::request_id.eq(&b"a'\\\0\xff?"[..]),
        ));
        assert_eq!(
            with_literals(&update).unwrap(),
            "UPDATE `products` SET `name` = _utf8mb4 x'61275c3f', `price_cents` = -9223372036854775808, \
            `max_per_buyer` = NULL, `starts_at` = '2025-01-27 12:32:00.000001', `paused` = 1, \
            `request_id` = x'61275c00ff3f' WHERE (`products`.`id` = 7)"
        );
    }

    #[test]
    fn a_status_becomes_its_word() {
        let update = diesel::update(holds::table.find(7)).set(holds::status.eq(HoldStatus::Used));
        assert_eq!(with_literals(&update).unwrap(), "UPDATE `holds` SET `status` = 'used' WHERE (`holds`.`id` = 7)");
    }

    #[test]
    fn a_value_of_a_type_that_no_table_has_is_an_error() {
        let query = diesel::select(sql::<Double>("").bind::<Double, _>(1.5));
        assert!(with_literals(&query).is_err());
        for (value_type, bytes) in [
            (MysqlType::Enum, &b"Used"[..]),
            (MysqlType::Enum, b"a'b"),
            (MysqlType::Enum, b""),
            (MysqlType::LongLong, b"1234567"),
            (MysqlType::DateTime, b"12"),
            (MysqlType::Set, b"a"),
            (MysqlType::Numeric, b"1"),
        ] {
            assert!(write_literal(&mut String::new(), value_type, bytes).is_err(), "{value_type:?} {bytes:?}");
        }
    }

    #[test]
    fn a_question_mark_that_is_no_place_for_a_value_is_an_error() {
        let query = holds::table.filter(sql::<Bool>("'?' = '?'")).select(holds::id);
        assert!(with_literals(&query).is_err());
    }

    #[test]
    fn an_index_hint_follows_the_one_table_that_is_read_or_updated() {
        let query = holds::table.select(holds::id).filter(holds::id.eq(1));
        let mut read = Rendered::of(&query).unwrap();
        read.force_index(PRIMARY).unwrap();
        assert_eq!(read.text, "SELECT `holds`.`id` FROM `holds` FORCE INDEX (PRIMARY) WHERE (`holds`.`id` = ?)");
        let mut update = Rendered::of(&diesel::update(holds::table).set(holds::qty.eq(1))).unwrap();
        update.force_index(PRIMARY).unwrap();
        assert_eq!(update.text, "UPDATE `holds` FORCE INDEX (PRIMARY) SET `qty` = ?");
        let mut twice = Rendered::of(&holds::table.filter(holds::id.eq_any(holds::table.select(holds::id)))).unwrap();
        assert!(twice.force_index(PRIMARY).is_err());
        let mut other = Rendered::of(&products::table.find(1)).unwrap();
        assert!(other.force_index(PRIMARY).is_err());
    }
}
