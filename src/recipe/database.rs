//! Which services are databases: nobody declares it, so it is seen by their image, or by the variables that the images read at
//! their first start.

use crate::compose::Service;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Postgres,
    MariaDb,
}

impl Engine {
    /// What a service is by its image alone. An app has the variables of its database, too.
    pub fn of_service(service: &Service<'_>) -> Option<Engine> {
        Engine::of_image(service.image().and_then(|image| image.as_str()).unwrap_or_default())
    }

    /// By the last part of the image's name.
    fn of_image(image: &str) -> Option<Engine> {
        let name = image.split('@').next()?.rsplit('/').next()?.split(':').next()?;
        let is = |names: &[&str]| names.contains(&name);
        if is(&["postgres", "postgresql", "postgis", "pgvector", "timescaledb", "pgvecto-rs"]) {
            Some(Engine::Postgres)
        } else if is(&["mariadb", "mysql", "mysql-server", "percona", "percona-server"]) {
            Some(Engine::MariaDb)
        } else {
            None
        }
    }

    /// What a service is that somebody calls a database: by its image, or else by its variables.
    pub fn of_declared(service: &Service<'_>) -> Option<Engine> {
        let has = |start: &str| {
            service.environment().iter().any(|(name, _)| name.as_str().is_some_and(|name| name.starts_with(start)))
        };
        Engine::of_service(service).or_else(|| {
            if has("POSTGRES_") {
                Some(Engine::Postgres)
            } else if has("MARIADB_") || has("MYSQL_") {
                Some(Engine::MariaDb)
            } else {
                None
            }
        })
    }

    /// Where its image keeps its data.
    pub fn data(self) -> &'static str {
        match self {
            Engine::Postgres => "/var/lib/postgresql/data",
            Engine::MariaDb => "/var/lib/mysql",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_known_by_their_image() {
        for (image, engine) in [
            ("postgres", Some(Engine::Postgres)),
            ("ghcr.io/baosystems/postgis:17-3.5", Some(Engine::Postgres)),
            ("mariadb:11.8", Some(Engine::MariaDb)),
            ("docker.io/library/mysql@sha256:aa", Some(Engine::MariaDb)),
            ("prometheuscommunity/postgres-exporter:v0.15", None),
            ("nginx", None),
        ] {
            assert_eq!(Engine::of_image(image), engine, "{image}");
        }
    }
}
