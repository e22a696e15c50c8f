"""The settings of the server on which an order depends: what is committed must survive a crash."""

from meltica.errors import DatabaseError
from meltica.persistence.database import Database, shown


async def check_durability(database: Database) -> None:
    """Raises DatabaseError unless a commit waits for the disk in the sessions of this database."""
    async with database.connection() as connection:
        rows = await (
            await connection.execute(
                "select name from pg_settings where setting = 'off'"
                " and name in ('fsync', 'synchronous_commit') order by name"
            )
        ).fetchall()
    if rows:
        names = " and ".join(f"`{name}`" for (name,) in rows)
        raise DatabaseError(
            f"trading not started: {names} off in the database ({shown(database.dsn)}), so committed orders"
            " could be lost in a crash; turn on what is off in the server, the role and the URL"
        )
