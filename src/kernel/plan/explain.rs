//! A compiled view as text: what is kept, and what it costs. For `freshet explain`.

use std::fmt::{self, Write};

use crate::kernel::plan::cost::{grid_tiles, state_cost, tiles_over};
use crate::kernel::plan::fingerprint::computation;
use crate::kernel::plan::{FeaturePlan, Grid, ViewPlan};
use crate::kernel::time::Micros;
use crate::kernel::window::Sliding;

pub fn explain(view: &ViewPlan) -> String {
    let mut text = String::new();
    write_view(view, &mut text).expect("a String takes all that is written to it");
    text
}

fn write_view(view: &ViewPlan, out: &mut String) -> fmt::Result {
    writeln!(out, "feature view {}, version {}", view.name, view.fingerprint)?;
    let keys = view.entity.keys.iter().zip(&view.key_fields);
    let keys: Vec<String> = keys.map(|((key, _), field)| format!("{key} = {}", view.column_name(*field))).collect();
    writeln!(out, "  entity            {} ({})", view.entity.name, keys.join(", "))?;
    let event_time = &view.source.fields[view.source.event_time].name;
    writeln!(out, "  source            {}, event time {event_time}", view.source.name)?;
    for (name, expression) in &view.columns {
        writeln!(out, "  column            {name} {} = {}", expression.value_type(), expression.text())?;
    }
    if let Some(filter) = &view.filter {
        writeln!(out, "  where             {}", filter.text())?;
    }
    writeln!(out, "  allowed lateness  {}", or(view.allowed_lateness, "unlimited"))?;
    writeln!(out, "  reach             {}", or(view.reach, "unlimited"))?;
    writeln!(out, "  max age           {}", or(view.max_age, "none"))?;
    for (index, grid) in view.grids.iter().enumerate() {
        write_grid(view, index, grid, out)?;
    }
    let cost = state_cost(view);
    writeln!(out, "state for a busy entity: {} tiles, about {}", cost.tiles, bytes(cost.bytes))?;
    if cost.keeps_values {
        writeln!(out, "  and the values that are kept (first, last, distinct and the like)")?;
    }
    if view.source.event_id.is_some() {
        let window = view.source.dedup_window;
        writeln!(out, "  and the ids of its events of {window}, which each flush with a new one writes whole")?;
    }
    Ok(())
}

fn write_grid(view: &ViewPlan, index: usize, grid: &Grid, out: &mut String) -> fmt::Result {
    let size = grid.hop.map_or("lifetime".to_owned(), |hop| format!("tiles of {hop}"));
    let (tiles, slots) = (grid_tiles(grid), grid.slots.len());
    writeln!(out, "grid {}, {size}: at most {tiles}, of {slots} {}", index + 1, plural(slots, "slot"))?;
    let features: Vec<&FeaturePlan> = view.features.iter().filter(|feature| feature.grid == index).collect();
    for feature in features {
        let tiles = feature.window.map_or(1, window_tiles);
        let cost = format!("slot {}, {tiles} {}", feature.slot + 1, plural(tiles as usize, "tile"));
        writeln!(out, "  {} {}: {}; {cost}", feature.name, feature.value_type, computation(view, feature))?;
    }
    Ok(())
}

fn window_tiles(window: Sliding) -> i64 {
    tiles_over(window.length, window.hop)
}

fn bytes(count: i64) -> String {
    if count < 1_000 { format!("{count} bytes") } else { format!("{:.1} kB", count as f64 / 1e3) }
}

fn or(duration: Option<Micros>, none: &str) -> String {
    duration.map_or(none.to_owned(), |duration| duration.to_string())
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}
