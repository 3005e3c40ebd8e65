# shellcheck shell=bash
# Restores each database of $DUMPS/*.sql.gz; later changes are lost. For bash.
# Environment: MYSQL_HOST, MYSQL_PORT, MYSQL_ADMINISTRATOR, MYSQL_PWD, DUMPS (the folder).
set -euo pipefail

connection=(--host="$MYSQL_HOST" --port="$MYSQL_PORT" --user="$MYSQL_ADMINISTRATOR")

gunzip "$DUMPS"/*.sql.gz # all before the first restore, so that a damaged dump changes nothing
for dump in "$DUMPS"/*.sql; do
    database=$(basename "$dump" .sql)
    mysql "${connection[@]}" --execute="DROP DATABASE IF EXISTS \`$database\`"
    mysql "${connection[@]}" <"$dump"
    echo "restored $database"
done
