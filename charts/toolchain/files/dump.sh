# shellcheck shell=bash
# Dumps each existing database into DATABASE.sql.gz, without blocking writes. For bash.
# Environment: MYSQL_HOST, MYSQL_PORT, MYSQL_ADMINISTRATOR, MYSQL_PWD, DUMPS (the folder).
set -euo pipefail

connection=(--host="$MYSQL_HOST" --port="$MYSQL_PORT" --user="$MYSQL_ADMINISTRATOR")

for database in mlpipeline metadb mlflow mlflow_auth; do
    found=$(mysql "${connection[@]}" --batch --skip-column-names --execute="SHOW DATABASES LIKE '$database'")
    [ -n "$found" ] || continue
    mysqldump "${connection[@]}" --single-transaction --no-tablespaces --routines --databases "$database" |
        gzip >"$DUMPS/$database.sql.gz"
    echo "dumped $database"
done
