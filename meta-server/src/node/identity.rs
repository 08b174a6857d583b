//! Who a starting node is: the one in its store, a new cluster of its own, or one that joins. A store never changes hands once
//! another node may know whose it is, and counts its starts before anybody hears of them. Knows nothing of Raft.

use super::StartError;
use crate::{
    config::RaftConfig,
    log::Role,
    raft::{guard::random_cluster_id, start::Start},
    store::Store,
};

/// How a node begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It was there before.
    Known,
    /// As a new cluster of one node.
    Single,
    /// By joining a cluster: nobody knows it yet.
    Join(Role),
    /// By going on with a join that was interrupted: members may know it already.
    JoinOn(Role),
}

/// What a store says of its node.
struct Found {
    initialized: bool,
    joining: Option<Role>,
    /// It belongs to a cluster, or was told which one it is to belong to.
    in_cluster: bool,
}

/// Finds out who the node in `store` is, and has that written down before anybody is told.
pub(super) async fn identify(store: &Store, config: &RaftConfig) -> Result<(u64, Beginning), StartError> {
    let state = store.log.state();
    let found =
        Found { initialized: store.is_initialized(), joining: state.joining, in_cluster: state.cluster_id.is_some() };
    let raft_dir = || store.raft_dir().display().to_string();
    let beginning = begin(&found, config, state.node_id, raft_dir)?;

    let given = config.cluster_id.clone();
    let new = matches!(beginning, Beginning::Single | Beginning::Join(_));
    if let (false, Some(stored), Some(given)) = (new, &state.cluster_id, &given)
        && stored != given
    {
        let (stored, given) = (stored.clone(), given.clone());
        return Err(StartError::OtherCluster { raft_dir: raft_dir(), stored, given });
    }
    let id = if new { config.id } else { state.node_id }.unwrap_or_default();
    if let Some(given) = config.id.filter(|given| *given != id) {
        tracing::warn!(given, stored = id, "the store has an id already; the given one is ignored");
    }
    if beginning == Beginning::Known && (config.single || !config.join.is_empty()) {
        tracing::info!("the store is initialised: single and join are ignored");
    }

    let mut changed = state.clone();
    match beginning {
        Beginning::Known => changed.cluster_id = state.cluster_id.clone().or(given),
        Beginning::Single => {
            changed.node_id = Some(id);
            changed.cluster_id = Some(given.unwrap_or_else(random_cluster_id));
            changed.joining = None;
        }
        Beginning::Join(role) => {
            changed.node_id = Some(id);
            changed.cluster_id = given;
            changed.joining = Some(role);
        }
        Beginning::JoinOn(role) => {
            changed.cluster_id = state.cluster_id.clone().or(given);
            changed.joining = Some(role);
        }
    }
    changed.start = Some(Start::after(state.start));
    let write = move |state: &mut _| *state = changed;
    store.log.update_state(write).await.map_err(|source| StartError::Write { raft_dir: raft_dir(), source })?;
    Ok((id, beginning))
}

/// Refuses to make a new node where the configuration does not ask for one: a folder that was mistyped, or not mounted.
pub(super) fn check_new(config: &RaftConfig) -> Result<(), StartError> {
    if config.single || !config.join.is_empty() {
        return Ok(());
    }
    Err(StartError::NotInitialized { raft_dir: config.raft_dir.display().to_string() })
}

fn begin(
    found: &Found,
    config: &RaftConfig,
    id: Option<u64>,
    raft_dir: impl Fn() -> String,
) -> Result<Beginning, StartError> {
    let asked = if config.learner { Role::Learner } else { Role::Voter };
    let join_is_given = !config.join.is_empty();
    match found.joining {
        None if found.initialized => Ok(Beginning::Known),
        // Nobody was told of the node that was to be here.
        Some(_) if found.in_cluster || found.initialized => {
            if !found.initialized && !join_is_given {
                return Err(StartError::JoinUnfinished { raft_dir: raft_dir(), id: id.unwrap_or_default() });
            }
            Ok(Beginning::JoinOn(if join_is_given { asked } else { found.joining.unwrap_or(asked) }))
        }
        _ => {
            check_new(config)?;
            Ok(if config.single { Beginning::Single } else { Beginning::Join(asked) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Settings};

    fn config(flag: &str) -> RaftConfig {
        let mut settings = Settings::default();
        settings.raft_config.single = Some(flag == "single");
        settings.raft_config.learner = Some(flag == "learner");
        settings.raft_config.join = matches!(flag, "join" | "learner").then(|| vec!["db-1:28004".to_owned()]);
        Config::new(settings).unwrap().raft
    }

    #[test]
    fn a_store_never_changes_hands_once_another_node_may_know_whose_it_is() {
        use Beginning::{Join, JoinOn, Known, Single};
        use Role::{Learner, Voter};
        for (initialized, joining, in_cluster, flag, expected) in [
            (false, None, false, "", Err("there is no node in")),
            (false, None, false, "single", Ok(Single)),
            (false, None, false, "join", Ok(Join(Voter))),
            (false, None, false, "learner", Ok(Join(Learner))),
            // A new cluster that was killed before it began.
            (false, None, true, "join", Ok(Join(Voter))),
            (true, None, true, "", Ok(Known)),
            (true, None, true, "single", Ok(Known)),
            (true, None, true, "join", Ok(Known)),
            // Killed before any member had answered.
            (false, Some(Voter), false, "", Err("there is no node in")),
            (false, Some(Voter), false, "single", Ok(Single)),
            (false, Some(Voter), false, "learner", Ok(Join(Learner))),
            // Killed when the cluster may know it.
            (false, Some(Voter), true, "", Err("was joining a cluster")),
            (false, Some(Voter), true, "single", Err("was joining a cluster")),
            (false, Some(Learner), true, "join", Ok(JoinOn(Voter))),
            (true, Some(Learner), true, "", Ok(JoinOn(Learner))),
            (true, Some(Voter), true, "single", Ok(JoinOn(Voter))),
            (true, Some(Voter), true, "learner", Ok(JoinOn(Learner))),
        ] {
            let found = Found { initialized, joining, in_cluster };
            let what = format!("{initialized} {joining:?} {in_cluster} {flag}");
            match (begin(&found, &config(flag), Some(1), || "meta".to_owned()), expected) {
                (Ok(beginning), expected) => assert_eq!(Ok(beginning), expected, "{what}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{what}: {error}"),
                (Err(error), Ok(_)) => panic!("{what}: {error}"),
            }
        }
    }
}
