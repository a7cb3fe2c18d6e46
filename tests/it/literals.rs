//! Values that a script writes as literals: whatever goes in comes back from the real server.
//!
//! Scripts have no other way for a caller's text into the SQL, so one wrong literal would be an injection.

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use diesel::{ExpressionMethods, insert_into};
use flashsale::db::with_literals;
use mysql_async::{Conn, Opts, Value, prelude::Queryable};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

use crate::support::database::TestDatabase;

diesel::table! {
    literals (id) {
        id -> BigInt,
        tiny -> TinyInt,
        small -> SmallInt,
        number -> Integer,
        unsigned_tiny -> Unsigned<TinyInt>,
        unsigned_small -> Unsigned<SmallInt>,
        unsigned_number -> Unsigned<Integer>,
        unsigned_big -> Unsigned<BigInt>,
        flag -> Bool,
        at -> Nullable<Datetime>,
        bytes -> Nullable<Binary>,
        text -> Nullable<Text>,
    }
}

const CREATE: &str = "CREATE TABLE literals (
    id BIGINT NOT NULL PRIMARY KEY,
    tiny TINYINT NOT NULL, small SMALLINT NOT NULL, number INT NOT NULL,
    unsigned_tiny TINYINT UNSIGNED NOT NULL, unsigned_small SMALLINT UNSIGNED NOT NULL,
    unsigned_number INT UNSIGNED NOT NULL, unsigned_big BIGINT UNSIGNED NOT NULL,
    flag BOOLEAN NOT NULL, at DATETIME(6) NULL, bytes VARBINARY(300) NULL, text VARCHAR(300) NULL
) DEFAULT CHARSET = utf8mb4";

/// A row of every type that a table may have.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: i64,
    tiny: i8,
    small: i16,
    number: i32,
    unsigned_tiny: u8,
    unsigned_small: u16,
    unsigned_number: u32,
    unsigned_big: u64,
    flag: bool,
    at: Option<NaiveDateTime>,
    bytes: Option<Vec<u8>>,
    text: Option<String>,
}

/// What SQL gives a meaning to, and what texts are made of otherwise.
const CHARACTERS: [char; 24] = [
    '\'', '"', '`', '\\', '\0', '\n', '\r', '\u{1a}', '%', '_', '?', ';', '-', '#', '/', '*', ' ', 'a', 'A', 'é', 'ß',
    '漢', '\u{301}', '🛒',
];

fn made_up(random: &mut StdRng, id: i64) -> Row {
    let first = NaiveDate::from_ymd_opt(1000, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap();
    // Up to the year 9999, in microseconds.
    let micros = random.random_range(0..283_996_800_000_000_000_i64);
    let bytes = random.random_bool(0.9).then(|| {
        let mut bytes = vec![0; random.random_range(0..=300)];
        random.fill_bytes(&mut bytes);
        bytes
    });
    let text = random.random_bool(0.9).then(|| {
        let length = random.random_range(0..=300);
        (0..length).map(|_| CHARACTERS[random.random_range(0..CHARACTERS.len())]).collect()
    });
    Row {
        id,
        tiny: random.random(),
        small: random.random(),
        number: random.random(),
        unsigned_tiny: random.random(),
        unsigned_small: random.random(),
        unsigned_number: random.random(),
        unsigned_big: random.random(),
        flag: random.random(),
        at: random.random_bool(0.9).then(|| first + TimeDelta::microseconds(micros)),
        bytes,
        text,
    }
}

/// The ends of each type's range, and every byte and character that a quoted text would trip over.
fn extremes() -> Vec<Row> {
    let last = NaiveDate::from_ymd_opt(9999, 12, 31).unwrap().and_hms_micro_opt(23, 59, 59, 999_999).unwrap();
    let lowest = Row {
        id: i64::MIN,
        tiny: i8::MIN,
        small: i16::MIN,
        number: i32::MIN,
        unsigned_tiny: 0,
        unsigned_small: 0,
        unsigned_number: 0,
        unsigned_big: 0,
        flag: false,
        at: None,
        bytes: None,
        text: None,
    };
    let highest = Row {
        id: i64::MAX,
        tiny: i8::MAX,
        small: i16::MAX,
        number: i32::MAX,
        unsigned_tiny: u8::MAX,
        unsigned_small: u16::MAX,
        unsigned_number: u32::MAX,
        unsigned_big: u64::MAX,
        flag: true,
        at: Some(last),
        bytes: Some((0..=255).collect()),
        text: Some(CHARACTERS.iter().collect()),
    };
    vec![lowest.clone(), highest, Row { id: 0, bytes: Some(Vec::new()), text: Some(String::new()), ..lowest }]
}

fn insert(rows: &[Row]) -> String {
    let values: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                literals::id.eq(row.id),
                literals::tiny.eq(row.tiny),
                literals::small.eq(row.small),
                literals::number.eq(row.number),
                literals::unsigned_tiny.eq(row.unsigned_tiny),
                literals::unsigned_small.eq(row.unsigned_small),
                literals::unsigned_number.eq(row.unsigned_number),
                literals::unsigned_big.eq(row.unsigned_big),
                literals::flag.eq(row.flag),
                literals::at.eq(row.at),
                literals::bytes.eq(row.bytes.as_deref()),
                literals::text.eq(row.text.as_deref()),
            )
        })
        .collect();
    with_literals(&insert_into(literals::table).values(values)).unwrap()
}

/// Reads a row by the driver alone, from the binary protocol.
fn read(row: mysql_async::Row) -> Row {
    let bytes = |index: usize| match row.as_ref(index).unwrap() {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(bytes.clone()),
        other => panic!("{other:?}"),
    };
    let at = match row.as_ref(9).unwrap() {
        Value::NULL => None,
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let date = NaiveDate::from_ymd_opt((*year).into(), (*month).into(), (*day).into()).unwrap();
            date.and_hms_micro_opt((*hour).into(), (*minute).into(), (*second).into(), *micros)
        }
        other => panic!("{other:?}"),
    };
    Row {
        id: row.get(0).unwrap(),
        tiny: row.get(1).unwrap(),
        small: row.get(2).unwrap(),
        number: row.get(3).unwrap(),
        unsigned_tiny: row.get(4).unwrap(),
        unsigned_small: row.get(5).unwrap(),
        unsigned_number: row.get(6).unwrap(),
        unsigned_big: row.get(7).unwrap(),
        flag: row.get(8).unwrap(),
        at,
        bytes: bytes(10),
        text: bytes(11).map(|text| String::from_utf8(text).unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_as_a_literal_comes_back_from_the_server() {
    const BATCHES: i64 = 50;
    const BATCH: i64 = 200;
    let database = TestDatabase::create_empty("literals").await;
    let mut connection = Conn::new(Opts::from_url(&database.url()).unwrap()).await.unwrap();
    connection.query_drop(CREATE).await.unwrap();
    let seed = rand::random();
    println!("the seed of this run: {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut written = extremes();
    connection.query_drop(insert(&written)).await.unwrap();
    for batch in 0..BATCHES {
        let rows: Vec<Row> = (1..=BATCH).map(|index| made_up(&mut random, batch * BATCH + index)).collect();
        connection.query_drop(insert(&rows)).await.unwrap();
        written.extend(rows);
    }
    written.sort_by_key(|row| row.id);
    // Prepared, so that the values come in the binary protocol and not as texts.
    let stored: Vec<mysql_async::Row> = connection.exec("SELECT * FROM literals ORDER BY id", ()).await.unwrap();
    let stored: Vec<Row> = stored.into_iter().map(read).collect();
    assert_eq!(stored.len(), written.len());
    for (stored, written) in stored.iter().zip(&written) {
        assert_eq!(stored, written);
    }
    connection.disconnect().await.unwrap();
}
