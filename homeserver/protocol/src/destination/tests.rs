//! The queue against a log, a peer that comes and goes, and a process that dies at any moment.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_700_000_000_000;

fn in_flight(txn_id: &str, through: i64) -> Option<InFlight> {
    Some(InFlight {
        txn_id: txn_id.to_owned(),
        through,
    })
}

fn send(txn_id: &str) -> Poll {
    Poll::Send {
        txn_id: txn_id.to_owned(),
    }
}

#[test]
fn what_is_owed_is_loaded_sent_and_settled() {
    let mut peer = Destination::restore(Saved::default(), 0);
    assert_eq!(peer.poll(NOW), Poll::Idle);
    peer.handle_wake(7);
    assert_eq!(
        peer.poll(NOW),
        Poll::LoadNext {
            after: 0,
            through: 7,
            newest_per_room: false
        }
    );
    assert_eq!(peer.poll(NOW), Poll::Idle, "one load at a time");
    peer.handle_wake(9);
    peer.handle_loaded(in_flight("a", 5));
    assert_eq!(peer.poll(NOW), send("a"));
    assert_eq!(peer.poll(NOW), Poll::Idle, "one transaction at a time");
    peer.handle_sent(NOW);
    assert_eq!(
        peer.poll(NOW),
        Poll::LoadNext {
            after: 5,
            through: 9,
            newest_per_room: false
        }
    );
    peer.handle_loaded(None);
    assert_eq!((peer.poll(NOW), peer.saved().cursor), (Poll::Idle, 9));
}

#[test]
fn a_failed_transaction_is_sent_again_under_its_identifier() {
    let mut peer = Destination::restore(Saved::default(), 1);
    peer.poll(NOW);
    peer.handle_loaded(in_flight("a", 1));
    assert_eq!(peer.poll(NOW), send("a"));
    peer.handle_failed(NOW, 0, None);
    let Poll::Wait { until_ms } = peer.poll(NOW) else {
        panic!("waits")
    };
    assert_eq!(until_ms, NOW + BACK_OFF_MS_MIN / 2);
    assert_eq!(peer.poll(until_ms), send("a"));
    // A restart in the middle of an attempt sends the same again.
    let mut again = Destination::restore(peer.saved().clone(), 1);
    assert_eq!(again.poll(until_ms), send("a"));
}

#[test]
fn pauses_double_up_to_an_hour_and_jitter_spreads_them() {
    let full = |failures| back_off_ms(failures, u32::MAX).max(back_off_ms(failures, 0));
    assert_eq!(back_off_ms(0, 0), BACK_OFF_MS_MIN / 2);
    assert!(full(3) > full(1));
    for failures in [0, 5, 11, 12, 31, 32, 33, u32::MAX] {
        for jitter in [0, 1, 12_345, u32::MAX] {
            let pause_ms = back_off_ms(failures, jitter);
            assert!((BACK_OFF_MS_MIN / 2..=BACK_OFF_MS_MAX).contains(&pause_ms));
        }
    }
    assert_eq!(back_off_ms(30, 0), BACK_OFF_MS_MAX / 2);
}

#[test]
fn a_peers_wish_to_be_left_alone_is_honoured_within_reason() {
    let mut peer = Destination::restore(
        Saved {
            in_flight: in_flight("a", 1),
            ..Saved::default()
        },
        1,
    );
    peer.poll(NOW);
    peer.handle_failed(NOW, 0, Some(60_000));
    assert_eq!(
        peer.poll(NOW),
        Poll::Wait {
            until_ms: NOW + 60_000
        }
    );
    peer.poll(NOW + 60_000);
    peer.handle_failed(NOW + 60_000, 0, Some(u64::MAX));
    assert_eq!(
        peer.poll(NOW + 60_000),
        Poll::Wait {
            until_ms: NOW + 60_000 + BACK_OFF_MS_MAX
        }
    );
}

#[test]
fn a_sign_of_life_ends_a_wait_at_once() {
    let mut peer = Destination::restore(
        Saved {
            in_flight: in_flight("a", 1),
            failures: 20,
            ..Saved::default()
        },
        1,
    );
    peer.poll(NOW);
    peer.handle_failed(NOW, 0, None);
    assert!(matches!(peer.poll(NOW), Poll::Wait { .. }));
    peer.handle_life();
    assert_eq!(peer.poll(NOW), send("a"));
    // Life during an attempt that then fails: soon again, but not in a tight loop.
    peer.handle_life();
    peer.handle_failed(NOW, 0, None);
    assert_eq!(
        peer.poll(NOW),
        Poll::Wait {
            until_ms: NOW + BACK_OFF_MS_MIN
        }
    );
}

#[test]
fn a_clock_that_was_set_back_does_not_silence_a_peer() {
    let saved = Saved {
        in_flight: in_flight("a", 1),
        retry_at_ms: NOW,
        ..Saved::default()
    };
    let mut peer = Destination::restore(saved, 1);
    let earlier = NOW - 10 * BACK_OFF_MS_MAX;
    assert_eq!(
        peer.poll(earlier),
        Poll::Wait {
            until_ms: earlier + BACK_OFF_MS_MAX
        }
    );
    assert_eq!(peer.poll(earlier + BACK_OFF_MS_MAX), send("a"));
}

#[test]
fn after_a_long_absence_the_newest_event_of_each_room_is_sent_then_all() {
    let mut peer = Destination::restore(
        Saved {
            in_flight: in_flight("a", 1),
            ..Saved::default()
        },
        1,
    );
    peer.poll(NOW);
    peer.handle_failed(NOW, 0, None);
    peer.handle_wake(50);
    let later = NOW + CATCH_UP_AFTER_MS;
    assert_eq!(peer.poll(later), send("a"));
    peer.handle_sent(later);
    peer.handle_wake(60);
    assert_eq!(
        peer.poll(later),
        Poll::LoadNext {
            after: 1,
            through: 50,
            newest_per_room: true
        }
    );
    peer.handle_loaded(in_flight("b", 44));
    // A restart keeps catching up.
    let mut peer = Destination::restore(peer.saved().clone(), 60);
    assert_eq!(peer.poll(later), send("b"));
    peer.handle_sent(later);
    assert_eq!(
        peer.poll(later),
        Poll::LoadNext {
            after: 44,
            through: 50,
            newest_per_room: true
        }
    );
    peer.handle_loaded(None);
    assert_eq!(
        peer.poll(later),
        Poll::LoadNext {
            after: 50,
            through: 60,
            newest_per_room: false
        }
    );
}

#[test]
fn a_short_absence_is_no_reason_to_leave_anything_out() {
    let mut peer = Destination::restore(
        Saved {
            in_flight: in_flight("a", 1),
            ..Saved::default()
        },
        9,
    );
    peer.poll(NOW);
    peer.handle_failed(NOW, 0, None);
    peer.poll(NOW + CATCH_UP_AFTER_MS - 1);
    peer.handle_sent(NOW + CATCH_UP_AFTER_MS - 1);
    assert_eq!(
        peer.poll(NOW + CATCH_UP_AFTER_MS - 1),
        Poll::LoadNext {
            after: 1,
            through: 9,
            newest_per_room: false
        }
    );
}

#[test]
fn a_failed_load_is_tried_again_later() {
    let mut peer = Destination::restore(Saved::default(), 3);
    peer.poll(NOW);
    peer.handle_load_failed(NOW + 500);
    assert_eq!(
        peer.poll(NOW),
        Poll::Wait {
            until_ms: NOW + 500
        }
    );
    assert!(matches!(peer.poll(NOW + 500), Poll::LoadNext { .. }));
    // An answer to a load that nobody asked for changes nothing.
    let mut idle = Destination::restore(Saved::default(), 0);
    idle.handle_loaded(in_flight("x", 5));
    assert_eq!(idle, Destination::restore(Saved::default(), 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A log of positions, a peer that fails at random for less than the time of catching up, and a process that dies at
    /// random: the peer gets every position, in order, and under each identifier always the same.
    #[test]
    fn nothing_is_lost_and_nothing_is_mixed_up(moves in prop::collection::vec((0_u8..6, any::<u32>()), 1..120)) {
        let (mut head, mut now_ms, mut txn) = (0_i64, NOW, 0);
        let mut peer = Destination::restore(Saved::default(), 0);
        // What is on disk: the saved queue, and the items of the transaction in flight.
        let mut disk = (peer.saved().clone(), Vec::new());
        let mut received = BTreeSet::new();
        let mut last = 0;
        let finish = std::iter::repeat_n((5_u8, 0_u32), 400);
        for (action, number) in moves.into_iter().chain(finish) {
            match action {
                0 => {
                    head += i64::from(number % 5);
                    peer.handle_wake(head);
                }
                1 => {
                    // Killed: what was not saved is gone.
                    peer = Destination::restore(disk.0.clone(), head);
                }
                2 => peer.handle_life(),
                _ => {}
            }
            match peer.poll(now_ms) {
                Poll::LoadNext { after, through, newest_per_room } => {
                    prop_assert!(!newest_per_room);
                    let items = (after + 1..=through).take(3).collect::<Vec<_>>();
                    let loaded = items.last().map(|end| {
                        txn += 1;
                        InFlight { txn_id: txn.to_string(), through: *end }
                    });
                    peer.handle_loaded(loaded);
                    disk = (peer.saved().clone(), items);
                }
                Poll::Send { txn_id } => {
                    let unlucky = action == 3;
                    if !unlucky || number % 2 == 0 {
                        // The peer takes it, perhaps again: under the same identifier it must be the same.
                        received.insert((txn_id.parse::<i64>().unwrap(), disk.1.clone()));
                    }
                    if unlucky {
                        peer.handle_failed(now_ms, number, None);
                    } else if action != 4 {
                        peer.handle_sent(now_ms);
                        last = peer.saved().cursor;
                    } else {
                        // Killed between the peer's answer and our commit.
                        peer = Destination::restore(disk.0.clone(), head);
                    }
                    disk.0 = peer.saved().clone();
                }
                Poll::Wait { until_ms } => {
                    prop_assert!(until_ms > now_ms && until_ms - now_ms <= BACK_OFF_MS_MAX);
                    now_ms += (until_ms - now_ms).min(5_000);
                }
                Poll::Idle => {}
            }
        }
        prop_assert_eq!(last, head);
        let ids = received.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>();
        prop_assert_eq!(ids.len(), received.len());
        let got = received.into_iter().flat_map(|(_, items)| items).collect::<Vec<_>>();
        prop_assert_eq!(got, (1..=head).collect::<Vec<_>>());
    }
}
