//! The wire contract only grows: each field, value and call that was ever committed is still there as it was. Workers and coordinators
//! of two builds of one protocol version understand each other.
//!
//! What is new is added to `contract.txt` by a run with `ASSAY_BLESS=1`. What is in it goes or changes only with a new `PROTOCOL`.

use std::collections::BTreeSet;
use std::path::Path;

use assay_proto::{DESCRIPTORS, PROTOCOL};
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};

const OURS: &str = "assay.v1";

/// A line for each thing that the other side may count on.
fn contract(files: &[FileDescriptorProto]) -> BTreeSet<String> {
    let mut lines = BTreeSet::from([format!("protocol {PROTOCOL}")]);
    for file in files.iter().filter(|file| file.package() == OURS) {
        file.message_type.iter().for_each(|message| add_message(&mut lines, OURS, message));
        file.enum_type.iter().for_each(|values| add_enum(&mut lines, OURS, values));
        file.service.iter().for_each(|service| add_service(&mut lines, service));
    }
    lines
}

fn add_message(lines: &mut BTreeSet<String>, within: &str, message: &DescriptorProto) {
    let name = format!("{within}.{}", message.name());
    for field in &message.field {
        lines.insert(field_line(&name, message, field));
    }
    message.nested_type.iter().for_each(|nested| add_message(lines, &name, nested));
    message.enum_type.iter().for_each(|values| add_enum(lines, &name, values));
}

fn field_line(message: &str, of: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let mut line = format!("field {message} {} {}:", field.number(), field.name());
    if field.label() == Label::Repeated {
        line.push_str(" repeated");
    }
    // An optional field of its own is written as a choice of one.
    if field.proto3_optional() {
        line.push_str(" optional");
    } else if let Some(choice) = field.oneof_index {
        line.push_str(&format!(" oneof {}", of.oneof_decl[choice as usize].name()));
    }
    let of_ours = field.type_name();
    line.push_str(&format!(" {}", if of_ours.is_empty() { field.r#type().as_str_name() } else { of_ours }));
    line
}

fn add_enum(lines: &mut BTreeSet<String>, within: &str, values: &EnumDescriptorProto) {
    for value in &values.value {
        lines.insert(format!("value {within}.{} {} {}", values.name(), value.number(), value.name()));
    }
}

fn add_service(lines: &mut BTreeSet<String>, service: &ServiceDescriptorProto) {
    for call in &service.method {
        let side = |stream, name: &str| if stream { format!("stream {name}") } else { name.to_owned() };
        let asks = side(call.client_streaming(), call.input_type());
        let answers = side(call.server_streaming(), call.output_type());
        lines.insert(format!("call {OURS}.{}/{} ({asks}) -> ({answers})", service.name(), call.name()));
    }
}

/// What was promised and is not kept.
fn broken(committed: &BTreeSet<String>, now: &BTreeSet<String>) -> Vec<String> {
    committed.difference(now).cloned().collect()
}

fn ours() -> Result<Vec<FileDescriptorProto>, prost::DecodeError> {
    FileDescriptorSet::decode(DESCRIPTORS).map(|set| set.file)
}

#[test]
fn nothing_that_was_committed_is_gone_or_another() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract.txt");
    let now = contract(&ours().unwrap());
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let committed: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let broken = broken(&committed, &now);
    assert!(
        broken.is_empty(),
        "builds that are out there count on these: keep them; or raise `PROTOCOL`, delete contract.txt and bless it anew:\n{}",
        broken.join("\n")
    );
    if std::env::var_os("ASSAY_BLESS").is_some() {
        let lines: Vec<String> = now.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, lines.concat()).unwrap();
    } else {
        let new: Vec<_> = now.difference(&committed).collect();
        assert!(new.is_empty(), "run this test with ASSAY_BLESS=1 to commit to what is new: {new:#?}");
    }
}

/// The check sees what it should.
#[test]
fn a_field_that_goes_moves_or_becomes_another_is_noticed_and_a_new_one_is_not() {
    let files = ours().unwrap();
    let committed = contract(&files);
    assert!(committed.len() > 100, "{committed:#?}");
    let lease =
        |file: &FileDescriptorProto| file.message_type.iter().any(|message| message.name() == "LeaseRef");
    let place = files.iter().position(lease).unwrap();
    let with = |change: &dyn Fn(&mut DescriptorProto)| {
        let mut files = files.clone();
        let mut messages = files[place].message_type.iter_mut();
        change(messages.find(|message| message.name() == "LeaseRef").unwrap());
        broken(&committed, &contract(&files)).len()
    };
    assert_eq!(with(&|_| {}), 0);
    assert_eq!(with(&|message| message.field[0].number = Some(99)), 1);
    assert_eq!(with(&|message| message.field[0].set_type(Type::Bytes)), 1);
    assert_eq!(with(&|message| message.field[0].set_label(Label::Repeated)), 1);
    assert_eq!(with(&|message| message.field[0].name = Some(String::from("other"))), 1);
    assert_eq!(with(&|message| drop(message.field.remove(0))), 1);
    let new =
        FieldDescriptorProto { number: Some(99), name: Some(String::from("new")), ..Default::default() };
    assert_eq!(with(&|message| message.field.push(new.clone())), 0);
    let mut fewer = files.clone();
    fewer.iter_mut().for_each(|file| file.service.iter_mut().for_each(|service| service.method.clear()));
    assert!(broken(&committed, &contract(&fewer)).len() > 10);
}
