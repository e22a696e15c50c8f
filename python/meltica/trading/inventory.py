"""Inventories: coins of an account that instances take over from "not ours", each of them once.

1. An inventory is a sale at its price from "not ours" to the instance, so the four lines stay exact.
2. What was moved once for a uid, mode, provider and symbol is never moved again, also after a restart.
3. A number that differs from what was moved is refused: nothing says what the coins that were sold meanwhile
   would count as.
4. The sum of inventories never exceeds "not ours".
"""

from decimal import Decimal

from meltica.errors import ConfigError
from meltica.model.symbols import currencies
from meltica.model.trader import TradingSpec
from meltica.trading.desk import Desk
from meltica.trading.exact import multiply, negate, subtract
from meltica.trading.order import Owner, PositionKey
from meltica.trading.stored import entry_row


def take_over(desk: Desk, owner: Owner, spec: TradingSpec) -> None:
    """Moves the inventory of an instance that was not moved yet. The caller holds the lock of trading.

    The opening of the accounts must be booked. Raises ConfigError; then nothing was moved.
    """
    balances = desk.accounts.balances[owner.mode]
    left: dict[tuple[str, str], Decimal] = {}
    faults: list[str] = []
    moves: list[tuple[PositionKey, Decimal, Decimal, str]] = []
    for (provider, symbol), wanted in spec.inventory.items():
        base, quote = currencies(symbol)
        id = f"{owner.uid}:{symbol}"
        moved = balances.inventory(provider, id)
        cost = multiply(wanted.quantity, wanted.price)
        if moved:
            # 2 and 3
            if moved != {base: negate(wanted.quantity), quote: cost}:
                before = negate(moved[base])
                faults.append(
                    f"inventory of {symbol} at {provider}: this instance moved {before} {base} at"
                    f" {moved[quote] / before:f} before, and the setting cannot change; restore it, or remove"
                    " it: the position stays"
                )
            continue
        # 4
        free = left.setdefault((provider, base), balances.lines(provider, base).not_ours)
        if wanted.quantity > free:
            faults.append(
                f"inventory of {symbol} at {provider}: expected at most {free} {base}, which are of no"
                f" instance, saw {wanted.quantity}"
            )
            continue
        left[provider, base] = subtract(free, wanted.quantity)
        moves.append((PositionKey(owner, provider, symbol), wanted.quantity, wanted.price, id))
    if faults:
        raise ConfigError(f"orders of {owner.instance}", faults)
    for key, quantity, price, id in moves:
        move(desk, key, quantity, price, id)


def move(
    desk: Desk,
    key: PositionKey,
    quantity: Decimal,
    price: Decimal,
    id: str,
    *,
    by: str | None = None,
    note: str | None = None,
) -> None:
    """1: moves coins to a position, or back. The entries and the position are written by one commit.

    `by` and `note` are an operator's. The caller holds the lock of trading.
    """
    mode = key.owner.mode
    entries = desk.accounts.balances[mode].transfer(key, quantity, price, id)
    position = desk.positions.transfer(key, quantity, price)
    desk.risks[mode].set_position(key.owner, key.provider, key.symbol, position.quantity)
    now = desk.clock()
    desk.pending.write([entry_row(entry, mode, now, by=by, note=note) for entry in entries])
    desk.pending.moved(position)
