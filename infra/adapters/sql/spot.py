"""What attempts showed of spot capacity, in SQL."""

from __future__ import annotations

from sqlalchemy import func, insert, select

from infra.adapters.sql.engine import Transactions, next_number
from infra.adapters.sql.tables import spot_sightings
from infra.core.spot.sightings import Sighting, SpotSighting


class SqlSpotStore:
    """A :class:`infra.ports.SpotStore`; see there for what each call promises."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, sighting: SpotSighting) -> None:
        same = select(spot_sightings.c.position).where(
            spot_sightings.c.run_id == sighting.run_id,
            spot_sightings.c.attempt == sighting.attempt,
            spot_sightings.c.what == sighting.what.value,
        )
        with self._transactions.writing() as connection:
            if connection.execute(same).one_or_none() is not None:
                return
            row = {
                "run_id": sighting.run_id,
                "attempt": sighting.attempt,
                "what": sighting.what.value,
                "position": next_number(connection, spot_sightings.c.position),
                "site": sighting.site,
                "offer": sighting.offer,
                "since_at": sighting.since_at,
                "at": sighting.at,
            }
            connection.execute(insert(spot_sightings).values(row))

    def sightings(self, limit_per_offer: int = 200) -> tuple[SpotSighting, ...]:
        newest_first = (spot_sightings.c.at.desc(), spot_sightings.c.position.desc())
        offer = (spot_sightings.c.site, spot_sightings.c.offer)
        rank = func.row_number().over(partition_by=offer, order_by=newest_first).label("rank_in_offer")
        ranked = select(spot_sightings, rank).subquery()
        query = select(ranked).where(ranked.c.rank_in_offer <= limit_per_offer)
        with self._transactions.reading() as connection:
            rows = connection.execute(query.order_by(ranked.c.at.desc(), ranked.c.position.desc())).all()
        return tuple(
            SpotSighting(row.run_id, row.attempt, row.site, row.offer, Sighting(row.what), row.since_at, row.at)
            for row in rows
        )
