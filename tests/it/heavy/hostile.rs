//! Makes messages that are as bad as their type allows, by the definition.

use prost::encoding::encode_varint;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// How deep messages in messages are made.
const DEPTH_MAX: usize = 4;

const VARINT: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const LENGTH: u64 = 2;
const GROUP_BEGINS: u64 = 3;
const FOUR_BYTES: u64 = 5;

/// Returns messages of a type, with what is bad about each. None has more than `bytes_max` bytes.
pub(super) fn messages(set: &FileDescriptorSet, type_name: &str, bytes_max: usize) -> Vec<(String, Vec<u8>)> {
    // A field's tag and length, also where it lies in other messages.
    let room = bytes_max - 64;
    let mut all = vec![
        ("unknown fields".to_owned(), filled(&text(1000, "x"), bytes_max)),
        ("one unknown field".to_owned(), text(1000, &"x".repeat(room))),
        ("groups in groups".to_owned(), filled(&key(1000, GROUP_BEGINS), bytes_max)),
        ("a number without end".to_owned(), [key(1, VARINT), vec![0xff; room]].concat()),
        ("no message".to_owned(), vec![0xff; bytes_max]),
        ("all numbers at their worst".to_owned(), worst(set, type_name, "", DEPTH_MAX)),
        (
            "all numbers at their worst, and long texts".to_owned(),
            worst(set, type_name, &"\u{1F600}".repeat(400), DEPTH_MAX),
        ),
    ];
    for (name, wrap, field) in fields(set, type_name, DEPTH_MAX) {
        let number = u64::try_from(field.number()).unwrap();
        let mut add = |what: &str, bytes: &[u8]| all.push((format!("{name}: {what}"), wrap(bytes)));
        for wire_type in [VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES] {
            add("another type", &[key(number, wire_type), vec![0; 8]].concat());
        }
        match field.r#type() {
            Type::String => {
                for (what, character) in
                    [("letters", "x"), ("pictures", "\u{1F600}"), ("control characters", "\0"), ("per cent", "%")]
                {
                    add(&format!("long, {what}"), &text(number, &character.repeat(room / character.len())));
                }
                add("not UTF-8", &[key(number, LENGTH), length(room), vec![0xff; room]].concat());
            }
            Type::Bytes => add("long", &text(number, &"x".repeat(room))),
            Type::Message => add("again and again", &filled(&text(number, ""), room)),
            _ => add("again and again", &filled(&[key(number, VARINT), vec![1]].concat(), room)),
        }
        if field.label() == Label::Repeated && field.r#type() == Type::String {
            for (what, value) in
                [("empty ones", String::new()), ("letters", "x".to_owned()), ("long ones", "\u{1F600}".repeat(500))]
            {
                add(&format!("many, {what}"), &filled(&text(number, &value), room));
            }
        }
    }
    all
}

/// Returns a field of text.
pub(super) fn text(number: u64, text: &str) -> Vec<u8> {
    [key(number, LENGTH), length(text.len()), text.as_bytes().to_vec()].concat()
}

/// Puts bytes into the messages around their field.
type Wrap = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// Lists the fields of a message and of the messages in it.
fn fields(set: &FileDescriptorSet, type_name: &str, depth: usize) -> Vec<(String, Wrap, FieldDescriptorProto)> {
    let mut all: Vec<(String, Wrap, FieldDescriptorProto)> = Vec::new();
    if depth == 0 {
        return all;
    }
    for field in &message(set, type_name).field {
        all.push((field.name().to_owned(), Box::new(<[u8]>::to_vec), field.clone()));
        if field.r#type() != Type::Message {
            continue;
        }
        let number = u64::try_from(field.number()).unwrap();
        for (name, wrap, inner) in fields(set, field.type_name(), depth - 1) {
            let outer: Wrap = Box::new(move |bytes| {
                let bytes = wrap(bytes);
                [key(number, LENGTH), length(bytes.len()), bytes].concat()
            });
            all.push((format!("{}.{name}", field.name()), outer, inner));
        }
    }
    all
}

/// Makes a message with all fields: numbers as small as may be, texts as given.
fn worst(set: &FileDescriptorSet, type_name: &str, value: &str, depth: usize) -> Vec<u8> {
    if depth == 0 {
        return Vec::new();
    }
    let one = |field: &FieldDescriptorProto| {
        let number = u64::try_from(field.number()).unwrap();
        match field.r#type() {
            Type::String | Type::Bytes => text(number, value),
            Type::Message => {
                let inner = worst(set, field.type_name(), value, depth - 1);
                [key(number, LENGTH), length(inner.len()), inner].concat()
            }
            Type::Double | Type::Fixed64 | Type::Sfixed64 => [key(number, EIGHT_BYTES), vec![0xff; 8]].concat(),
            Type::Float | Type::Fixed32 | Type::Sfixed32 => [key(number, FOUR_BYTES), vec![0xff; 4]].concat(),
            _ => [key(number, VARINT), varint(i64::MIN.cast_unsigned())].concat(),
        }
    };
    message(set, type_name).field.iter().flat_map(one).collect()
}

fn message<'a>(set: &'a FileDescriptorSet, type_name: &str) -> &'a DescriptorProto {
    let mut messages = set.file.iter().flat_map(|file| file.message_type.iter().map(move |message| (file, message)));
    let found = messages.find(|(file, message)| type_name == format!(".{}.{}", file.package(), message.name()));
    found.unwrap_or_else(|| panic!("no message {type_name}")).1
}

/// Repeats bytes as often as they fit.
fn filled(bytes: &[u8], bytes_max: usize) -> Vec<u8> {
    bytes.repeat(bytes_max / bytes.len())
}

fn key(number: u64, wire_type: u64) -> Vec<u8> {
    varint(number << 3 | wire_type)
}

fn length(bytes: usize) -> Vec<u8> {
    varint(u64::try_from(bytes).unwrap())
}

fn varint(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_varint(value, &mut bytes);
    bytes
}
