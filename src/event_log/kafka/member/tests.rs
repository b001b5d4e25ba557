//! What librdkafka does to a member where no test can have it do so by itself; on the brokers of `KAFKA_BROKERS`.

use std::slice::from_ref;

use super::*;
use crate::event_log::Delivery;
use crate::event_log::kafka::settings::create;
use crate::event_log::kafka::tests::{connect, options, topic_of};

/// Polls until the driver hears something.
async fn heard(member: &mut Member) -> Delivery {
    loop {
        for command in member.handoff.commands().expect("the driver is there") {
            assert!(member.obey(command).is_none(), "nobody leaves");
        }
        member.keep_time(Instant::now());
        member.poll();
        member.hand_over_all();
        let handoff = member.handoff.clone();
        if let Ok(delivery) = tokio::time::timeout(REST / 10, handoff.next()).await {
            return delivery.expect("the member is there").expect("nothing fails");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_librdkafka_gave_up_behind_what_is_no_record_is_read_on() {
    let topic = topic_of(&connect(options()).await, "marks", 1, 5).await;
    let client: BaseConsumer<Lines> =
        create(&options().member(&topic, from_ref(&topic)), "consumer").expect("a client");
    subscribe(&client, from_ref(&topic)).expect("subscribed");
    let membership = Membership { group: topic.clone(), topics: vec![topic.clone()], is_named: false };
    let mut member = Member::new(client, Arc::default(), "a member".to_owned(), membership);
    let Delivery::Assigned(places) = heard(&mut member).await else { panic!("expected an assignment") };
    // It reads from where nothing is, as behind a mark of a transaction that retention took, and we stand before that.
    member.handoff.seek(&places[0], 1_000);
    let commands = member.handoff.commands().expect("the driver is there");
    commands.into_iter().for_each(|command| assert!(member.obey(command).is_none(), "nobody leaves"));
    let reading = member.held.get_mut(&places[0]).expect("it is held");
    reading.seek(2, reading.epoch);
    let Delivery::Records { records, .. } = heard(&mut member).await else { panic!("expected records") };
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [2, 3, 4]);
}
