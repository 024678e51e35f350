#!/bin/sh
# Run once, by the image of PostgreSQL, when it makes a new cluster: three roles, none a superuser, each
# with a password of its own. `taskscheduler` owns the schema and migrates it; the other two are given
# their rights by `taskscheduler migrate --api-role … --worker-role …`.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set owner="$OWNER_PASSWORD" --set api="$API_PASSWORD" --set worker="$WORKER_PASSWORD" <<'SQL'
CREATE ROLE taskscheduler LOGIN NOSUPERUSER PASSWORD :'owner';
CREATE ROLE taskscheduler_api LOGIN NOSUPERUSER PASSWORD :'api';
CREATE ROLE taskscheduler_worker LOGIN NOSUPERUSER PASSWORD :'worker';
CREATE DATABASE taskscheduler OWNER taskscheduler;
REVOKE ALL ON DATABASE taskscheduler FROM PUBLIC;
GRANT CONNECT ON DATABASE taskscheduler TO taskscheduler_api, taskscheduler_worker;
SQL
