//! Which right an account lacks, by the text of the database's error.

/// Says where an operator finds the rights of each account.
pub const SEE_GRANTS: &str = "see `server grants`";

/// Returns a sentence that names the right, or `None` where the text isn't about rights.
///
/// The errors are 1142 (a table), 1143 (a column), 1044 (a database) and 1227 (the server). Their texts name the account
/// and no secret.
pub(super) fn missing_right(text: &str) -> Option<String> {
    let (account, right) = of_table(text).or_else(|| of_database(text))?;
    Some(format!("the account {account} lacks {right}; {SEE_GRANTS}"))
}

/// Reads `UPDATE command denied to user 'a'@'h' for column 'c' in table 't'`, or `… for table …`.
fn of_table(text: &str) -> Option<(String, String)> {
    let (verb, rest) = text.split_once(" command denied to user ")?;
    let (account, object) = rest.split_once(" for ")?;
    let object = match object.strip_prefix("column ").and_then(|rest| rest.split_once(" in table ")) {
        Some((column, table)) => format!("{}.{}", bare(table), bare(column)),
        None => bare(object.strip_prefix("table ")?).to_owned(),
    };
    // MySQL asks more of a SELECT that locks.
    let verb = match verb {
        "SELECT with locking clause" => "a right to lock rows (UPDATE or DELETE)",
        other => other,
    };
    Some((account.to_owned(), format!("{verb} on {object}")))
}

/// Reads `Access denied for user 'a'@'h' to database 'd'`, or `Access denied; you need … the SUPER privilege(s) for …`.
fn of_database(text: &str) -> Option<(String, String)> {
    if let Some((_, rest)) = text.split_once("Access denied for user ") {
        let (account, database) = rest.split_once(" to database ")?;
        return Some((account.to_owned(), format!("all rights on the database {}", bare(database))));
    }
    let (_, rest) = text.split_once("Access denied; you need (at least one of) the ")?;
    let (rights, _) = rest.split_once(" privilege(s)")?;
    Some(("of this program".to_owned(), rights.to_owned()))
}

/// Returns a table's or a column's name without its database and without quotes.
fn bare(name: &str) -> &str {
    let end = name.find(['\'', '`']).map_or(0, |start| start + 1);
    let quote = name[..end].chars().next_back();
    let Some(quote) = quote else { return name };
    let name = &name[end..];
    // MariaDB writes `database`.`table`.
    let name = name.split_once("`.`").map_or(name, |(_, table)| table);
    name.find(quote).map_or(name, |end| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::missing_right;

    #[test]
    fn the_right_is_named_whatever_the_engine_says() {
        for (text, named) in [
            (
                "UPDATE command denied to user 's'@'localhost' for column 'available_stock' in table 'products'",
                "the account 's'@'localhost' lacks UPDATE on products.available_stock; see `server grants`",
            ),
            (
                "UPDATE command denied to user 's'@'10.0.0.7' for table 'holds'",
                "the account 's'@'10.0.0.7' lacks UPDATE on holds; see `server grants`",
            ),
            (
                "INSERT command denied to user 's'@'localhost' for table `sale`.`orders`",
                "the account 's'@'localhost' lacks INSERT on orders; see `server grants`",
            ),
            (
                "SELECT with locking clause command denied to user 's'@'localhost' for table 'orders'",
                "the account 's'@'localhost' lacks a right to lock rows (UPDATE or DELETE) on orders; see `server grants`",
            ),
            (
                "Access denied for user 's'@'127.0.0.1' to database 'sale'",
                "the account 's'@'127.0.0.1' lacks all rights on the database sale; see `server grants`",
            ),
            (
                "Access denied; you need (at least one of) the SUPER, BINLOG ADMIN privilege(s) for this operation",
                "the account of this program lacks SUPER, BINLOG ADMIN; see `server grants`",
            ),
        ] {
            assert_eq!(missing_right(text).as_deref(), Some(named), "{text}");
        }
        // A wrong password is no missing right.
        assert_eq!(missing_right("Access denied for user 's'@'127.0.0.1' (using password: YES)"), None);
        assert_eq!(missing_right("Table 'sale.holds' doesn't exist"), None);
    }
}
