"""The Portkey gateway from npm, headless.

Version 1.15.2 on Node 20 answers every stream with 500, a TypeError of its own about immutable headers; it does so
without the preload below too.
"""

from benchmarks.gateways.base import Features, Gateway, Launch, Place
from benchmarks.gateways.installation import NpmPackage

# It has no option for the address, and binds every one.
LOOPBACK = """
const net = require("node:net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...words) {
  if (typeof words[0] === "number" || typeof words[0] === "string") {
    const callback = words.find((word) => typeof word === "function");
    return listen.call(this, { port: Number(words[0]), host: "127.0.0.1" }, callback);
  }
  return listen.call(this, { ...words[0], host: "127.0.0.1" }, ...words.slice(1));
};
"""


def launch(place: Place) -> Launch:
    """The server of the package; who stands behind it travels in headers."""
    preload = place.scratch / "loopback.cjs"
    preload.write_text(LOOPBACK)
    server = place.installed / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return Launch(
        command=("node", "--require", str(preload), str(server), "--headless", f"--port={place.port}"),
        environment={"NODE_ENV": "production"},
        headers=(
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: {place.upstream_url}/v1",
            "authorization: Bearer none",
        ),
    )


GATEWAYS = (
    Gateway(
        name="portkey",
        installation=NpmPackage("@portkey-ai/gateway"),
        launch=launch,
        features=Features(routing="by request headers"),
        note="node, headless, a preloaded line keeps it on loopback",
    ),
)
