//! Bringing the data plane up. Nothing on the host is touched before everything has been looked at, and packets meet the
//! program only when its maps are filled.

use super::{
    Places,
    daemon::{Daemon, Since},
    ended::Ended,
    file, hash_key,
    health::{self, Ears, Wards},
    listener::Watching,
    lock,
    measure::Measures,
    migrate::{self, Migration, Staged},
    recent::Recent,
    recount::Recounting,
    remote::Remote,
    slow_path, state,
    telemetry::Feeding,
    trial,
};
use crate::{
    config::{Complaints, Config, Loaded},
    core::{lifetimes, model::Circumstances, model::Model, plan::Plan, standings::Standings, wishes::Wishes},
    dataplane::{
        OBJECT, adopt,
        attach::{self, Attachment, Found, How},
        clock::Clock,
        host, layout,
        load::{self, Programs},
        migrate::Report,
        neighbours::Neighbours,
        netlink::{Events, Link},
        pins::PinDir,
        tables::Tables,
    },
    failure::{Failure, chain},
    fault::{self, Point},
    slowpath::serve::SlowPath,
};
use futures_util::StreamExt;
use lb_common::map::settings::Settings;
use std::{path::PathBuf, time::Duration};
use tokio::time::{Instant, timeout_at};

/// How long a start waits for the first answers of neighbours.
const FIRST_ANSWERS: Duration = Duration::from_secs(1);

/// What `sipsteer run` was told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Where things are kept.
    pub places: Places,
    /// Detach at exit.
    pub ephemeral: bool,
}

/// Looks whether the host can run this configuration on these of its interfaces; changes nothing.
///
/// # Errors
/// The first thing that is wrong, with its remedy.
pub async fn check_host(
    config: &Config,
    interfaces: &[String],
    pins: &PinDir,
    neighbours: &Neighbours,
) -> Result<(), Failure> {
    host::check_btf()?;
    host::check_addresses(neighbours.netlink(), config).await?;
    host::check_forwarding(config)?;
    attach::check(pins, interfaces, &neighbours.links())
}

/// Starts: checks, fills the maps, attaches, resolves next hops.
///
/// # Errors
/// What is wrong; the data plane of an earlier daemon goes on unchanged, and without one nothing of ours is left.
pub(super) async fn start(options: Options) -> Result<(Daemon, Events, Ears), Failure> {
    let loaded = file::load(&options.config, warn)?;
    let (loaded, trial) = trial::at_start(loaded, &options)?;
    let access = file::access(&loaded, &options.config, warn)?;
    let Loaded { config, text, .. } = loaded;
    host::check_capabilities()?;
    let lock = lock::take(&options.places)?;
    let pins = &options.places.pins;
    host::ensure_bpffs(pins)?;
    // Before the interfaces are looked at: it may give them another program.
    migrate::resume(&options)?;
    let (neighbours, mut events) = Neighbours::connect().await.map_err(|e| netlink_failure(&e))?;
    check_host(&config, &config.node.interfaces, pins, &neighbours).await?;
    let Raised { wishes, programs, tables, model, standings, settings, hz, attachments, slow_path } =
        raise(&config, &options, &neighbours.links())?;
    let (wards, ears) = Wards::new();
    let mut daemon = Daemon {
        visible_backends: health::visible_backends(&config),
        feeding: Feeding::new(&config),
        since: Since::now(),
        options,
        _lock: lock,
        config,
        text,
        trial,
        kept: wishes.clone(),
        wishes,
        standings,
        standings_due: false,
        wards,
        programs,
        tables,
        neighbours,
        model,
        settings,
        hz,
        attachments,
        interfaces_changed: false,
        slow_path,
        census_due: Instant::now(),
        recounting: Recounting::new(),
        swept: 0,
        recent: Recent::default(),
        reload_refused: None,
        measures: Measures::default(),
        ended: Ended::default(),
        announced: String::new(),
        watching: Watching::default(),
        remote: Remote::new(access),
    };
    daemon.listen_slowly();
    daemon.write_facts();
    daemon.drop_other_links();
    daemon.set_ports()?;
    // A backend may have come to another zone while no daemon ran.
    daemon.correct_zone_loads()?;
    daemon.watch_backends()?;
    first_answers(&mut daemon, &mut events).await;
    daemon.follow_probing();
    daemon.follow_telemetry(None);
    Ok((daemon, events, ears))
}

/// A data plane that steers.
struct Raised {
    wishes: Wishes,
    programs: Programs,
    tables: Tables,
    model: Model,
    standings: Standings,
    settings: Settings,
    hz: u32,
    attachments: Vec<Attachment>,
    slow_path: SlowPath,
}

/// Makes maps, takes those of an earlier daemon over or brings their dialogs over into new ones, and has the interfaces run the
/// program.
fn raise(config: &Config, options: &Options, links: &[Link]) -> Result<Raised, Failure> {
    let pins = &options.places.pins;
    let found = adopt::inspect(pins, config.dialogs.max)?;
    let hash_key = hash_key::read_or_make(&config.node.hash_key_file)?;
    let wishes = state::read(&options.places.state())?;

    let is_fresh = matches!(found, adopt::Found::Nothing);
    let guard = Fresh::begin(is_fresh, pins)?;
    let migration = match found {
        adopt::Found::Other(other) => Some(Migration::begin(other, config, options)?),
        adopt::Found::Nothing | adopt::Found::Fitting => None,
    };
    let staged = migration.as_ref().map(|_| Staged(pins.clone()));
    let maps = if migration.is_some() { pins.staging() } else { pins.clone() };
    let programs = load::load(&maps, OBJECT, config.dialogs.max)?;
    let now = Clock::open(&maps)?.now()?;
    let settings = lifetimes::settings(config, hash_key, now.hz);
    let mut tables = Tables::open(&maps)?;
    layout::write(&maps)?;
    let (model, standings) = match &migration {
        Some(migration) => migration.fill(&mut tables, config, &wishes, &settings, options, links)?,
        None if is_fresh => (fill_new(&mut tables, config, &wishes, &settings)?, Standings::default()),
        None => take_over(&mut tables, config, &wishes, &settings, options)?,
    };
    wishes.differences(config, &wishes).iter().for_each(|difference| tracing::info!("{difference}"));

    let mut report = Report::default();
    let copying = match &migration {
        Some(migration) => Some(migration.copy(&programs, &model, &settings, now, &mut report)?),
        None => None,
    };
    let attachments =
        attach::attach(pins, &programs, &config.node.interfaces, config.node.xdp_mode, Found::Stays, links)?;
    fault::pass(Point::Attached);
    if let (Some(migration), Some(copying)) = (migration, copying) {
        migration.finish(copying, report)?;
    }
    drop(staged);
    let slow_path = slow_path::start(pins, hash_key)?;
    guard.keep();
    tell(&attachments, &programs);
    let hz = now.hz;
    Ok(Raised { wishes, programs, tables, model, standings, settings, hz, attachments, slow_path })
}

/// Tells what somebody should know about a configuration that was taken.
pub(crate) fn warn(warnings: &Complaints) {
    tracing::warn!("{}", warnings.render(false).trim_end());
}

/// Fills maps that were just made.
fn fill_new(
    tables: &mut Tables,
    config: &Config,
    wishes: &Wishes,
    settings: &Settings,
) -> Result<Model, Failure> {
    let circumstances = Circumstances { wishes: wishes.clone(), ..Circumstances::default() };
    let model =
        Model::from_config(config, &circumstances).map_err(|e| Failure::bad("out_of_ids", e.to_string()))?;
    let plan = Plan::between(&Model::default(), &model);
    tables.apply(&plan.writes)?;
    // Last: a start that did not get this far leaves maps without our number, which the next start fills again.
    tables.maps.set_settings(settings)?;
    tracing::info!("made new maps: {}", plan.summary);
    Ok(model)
}

/// Changes the maps of an earlier daemon into those of this configuration.
fn take_over(
    tables: &mut Tables,
    config: &Config,
    wishes: &Wishes,
    settings: &Settings,
    options: &Options,
) -> Result<(Model, Standings), Failure> {
    check_settings(&tables.maps.settings()?, settings, options)?;
    let before = Model::adopted(tables.found()?);
    let standings = Standings::found(&before, config, |backend| backend.probing.is_some());
    let circumstances = Circumstances {
        wishes: wishes.clone(),
        standings: standings.by_name().clone(),
        ..Circumstances::default()
    };
    let model = before.next(config, &circumstances).map_err(|e| Failure::bad("out_of_ids", e.to_string()))?;
    let plan = Plan::between(&before, &model);
    tables.apply(&plan.writes)?;
    tables.maps.set_settings(settings)?;
    tracing::info!("took over the maps in {}: {}", options.places.pins.path().display(), plan.summary);
    Ok((model, standings))
}

/// Whether settings may replace others while calls are pinned.
///
/// # Errors
/// When dialogs could not be found, or would age wrongly, with them.
pub(super) fn check_settings(old: &Settings, new: &Settings, options: &Options) -> Result<(), Failure> {
    let again = "or run `sipsteer detach` and then `sipsteer run`, which forgets where the calls in progress are pinned";
    if old.hash_key != new.hash_key {
        return Err(Failure::bad(
            "hash_key_changed",
            "the hash key is another one than that of the dialogs in the table, which could not be found with it",
        )
        .remedy(format!("put the earlier key back into node.hash_key_file of {}, {again}", options.config.display())));
    }
    if old.tick_shift != new.tick_shift {
        return Err(Failure::bad(
            "tick_changed",
            "these lifetimes need another tick than the one that the dialogs in the table were stamped with",
        )
        .remedy(format!(
            "put the earlier [dialogs] lifetimes back into {}, {again}",
            options.config.display()
        )));
    }
    Ok(())
}

/// Removes what a first start made, unless it succeeds.
struct Fresh {
    pins: Option<PinDir>,
}

impl Fresh {
    /// What somebody left who died half way may be of another configuration: a first start makes everything anew.
    fn begin(fresh: bool, pins: &PinDir) -> Result<Fresh, Failure> {
        if fresh {
            load::unpin_maps(pins)?;
        }
        Ok(Fresh { pins: fresh.then(|| pins.clone()) })
    }

    fn keep(mut self) {
        self.pins = None;
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(pins) = &self.pins
            && let Err(e) = crate::dataplane::remove(pins)
        {
            tracing::error!("cannot remove what this start made: {e}");
        }
    }
}

pub(super) fn tell(attachments: &[Attachment], programs: &Programs) {
    let program = programs.steer_id().unwrap_or(0);
    for a in attachments {
        let mode = if a.generic { "generic" } else { "native" };
        let name = &a.interface;
        match a.how {
            How::Attached => {
                tracing::info!("{name}: attached program {program} in {mode} mode (link {})", a.link);
            }
            How::Adopted => {
                tracing::info!(
                    "{name}: put program {program} under the pinned link {} ({mode} mode)",
                    a.link
                );
            }
            How::Exchanged => tracing::warn!(
                "{name}: the earlier program was of another attach type, which the kernel does not replace; it was taken \
                 off and program {program} attached in {mode} mode (link {}), with a moment without any in between",
                a.link
            ),
            How::ModeChanged => tracing::warn!(
                "{name}: node.xdp_mode has changed; the program was taken off and program {program} attached in {mode} mode \
                 (link {}), with a moment without any in between",
                a.link
            ),
            How::AttachedAnew => tracing::warn!(
                "{name}: the pinned link was that of an interface that is gone; attached program {program} in {mode} \
                 mode (link {})",
                a.link
            ),
        }
        if let Some(reason) = &a.fallback {
            tracing::warn!(
                "{name}: its driver does not take XDP ({reason}), so the program runs in generic mode, which is \
                 several times slower; node.xdp_mode = \"native\" makes this an error, \"generic\" makes it silent"
            );
        }
    }
}

pub(crate) fn netlink_failure(error: &std::io::Error) -> Failure {
    Failure::bad("netlink", format!("cannot ask the kernel about the network: {}", chain(error)))
}

/// Waits until all backends have a next hop, but not for long.
async fn first_answers(daemon: &mut Daemon, events: &mut Events) {
    let deadline = Instant::now() + FIRST_ANSWERS;
    daemon.refresh_neighbours().await;
    while daemon.neighbours.waiting() {
        let Ok(Some(event)) = timeout_at(deadline, events.next()).await else { break };
        daemon.on_event(event);
        daemon.settle().await;
    }
    daemon.tell_unresolved();
}
