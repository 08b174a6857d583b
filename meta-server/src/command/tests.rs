//! Reading and writing commands: the real ones of the fixtures, what the format lets pass, and what it refuses.

use proptest::prelude::*;

use super::{LogCommand, arbitrary, fixtures};

fn normal_form(json: &str) -> String {
    LogCommand::from_json(json).unwrap_or_else(|err| panic!("{err}: {json}")).to_json().unwrap().get().to_owned()
}

#[test]
fn real_logs_are_written_back_as_databend_writes_them() {
    // What was read, and what Databend wrote after it had read the same.
    for (read, written) in [
        ("v004-tail.ndjson", "v004-tail.ndjson"),
        ("v004-tail-applied.ndjson", "v004-tail-applied.ndjson"),
        ("v004.ndjson", "v004-reexported.ndjson"),
        ("v004-reexported.ndjson", "v004-reexported.ndjson"),
    ] {
        let written = fixtures::text(written).replace(r#""prev_value":true,"#, "");
        let read = fixtures::text(read);
        let (read, written) = (fixtures::log(&read), fixtures::log(&written));
        assert!(read.len() > 80);
        assert_eq!(read.len(), written.len());
        for ((index, command), (_, expected)) in read.into_iter().zip(written) {
            let normal = command.map(normal_form);
            assert_eq!(normal.as_deref(), expected, "at log index {index}");
        }
    }
}

/// `op` as the one operation of a transaction.
fn then(op: &str) -> String {
    format!(r#"{{"cmd":{{"Transaction":{{"condition":[],"if_then":[{op}],"else_then":[]}}}}}}"#)
}

#[test]
fn what_may_be_missing_or_old_is_read_and_written_in_the_normal_form() {
    let condition =
        |json: &str| format!(r#"{{"cmd":{{"Transaction":{{"condition":[{json}],"if_then":[],"else_then":[]}}}}}}"#);
    let cases: [(String, String); 17] = [
        (r#"{"txid":{"client":"c","serial":1},"time_ms":7,"cmd":{"RemoveNode":{"node_id":1,"new":[{}]}},"new":1}"#.into(),
         r#"{"time_ms":7,"cmd":{"RemoveNode":{"node_id":1}}}"#.into()),
        (r#"{"txid":null,"time_ms":null,"cmd":{"SetFeature":{"feature":"x","enable":true}}}"#.into(),
         r#"{"cmd":{"SetFeature":{"feature":"x","enable":true}}}"#.into()),
        (r#"{"cmd":{"AddNode":{"node_id":1,"node":{"name":"1","endpoint":{"addr":"h","port":2}}}}}"#.into(),
         r#"{"cmd":{"AddNode":{"node_id":1,"node":{"name":"1","endpoint":{"addr":"h","port":2},"grpc_api_advertise_address":null},"overriding":false}}}"#.into()),
        (r#"{"cmd":{"UpsertKV":{"key":"k","seq":{"GE":1},"value":"AsIs"}}}"#.into(),
         r#"{"cmd":{"UpsertKV":{"key":"k","seq":{"GE":1},"value":"AsIs","value_meta":null}}}"#.into()),
        (r#"{"cmd":{"UpsertKV":{"key":"k","seq":"Any","value":"Delete","value_meta":{"ttl":null}}}}"#.into(),
         r#"{"cmd":{"UpsertKV":{"key":"k","seq":"Any","value":"Delete","value_meta":{"expire_at":null}}}}"#.into()),
        (then(r#"{"request":{"Put":{"key":"k","value":[255],"prev_value":true}}}"#),
         then(r#"{"request":{"Put":{"key":"k","value":[255],"expire_at":null,"match_seq":null}}}"#)),
        (then(r#"{"request":{"Put":{"key":"k","value":[],"expire_at":5,"ttl_ms":null,"match_seq":3}}}"#),
         then(r#"{"request":{"Put":{"key":"k","value":[],"expire_at":5,"match_seq":3}}}"#)),
        (then(r#"{"request":{"Delete":{"key":"k","prev_value":false}}}"#),
         then(r#"{"request":{"Delete":{"key":"k","match_seq":null}}}"#)),
        (then(r#"{"request":{"FetchAddU64":{"key":"k","delta":-1}}}"#),
         then(r#"{"request":{"FetchIncreaseU64":{"key":"k","match_seq":null,"delta":-1,"max_value":0}}}"#)),
        (then(r#"{"request":{"PutSequential":{"prefix":"p","sequence_key":"s","value":[1]}}}"#),
         then(r#"{"request":{"PutSequential":{"prefix":"p","sequence_key":"s","value":[1],"expires_at_ms":null,"ttl_ms":null}}}"#)),
        (then(r#"{"request":null}"#), then(r#"{"request":{"Get":{"key":""}}}"#)),
        (then("{}"), then(r#"{"request":{"Get":{"key":""}}}"#)),
        (condition(r#"{"key":"k","expected":99,"target":null}"#), condition(r#"{"key":"k","expected":0,"target":null}"#)),
        (condition(r#"{"key":"k","expected":-1}"#), condition(r#"{"key":"k","expected":0,"target":null}"#)),
        (r#"{"cmd":{"Transaction":{"operations":[{"operations":[]},{"predicate":null,"operations":[]}],"condition":[],"if_then":[],"else_then":[]}}}"#.into(),
         r#"{"cmd":{"Transaction":{"operations":[{"predicate":null,"operations":[]},{"predicate":null,"operations":[]}],"condition":[],"if_then":[],"else_then":[]}}}"#.into()),
        (r#"{"cmd":{"Transaction":{"operations":[{"predicate":{"operator":7,"sub_expressions":[],"conditions":[]},"operations":[]}],"condition":[],"if_then":[],"else_then":[]}}}"#.into(),
         r#"{"cmd":{"Transaction":{"operations":[{"predicate":{"operator":0,"sub_expressions":[],"conditions":[]},"operations":[]}],"condition":[],"if_then":[],"else_then":[]}}}"#.into()),
        (r#"{"cmd":{"KvTransaction":{"branches":[{"predicate":{"And":[]},"operations":[{"Put":{"target":{"key":"k"},"payload":{"value":[]}}}]}]}}}"#.into(),
         r#"{"cmd":{"KvTransaction":{"branches":[{"predicate":{"And":[]},"operations":[{"Put":{"target":{"key":"k","match_seq":null},"payload":{"value":[],"expire_at_ms":null,"ttl_ms":null}}}]}]}}}"#.into()),
    ];
    for (read, written) in cases {
        assert_eq!(normal_form(&read), written);
        assert_eq!(normal_form(&written), written);
    }
}

#[test]
fn what_is_unknown_is_refused_by_name() {
    let cases = [
        (r#"{"cmd":{"CreateDatabase":{"name":"x"}}}"#.to_owned(), "CreateDatabase"),
        (r#"{"cmd":"Blank"}"#.to_owned(), "Blank"),
        (r#"{"time_ms":1}"#.to_owned(), "cmd"),
        (then(r#"{"request":{"Increase":{"key":"k"}}}"#), "Increase"),
        (then(r#"{"request":{"Put":{"key":"k"}}}"#), "value"),
        (r#"{"cmd":{"UpsertKV":{"key":"k","seq":{"LT":1},"value":"AsIs"}}}"#.to_owned(), "LT"),
        (r#"{"cmd":{"UpsertKV":{"key":"k","seq":"Any","value":"Touch"}}}"#.to_owned(), "Touch"),
        (r#"{"cmd":{"UpsertKV":{"key":"k","seq":"Any","value":{"Update":"text"}}}}"#.to_owned(), "string \"text\""),
        (r#"{"cmd":{"UpsertKV":{"key":"k","seq":"Any","value":{"Update":[256]}}}}"#.to_owned(), "`256`, expected u8"),
        (then(r#"{"request":{"Put":{"key":"k","value":"text"}}}"#), "string \"text\""),
        (r#"{"cmd":{"KvTransaction":{"branches":[{"predicate":{"Not":[]},"operations":[]}]}}}"#.to_owned(), "Not"),
    ];
    for (json, named) in cases {
        let error = LogCommand::from_json(&json).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the command: ") && error.contains(named), "{error}");
    }
}

proptest! {
    #[test]
    fn a_command_survives_both_encodings(command in arbitrary::log_command()) {
        let json = command.to_json().unwrap();
        prop_assert_eq!(&LogCommand::from_json(json.get()).unwrap(), &command);
        let packed = rmp_serde::to_vec_named(&command).unwrap();
        prop_assert_eq!(&rmp_serde::from_slice::<LogCommand>(&packed).unwrap(), &command);
    }
}
