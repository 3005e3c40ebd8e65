"""Run MLflow's server: ``migrate`` updates its tables and users, ``serve`` starts the server.

The settings are in a file, since a database's address contains its password, which must not be a process's argument.
Environment: MYSQL_HOST, MYSQL_PORT, MYSQL_PASSWORD, MLFLOW_AUTH_ADMIN_USERNAME; for ``migrate`` also
MLFLOW_AUTH_ADMIN_PASSWORD, MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD and optionally PROMOTER_USERNAME and
PROMOTER_PASSWORD; for ``serve`` the variables of MLflow's server and of boto3.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

CONFIGURATION = Path("/tmp/basic_auth.ini")

# The tables of the first revision of MLflow's logins. MLflow cannot create them on MySQL: it gives two foreign keys one
# name, and names are unique in a MySQL database (github.com/mlflow/mlflow/issues/9642). It upgrades existing tables.
FIRST_TABLES = (
    """CREATE TABLE IF NOT EXISTS users (
        id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,
        username VARCHAR(255) UNIQUE, password_hash VARCHAR(255), is_admin BOOL)""",
    """CREATE TABLE IF NOT EXISTS experiment_permissions (
        id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,
        experiment_id VARCHAR(255) NOT NULL, user_id INTEGER NOT NULL, permission VARCHAR(255),
        CONSTRAINT fk_user_id FOREIGN KEY (user_id) REFERENCES users (id),
        CONSTRAINT unique_experiment_user UNIQUE (experiment_id, user_id))""",
    """CREATE TABLE IF NOT EXISTS registered_model_permissions (
        id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,
        name VARCHAR(255) NOT NULL, user_id INTEGER NOT NULL, permission VARCHAR(255),
        CONSTRAINT fk_registered_model_user_id FOREIGN KEY (user_id) REFERENCES users (id),
        CONSTRAINT unique_name_user UNIQUE (name, user_id))""",
)


def main() -> None:
    command, *options = sys.argv[1:]
    if command == "migrate":
        with migration_lock():
            migrate_tracking()
            migrate_logins()
            update_users()
    else:
        serve(options)


def address(database: str) -> str:
    password = quote(os.environ["MYSQL_PASSWORD"], safe="")
    return f"mysql+pymysql://mlflow:{password}@{os.environ['MYSQL_HOST']}:{os.environ['MYSQL_PORT']}/{database}"


@contextmanager
def migration_lock() -> Iterator[None]:
    """Wait while another replica migrates: MySQL's schema changes cannot be rolled back or repeated."""
    from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry
    from sqlalchemy import text

    with create_sqlalchemy_engine_with_retry(address("mlflow")).connect() as connection:
        connection.execute(text("SELECT GET_LOCK('mlflow-migration', 600)"))
        yield


def migrate_tracking() -> None:
    from mlflow.cli import cli

    cli(["db", "upgrade", address("mlflow")], standalone_mode=False)


def migrate_logins() -> None:
    from mlflow.server.auth.db.utils import migrate
    from sqlalchemy import create_engine, inspect, text

    engine = create_engine(address("mlflow_auth"))
    with engine.begin() as connection:
        if "alembic_version_auth" not in inspect(connection).get_table_names():
            for statement in FIRST_TABLES:
                connection.execute(text(statement))
    migrate(engine, "head")


def update_users() -> None:
    """Create the administrator and the users of steps and promoters, or set their passwords to those of the Secrets."""
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db(address("mlflow_auth"))
    for name, password, administrator in (
        (os.environ["MLFLOW_AUTH_ADMIN_USERNAME"], os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"], True),
        (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"], False),
        (os.environ.get("PROMOTER_USERNAME", ""), os.environ.get("PROMOTER_PASSWORD", ""), False),
    ):
        if not name:  # external S3 may have no Secret for promoters
            continue
        if store.has_user(name):
            store.update_user(name, password=password, is_admin=administrator)
        else:
            store.create_user(name, password, is_admin=administrator)


def serve(options: list[str]) -> None:
    # One team shares its experiments and models: every user may write to all of them, and manage their own.
    settings = {"default_permission": "EDIT", "database_uri": address("mlflow_auth").replace("%", "%%")}
    lines = ["[mlflow]", *(f"{key} = {value}" for key, value in settings.items())]
    CONFIGURATION.touch(mode=0o600)
    CONFIGURATION.write_text("\n".join(lines) + "\n")
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(CONFIGURATION)
    os.environ["MLFLOW_BACKEND_STORE_URI"] = address("mlflow")
    os.execvp("mlflow", ["mlflow", "server", "--app-name", "basic-auth", *options])


main()
