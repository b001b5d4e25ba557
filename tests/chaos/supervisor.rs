//! Starts again whatever ends by itself, as systemd or Kubernetes would, and counts it.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::sleep;

use crate::fleet::Fleet;

const EVERY: Duration = Duration::from_millis(200);

#[derive(Default)]
pub struct Supervisor(Mutex<Vec<String>>);

impl Supervisor {
    /// Looks at all members that nothing is done to, until it is dropped.
    pub async fn watch(&self, fleet: &Fleet) -> anyhow::Result<()> {
        loop {
            for member in fleet.all() {
                if let Some(mut held) = member.try_hold()
                    && let Some(words) = held.last_words()?
                {
                    println!("           {} ended by itself: {words}", member.name);
                    self.0.lock().expect("nobody panics with it").push(member.name.clone());
                    held.start().await?;
                }
            }
            sleep(EVERY).await;
        }
    }

    /// The names of those that ended by themselves, each as often as it did.
    pub fn ended(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics with it").clone()
    }
}
