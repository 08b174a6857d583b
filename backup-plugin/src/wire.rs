//! How the options of an export and its provenance are sent. The one place where the plugin's types meet the
//! protocol's; what a message lacks is named when it is read.

use meta_proto::pb;

use crate::{
    provenance::{Consistency, Origin, Provenance, Role, Wanted},
    record::{LeaderId, LogId},
    source::Extent,
};

/// A message that says what this version has no word for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field} is {value}, which this version does not know: {known}")]
pub struct UnknownValue {
    field: &'static str,
    value: i32,
    known: &'static str,
}

/// What an `ExportRequest.consistency` asks for.
///
/// # Errors
///
/// A number that is not in the protocol.
pub fn wanted(consistency: i32) -> Result<Wanted, UnknownValue> {
    match pb::Consistency::try_from(consistency) {
        Ok(pb::Consistency::Local) => Ok(Wanted::Local),
        Ok(pb::Consistency::Linearizable) => Ok(Wanted::Linearizable),
        Ok(pb::Consistency::Auto) => Ok(Wanted::Auto),
        Err(_) => Err(UnknownValue {
            field: "ExportRequest.consistency",
            value: consistency,
            known: "LOCAL 0, LINEARIZABLE 1, AUTO 2",
        }),
    }
}

/// What an `ExportRequest` asks for beside how fresh it has to be.
pub fn extent(request: &pb::ExportRequest) -> Result<Extent, BadRequest> {
    let logs = pb::Logs::try_from(request.logs).map_err(|_| UnknownValue {
        field: "ExportRequest.logs",
        value: request.logs,
        known: "UP_TO_STATE 0, NONE 1, ALL 2",
    })?;
    match (request.with_history, logs) {
        (false, pb::Logs::UpToState) => Ok(Extent::Moment),
        (false, pb::Logs::None) => Ok(Extent::StateOnly),
        (false, pb::Logs::All) => Ok(Extent::WholeLog),
        (true, pb::Logs::UpToState) => Ok(Extent::History),
        (true, _) => Err(BadRequest::HistoryAndLogs),
    }
}

/// The fields `with_history` and `logs` that ask for an extent.
pub fn extent_to_pb(extent: Extent) -> (bool, pb::Logs) {
    match extent {
        Extent::Moment => (false, pb::Logs::UpToState),
        Extent::StateOnly => (false, pb::Logs::None),
        Extent::WholeLog => (false, pb::Logs::All),
        Extent::History => (true, pb::Logs::UpToState),
    }
}

/// A request that can not be served as it is.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadRequest {
    #[error(transparent)]
    Unknown(#[from] UnknownValue),
    #[error("ExportRequest.with_history says which log goes along; leave out ExportRequest.logs")]
    HistoryAndLogs,
}

impl From<Wanted> for pb::Consistency {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Local => Self::Local,
            Wanted::Linearizable => Self::Linearizable,
            Wanted::Auto => Self::Auto,
        }
    }
}

impl From<Provenance> for pb::Provenance {
    fn from(Provenance { origin, consistency, fallback }: Provenance) -> Self {
        let consistency = match consistency {
            Consistency::Linearizable => pb::Consistency::Linearizable,
            Consistency::Local | Consistency::Offline => pb::Consistency::Local,
        };
        let role = match origin.role {
            None => pb::provenance::Role::Unknown,
            Some(Role::Leader) => pb::provenance::Role::Leader,
            Some(Role::Follower) => pb::provenance::Role::Follower,
            Some(Role::Candidate) => pb::provenance::Role::Candidate,
            Some(Role::Learner) => pb::provenance::Role::Learner,
        };
        Self {
            cluster_id: origin.cluster_id.unwrap_or_default(),
            node_id: origin.node_id,
            role: role.into(),
            last_applied: origin.last_applied.map(log_id_to_pb),
            committed: origin.committed.map(log_id_to_pb),
            tail: origin.tail,
            consistency: consistency.into(),
            fallback: fallback.unwrap_or_default(),
        }
    }
}

impl TryFrom<pb::Provenance> for Provenance {
    type Error = UnknownValue;

    fn try_from(message: pb::Provenance) -> Result<Self, UnknownValue> {
        let consistency = match pb::Consistency::try_from(message.consistency) {
            Ok(pb::Consistency::Linearizable) => Consistency::Linearizable,
            Ok(pb::Consistency::Local) => Consistency::Local,
            Ok(pb::Consistency::Auto) | Err(_) => {
                let (value, known) = (message.consistency, "LOCAL 0, LINEARIZABLE 1");
                return Err(UnknownValue { field: "Provenance.consistency", value, known });
            }
        };
        let role = match pb::provenance::Role::try_from(message.role) {
            Ok(pb::provenance::Role::Unknown) => None,
            Ok(pb::provenance::Role::Leader) => Some(Role::Leader),
            Ok(pb::provenance::Role::Follower) => Some(Role::Follower),
            Ok(pb::provenance::Role::Candidate) => Some(Role::Candidate),
            Ok(pb::provenance::Role::Learner) => Some(Role::Learner),
            Err(_) => {
                let known = "UNKNOWN 0, LEADER 1, FOLLOWER 2, CANDIDATE 3, LEARNER 4";
                return Err(UnknownValue { field: "Provenance.role", value: message.role, known });
            }
        };
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        Ok(Self {
            origin: Origin {
                cluster_id: text(message.cluster_id),
                node_id: message.node_id,
                role,
                last_applied: message.last_applied.map(log_id_from_pb),
                committed: message.committed.map(log_id_from_pb),
                tail: message.tail,
            },
            consistency,
            fallback: text(message.fallback),
        })
    }
}

fn log_id_to_pb(LogId { leader_id: LeaderId { term, node_id }, index }: LogId) -> pb::provenance::LogId {
    pb::provenance::LogId { term, node_id, index }
}

fn log_id_from_pb(pb::provenance::LogId { term, node_id, index }: pb::provenance::LogId) -> LogId {
    LogId { leader_id: LeaderId { term, node_id }, index }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing::log_id;

    #[test]
    fn a_provenance_arrives_as_it_was_sent() {
        let empty = Provenance { origin: Origin::default(), consistency: Consistency::Linearizable, fallback: None };
        let origin = Origin {
            cluster_id: Some("c".to_owned()),
            node_id: Some(0),
            role: Some(Role::Learner),
            last_applied: Some(log_id(7)),
            committed: Some(log_id(0)),
            tail: 3,
        };
        let full = Provenance { origin, consistency: Consistency::Local, fallback: Some("no leader".to_owned()) };
        let roles = [None, Some(Role::Leader), Some(Role::Follower), Some(Role::Candidate), Some(Role::Learner)];
        let of_role = |role| Provenance { origin: Origin { role, ..Origin::default() }, ..empty.clone() };
        for sent in roles.map(of_role).into_iter().chain([empty.clone(), full]) {
            assert_eq!(Provenance::try_from(pb::Provenance::from(sent.clone())).unwrap(), sent);
        }
    }

    #[test]
    fn what_is_asked_for_is_what_was_meant_and_silence_is_local() {
        for asked in [Wanted::Local, Wanted::Linearizable, Wanted::Auto] {
            assert_eq!(wanted(pb::Consistency::from(asked).into()), Ok(asked));
        }
        assert_eq!(wanted(pb::ExportRequest::default().consistency), Ok(Wanted::Local));
    }

    #[test]
    fn what_has_no_meaning_here_is_refused_by_name() {
        let error = wanted(3).unwrap_err().to_string();
        assert_eq!(
            error,
            "ExportRequest.consistency is 3, which this version does not know: LOCAL 0, LINEARIZABLE 1, AUTO 2"
        );
        for (message, expected) in [
            (pb::Provenance { consistency: 2, ..pb::Provenance::default() }, "Provenance.consistency is 2,"),
            (pb::Provenance { role: 9, ..pb::Provenance::default() }, "Provenance.role is 9,"),
        ] {
            let error = Provenance::try_from(message).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
