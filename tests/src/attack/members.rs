//! An `--initial-cluster` list, its entries apart by spaces.

use backup_plugin::cluster::{Member, MemberList};

pub(super) fn attack(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut members = Vec::new();
    for entry in text.split(' ') {
        match entry.parse::<Member>() {
            Ok(member) => {
                assert_ne!(member.endpoint().port, 0, "{entry}");
                let again: Member = member.to_string().parse().expect("what was written is read");
                assert_eq!(again, member, "{entry}");
                members.push(member);
            }
            Err(error) => assert!(error.to_string().contains(entry), "{error}"),
        }
    }
    let count = members.len();
    let mut reversed = members.clone();
    reversed.reverse();
    let Ok(list) = MemberList::new(members) else {
        assert!(MemberList::new(reversed).is_err(), "refused only in this order: {text}");
        return;
    };
    assert_eq!(list.iter().count(), count, "{text}");
    assert_eq!(list.voters().first(), Some(&list.first_voter()), "{text}");
    assert_eq!(list.nodes().len(), list.membership().nodes.len());
    let canonical = list.canonical();
    assert_eq!(MemberList::new(reversed).expect("the same list").canonical(), canonical);
    let again = MemberList::new(canonical.lines().map(|line| line.parse().expect("a line is an entry")));
    assert_eq!(again.expect("the same list").canonical(), canonical);
}
