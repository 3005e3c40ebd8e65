"""Start MLflow's server: ``migrate`` brings its tables and users up to date, ``serve`` becomes the server.

A file, since the address of a database holds its password, which must not stand among a process's arguments.
Environment: MYSQL_HOST, MYSQL_PORT, MYSQL_PASSWORD, MLFLOW_AUTH_ADMIN_USERNAME; to migrate MLFLOW_AUTH_ADMIN_PASSWORD,
MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD too; to serve what MLflow's server and boto3 read.
"""

import os
import sys
from pathlib import Path
from urllib.parse import quote

CONFIGURATION = Path("/tmp/basic_auth.ini")


def main() -> None:
    verb, *options = sys.argv[1:]
    if verb == "migrate":
        migrate()
        keep_users()
    else:
        serve(options)


def address(database: str) -> str:
    password = quote(os.environ["MYSQL_PASSWORD"], safe="")
    return f"mysql+pymysql://mlflow:{password}@{os.environ['MYSQL_HOST']}:{os.environ['MYSQL_PORT']}/{database}"


def migrate() -> None:
    from mlflow.cli import cli

    cli(["db", "upgrade", address("mlflow")], standalone_mode=False)


def keep_users() -> None:
    """Make the administrator and the user of the steps, or give them the password of today's Secret."""
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db(address("mlflow_auth"))
    for name, password, administrator in (
        (os.environ["MLFLOW_AUTH_ADMIN_USERNAME"], os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"], True),
        (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"], False),
    ):
        if store.has_user(name):
            store.update_user(name, password=password, is_admin=administrator)
        else:
            store.create_user(name, password, is_admin=administrator)


def serve(options: list[str]) -> None:
    # One team shares its experiments and models: who is let in may write to all of them, and manage its own.
    settings = {"default_permission": "EDIT", "database_uri": address("mlflow_auth").replace("%", "%%")}
    lines = ["[mlflow]", *(f"{key} = {value}" for key, value in settings.items())]
    CONFIGURATION.touch(mode=0o600)
    CONFIGURATION.write_text("\n".join(lines) + "\n")
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(CONFIGURATION)
    os.environ["MLFLOW_BACKEND_STORE_URI"] = address("mlflow")
    os.execvp("mlflow", ["mlflow", "server", "--app-name", "basic-auth", *options])


main()
