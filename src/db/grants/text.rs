//! The SQL of the accounts: what makes them, and what shows that their rights are there.

use super::{MIGRATOR, TABLES, TableRights};
use crate::config::{Account, GrantsConfig};

/// Returns the statements that make the accounts of a database and give them their rights.
///
/// They may run again. Where `CREATE USER` is in them, each `<password:…>` has to be replaced first: a file that nobody
/// has filled in fails at that place.
pub fn statements(database: &str, config: &GrantsConfig) -> String {
    let mut text = format!("-- The accounts of the database {}, one for each program.\n", quoted(database));
    for &account in &config.accounts {
        let user = user(account, config);
        text.push_str(&format!("\n-- For `{}`.", account.command()));
        text.push_str(match account {
            Account::Migrator => " It comes before the first `server migrate`.\n",
            _ => " It comes after `server migrate`, since rights on a table need the table.\n",
        });
        if !config.existing_users {
            text.push_str(&format!("CREATE USER IF NOT EXISTS {user} IDENTIFIED BY <password:{}>;\n", account.name()));
        }
        for grant in grants(account, database) {
            text.push_str(&format!("GRANT {grant} TO {user};\n"));
        }
    }
    text
}

/// Returns each right of an account as it stands between GRANT and TO.
fn grants(account: Account, database: &str) -> Vec<String> {
    if account == Account::Migrator {
        return vec![format!("{MIGRATOR} ON {}.*", quoted(&pattern(database)))];
    }
    let tables = TABLES.iter().filter_map(|table| {
        let rights = rights(table, account);
        let on = format!("{}.{}", quoted(database), quoted(table.name));
        (!rights.is_empty()).then(|| format!("{} ON {on}", rights.join(", ")))
    });
    tables.collect()
}

fn rights(table: &TableRights, account: Account) -> Vec<String> {
    let verbs = [("SELECT", table.select), ("INSERT", table.insert), ("DELETE", table.delete)];
    let verbs = verbs.into_iter().filter(|(_, accounts)| accounts.contains(&account));
    let mut rights: Vec<String> = verbs.map(|(verb, _)| verb.to_owned()).collect();
    let columns = table.changed_by(account);
    if !columns.is_empty() {
        rights.push(format!("UPDATE ({})", columns.join(", ")));
    }
    rights
}

/// Returns statements that need all rights of an account on the tables and do nothing, as one text.
pub(super) fn probes(account: Account) -> String {
    let mut probes = Vec::new();
    for table in TABLES {
        let name = table.name;
        if table.select.contains(&account) {
            probes.push(format!("EXPLAIN SELECT * FROM {name} WHERE FALSE"));
        }
        if table.insert.contains(&account) {
            probes.push(format!("EXPLAIN INSERT INTO {name} SELECT * FROM {name} WHERE FALSE"));
        }
        if table.delete.contains(&account) {
            probes.push(format!("EXPLAIN DELETE FROM {name} WHERE FALSE"));
        }
        let columns: Vec<String> =
            table.changed_by(account).iter().map(|column| format!("{column} = {column}")).collect();
        if !columns.is_empty() {
            probes.push(format!("EXPLAIN UPDATE {name} SET {} WHERE FALSE", columns.join(", ")));
        }
    }
    probes.join(";")
}

/// Returns the user of an account, as SQL writes it.
fn user(account: Account, config: &GrantsConfig) -> String {
    // Neither part has a character that would need an escape: the settings see to it.
    format!("'{}{}'@'{}'", config.prefix, account.name(), config.host)
}

/// Returns a name in backquotes.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Returns the pattern of a database's name. In a right on a whole database `_` and `%` would stand for other names.
fn pattern(database: &str) -> String {
    database.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(accounts: &[Account], existing_users: bool) -> GrantsConfig {
        GrantsConfig {
            database: None,
            host: "10.0.0.%".to_owned(),
            prefix: "shop_".to_owned(),
            accounts: accounts.to_vec(),
            existing_users,
        }
    }

    #[test]
    fn an_account_gets_its_rights_column_by_column() {
        assert_eq!(
            statements("sale_1", &config(&[Account::Migrator, Account::Sweeper], false)),
            "-- The accounts of the database `sale_1`, one for each program.\n\
             \n\
             -- For `server migrate`. It comes before the first `server migrate`.\n\
             CREATE USER IF NOT EXISTS 'shop_migrator'@'10.0.0.%' IDENTIFIED BY <password:migrator>;\n\
             GRANT SELECT, INSERT, UPDATE, CREATE, ALTER, DROP, INDEX ON `sale\\_1`.* TO 'shop_migrator'@'10.0.0.%';\n\
             \n\
             -- For `sweeper`. It comes after `server migrate`, since rights on a table need the table.\n\
             CREATE USER IF NOT EXISTS 'shop_sweeper'@'10.0.0.%' IDENTIFIED BY <password:sweeper>;\n\
             GRANT SELECT, UPDATE (available_stock) ON `sale_1`.`products` TO 'shop_sweeper'@'10.0.0.%';\n\
             GRANT SELECT, UPDATE (status) ON `sale_1`.`holds` TO 'shop_sweeper'@'10.0.0.%';\n\
             GRANT SELECT, UPDATE (status, settled_at, settled_by) ON `sale_1`.`orders` TO 'shop_sweeper'@'10.0.0.%';\n\
             GRANT SELECT, UPDATE (runs, holds_expired, orders_cancelled, stock_released, last_run_at, progress_at, \
             latest_at) ON `sale_1`.`sweeper_state` TO 'shop_sweeper'@'10.0.0.%';\n"
        );
    }

    #[test]
    fn users_that_are_there_get_rights_alone_and_a_name_stays_one_name() {
        let text = statements("a`b", &config(&[Account::Purger], true));
        assert!(!text.contains("CREATE USER") && !text.contains('<'), "{text}");
        assert!(text.contains("GRANT SELECT, DELETE ON `a``b`.`holds` TO 'shop_purger'@'10.0.0.%';"), "{text}");
    }

    #[test]
    fn only_the_purger_deletes_and_only_the_migrator_changes_tables() {
        for account in Account::ALL {
            let text = grants(account, "sale").join("\n");
            assert_eq!(text.contains("DELETE"), account == Account::Purger, "{text}");
            let changes_tables = ["CREATE", "ALTER", "DROP", "INDEX"].iter().any(|verb| text.contains(verb));
            assert_eq!(changes_tables, account == Account::Migrator, "{text}");
            assert!(!text.contains("LOCK") && !text.contains("ALL"), "{text}");
        }
    }
}
