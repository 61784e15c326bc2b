"""nginx from Debian as a plain reverse proxy: the floor that no gateway with features reaches."""

from benchmarks.gateways.base import Features, Gateway, Launch, Place
from benchmarks.gateways.installation import DebianPackages

CONFIGURATION = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {scratch}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  tcp_nodelay on;
  keepalive_requests 100000000;
  client_body_temp_path {scratch}/body;
  proxy_temp_path {scratch}/proxy;
  fastcgi_temp_path {scratch}/fastcgi;
  uwsgi_temp_path {scratch}/uwsgi;
  scgi_temp_path {scratch}/scgi;
  upstream engine {{ server {upstream}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 300s;
    }}
  }}
}}
"""


def launch(place: Place) -> Launch:
    """One worker, connections kept on both sides, answers passed on unbuffered."""
    configuration = place.scratch / "nginx.conf"
    upstream = place.upstream_url.removeprefix("http://")
    configuration.write_text(CONFIGURATION.format(scratch=place.scratch, upstream=upstream, port=place.port))
    binary = place.installed / "usr" / "sbin" / "nginx"
    return Launch(command=(str(binary), "-p", str(place.scratch), "-e", "stderr", "-c", str(configuration)))


GATEWAYS = (
    Gateway(
        name="nginx",
        installation=DebianPackages(("nginx",)),
        launch=launch,
        features=Features(),
        note="a plain reverse proxy in C; reads no body",
        group="quick",
    ),
)
