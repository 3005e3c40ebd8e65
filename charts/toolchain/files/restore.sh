# shellcheck shell=bash
# Puts each database of $DUMPS/*.sql.gz back as it was: what was written since is lost. For bash.
# Environment: MYSQL_HOST, MYSQL_PORT, MYSQL_ADMINISTRATOR, MYSQL_PWD, DUMPS (the folder).
set -euo pipefail

connection=(--host="$MYSQL_HOST" --port="$MYSQL_PORT" --user="$MYSQL_ADMINISTRATOR")

gunzip "$DUMPS"/*.sql.gz # all of them before the first is touched: a damaged one ends it here
for dump in "$DUMPS"/*.sql; do
    database=$(basename "$dump" .sql)
    mysql "${connection[@]}" --execute="DROP DATABASE IF EXISTS \`$database\`"
    mysql "${connection[@]}" <"$dump"
    echo "restored $database"
done
