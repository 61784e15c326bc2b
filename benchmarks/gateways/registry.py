"""Every gateway that is measured, ours first, then by what they are written in and how heavy they are."""

from collections.abc import Sequence

from benchmarks.gateways import fastapi_relays, litellm, nginx, ours, portkey, routellm, rust_routers, tensorzero
from benchmarks.gateways.base import Gateway

GATEWAYS: tuple[Gateway, ...] = (
    *ours.GATEWAYS,
    *nginx.GATEWAYS,
    *rust_routers.GATEWAYS,
    *tensorzero.GATEWAYS,
    *fastapi_relays.GATEWAYS,
    *portkey.GATEWAYS,
    *routellm.GATEWAYS,
    *litellm.GATEWAYS,
)


class UnknownGatewayError(Exception):
    """A name that is nobody's; the message lists those that are."""


def chosen(words: str) -> Sequence[Gateway]:
    """The gateways that `quick`, `all` or names with commas mean. Raises UnknownGatewayError."""
    if words == "all":
        return GATEWAYS
    if words == "quick":
        return [gateway for gateway in GATEWAYS if gateway.group != "slow"]
    names = {name.strip() for name in words.split(",") if name.strip()}
    known = {gateway.name for gateway in GATEWAYS}
    if not names or names - known:
        raise UnknownGatewayError(
            f"{', '.join(sorted(names - known)) or 'no name'}: choose from quick, all, {', '.join(sorted(known))}"
        )
    return [gateway for gateway in GATEWAYS if gateway.name in names]
