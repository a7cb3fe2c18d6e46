//! The file of principals in the server program: read anew, and used by another language's client.

use std::{fs, path::Path, process::Command};

use tonic::Code;

use super::{ADJUST, LIMIT, bearer, call, denied, line, token, unauthenticated};
use crate::support::{database::TestDatabase, programs::ServerProgram, python, signal, wait, wire::Wire};

async fn read_anew(server: &ServerProgram, message: &str) {
    let before = server.process.lines_of(message).len();
    signal::send(server.process.pid(), "HUP");
    wait::eventually(LIMIT, message, async || server.process.lines_of(message).len() > before).await;
}

async fn start(database: &TestDatabase, file: &Path, text: &str) -> ServerProgram {
    fs::write(file, text).unwrap();
    ServerProgram::start(&database.url(), &[("FLASHSALE_PRINCIPALS_FILE", file.to_str().unwrap())]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_taken_out_of_the_file_is_out_with_the_next_call_on_an_open_connection() {
    let database = TestDatabase::create("access_reload").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("principals");
    let server = start(&database, &file, &(line("anna", "operator") + &line("bert", "operator"))).await;
    let wire = Wire::connect(&server.address).await;
    let (anna, bert) = (bearer(&token("anna")), bearer(&token("bert")));
    let (as_anna, as_bert) = ([("authorization", &*anna)], [("authorization", &*bert)]);
    for who in [&as_anna, &as_bert] {
        assert_eq!(call(&wire, ADJUST, who).await.0, Code::InvalidArgument);
    }
    fs::write(&file, line("bert", "viewer")).unwrap();
    read_anew(&server, "Credentials read anew").await;
    assert_eq!(call(&wire, ADJUST, &as_anna).await, unauthenticated());
    assert_eq!(call(&wire, ADJUST, &as_bert).await, denied());

    // A file with a fault changes nothing, and the log says which line is wrong.
    fs::write(&file, line("anna", "operator") + "anna hunter2\n").unwrap();
    read_anew(&server, "Credentials can't be read anew, and the old ones stay").await;
    assert_eq!(call(&wire, ADJUST, &as_anna).await, unauthenticated());
    drop(wire);
    let log = serde_json::to_string(&server.stop().await).unwrap();
    assert!(log.contains("line 2 has 2 columns") && !log.contains("hunter2"), "{log}");
    database.assert_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_calls_with_its_token() {
    let database = TestDatabase::create("access_python").await;
    let folder = tempfile::tempdir().unwrap();
    let server = start(&database, &folder.path().join("principals"), &line("anna", "viewer")).await;
    let script = r#"
import sys
import grpc
address, token = sys.argv[1:]
channel = grpc.insecure_channel(address)
def code(path, metadata):
    call = channel.unary_unary(path)
    try:
        call(b"", metadata=metadata, timeout=30)
        return "OK"
    except grpc.RpcError as error:
        return error.code().name
mine = (("authorization", "Bearer " + token),)
admin = "/flashsale.v1.AdminService/"
print(code(admin + "ListProducts", mine), code(admin + "AdjustStock", mine), code(admin + "ListProducts", ()))
"#;
    let mut python = Command::new(python::interpreter());
    python.args(["-c", script, &server.address, &token("anna")]);
    let output = tokio::task::spawn_blocking(move || python.output().unwrap()).await.unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(stdout.trim(), "OK PERMISSION_DENIED UNAUTHENTICATED", "{stderr}");
    server.stop().await;
    database.assert_conserved().await;
}
