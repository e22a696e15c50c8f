"""The faults of the trading soak: each method of `TradingFaults` injects one, and removes it again."""

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.support.serving import Gateway, Project, frozen
from tests.support.venues import Venue

STARTS = 10
START_SECONDS = 90.0
"""How long the lambdas may take until they trade."""
FEES = (
    {"maker": "0.001", "taker": "0.001"},
    {"maker": "0.001", "taker": "0.001", "currency": "base"},
    {"maker": "0.0005", "taker": "0.001", "currency": "received"},
    {"maker": "-0.0002", "taker": "0.001", "currency": "ETH", "price": "3000"},
)


@dataclass
class TradingScene:
    """The processes of a run. `gateway` is replaced by each restart."""

    project: Project
    server: EmbeddedPostgres
    venue: Venue
    gateway: Gateway
    ids: list[str]
    behavior: dict[str, object]
    """The venue's usual faults."""

    @property
    def folder(self) -> Path:
        """Where the lambdas write."""
        return self.project.folder


class TradingFaults:
    """Injects faults into a scene."""

    def __init__(self, scene: TradingScene, picks: random.Random, pace: float) -> None:
        """`pace` below 1 shortens the faults."""
        self.injected: Counter[str] = Counter()
        self._scene = scene
        self._random = picks
        self._pace = pace

    def plan(self) -> list[list[str]]:
        """Returns the kinds of the next rounds in random order, each kind at least once."""
        passing = [
            self.lose_answers.__name__,
            self.lose_answers.__name__,
            self.late_orders.__name__,
            self.lost_orders.__name__,
            self.lost_cancels.__name__,
            self.mute.__name__,
            self.fills_after_end.__name__,
            self.change_fees.__name__,
            self.transfer.__name__,
            self.foreign_order.__name__,
            self.older_balance.__name__,
            self.forget_order.__name__,
            self.disconnect.__name__,
            self.disconnect.__name__,
            self.freeze_database.__name__,
            self.kill_database.__name__,
            self.kill_gateway.__name__,
            self.kill_gateway.__name__,
            self.stop_gateway.__name__,
            self.kill_both.__name__,
            self.freeze_gateway.__name__,
        ]
        self._random.shuffle(passing)
        size = 4 if self._pace >= 1.0 else 7
        return [passing[start : start + size] for start in range(0, len(passing), size)]

    def inject(self, kind: str) -> None:
        """Injects one fault."""
        self.injected[kind] += 1
        getattr(self, kind)()

    def remove(self) -> None:
        """Removes what would keep orders from ending."""
        self._scene.venue.fault(mute=False, fillsAfterEnd=False)

    def pause(self, low: float, high: float) -> None:
        """Waits between two faults, or while one lasts."""
        threading.Event().wait(self._random.uniform(low, high) * self._pace)

    # The venue

    def lose_answers(self) -> None:
        """Loses answers to requests that are carried out at once."""
        for method in ("POST", "PATCH", "DELETE"):
            self._scene.venue.fault(loseAnswers={"method": method, "count": 3})

    def late_orders(self) -> None:
        """Loses answers to orders that are carried out 8 s later."""
        self._scene.venue.fault(loseAnswers={"method": "POST", "count": 3, "carriedOut": "8s"})

    def lost_orders(self) -> None:
        """Loses orders that are never carried out, and their answers."""
        self._scene.venue.fault(loseAnswers={"method": "POST", "count": 3, "carriedOut": "never"})

    def lost_cancels(self) -> None:
        """Loses cancels that are never carried out, and their answers."""
        self._scene.venue.fault(loseAnswers={"method": "DELETE", "count": 5, "carriedOut": "never"})

    def mute(self) -> None:
        """Lets the account stream send nothing for some seconds."""
        self._scene.venue.fault(mute=True)
        self.pause(3.0, 8.0)
        self._scene.venue.fault(mute=False)

    def fills_after_end(self) -> None:
        """Reports fills after the ends of their orders."""
        self._scene.venue.fault(fillsAfterEnd=True)
        self.pause(2.0, 4.0)
        self._scene.venue.fault(fillsAfterEnd=False)

    def change_fees(self) -> None:
        """Changes what fees are charged in, also of open orders."""
        self._scene.venue.client.post("/v1/faults", json={"fees": self._random.choice(FEES)})

    def transfer(self) -> None:
        """Deposits and withdraws while the stream reports it.

        One that no stream reports is a difference that an operator has to book.
        """
        wait_until(self._scene.gateway.ready, 60.0)
        for amount in ("1000", "-10.5"):
            body = {"currency": "USDT", "amount": amount}
            self._scene.venue.client.post("/v1/accounts/main/transfers", json=body)
        self.pause(4.0, 4.0)

    def foreign_order(self) -> None:
        """Lets another client of the account trade."""
        body = {"symbol": "BTC-USDT", "side": "buy", "orderType": "market", "quantity": "0.01"}
        self._scene.venue.client.post("/v1/accounts/main/orders", json=body)

    def older_balance(self) -> None:
        """Sends an older balance again."""
        self._scene.venue.client.post("/v1/accounts/main/older-balance", json={"currency": "USDT"})

    def forget_order(self) -> None:
        """Lets the venue forget an open order."""
        with contextlib.suppress(AssertionError):
            for order in self._scene.venue.done("GET", "/v1/orders")["orders"][:1]:
                if "clientOrderId" in order:
                    body = {"clientOrderId": order["clientOrderId"]}
                    self._scene.venue.client.post("/v1/accounts/main/forget", json=body)

    def disconnect(self) -> None:
        """Disconnects the venue for some seconds."""
        self._scene.venue.fault(disconnect=f"{int(self._random.uniform(3.0, 8.0) * self._pace) + 1}s")

    # The database

    def freeze_database(self) -> None:
        """Freezes PostgreSQL for up to 30 s."""
        pid = self._scene.server.pid
        if pid is not None:
            with frozen(pid):
                self.pause(20.0, 30.0)

    def kill_database(self) -> None:
        """Kills PostgreSQL, which is started again."""
        pid = self._scene.server.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # The gateway

    def freeze_gateway(self) -> None:
        """Freezes the gateway for some seconds."""
        self._scene.gateway.signal(signal.SIGSTOP)
        self.pause(1.0, 5.0)
        self._scene.gateway.signal(signal.SIGCONT)

    def kill_gateway(self) -> None:
        """Kills the gateway and starts it again."""
        self._scene.gateway.signal(signal.SIGKILL)
        self._restart()

    def kill_while_trading(self) -> None:
        """Kills the gateway at a random moment after some further orders."""
        target = self._posts() + self._random.randint(1, 30)
        if not wait_until(lambda: self._posts() >= target, START_SECONDS):
            raise AssertionError(f"the lambdas do not trade: {self._scene.gateway.tail()}")
        self.pause(0.0, 0.5)
        self.kill_gateway()

    def kill_both(self) -> None:
        """Kills PostgreSQL and the gateway."""
        self.kill_database()
        self.kill_gateway()

    def stop_gateway(self) -> None:
        """Stops the gateway in an orderly way and starts it again."""
        self._scene.gateway.signal(signal.SIGTERM)
        self._restart()

    def _posts(self) -> int:
        # All of them were sent once, so the answer has nothing but their number.
        return self._scene.venue.get("/v1/requests?least=2")["total"]

    def _restart(self) -> None:
        self._scene.gateway.ended()
        self._scene.gateway.kill()
        self.pause(0.0, 4.0)
        for _ in range(STARTS):
            self._scene.gateway = self._scene.project.launch()
            with contextlib.suppress(AssertionError):
                self._scene.gateway.wait_started()
                return
            self._scene.gateway.kill()
        raise AssertionError(f"the gateway cannot be started: {self._scene.gateway.tail()}")
