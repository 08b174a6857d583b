//! How an export is cut into messages: as many lines as were asked for at the most, and never more bytes than a client
//! takes.

use integration_tests::{
    client::{MAX_MESSAGE, lines, rest},
    export::Export,
    server::{Server, Settings},
    tool::{export_folder, import, metactl},
};
use meta_proto::pb::{self, txn_op::Request as Op};
use prost::Message;
use tonic::Code;

#[tokio::test]
async fn chunks_are_bounded_in_lines_and_in_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_leading(Settings::single(&folder.path().join("meta"))).await;
    let mut client = server.client().await;
    // 255 is three digits and a comma in a line: the largest of these makes one of 3.6 MB.
    let sizes = [0, 1, 100, 4_000, 60_000, 200_000, 500_000, 900 * 1024];
    for (n, size) in sizes.iter().enumerate() {
        client.put(&format!("size/{n}"), &vec![255; *size]).await.unwrap();
    }
    for n in 0..200 {
        client.put(&format!("small/{n}"), b"x").await.unwrap();
    }

    let mut texts = Vec::new();
    for (chunk_size, most) in
        [(None, 32), (Some(0), 32), (Some(1), 1), (Some(7), 7), (Some(32), 32), (Some(4_294_967_295), usize::MAX)]
    {
        let chunks = rest(client.export(chunk_size).await.unwrap()).await.unwrap();
        for chunk in &chunks {
            assert!((1..=most).contains(&chunk.data.len()), "{chunk_size:?}: a chunk of {} lines", chunk.data.len());
            assert!(chunk.encoded_len() < MAX_MESSAGE, "{chunk_size:?}: a chunk of {} bytes", chunk.encoded_len());
        }
        let all: Vec<String> = lines(&chunks).map(str::to_owned).collect();
        assert!(all.iter().all(|line| !line.contains('\n')));
        assert!(chunks.len() >= all.len() / most, "{chunk_size:?}: {} chunks", chunks.len());
        texts.push(all);
    }
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "every size of a chunk gives the same lines");

    for chunk_size in ["0", "4294967295"] {
        let ran =
            metactl([&"export", &"--grpc-api-address", &server.grpc_address(), &"--chunk-size", &chunk_size]).await;
        assert!(ran.expect(0).lines() == texts[0], "--chunk-size {chunk_size} gives other lines");
    }

    let export = Export::parse(texts[0].iter().map(String::as_str));
    let found: Vec<usize> = (0..sizes.len()).map(|n| export.all()[&format!("size/{n}")].1.len()).collect();
    assert_eq!(found, sizes);
}

#[tokio::test]
async fn the_largest_record_that_can_be_written_goes_through_a_backup() {
    let temp = tempfile::tempdir().unwrap();
    let (raft_dir, file) = (temp.path().join("meta"), temp.path().join("backup.ndjson"));
    let server = Server::start_leading(Settings::single(&raft_dir)).await;
    let mut client = server.client().await;
    let put =
        |len| Op::Put(pb::TxnPutRequest { key: "k".to_owned(), value: vec![255; len], ..pb::TxnPutRequest::default() });
    let largest = 1024 * 1024 - 1;
    let refused = client.transact(vec![put(largest + 1)]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    client.transact(vec![put(largest)]).await.unwrap();
    // In the text each byte is four, so that this line is larger than a message of the usual size.
    metactl([&"export", &"--grpc-api-address", &server.grpc_address(), &"--db", &file]).await.expect(0);
    let restored = temp.path().join("restored");
    import(&restored, &file).await;
    let exported = export_folder(&restored).await;
    assert_eq!(Export::parse(exported.lines()).all()["k"].1, vec![255; largest]);
}
