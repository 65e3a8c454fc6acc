//! What is remembered of counts, and what is not.

use ruma::{owned_room_id, owned_user_id};

use super::*;

#[test]
fn a_receipt_during_a_count_is_not_lost() {
    let unread = Unread::new();
    let key = (owned_user_id!("@bob:x.org"), owned_room_id!("!a:x.org"));
    let mark = unread.marks.of(&key);
    unread.remember(key.clone(), Remembered::default(), mark);
    assert!(unread.rooms.get(&key).is_some());
    // The next count began before this receipt, and ends after it.
    unread.read("@bob:x.org", "!a:x.org");
    unread.remember(key.clone(), Remembered::default(), mark);
    assert!(unread.rooms.get(&key).is_none());
}

#[test]
fn what_others_read_takes_nothing_from_a_count() {
    let unread = Unread::new();
    let key = (owned_user_id!("@bob:x.org"), owned_room_id!("!a:x.org"));
    let mark = unread.marks.of(&key);
    unread.read("@bob:x.org", "!b:x.org");
    unread.read("@eve:x.org", "!a:x.org");
    unread.forget_room("@eve:x.org", "!a:x.org");
    unread.forget("@eve:x.org");
    unread.forget_rooms(&["!b:x.org"].into());
    unread.remember(key.clone(), Remembered::default(), mark);
    assert!(unread.rooms.get(&key).is_some());
    for change in [
        (|unread: &Unread| unread.forget("@bob:x.org")) as fn(&Unread),
        |unread: &Unread| unread.forget_room("@bob:x.org", "!a:x.org"),
        |unread: &Unread| unread.forget_rooms(&["!a:x.org"].into()),
    ] {
        let mark = unread.marks.of(&key);
        change(&unread);
        unread.remember(key.clone(), Remembered::default(), mark);
        assert!(unread.rooms.get(&key).is_none());
    }
}
