//! One backup, imported into several nodes with one list: they are a cluster as soon as they run.

use std::time::SystemTime;

use integration_tests::{
    cluster::{Cluster, Layout},
    export::Export,
    fixtures,
    scenario::{
        backups::Backups,
        restore::{Case, restore},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn the_voter_with_the_smallest_id_leads_and_every_member_holds_every_key() {
    let original = Export::parse(fixtures::text("v004.ndjson").lines());
    let layout = Layout::with_ids([7, 3, 9]).learner(2);
    let cluster = Cluster::restored(layout, &fixtures::path("v004.ndjson")).await;
    assert_eq!(cluster.leader().await, Some(3));
    let status = cluster.status(9).await.unwrap();
    assert_eq!((status.voters.len(), status.non_voters.len()), (3, 1));

    let seq = cluster.client(3).await.put("after/the/import", b"new").await.unwrap();
    assert_eq!(seq, original.sequence + 1);
    cluster.assert_same_state().await;
    let learner = cluster.export(2).await;
    assert_eq!((learner.sequence, learner.nodes.len()), (seq, 4));
    // What had expired was cleaned away by the write.
    let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let mut expected = original.present_at(now_ms);
    expected.insert("after/the/import".to_owned(), (seq, b"new".to_vec()));
    assert_eq!(learner.all(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_from_anywhere_becomes_a_cluster_of_any_size_and_list() {
    let backups = Backups::take().await;
    for case in Case::pairs() {
        let took = restore(case, &backups).await;
        eprintln!("{case}: {took}");
    }
}
