//! Turns, epochs, room and what is held back.

use super::*;

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: "clicks".to_owned(), partition }
}

fn batch(next: u64, bytes: usize) -> Batch {
    Batch { records: Vec::new(), next, log_end: next, bytes }
}

fn of_two_partitions() -> Handoff {
    let handoff = Handoff::default();
    handoff.assigned(vec![at(0), at(1)]);
    assert!(matches!(handoff.lock().take(), Some(Ok(Delivery::Assigned(_)))));
    handoff
}

fn taken(handoff: &Handoff) -> Option<(u32, u64)> {
    match handoff.lock().take()? {
        Ok(Delivery::Records { partition, next, .. }) => Some((partition.partition, next)),
        other => panic!("expected records, got {other:?}"),
    }
}

#[test]
fn partitions_take_turns() {
    let handoff = of_two_partitions();
    for (partition, next) in [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)] {
        assert_eq!(handoff.put(&at(partition), 0, batch(next, 1)), Put::Taken);
    }
    let order: Vec<_> = std::iter::from_fn(|| taken(&handoff)).collect();
    assert_eq!(order, [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3)]);
}

#[test]
fn a_seek_ends_what_was_read_before_it() {
    let handoff = of_two_partitions();
    handoff.put(&at(0), 0, batch(5, 1));
    handoff.seek(&at(0), 2);
    assert_eq!(handoff.put(&at(0), 0, batch(6, 1)), Put::Stale);
    assert_eq!(taken(&handoff), None);
    assert_eq!(handoff.put(&at(0), 1, batch(3, 1)), Put::Taken);
    assert_eq!(taken(&handoff), Some((0, 3)));
    assert_eq!(handoff.put(&at(7), 0, batch(1, 1)), Put::Stale, "it is not ours");
}

#[test]
fn what_was_read_under_an_earlier_assignment_is_not_of_this_one() {
    let handoff = of_two_partitions();
    handoff.seek(&at(0), 900);
    handoff.revoked(vec![at(0)]);
    handoff.assigned(vec![at(0)]);
    handoff.seek(&at(0), 500);
    let commands = handoff.commands().expect("the driver is there");
    let epochs: Vec<u64> = commands
        .into_iter()
        .map(|command| match command {
            Command::Seek { epoch, .. } => epoch,
            _ => panic!("it was sought and nothing else"),
        })
        .collect();
    assert_eq!(handoff.put(&at(0), epochs[0], batch(1_000, 1)), Put::Stale);
    assert_eq!(handoff.put(&at(0), epochs[1], batch(501, 1)), Put::Taken);
}

#[test]
fn what_could_not_be_read_before_a_seek_is_no_news_after_it() {
    let handoff = of_two_partitions();
    let gone = || Error::OutOfRange { topic: "clicks".to_owned(), partition: 0, offset: 7, held: 9..12 };
    handoff.unreadable(&at(0), 0, gone());
    handoff.seek(&at(0), 2);
    assert!(handoff.lock().take().is_none(), "the driver reads from elsewhere by now");
    handoff.unreadable(&at(0), 1, gone());
    assert!(matches!(handoff.lock().take(), Some(Err(Error::OutOfRange { .. }))));
}

#[test]
fn a_paused_partition_is_held_back_once_too_much_waits_and_then_takes_no_room_from_others() {
    let handoff = of_two_partitions();
    handoff.pause(&at(0));
    assert_eq!(handoff.put(&at(0), 0, batch(1, LANE_ROOM)), Put::Taken, "there is room");
    assert_eq!(handoff.put(&at(0), 0, batch(2, ROOM)), Put::HoldBack);
    assert!(handoff.has_room(false));
    handoff.put(&at(1), 0, batch(1, 1));
    assert_eq!(taken(&handoff), Some((1, 1)));
    handoff.resume(&at(0));
    assert!(!handoff.has_room(true), "the driver may take it now");
    let command = handoff.commands().expect("the driver is there").pop_front();
    assert!(matches!(command, Some(Command::GoOn(partition)) if partition == at(0)));
    assert_eq!((taken(&handoff), taken(&handoff)), (Some((0, 1)), Some((0, 2))));
}

#[test]
fn others_are_polled_for_once_the_driver_has_let_what_fills_the_room_wait() {
    let handoff = of_two_partitions();
    handoff.put(&at(0), 0, batch(1, ROOM));
    handoff.pause(&at(0));
    assert!(!handoff.has_room(false), "the pause may be short");
    assert!(handoff.rest(Duration::ZERO), "nobody came");
    assert!(handoff.has_room(true));
    handoff.put(&at(1), 0, batch(1, 1));
    assert!(!handoff.has_room(true), "there is something to take");
    assert_eq!(taken(&handoff), Some((1, 1)));
    assert_eq!(handoff.put(&at(0), 0, batch(2, 1)), Put::HoldBack);
    assert!(handoff.has_room(false));
}

#[test]
fn revoked_partitions_have_nothing_left() {
    let handoff = of_two_partitions();
    handoff.put(&at(0), 0, batch(1, 1));
    handoff.revoked(vec![at(0)]);
    assert!(matches!(handoff.lock().take(), Some(Ok(Delivery::Revoked(_)))));
    assert_eq!(taken(&handoff), None);
    assert_eq!(handoff.put(&at(0), 0, batch(2, 1)), Put::Stale);
}
