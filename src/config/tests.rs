//! Which setting counts, what is refused, and what is never shown.

use super::*;

fn resolve(flags: &[(&str, &str)], env: &[(&str, &str)], file: &str) -> Result<Config, Vec<String>> {
    let flags = flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let env = |wanted: &str| env.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
    Config::resolve(&flags, env, Some(&File { path: "shop.yaml".to_owned(), text: file.to_owned() }))
}

fn mistakes(flags: &[(&str, &str)]) -> String {
    resolve(flags, &[], "").expect_err("mistakes").join("\n")
}

fn find<'a>(config: &'a Config, name: &str) -> &'a Setting {
    config.settings().iter().find(|setting| setting.name == name).expect("it is a setting")
}

#[test]
fn a_flag_counts_before_the_environment_and_that_before_the_file() {
    let file = "partitions: 2 # few\nlisten: \"127.0.0.1:1\"\nproject: shop\n";
    let config =
        resolve(&[("partitions", "8")], &[("FRESHET_PARTITIONS", "4"), ("FRESHET_LISTEN", "127.0.0.1:2")], file);
    let config = config.expect("all right");
    assert_eq!((config.partitions, config.listen.port(), config.project.as_str()), (8, 2, "shop"));
    assert_eq!(find(&config, "partitions").origin, Origin::Flag);
    assert_eq!(find(&config, "listen").origin, Origin::Environment);
    assert_eq!(find(&config, "project").origin, Origin::File("shop.yaml".to_owned()));
    assert_eq!(find(&config, "data_dir").origin, Origin::Default);
}

#[test]
fn every_mistake_is_named_at_once() {
    let mistakes = resolve(&[("partitons", "8")], &[("FRESHET_LISTEN", "here")], "project: My Shop\nnothing\n");
    expect_test::expect![[r#"
        shop.yaml:2: it is not `name: value`
        `partitons` is not a setting: `freshet config` lists them
        setting `listen` (from environment): `here` is not an address such as `127.0.0.1:6566`
        setting `project` (from shop.yaml): `My Shop` is not a name: `a` to `z` first, then `a` to `z`, `0` to `9` and `_`"#]]
    .assert_eq(&mistakes.expect_err("mistakes").join("\n"));
}

#[test]
fn a_variable_that_is_nearly_a_setting_is_noticed_and_no_other() {
    assert_eq!(meant_by("FRESHET_KAFAK").as_deref(), Some("FRESHET_KAFKA"));
    assert_eq!(meant_by("FRESHET_JOB_MEMORY").as_deref(), Some("FRESHET_JOB_MEMORY_MB"));
    let others = ["FRESHET_KAFKA", "FRESHET_URL", "FRESHET_API_KEY", "FRESHET_LOG", "FRESHET_LOG_FORMAT", "KAFAK"];
    let of_kubernetes = ["FRESHET_PORT", "FRESHET_SERVICE_HOST", "FRESHET_PORT_6566_TCP_ADDR"];
    for other in others.iter().chain(&of_kubernetes) {
        assert_eq!(meant_by(other), None, "{other}");
    }
}

#[test]
fn servers_are_checked_by_the_look_of_their_settings() {
    let mistakes = mistakes(&[
        ("redis", "http://ada:secret@redis-1"),
        ("registry", "mysql://db"),
        ("offline", "hdfs://files"),
        ("kafka_options", "sasl.username=ada;hunter2"),
        ("create_topics", "yes"),
    ]);
    expect_test::expect![[r#"
        setting `kafka_options` (from flag): part 2 is not `name=value`; parts end at `;`
        setting `create_topics` (from flag): `yes` is not `true` or `false`
        setting `redis` (from flag): `http://ada:***@redis-1` does not start with `redis://` or `rediss://` or `redis+cluster://` or `rediss+cluster://`
        setting `registry` (from flag): `mysql://db` does not start with `postgres://` or `postgresql://`
        setting `offline` (from flag): `hdfs://files` does not start with `file://` or `s3://` or `gs://` or `az://`"#]]
    .assert_eq(&mistakes);
}

#[test]
fn a_part_of_the_work_needs_parts_that_can_be_shared() {
    expect_test::expect![[r#"
        setting `kafka` is empty: a process with the roles `stream` shares it, and the embedded log belongs to one process; name the brokers, such as `kafka-1:9092`
        setting `redis` is empty: a process with the roles `stream` shares it, and the embedded online store belongs to one process; name a Redis, such as `redis://redis-1:6379`
        setting `registry` is empty: a process with the roles `stream` shares it, and the SQLite registry belongs to one process; name a PostgreSQL, such as `postgres://freshet@db-1/freshet`
        setting `offline` is empty: a process with the roles `stream` shares it, and the offline store in `data_dir` belongs to one process; name a place that all see, such as `s3://bucket/freshet`"#]]
    .assert_eq(&mistakes(&[("roles", "stream")]));
    let servers = [("roles", "api"), ("kafka", "k:1"), ("redis", "redis://r"), ("registry", "postgres://p")];
    expect_test::expect!["setting `offline` is empty: a process with the roles `api` shares it, and the offline store in `data_dir` belongs to one process; name a place that all see, such as `s3://bucket/freshet`"]
        .assert_eq(&mistakes(&servers));
    let mut complete = servers.to_vec();
    complete.push(("offline", "s3://bucket/shop"));
    let config = resolve(&complete, &[], "").expect("complete");
    assert!(config.roles.has(Role::Api) && !config.roles.has(Role::Stream));
}

#[test]
fn the_service_of_one_command_does_nobody_elses_work_and_takes_nobody_elses_name() {
    let servers = [("kafka", "k:1"), ("redis", "redis://r"), ("registry", "postgres://p"), ("instance_id", "worker-1")];
    let embedded = resolve(&servers, &[], "").expect("all right").alone();
    assert!(embedded.roles.are_all(), "nobody else archives to its folder");
    let mut shared = servers.to_vec();
    shared.extend([("offline", "s3://bucket/shop"), ("roles", "stream"), ("listen", "0.0.0.0:1")]);
    let shared = resolve(&shared, &[], "").expect("all right").alone();
    assert_eq!((shared.roles, shared.listen.to_string().as_str()), (Roles::only(Role::Api), "127.0.0.1:0"));
    assert_eq!(shared.kafka.expect("given").instance_id, None);
}

#[test]
fn what_the_service_keeps_is_no_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = |name: &str| folder.path().join(name).display().to_string();
    for name in ["data/offline/events.csv", "lake/events.csv", "labels.csv"] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        std::fs::write(path, "").expect("written");
    }
    let (root, data_dir, offline) = (inside(""), inside("data"), format!("file://{}", inside("lake")));
    let settings = [("input_roots", root.as_str()), ("data_dir", &data_dir), ("offline", &offline)];
    let inputs = resolve(&settings, &[], "").expect("all right").inputs;
    assert!(inputs.files("labels.csv").is_ok());
    assert!(inputs.files("data/*/events.csv").is_err() && inputs.files("lake/events.csv").is_err());
}

#[test]
fn secrets_are_used_and_never_shown() {
    let config = resolve(
        &[("kafka", "k:1"), ("kafka_options", "sasl.password=hunter2"), ("redis", "redis://:hunter2@r")],
        &[("FRESHET_REGISTRY", "postgres://ada:hunter2@p/shop")],
        "",
    );
    let config = config.expect("all right");
    assert_eq!(config.kafka.as_ref().expect("given").options, [("sasl.password".to_owned(), "hunter2".to_owned())]);
    assert_eq!(config.registry.as_deref(), Some("postgres://ada:hunter2@p/shop"));
    assert_eq!(find(&config, "registry").value, "postgres://ada:***@p/shop");
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    let mistyped = resolve(&[], &[], "kafka_options=sasl.username=a;sasl.password=hunter2").expect_err("a mistake");
    assert_eq!(mistyped, ["shop.yaml:1: it is not `name: value`"]);
}

#[test]
fn a_certificate_and_its_key_come_together_and_limits_are_numbers() {
    expect_test::expect![[r#"
        setting `tls_key` (from default): it is empty: name the PEM file with the key of `tls_cert`
        setting `insecure` (from flag): `maybe` is not `true` or `false`
        setting `max_lookups` (from flag): `0` is not a whole number from 1 to 1048576"#]]
    .assert_eq(&mistakes(&[("tls_cert", "a.pem"), ("insecure", "maybe"), ("max_lookups", "0")]));
    let http = resolve(&[("tls_cert", "a.pem"), ("tls_key", "b.pem")], &[], "").expect("all right").http;
    assert_eq!(http.tls, Some(Tls { cert: "a.pem".into(), key: "b.pem".into() }));
    assert!(!http.insecure);
}

#[test]
fn input_roots_are_folders_and_buckets() {
    assert_eq!(roots("."), ["."]);
    assert_eq!(roots("/data:s3://shop/history:gs://b:"), ["/data", "s3://shop/history", "gs://b"]);
}

#[test]
fn a_shutdown_waits_for_load_balancers_only_where_there_may_be_one() {
    let delay = |flags: &[(&str, &str)]| resolve(flags, &[], "").expect("all right").drain_delay.as_millis();
    assert_eq!(delay(&[("listen", "127.0.0.1:1")]), 0);
    assert_eq!(delay(&[("listen", "0.0.0.0:1")]), 3_000);
    assert_eq!(delay(&[("listen", "0.0.0.0:1"), ("drain_delay_ms", "0")]), 0);
}
