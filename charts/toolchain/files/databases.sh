# shellcheck shell=bash
# Creates the databases and the user of each service; a second run only updates changed passwords. For bash.
# Environment: MYSQL_HOST, MYSQL_PORT, MYSQL_ADMINISTRATOR, MYSQL_PWD (the administrator's password, read by the client), OWN_SERVER,
# KFP_PASSWORD, ML_METADATA_PASSWORD, MLFLOW_PASSWORD.
set -euo pipefail

sql() { mysql --host="$MYSQL_HOST" --port="$MYSQL_PORT" --user="$MYSQL_ADMINISTRATOR" --connect-timeout=5 "$@"; }

quoted() { # TEXT: as an SQL string
    local text=${1//\\/\\\\}
    printf "'%s'" "${text//\'/\'\'}"
}

user() { # NAME PASSWORD PLUGIN DATABASE...
    local name=$1 password plugin=$3 database
    password=$(quoted "$2")
    shift 3
    # MySQL 8 executes this type of comment, and MariaDB, which uses that plugin by default, ignores it.
    [ -z "$plugin" ] || plugin="/*!80000 WITH $plugin */"
    echo "CREATE USER IF NOT EXISTS '$name'@'%' IDENTIFIED $plugin BY $password;"
    echo "ALTER USER '$name'@'%' IDENTIFIED $plugin BY $password;"
    for database in "$@"; do
        echo "CREATE DATABASE IF NOT EXISTS \`$database\` CHARACTER SET utf8mb4;"
        echo "GRANT ALL PRIVILEGES ON \`$database\`.* TO '$name'@'%';"
    done
}

tries=60 # of 5 s each: five minutes for a server that starts or is restored
until sql --execute='SELECT 1' >/dev/null; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "MySQL at $MYSQL_HOST:$MYSQL_PORT does not accept $MYSQL_ADMINISTRATOR" >&2; exit 1; }
    sleep 5
done

# ML Metadata's client supports no other plugin; on an external server its administrator has to enable it.
native=
[ "$OWN_SERVER" = false ] || native=mysql_native_password
{
    user kfp "$KFP_PASSWORD" "" mlpipeline
    user ml_metadata "$ML_METADATA_PASSWORD" "$native" metadb
    user mlflow "$MLFLOW_PASSWORD" "" mlflow mlflow_auth
} | sql
echo "databases and users exist"
