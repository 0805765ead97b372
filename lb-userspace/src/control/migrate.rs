//! A start that finds maps of another layout, or a dialog table of another size: see [`crate::dataplane::migrate`].

use super::start::{Options, check_settings};
use crate::{
    config::Config,
    core::{
        model::{Circumstances, Model},
        plan::Plan,
        standings::Standings,
        summary::Summary,
        wishes::Wishes,
    },
    dataplane::{
        OBJECT,
        adopt::Other,
        clock::{Clock, Now},
        layout::{self, Old},
        load::{self, Programs},
        migrate::{
            self, Report,
            copy::{Copying, Counts, Wanted},
            staging::{self, Stage},
        },
        netlink::Link,
        pins::PinDir,
        tables::Tables,
    },
    failure::Failure,
    fault::{self, Point},
    view::grouped,
};
use lb_common::{
    abi::ABI,
    limits::MAX_BACKENDS,
    map::{load::Load, settings::Settings},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A migration under way.
pub(super) struct Migration {
    other: Other,
    old: Old,
    pins: PinDir,
    max_dialogs: u32,
    since: Instant,
}

impl Migration {
    /// Begins one.
    ///
    /// # Errors
    /// When the old maps cannot be read.
    pub(super) fn begin(other: Other, config: &Config, options: &Options) -> Result<Migration, Failure> {
        let pins = options.places.pins.clone();
        let old = other.layout.read(&pins)?;
        let max_dialogs = config.dialogs.max;
        if other.layout.abi != ABI {
            tracing::info!(
                "the maps in {} have layout {}, this version has {}: making new ones beside them; the old program goes on \
                 steering meanwhile",
                pins.path().display(),
                other.layout.abi,
                ABI
            );
        }
        tracing::info!(
            "dialog table: room for {} -> {} dialogs; the old one goes on meanwhile",
            grouped(other.capacity.into()),
            grouped(max_dialogs.into())
        );
        Ok(Migration { other, old, pins, max_dialogs, since: Instant::now() })
    }

    /// Fills the new maps with everything but dialogs.
    ///
    /// # Errors
    /// When the dialogs could not be found or would age wrongly in them, or the kernel's.
    pub(super) fn fill(
        &self,
        tables: &mut Tables,
        config: &Config,
        wishes: &Wishes,
        settings: &Settings,
        options: &Options,
        links: &[Link],
    ) -> Result<(Model, Standings), Failure> {
        check_settings(&self.old.settings, settings, options)?;
        let before = Model::adopted(self.old.found.clone());
        let standings = Standings::found(&before, config, |backend| backend.probing.is_some());
        let circumstances = Circumstances {
            wishes: wishes.clone(),
            standings: standings.by_name().clone(),
            ..Circumstances::default()
        };
        let model =
            before.next(config, &circumstances).map_err(|e| Failure::bad("out_of_ids", e.to_string()))?;
        let plan = Plan::between(&Model::default(), &model);
        tables.apply(&plan.writes)?;
        self.go_on(tables, &model)?;
        let ports = links.iter().filter(|link| config.node.interfaces.contains(&link.name));
        tables.maps.set_ports(&ports.map(|link| link.ifindex).collect::<Vec<_>>())?;
        tables.maps.set_settings(settings)?;
        // Of rings and policies, from which the rest follows, nothing was read.
        let (services, zones, rings) = Default::default();
        let changes = Summary { services, zones, rings, ..Plan::between(&before, &model).summary };
        tracing::info!("made new maps: {changes}");
        fault::pass(Point::MigrationFilled);
        Ok((model, standings))
    }

    /// What was learned goes on: next hops, and what backends carried. Channels are counted as the dialogs come.
    fn go_on(&self, tables: &mut Tables, model: &Model) -> Result<(), Failure> {
        for (id, old) in &self.old.found.backends {
            let stays = |new: &lb_common::map::backend::Backend| {
                (new.address, new.port) == (old.address, old.port) && old.next_hop.ifindex != 0
            };
            if model.backends.get(id).is_some_and(stays) {
                tables.set_next_hop(*id, Some(old.next_hop))?;
            }
        }
        for (id, load) in self.old.backend_loads.iter().filter(|(id, _)| model.backends.contains_key(id)) {
            tables.maps.set_backend_load(*id, &Load { channels: 0, ..*load })?;
        }
        for (id, load) in self.old.zone_loads.iter().filter(|(id, _)| model.zones.contains_key(id)) {
            tables.maps.set_zone_load(*id, &Load { channels: 0, ..*load })?;
        }
        Ok(())
    }

    /// Copies the dialogs, and gets ready to give the interfaces the new program.
    ///
    /// # Errors
    /// When established calls find no room; then nothing has changed. The kernel's.
    pub(super) fn copy<'a>(
        &self,
        programs: &'a Programs,
        model: &Model,
        settings: &Settings,
        now: Now,
        report: &mut Report,
    ) -> Result<Copying<'a>, Failure> {
        let wanted = wanted(|id| model.backends.contains_key(&id), settings, now);
        let copying =
            migrate::copy_before(&self.pins, Arc::clone(&self.other.layout), programs, wanted, report)?;
        let without_room = report.before.established_without_room;
        if without_room > 0 {
            return Err(do_not_fit(without_room, self.max_dialogs, self.other.capacity));
        }
        tracing::info!("{} dialogs copied in {}", grouped(report.before.put), seconds(report.copying));
        migrate::mark(&self.pins, programs)?;
        Ok(copying)
    }

    /// Brings over what changed last, after the interfaces were given the new program, and removes the old maps.
    ///
    /// # Errors
    /// The kernel's; the next start goes on with it.
    pub(super) fn finish(self, mut copying: Copying<'_>, mut report: Report) -> Result<(), Failure> {
        fault::pass(Point::MigrationSwapped);
        migrate::copy_after(&mut copying, &mut report)?;
        migrate::remove_others(&self.pins, &self.other.layout)?;
        migrate::promote(&self.pins)?;
        let mut all = report.before;
        all += report.after;
        tracing::info!(
            "the new maps are in use after {}: {} that changed meanwhile {} brought over within {} of the change{}",
            seconds(self.since.elapsed()),
            grouped(report.after.news()),
            if report.after.news() == 1 { "was" } else { "were" },
            seconds(report.catching_up),
            left_behind(&all)
        );
        if all.others_without_room + all.established_without_room > 0 {
            tracing::warn!(
                "{} dialogs found no room in the new table, {} of them established; set dialogs.max higher",
                grouped(all.others_without_room + all.established_without_room),
                grouped(all.established_without_room)
            );
        }
        Ok(())
    }
}

/// Removes the new maps if the migration ends before an interface has come to use them.
pub(super) struct Staged(pub(super) PinDir);

impl Drop for Staged {
    fn drop(&mut self) {
        let removed = match staging::look(&self.0) {
            Ok(Stage::Unused) => staging::remove(&self.0),
            Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = removed {
            tracing::error!("cannot remove the maps that this start made: {failure}");
        }
    }
}

/// Goes on with a migration that was cut off, or removes what it left.
///
/// # Errors
/// When another version began it, or the kernel's.
pub(super) fn resume(options: &Options) -> Result<(), Failure> {
    let pins = &options.places.pins;
    match staging::look(pins)? {
        Stage::Absent => Ok(()),
        Stage::Unused => {
            tracing::warn!("an earlier start was cut off while it made new maps; the old ones are in use");
            staging::remove(pins)
        }
        Stage::Complete => {
            tracing::warn!(
                "an earlier start was cut off when its new maps were in use already; going on with it"
            );
            migrate::promote(pins)
        }
        Stage::Steering => {
            tracing::warn!(
                "an earlier start was cut off when its new maps had come into use; going on with it"
            );
            catch_up(pins)?;
            migrate::promote(pins)
        }
    }
}

/// Brings over what changed in the old table around the time at which the new one came into use.
fn catch_up(pins: &PinDir) -> Result<(), Failure> {
    let staging = pins.staging();
    if !layout::is_own(&staging)? {
        return Err(Failure::bad(
            "migration_unfinished",
            format!(
                "another version of sipsteer was cut off while it brought dialogs over into the maps in {}",
                staging.path().display()
            ),
        )
        .remedy("start that version once more, so that it can end this; calls go on meanwhile"));
    }
    let programs = load::load(&staging, OBJECT, options_max(&staging)?)?;
    migrate::swap_on(pins)?;
    let layout = match layout::recognise(pins, layout::numbers(pins)?)? {
        Ok(layout) => layout,
        Err(why) => {
            tracing::warn!(
                "the old maps cannot be read, and calls that changed at that moment may be missing: {why}"
            );
            return Ok(());
        }
    };
    let tables = Tables::open(&staging)?;
    let settings = tables.maps.settings()?;
    let now = Clock::open(&staging)?.now()?;
    let backends = tables.maps.backends()?;
    let jiffies = migrate::age(pins)?.as_secs_f64() * f64::from(now.hz);
    let ticks = (jiffies / f64::from(1_u32 << (settings.tick_shift & 31))) as u32;
    let wanted = Wanted {
        seen_within: Some(ticks.saturating_add(1)),
        ..wanted(|id| backends.contains_key(&id), &settings, now)
    };
    let mut report = Report::default();
    let mut copying = Copying::new(pins, Arc::clone(&layout), &programs, wanted)?;
    report.before = copying.all()?;
    migrate::copy_after(&mut copying, &mut report)?;
    tracing::info!("{} dialogs that had changed were brought over", grouped(report.before.news()));
    migrate::remove_others(pins, &layout)
}

/// Dialogs that the table in a pin directory was made for.
fn options_max(pins: &PinDir) -> Result<u32, Failure> {
    Ok(Tables::open(pins)?.maps.dialogs_capacity())
}

fn wanted(exists: impl Fn(u16) -> bool, settings: &Settings, now: Now) -> Wanted {
    Wanted {
        backends: (0..MAX_BACKENDS as u16).map(exists).collect(),
        settings: *settings,
        now: (now.jiffies >> (settings.tick_shift & 31)) as u32,
        seen_within: None,
    }
}

fn do_not_fit(without_room: u64, wanted: u32, present: u32) -> Failure {
    Failure::bad(
        "dialogs_do_not_fit",
        format!(
            "{} established calls find no room in a dialog table for {} dialogs; nothing was changed, and the old table \
             for {} goes on",
            grouped(without_room),
            grouped(wanted.into()),
            grouped(present.into())
        ),
    )
    .remedy(format!("set dialogs.max = {present} again, or start when fewer calls are up"))
}

/// What was not brought over, as the end of a sentence.
fn left_behind(counts: &Counts) -> String {
    let mut parts = Vec::new();
    for (count, what) in
        [(counts.expired, "whose lifetime was over"), (counts.of_no_backend, "of backends that are gone")]
    {
        if count > 0 {
            parts.push(format!("{} {what}", grouped(count)));
        }
    }
    if parts.is_empty() { String::new() } else { format!("; left behind: {}", parts.join(", ")) }
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_behind_is_told_only_if_something_is() {
        assert_eq!(left_behind(&Counts::default()), "");
        let counts = Counts { expired: 1200, of_no_backend: 1, ..Counts::default() };
        assert_eq!(
            left_behind(&counts),
            "; left behind: 1,200 whose lifetime was over, 1 of backends that are gone"
        );
    }

    #[test]
    fn a_table_that_is_too_small_is_told_with_the_size_that_did() {
        let failure = do_not_fit(12, 1024, 4096);
        assert!(failure.message.starts_with("12 established calls find no room in a dialog table for 1,024"));
        assert!(failure.remedy.unwrap().starts_with("set dialogs.max = 4096 again"));
    }
}
